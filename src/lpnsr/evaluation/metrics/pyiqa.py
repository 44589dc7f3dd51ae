"""Metrics that pyiqa computes (extra ``evaluate``), with weights that it downloads or that lie in a folder.

The folder is laid out as torch's own cache, ``~/.cache/torch/hub``, so a copy of that from a machine with a network
will do. pyiqa and many of its weights are for non-commercial use.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from lpnsr.errors import MissingExtraError
from lpnsr.evaluation.errors import MetricUnavailable, UnscorableImage
from lpnsr.system.hashes import file_sha256

_HUGGING_FACE = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"
_TORCH = "https://download.pytorch.org/models"
_CLIP = (
    "https://openaipublic.azureedge.net/clip/models/afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
)
_FOLDERS = {_HUGGING_FACE: "pyiqa", _TORCH: "checkpoints", _CLIP: "clip"}
_VGG = f"{_TORCH}/vgg16-397923af.pth"

FILES = {
    "lpips": (f"{_HUGGING_FACE}/LPIPS_v0.1_alex-df73285e.pth", f"{_TORCH}/alexnet-owt-7be5be79.pth"),
    "lpips-vgg": (f"{_HUGGING_FACE}/LPIPS_v0.1_vgg-a78928a0.pth", _VGG),
    "dists": (f"{_HUGGING_FACE}/DISTS_weights-f5e65c96.pth", _VGG),
    "fid": (f"{_HUGGING_FACE}/pt_inception-2015-12-05-6726825d.pth",),
    "pi": (f"{_HUGGING_FACE}/NRQM_model.mat", f"{_HUGGING_FACE}/niqe_modelparameters.mat"),
    "clipiqa": (f"{_CLIP}/RN50.pt",),
    "musiq": (f"{_HUGGING_FACE}/musiq_koniq_ckpt-e95806b9.pth",),
    "maniqa": (f"{_HUGGING_FACE}/ckpt_koniq10k.pt",),
}
"""Addresses of the weights of pyiqa's metrics."""


def pyiqa_metric(name: str, folder: Path | None, device: str) -> tuple[Callable[..., float], str]:
    """Return (score, version) of pyiqa's metric ``name`` on (3, H, W) in [0, 1], or of fid on two lists of files.

    folder: of the weights; None is torch's cache, where missing ones are downloaded. Raises MetricUnavailable if pyiqa
    or its weights cannot be had.
    """
    try:
        import pyiqa
    except ImportError as error:
        if getattr(error, "name", None) == "pyiqa":
            raise MetricUnavailable(str(MissingExtraError("evaluate", "pyiqa"))) from None
        raise _incomplete(error) from None
    version = f"pyiqa {metadata.version('pyiqa')}"
    if folder is not None:
        missing = [url for url in FILES[name] if not (folder / place(url)).is_file()]
        if missing:
            raise MetricUnavailable(f"{name} needs weights that are not in {folder}: {_fetch(missing, folder)}")
        version += ", weights " + "+".join(file_sha256(folder / place(url))[:8] for url in FILES[name])
    try:
        with contextlib.redirect_stdout(sys.stderr), _weights_in(folder), _no_trunk_of_timm():  # it prints downloads
            model = pyiqa.create_metric(name, device=device)
    except ImportError as error:  # many of its metrics import what only they need
        raise _incomplete(error) from None
    except Exception as error:  # whatever a download, a cache or a damaged file raises
        cache = Path(torch.hub.get_dir()) if folder is None else folder
        raise MetricUnavailable(f"pyiqa cannot set up {name}: {_line(error)}. {_fetch(FILES[name], cache)}") from None

    lock = Lock()  # not every model of pyiqa can be shared between threads

    def score(*images: Tensor) -> float:
        try:
            with lock:
                return float(model(*(image[None].float().clamp(0, 1) for image in images)))
        except (AssertionError, RuntimeError, ValueError) as error:  # its ways to refuse an image
            raise UnscorableImage(f"pyiqa cannot score it ({_line(error)})", "refused") from None

    def distance(sr: Sequence[Path], hr: Sequence[Path]) -> float:
        with tempfile.TemporaryDirectory() as made, contextlib.redirect_stdout(sys.stderr):
            folders = [_gathered(files, Path(made) / side) for side, files in (("sr", sr), ("hr", hr))]
            return float(model(*map(str, folders), num_workers=0, verbose=False))

    return (distance if name == "fid" else score), version


def place(url: str) -> str:
    """Return where the weights of an address lie in the folder."""
    base, _, file = url.rpartition("/")
    return f"{_FOLDERS[base]}/{file}"


def _fetch(urls: Sequence[str], folder: Path) -> str:
    return "; ".join(f"fetch {url} as {folder / place(url)}" for url in urls)


@contextlib.contextmanager
def _weights_in(folder: Path | None) -> Iterator[None]:
    """Have torch and pyiqa look for weights in ``folder`` meanwhile."""
    if folder is None:
        yield
        return
    from pyiqa.utils import download_util as downloads

    before = torch.hub.get_dir(), downloads.DEFAULT_CACHE_DIR
    torch.hub.set_dir(folder)
    downloads.DEFAULT_CACHE_DIR = str(folder / "pyiqa")
    try:
        yield
    finally:
        torch.hub.set_dir(before[0])
        downloads.DEFAULT_CACHE_DIR = before[1]


@contextlib.contextmanager
def _no_trunk_of_timm() -> Iterator[None]:
    """Keep timm from downloading a trunk meanwhile: MANIQA's weights, which are loaded over it, have all of it."""
    try:
        import timm
    except ImportError:
        yield
        return
    create = timm.create_model
    timm.create_model = lambda name, pretrained=False, **options: create(name, pretrained=False, **options)
    try:
        yield
    finally:
        timm.create_model = create


def _gathered(files: Sequence[Path], folder: Path) -> Path:
    """Make a folder that holds ``files``, and no others."""
    folder.mkdir()
    for index, path in enumerate(files):
        target = folder / f"{index:06}{path.suffix.lower()}"
        try:
            target.symlink_to(path.resolve())
        except OSError:  # Windows allows it to few
            shutil.copyfile(path, target)
    return folder


def _incomplete(error: ImportError) -> MetricUnavailable:
    return MetricUnavailable(
        f"pyiqa does not start ({_line(error)}). Install all it needs with: pip install 'lpnsr[evaluate]'"
    )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
