"""Natural test images made of ``examples/``, and what pyiqa, lpips and scikit-image say about them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import lpnsr
from support.repository import REPOSITORY

WEIGHTS = Path(lpnsr.__file__).parent / "weights"
TRUNK = WEIGHTS / "lpips" / "squeezenet1_1.safetensors"
EXAMPLES = REPOSITORY / "examples"

GOLDEN = {
    "coast": {
        "resshift/psnr": 24.9540405,
        "resshift/ssim": 0.8654457,
        "rgb/psnr": 23.5943837,
        "rgb/ssim": 0.8641469,
        "bicubic-y/psnr": 24.9517822,
        "bicubic-y/ssim": 0.8651693,
        "resshift/niqe": 6.1090765,
        "resshift/lpips": 0.1052756,
    },
    "pets": {
        "resshift/psnr": 32.6569431,
        "resshift/ssim": 0.9407454,
        "rgb/psnr": 31.276803,
        "rgb/ssim": 0.935988,
        "bicubic-y/psnr": 32.6304283,
        "bicubic-y/ssim": 0.939956,
        "resshift/niqe": 9.4457546,
        "resshift/lpips": 0.0457286,
    },
}
"""From ``references`` with pyiqa 0.1.16, lpips 0.1.4, scikit-image 0.26.0, torch 2.15.0."""


def pairs() -> dict[str, tuple[Tensor, Tensor]]:
    """(sr, hr), each (3, 256, 256) in [0, 1] of whole 255ths; sr by arithmetic that is the same everywhere."""
    coast = _read("coast.jpg")
    dog, otter = _read("dog.png"), _read("otter.png")
    rows = np.concatenate([dog, otter], 1), np.concatenate([otter[:, ::-1], dog[:, ::-1]], 1)
    return {name: (_blocky(hr), _tensor(hr)) for name, hr in (("coast", coast), ("pets", np.concatenate(rows)))}


def photograph(name: str) -> Image.Image:
    """One of the examples, or of the tests' own data."""
    folders = (EXAMPLES, Path(__file__).parents[1] / "data")
    return Image.open(next(folder / name for folder in folders if (folder / name).exists())).convert("RGB")


def _read(name: str) -> np.ndarray:
    return np.asarray(photograph(name))


def _blocky(hr: np.ndarray) -> Tensor:
    """Means of 2 x 2 px, blended with what was there."""
    means = hr.reshape(128, 2, 128, 2, 3).mean((1, 3)).repeat(2, 0).repeat(2, 1)
    return _tensor(np.floor(0.8 * means + 0.2 * hr + 0.5))


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 255


def references(sr: Tensor, hr: Tensor) -> dict[str, float]:
    """The scores by the reference implementations, which have to be installed: PROTOCOL/METRIC -> value."""
    import scipy.io
    from pyiqa.archs import niqe_arch
    from pyiqa.archs.psnr_arch import PSNR
    from pyiqa.archs.ssim_arch import SSIM
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    inner = np.s_[4:-4, 4:-4]
    a, b = (image.permute(1, 2, 0).double().numpy() * 255 for image in (sr, hr))
    y, z = (16 + image @ np.array([65.481, 128.553, 24.966]) / 255 for image in (a, b))
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    matlab = {"test_y_channel": True, "crop_border": 4, "color_space": "ycbcr"}
    with np.load(WEIGHTS / "niqe" / "niqe_pris_params.npz") as model:
        named = {"mu_prisparam": model["mu_pris_param"], "cov_prisparam": model["cov_pris_param"]}
    with tempfile.TemporaryDirectory() as folder:  # it reads MATLAB's format only
        scipy.io.savemat(f"{folder}/model.mat", named)
        niqe = niqe_arch.NIQE(pretrained_model_path=f"{folder}/model.mat")
    lpips = _lpips()
    with torch.no_grad():
        return {
            "resshift/psnr": float(peak_signal_noise_ratio(z[inner], y[inner], data_range=255)),
            "resshift/ssim": float(structural_similarity(z[inner], y[inner], **window)),
            "rgb/psnr": float(peak_signal_noise_ratio(b[inner], a[inner], data_range=255)),
            "rgb/ssim": float(structural_similarity(b[inner], a[inner], channel_axis=2, **window)),
            "bicubic-y/psnr": float(PSNR(data_range=255, **matlab)(sr[None], hr[None])),
            "bicubic-y/ssim": float(SSIM(**matlab)(sr[None], hr[None])),
            "resshift/niqe": float(niqe(sr[None])),
            "resshift/lpips": float(lpips(sr[None] * 2 - 1, hr[None] * 2 - 1)),
        }


def _lpips() -> Any:
    """The package's network and heads, on the trunk's weights that are bundled here."""
    import lpips

    model = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    trunk = {k.removeprefix("features."): v.float() for k, v in load_file(TRUNK).items()}
    for number in range(1, 8):
        for index, layer in getattr(model.net, f"slice{number}").named_children():
            own = {k.removeprefix(f"{index}."): v for k, v in trunk.items() if k.startswith(f"{index}.")}
            layer.load_state_dict(own)
    return model
