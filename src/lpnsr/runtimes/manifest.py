"""``export.json``: the graphs of an exported folder and their origin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import Field

from lpnsr import __version__
from lpnsr.checkpoints import PartName, read_spec
from lpnsr.checkpoints.folder import CONFIG, WEIGHTS
from lpnsr.checkpoints.spec import read_json
from lpnsr.errors import CheckpointError, ConfigError
from lpnsr.runtimes.sessions import RuntimeName
from lpnsr.system.config import StrictConfig
from lpnsr.system.hashes import file_sha256

NAME = "export.json"
FORMAT = 2
"""Of the folder and of the graphs in it: raise it when a network's graph changes."""


class GraphRecord(StrictConfig):
    """One graph. error: largest deviation from PyTorch at the checked sizes, in root mean squares of the output."""

    part: PartName
    method: str
    file: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batches: bool
    """Whether it takes any batch, or one image at a time."""
    error: float


class Manifest(StrictConfig):
    """Content of ``export.json``. kept: the parts that stay with PyTorch, with the reason."""

    format: int = FORMAT
    model: str
    digest: str
    """Of the model's configurations and weights: ``model_digest``."""
    lpnsr: str = __version__
    torch: str
    opset: int | None
    """Of ONNX."""
    runtime: RuntimeName
    runtime_version: str
    tolerance: float
    graphs: tuple[GraphRecord, ...]
    kept: dict[PartName, str] = Field(default_factory=dict)


def is_exported(folder: Path) -> bool:
    """Tell whether ``folder`` holds graphs in the place of weights."""
    return (folder / NAME).is_file()


def model_digest(folder: Path) -> str:
    """Return the SHA-256 over the configuration and weights of every part of a model folder. Raises CheckpointError."""
    digest = hashlib.sha256()
    try:
        for name, place in sorted(read_spec(folder).parts.items()):
            for file in (CONFIG, WEIGHTS):
                digest.update(f"{name}/{file} {file_sha256(folder / place / file)}\n".encode())
    except OSError as error:
        raise CheckpointError(f"{folder} is no complete model folder: {error}") from None
    return digest.hexdigest()


def graph_sha256(file: Path) -> str:
    """Return the SHA-256 of a graph; of one for ncnn, of its layers and weights. Raises OSError."""
    digests = [file_sha256(each) for each in (file, file.with_suffix(".bin")) if each.is_file()]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an exported folder whose graphs are all there and unchanged. Raises CheckpointError."""
    path = folder / NAME
    try:
        manifest = Manifest.parse(read_json(path), str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}; export the model again") from None
    if manifest.format != FORMAT:
        raise CheckpointError(f"{path} has format {manifest.format}, {FORMAT} is needed: export the model again")
    for graph in manifest.graphs:
        file = folder / graph.file
        if not file.is_file() or graph_sha256(file) != graph.sha256:
            raise CheckpointError(f"{file} is missing or damaged; export the model again")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest. Raises OSError."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")
