"""Metrics that pyiqa computes (extra ``evaluate``), with weights that it downloads or the user has.

pyiqa and many of its weights are for non-commercial use.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from threading import Lock

from torch import Tensor

from lpnsr.errors import MissingExtraError
from lpnsr.evaluation.errors import MetricUnavailable, UnscorableImage


def pyiqa_metric(name: str, weights: Path | None, device: str) -> tuple[Callable[..., float], str]:
    """Return (score, version) of pyiqa's metric ``name`` on (3, H, W) in [0, 1].

    weights: the file that pyiqa would download. Raises MetricUnavailable if pyiqa or its weights cannot be had.
    """
    try:
        import pyiqa
    except ImportError as error:
        if getattr(error, "name", None) == "pyiqa":
            raise MetricUnavailable(str(MissingExtraError("evaluate", "pyiqa"))) from None
        raise _incomplete(error) from None
    options = {} if weights is None else {"pretrained_model_path": str(weights)}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it reports downloads by print
            model = pyiqa.create_metric(name, device=device, **options)
    except ImportError as error:  # many of its metrics import what only they need
        raise _incomplete(error) from None
    except Exception as error:  # whatever a download, a cache or a damaged file raises
        raise MetricUnavailable(
            f"pyiqa cannot set up {name}: {_line(error)}. It downloads weights at first use and keeps them, in "
            "~/.cache/torch/hub and ~/.cache/huggingface: use it once with a network, or copy them there"
        ) from None

    lock = Lock()  # not every model of pyiqa can be shared between threads

    def score(*images: Tensor) -> float:
        try:
            with lock:
                return float(model(*(image[None].float().clamp(0, 1) for image in images)))
        except (AssertionError, RuntimeError, ValueError) as error:  # its ways to refuse an image
            raise UnscorableImage(f"pyiqa cannot score it ({_line(error)})", "refused") from None

    return score, f"pyiqa {metadata.version('pyiqa')}"


def _incomplete(error: ImportError) -> MetricUnavailable:
    return MetricUnavailable(
        f"pyiqa does not start ({_line(error)}). Install all it needs with: pip install 'lpnsr[evaluate]'"
    )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
