"""The house: a floor imports only from itself and those below it; public names are what they are said to be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import lpnsr

PACKAGE = Path(lpnsr.__file__).parent
FLOORS = (
    "errors",
    "system",
    "diffusion",
    "imaging",
    "degradation",
    "networks",
    "checkpoints",
    "runtimes",
    "upscaling",
    "training",
    "evaluation",
    "reproduce",
    "apps",
)
ROOT = {"__init__", "__main__", "errors"}


def name_of(path: Path) -> str:
    """``lpnsr.imaging.photo`` for its file; a package's for its ``__init__.py``."""
    return ".".join(("lpnsr", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


PATHS = sorted(PACKAGE.rglob("*.py"))
MODULES = {name_of(path): path for path in PATHS}


class Import(NamedTuple):
    """A module that is imported. early: whenever the importing module is, not in a function or for types alone."""

    module: str
    early: bool


def imports(node: ast.AST, early: bool = True) -> Iterator[Import]:
    """Everything of lpnsr that is imported below ``node``, in functions, for types and by ``import_module`` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                yield from known(f"{child.module}.{alias.name}", early)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield from known(alias.name, early)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):  # of import_module
            yield from known(child.value.removesuffix("."), False)
        typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        later = typing or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from imports(child, early and not later)


def known(name: str, early: bool) -> Iterator[Import]:
    """The module that ``name`` is, or that the name is in."""
    if name == "lpnsr.Upscaler":
        name = "lpnsr.upscaling.upscaler"
    for module in (name, name.rpartition(".")[0]):
        if module in MODULES:
            if module != "lpnsr":
                yield Import(module, early)
            return


IMPORTS = {
    name: set(imports(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))))
    for name, path in MODULES.items()
}


def floor_of(module: str) -> int:
    name = module.split(".")[1]
    assert name in FLOORS, f"{name} stands on no floor: add it to FLOORS"
    return FLOORS.index(name)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_floor_imports_only_from_itself_and_below(path: Path) -> None:
    name = name_of(path)
    if name in ("lpnsr", "lpnsr.__main__"):
        return
    for other in sorted(IMPORTS[name]):
        assert floor_of(other.module) <= floor_of(name), f"{name} imports {other.module}"


def test_the_root_holds_floors_alone() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT


def check_no_circle(graph: Mapping[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_modules_do_not_import_one_another_in_circles() -> None:
    graph = {name: {found.module for found in IMPORTS[name] if found.early} - {name} for name in MODULES}
    check_no_circle(graph)


@pytest.mark.parametrize("parent", sorted({path.parent for path in PATHS}), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_folders_do_not_import_one_another_in_circles(parent: Path) -> None:
    """Those side by side in one folder, in functions and for types too."""
    above = name_of(parent / "__init__.py") + "."
    folders = {f"{above}{path.name}" for path in parent.iterdir() if (path / "__init__.py").is_file()}

    def folder_of(module: str) -> str:
        return above + module.removeprefix(above).split(".")[0] if module.startswith(above) else ""

    graph: dict[str, set[str]] = {folder: set() for folder in folders}
    for name, found in IMPORTS.items():
        own = folder_of(name)
        if own in folders:
            graph[own] |= {folder_of(other.module) for other in found} & folders - {own}
    check_no_circle(graph)


def test_public_names() -> None:
    assert sorted(lpnsr.__all__) == ["Upscaler", "__version__"]
    assert all(hasattr(lpnsr, name) for name in lpnsr.__all__)
    with pytest.raises(AttributeError, match="Upscalar"):
        _ = lpnsr.Upscalar


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, lpnsr.apps.cli; print([m for m in ('torch', 'numpy', 'PIL', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
