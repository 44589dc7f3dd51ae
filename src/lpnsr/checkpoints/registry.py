"""The officially released files: what each is, where it is published, and under which licence.

Neither their sizes nor their hashes are published with them. Where this table has none, a download is
checked against what the server states and then remembered: see ``download``.
"""

from __future__ import annotations

import importlib.util
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
_LPNSR = "https://huggingface.co/mirpri/LPNSR/resolve/main"


@dataclass(frozen=True)
class OfficialFile:
    """One released checkpoint. ``urls`` are tried in order; unknown ``size`` and ``sha256`` are None."""

    name: str
    part: PartName
    urls: tuple[str, ...]
    licence: str
    non_commercial: bool
    predictor: Predictor | None = None
    size: int | None = None
    sha256: str | None = None


def _file(name: str, part: PartName, *places: str, predictor: Predictor | None = None) -> OfficialFile:
    free = part == "upsampler"
    urls = tuple(f"{place}/{name}" for place in places)
    return OfficialFile(name, part, urls, APACHE if free else S_LAB, not free, predictor)


OFFICIAL: tuple[OfficialFile, ...] = (
    _file("autoencoder_vq_f4.pth", "autoencoder", _RESSHIFT, _LPNSR),
    _file("resshift_realsrx4_s4_v3.pth", "denoiser", _RESSHIFT, _LPNSR),
    _file("noise_predictor.pth", "noise_predictor", _LPNSR, predictor="paper"),
    _file("noise_predictor_v2.pth", "noise_predictor", _LPNSR, predictor="v2"),
    _file("003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth", "upsampler", _SWINIR, _LPNSR),
)

LICENCE_NOTICE = f"""\
The autoencoder and the denoiser are ResShift's (https://github.com/zsyOAOA/ResShift),
under the {S_LAB}: redistribution and use for non-commercial
purposes only, with its notice kept; ask its authors about any other use. The noise
predictors (https://huggingface.co/mirpri/LPNSR) are trained around ResShift's networks
and are held to the same terms here. The SwinIR pre-upsampler
(https://github.com/JingyunLiang/SwinIR) is under {APACHE}."""


def official_files(predictor: Predictor = "paper") -> tuple[OfficialFile, ...]:
    """The four files of the official model with the noise predictor of the paper or its second version."""
    return tuple(file for file in OFFICIAL if file.predictor in (None, predictor))


def official_name(predictor: Predictor) -> str:
    """Name of the converted model: ``official`` with the paper's predictor, ``official-v2`` with the second."""
    return "official" if predictor == "paper" else f"official-{predictor}"


def predictor_of(name: str) -> Predictor | None:
    """The inverse of ``official_name``; None if ``name`` is not an official model's."""
    return next((each for each in PREDICTORS if official_name(each) == name), None)


def require_spandrel() -> None:
    """Raise MissingExtraError without spandrel: cheap, so that it can come before any long work."""
    if importlib.util.find_spec("spandrel") is None:
        raise MissingExtraError("upsamplers", "spandrel")
