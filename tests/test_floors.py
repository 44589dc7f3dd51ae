"""The house: a floor imports only from those below it; public names are what they are said to be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lpnsr

PACKAGE = Path(lpnsr.__file__).parent
FLOORS = [
    {"errors"},
    {"config"},
    {"diffusion"},
    {"networks"},
    {"imaging", "checkpoints", "degradation"},
    {"restoration"},
    {"devices", "memory", "kinds", "runtimes"},
    {"lr_rows", "options"},
    {"planning"},
    {"tiling"},
    {"pipeline"},
    {"training"},
    {"evaluation"},
    {"apps"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lpnsr"):
            inside = node.module.split(".")[1:2]
            found |= set(inside) if inside else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lpnsr.")}
    return found & LEVEL.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_floor_imports_only_from_below(path: Path) -> None:
    own = "apps" if path.name == "__main__.py" else path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} stands on no floor: add it to FLOORS"
    for other in imports(path) - {own}:
        assert LEVEL[other] < LEVEL[own], f"{own} imports {other}"


def test_public_names() -> None:
    assert sorted(lpnsr.__all__) == ["Upscaler", "__version__"]
    assert all(hasattr(lpnsr, name) for name in lpnsr.__all__)
    with pytest.raises(AttributeError, match="Upscalar"):
        _ = lpnsr.Upscalar


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, lpnsr.apps.cli; print([m for m in ('torch', 'numpy', 'PIL', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
