"""What mkdocs cannot do by itself: the pages that are made from the package, and equations without a script.

cli.md comes from the typer application, base.md and lite.md are the cards of the bundled models. Equations become
drawings of the size
and colour of the text around them.
"""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from typing import Any

import ziamath
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer import Context
from typer.main import get_command

from lpnsr.apps.cli import app
from lpnsr.checkpoints.locate import BUNDLED

ziamath.config.svg2 = False  # paths in place: no ids that several drawings would share

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "src" / "lpnsr" / "weights"
SIZE = 24
"""Units of a drawing that are one em of the text around it."""
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files."""
    files.append(File.generated(config, "cli.md", content=cli_reference()))
    for name in BUNDLED:
        card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
        files.append(File.generated(config, f"{name}.md", content=card))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """TeX between arithmatex's marks -> SVG. An equation that cannot be read ends the build."""
    return EQUATION.sub(lambda found: _drawing(unescape(found[3]).strip(), found[2] == "["), html)


def _drawing(tex: str, is_block: bool) -> str:
    svg = ziamath.Latex(tex, size=SIZE, inline=not is_block, color="currentColor").svg()
    left, top, width, height = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())  # type: ignore[index]
    place = f"width: {width / SIZE:.3f}em; height: {height / SIZE:.3f}em; "
    place += f"vertical-align: {-(top + height) / SIZE:.3f}em"
    paths = svg[svg.index(">") + 1 :]
    box = f'viewBox="{left} {top} {width} {height}" role="img" aria-label="{escape(tex)}"'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" class="math" style="{place}" {box}>{paths}'
    return f'<div class="equation">{drawing}</div>' if is_block else drawing


def cli_reference() -> str:
    """Every command with its arguments and options, as Markdown."""
    lines = [
        "# Command line",
        "",
        "Made from the program itself; `lpnsr COMMAND --help` shows the same. Exit codes: 0 done, 1 something failed,",
        "2 wrong usage, 130 interrupted, 143 ended by SIGTERM.",
        "",
    ]
    root = get_command(app)
    _describe(root, Context(root, info_name="lpnsr"), lines)
    return "\n".join(lines)


def _describe(command: Any, context: Context, lines: list[str]) -> None:
    lines += ["", f"#{'#' * len(context.command_path.split())} {context.command_path}", ""]
    lines += [_prose(command.help or ""), "", "```", command.get_usage(context), "```", ""]
    tables: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = _record(parameter, context)
        if record:
            is_argument = parameter.param_type_name == "argument"
            panel = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
            tables.setdefault(panel, []).append(record)
    for panel in sorted(tables, key=lambda name: (name != "Arguments", name == "Options")):
        lines += ['<div class="options" markdown>', "", f"| {panel} | |", "|---|---|"]
        lines += [f"| {names} | {text} |" for names, text in tables[panel]]
        lines += ["", "</div>", ""]
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, name)
        _describe(child, Context(child, parent=context, info_name=name), lines)


def _record(parameter: Any, context: Context) -> tuple[str, str] | None:
    """(names and values, meaning) of an option or argument; None for --help and what is hidden."""
    record = parameter.get_help_record(context)
    if record is None or parameter.name == "help":
        return None
    names, text = record
    code = "<br>".join(f"`{_cell(part)}`" for part in _alternatives(names))
    return code, _cell(escape(text, quote=False))


def _alternatives(names: str) -> list[str]:
    """'-s, --scale, --outscale <float>' -> the names on one line, the value on its own if it is a long choice."""
    head, _, value = names.partition(" ")
    while value.startswith("-"):
        more, _, value = value.partition(" ")
        head += " " + more
    if len(names) <= 34 or not value:
        return [names]
    return [head, value]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _prose(help_text: str) -> str:
    """The help of a command; an example at the end of its first line becomes code."""
    text = escape(help_text.strip().replace("\f", ""), quote=False)
    return re.sub(r": (lpnsr [^\n]+)", r": `\1`", text, count=1)
