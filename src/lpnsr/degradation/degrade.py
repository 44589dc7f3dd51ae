"""HR batch -> LR batch: the second-order Real-ESRGAN degradation (Wang et al. 2021), a generator per sample.

The parameters of a sample are drawn on the host from its seed, its noise on the device from a generator of the
same seed, so a sample's LR does not depend on the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.degradation import kernels
from lpnsr.degradation.recipe import BlurRecipe, DegradationRecipe, NoiseRecipe, ResizeRecipe
from lpnsr.errors import InputError

_MODES = ("area", "bilinear", "bicubic")
_FINAL_SINC_SIZES = (7, 21)


def degrade(hr: Tensor, recipe: DegradationRecipe, seeds: Sequence[int]) -> Tensor:
    """LR images of ``hr``.

    hr: (B, 3, H, W) in [0, 1] with H and W multiples of the scale; seeds: one per sample.
    Returns (B, 3, H/scale, W/scale), clamped to [0, 1] and rounded to 8-bit levels, on the same device.
    """
    if hr.ndim != 4 or hr.shape[1] != 3 or hr.shape[2] % recipe.scale or hr.shape[3] % recipe.scale:
        raise InputError(f"degrade needs (B, 3, H, W) with H and W multiples of {recipe.scale}, got {tuple(hr.shape)}")
    if len(seeds) != len(hr):
        raise InputError(f"degrade needs one seed per sample: {len(hr)} samples, {len(seeds)} seeds")
    return torch.cat([_degrade_one(x[None], recipe, seed) for x, seed in zip(hr, seeds, strict=True)])


def _degrade_one(hr: Tensor, recipe: DegradationRecipe, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    generator = torch.Generator(hr.device).manual_seed(seed)
    height, width = hr.shape[-2] // recipe.scale, hr.shape[-1] // recipe.scale
    x = hr
    if recipe.blur:
        x = random_blur(x, recipe.blur, rng)
    if recipe.resize:
        x = random_resize(x, recipe.resize, hr.shape[-2:], rng)
    if recipe.noise:
        x = add_noise(x, recipe.noise, rng, generator)
    if recipe.jpeg:
        x = jpeg(x, int(rng.integers(recipe.jpeg[0], recipe.jpeg[1] + 1)))
    if rng.random() < recipe.second_probability:
        x = random_blur(x, recipe.second_blur, rng)
        x = random_resize(x, recipe.second_resize, (height, width), rng)
        x = add_noise(x, recipe.second_noise, rng, generator)
    return _finish(x, recipe, (height, width), rng)


def _finish(x: Tensor, recipe: DegradationRecipe, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """The last resize with the final sinc filter, and JPEG, in either order; 8-bit rounding."""
    mode = "bicubic" if recipe.resize is None else str(rng.choice(_MODES))
    quality = int(rng.integers(recipe.final_jpeg[0], recipe.final_jpeg[1] + 1)) if recipe.final_jpeg else None
    kernel = None
    if rng.random() < recipe.final_sinc_probability:
        kernel_size = _odd(_FINAL_SINC_SIZES, rng)
        kernel = kernels.sinc(kernel_size, kernels.sinc_cutoff(kernel_size, rng))

    def shrink(image: Tensor) -> Tensor:
        image = resize(image, size, mode)
        return image if kernel is None else blur(image, kernel)

    jpeg_first = bool(rng.random() < 0.5)
    if quality is None:
        x = shrink(x)
    elif jpeg_first:
        x = shrink(jpeg(x, quality))
    else:
        x = jpeg(shrink(x), quality)
    return (x.clamp(0, 1) * 255).round() / 255


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate every channel of (1, 3, H, W) with one odd ``kernel``; borders by reflection where they can be."""
    pad = kernel.shape[-1] // 2
    mode = "reflect" if min(x.shape[-2:]) > pad else "replicate"
    padded = F.pad(x, (pad, pad, pad, pad), mode=mode)
    weight = kernel.to(x)[None, None].expand(x.shape[1], 1, -1, -1)
    return F.conv2d(padded, weight, groups=x.shape[1])


def random_kernel(recipe: BlurRecipe, rng: np.random.Generator) -> Tensor:
    """A kernel drawn by the recipe's odds."""
    size = _odd(recipe.sizes, rng)
    if rng.random() < recipe.sinc_probability:
        return kernels.sinc(size, kernels.sinc_cutoff(size, rng))
    odds = np.array(list(recipe.kinds.values()))
    kind = list(recipe.kinds)[rng.choice(len(odds), p=odds / odds.sum())]
    sigma_x = float(rng.uniform(*recipe.sigma))
    sigma_y, theta = sigma_x, 0.0
    if kind.endswith("aniso"):
        sigma_y, theta = float(rng.uniform(*recipe.sigma)), float(rng.uniform(-np.pi, np.pi))
    if kind.startswith("generalised"):
        return kernels.gaussian(size, sigma_x, sigma_y, theta, _shape(recipe.beta_generalised, rng))
    if kind.startswith("plateau"):
        return kernels.plateau(size, sigma_x, sigma_y, theta, _shape(recipe.beta_plateau, rng))
    return kernels.gaussian(size, sigma_x, sigma_y, theta)


def random_blur(x: Tensor, recipe: BlurRecipe, rng: np.random.Generator) -> Tensor:
    """``blur`` with a random kernel, with the recipe's probability."""
    return blur(x, random_kernel(recipe, rng)) if rng.random() < recipe.probability else x


def random_resize(x: Tensor, recipe: ResizeRecipe, base: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Resize to ``base`` times a random factor: up to the range's end, down to its beginning, or exactly ``base``."""
    direction = rng.choice(3, p=np.array(recipe.odds) / sum(recipe.odds))
    factor = (
        rng.uniform(1, max(1.0, recipe.factor[1])),
        rng.uniform(min(1.0, recipe.factor[0]), 1),
        1.0,
    )[direction]
    mode = str(rng.choice(_MODES))
    size = (max(1, round(base[0] * factor)), max(1, round(base[1] * factor)))
    return resize(x, size, mode)


def resize(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize (1, 3, H, W) to ``size`` by area, bilinear or bicubic; shrinking is antialiased."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if mode == "area":
        return F.interpolate(x, size=size, mode="area")
    return F.interpolate(x, size=size, mode=mode, align_corners=False, antialias=True)


def add_noise(x: Tensor, recipe: NoiseRecipe, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Gaussian or Poisson noise, gray (one field for all channels) with the recipe's probability; clamped."""
    gaussian = rng.random() < recipe.gaussian_probability
    gray = rng.random() < recipe.gray_probability
    if gaussian:
        shape = (1, 1 if gray else x.shape[1], *x.shape[-2:])
        noise = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        return (x + noise * (float(rng.uniform(*recipe.sigma)) / 255)).clamp(0, 1)
    scale = float(rng.uniform(*recipe.poisson_scale))
    source = _luma(x) if gray else x
    source = (source.clamp(0, 1) * 255).round() / 255
    levels = 2.0 ** np.ceil(np.log2(max(2, int(torch.unique(source).numel()))))
    noise = torch.poisson(source * levels, generator=generator) / levels - source
    return (x + noise * scale).clamp(0, 1)


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Encode and decode (1, 3, H, W) in [0, 1] as baseline JPEG at ``quality`` (1..100)."""
    array = (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    _, code = cv2.imencode(".jpg", np.ascontiguousarray(array[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.ascontiguousarray(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1])
    return torch.from_numpy(decoded).to(x.device).permute(2, 0, 1)[None].to(x.dtype) / 255


def _luma(x: Tensor) -> Tensor:
    """BT.601 luma, (1, 1, H, W)."""
    return (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def _odd(sizes: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(sizes[0] // 2, sizes[1] // 2 + 1)) * 2 + 1


def _shape(beta: tuple[float, float], rng: np.random.Generator) -> float:
    """A shape parameter, below and above 1 with equal chance where the range spans 1."""
    low, high = beta
    if low < 1 < high:
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))
    return float(rng.uniform(low, high))
