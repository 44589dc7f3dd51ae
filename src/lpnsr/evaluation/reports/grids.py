"""Rows of text as a Markdown or CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Without a line feed at its end. numbers: columns that are aligned to the right."""
    rule = ["---:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in (head, rule, *rows))


def escaped(text: str) -> str:
    """One line that no table breaks on."""
    return " ".join(text.replace("|", "\\|").split())


def csv_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """With a line feed after every row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
