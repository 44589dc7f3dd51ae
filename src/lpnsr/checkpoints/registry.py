"""The officially released files: what each is, where it is published, and under which licence.

No hashes are published with them. Where this table has none, a download is checked against what the server states
and its hash is remembered: see ``download``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lpnsr.checkpoints.spec import PartName
from lpnsr.errors import MissingExtraError

Predictor = Literal["paper", "v2"]
PREDICTORS: tuple[Predictor, ...] = get_args(Predictor)

S_LAB = "S-Lab License 1.0 (non-commercial)"
APACHE = "Apache-2.0"

_RESSHIFT = "https://github.com/zsyOAOA/ResShift/releases/download/v2.0"
_SWINIR = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0"
_LPNSR = ("mirpri/LPNSR", "https://github.com/Faze-Hsw/LPNSR/releases/latest/download")


@dataclass(frozen=True)
class OfficialFile:
    """One released checkpoint.

    ``mirrors`` are tried in order: Hugging Face repositories and URLs of folders. ``shapes`` is the hash of its learnt
    tensors' names and shapes, see ``shapes_hash``. An unknown ``sha256`` is None.
    """

    name: str
    part: PartName
    mirrors: tuple[str, ...]
    shapes: str
    predictor: Predictor | None = None
    sha256: str | None = None


OFFICIAL: tuple[OfficialFile, ...] = (
    OfficialFile("autoencoder_vq_f4.pth", "autoencoder", (_RESSHIFT, *_LPNSR), "56a2c53042a2ae64"),
    OfficialFile("resshift_realsrx4_s4_v3.pth", "denoiser", (_RESSHIFT, *_LPNSR), "7845eafe1065236b"),
    OfficialFile("noise_predictor.pth", "noise_predictor", _LPNSR, "915175dbaf27d808", "paper"),
    OfficialFile("noise_predictor_v2.pth", "noise_predictor", _LPNSR, "915175dbaf27d808", "v2"),
    OfficialFile(
        "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth", "upsampler", (_SWINIR, *_LPNSR), "f8c48231c79d4626"
    ),
)

LICENCE_NOTICE = f"""\
The autoencoder and the denoiser are ResShift's (https://github.com/zsyOAOA/ResShift),
under the {S_LAB}: redistribution and use for non-commercial
purposes only, with its notice kept; ask its authors about any other use. The noise
predictors (https://huggingface.co/mirpri/LPNSR) are trained around ResShift's networks
and are held to the same terms here. The SwinIR pre-upsampler
(https://github.com/JingyunLiang/SwinIR) is under {APACHE}."""


def shapes_hash(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return a short hash of the names and shapes of learnt tensors, whatever their order."""
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def official_files(predictor: Predictor = "paper") -> tuple[OfficialFile, ...]:
    """Return the four files of the official model with the noise predictor of the paper or its second version."""
    return tuple(file for file in OFFICIAL if file.predictor in (None, predictor))


def official_name(predictor: Predictor) -> str:
    """Name of the converted model: ``official`` with the paper's predictor, ``official-v2`` with the second."""
    return "official" if predictor == "paper" else f"official-{predictor}"


def predictor_of(name: str) -> Predictor | None:
    """Return the inverse of ``official_name``; None if ``name`` is not an official model's."""
    return next((each for each in PREDICTORS if official_name(each) == name), None)


def require_spandrel() -> None:
    """Raise MissingExtraError without spandrel: cheap, so that it can come before any long work."""
    if importlib.util.find_spec("spandrel") is None:
        raise MissingExtraError("upsamplers", "spandrel")
