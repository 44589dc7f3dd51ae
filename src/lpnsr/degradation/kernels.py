"""Blur kernels, each under its formula. All are (size, size) float32, odd-sized, non-negative or sinc, sum 1."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def _quadratic_form(size: int, sigma_x: float, sigma_y: float, theta: float) -> Tensor:
    """p^T S^-1 p on the grid, S the covariance with axes (sigma_x, sigma_y) turned by theta (radians)."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    u = math.cos(theta) * x + math.sin(theta) * y
    v = -math.sin(theta) * x + math.cos(theta) * y
    return (u / sigma_x) ** 2 + (v / sigma_y) ** 2


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float = 1.0) -> Tensor:
    """exp(-q^beta / 2), q = p^T S^-1 p: Gaussian for beta = 1, generalised Gaussian otherwise."""
    kernel = torch.exp(-0.5 * _quadratic_form(size, sigma_x, sigma_y, theta) ** beta)
    return (kernel / kernel.sum()).float()


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Tensor:
    """1 / (1 + q^beta): flat in the middle, falling off like a power."""
    kernel = 1 / (1 + _quadratic_form(size, sigma_x, sigma_y, theta) ** beta)
    return (kernel / kernel.sum()).float()


def sinc(size: int, cutoff: float) -> Tensor:
    """Circular low-pass: w J1(w r) / (2 pi r), w = ``cutoff`` in (0, pi]; rings as over-sharpened photographs do."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    r = torch.sqrt(x**2 + y**2)
    safe = r.clamp_min(1e-9)
    kernel = cutoff * torch.special.bessel_j1(cutoff * safe) / (2 * math.pi * safe)
    kernel = torch.where(r == 0, torch.tensor(cutoff**2 / (4 * math.pi), dtype=torch.float64), kernel)
    return (kernel / kernel.sum()).float()


def sinc_cutoff(size: int, rng: np.random.Generator) -> float:
    """A cutoff that a kernel of ``size`` can hold: pi/3..pi, from pi/5 for larger ones."""
    return float(rng.uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi))
