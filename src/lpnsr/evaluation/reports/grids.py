"""Rows of text as a Markdown or CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Format rows as a Markdown table without a final line feed. numbers: columns aligned to the right."""
    rule = ["---:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in (head, rule, *rows))


def escaped(text: str) -> str:
    """Escape a text for a cell of a table: one line, without bare bars."""
    return " ".join(text.replace("|", "\\|").split())


def csv_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows as CSV, with a line feed after every row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
