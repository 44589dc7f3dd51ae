"""Blur kernels, each under its formula. All are (size, size) float32, odd-sized, point-symmetric, with the sum 1."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

Taps = NDArray[np.float32]
_Grid = NDArray[np.float64]


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float = 1.0) -> Taps:
    """Compute exp(-q^beta / 2), q = p^T S^-1 p: Gaussian for beta = 1, generalised Gaussian otherwise."""
    return _normalised(np.exp(-0.5 * _quadratic_form(size, sigma_x, sigma_y, theta) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Taps:
    """Compute 1 / (1 + q^beta): flat in the middle, falling off like a power."""
    return _normalised(1 / (1 + _quadratic_form(size, sigma_x, sigma_y, theta) ** beta))


def sinc(size: int, cutoff: float) -> Taps:
    """Make a low-pass: w J1(w r) / (2 pi r), w = ``cutoff`` in (0, pi]. It rings like oversharpening."""
    x, y = _grid(size)
    r = np.hypot(x, y)
    r[size // 2, size // 2] = 1  # any but 0: the middle has its limit, w^2 / (4 pi), below
    kernel = cutoff * torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy() / (2 * math.pi * r)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return _normalised(kernel)


def separable(kernel: Taps, tolerance: float = 2e-4) -> list[tuple[Taps, Taps]]:
    """Compute (column, row) pairs whose outer products add up to ``kernel`` but for ``tolerance``, a sum of magnitudes.

    It bounds the error of a blurred pixel: 2e-4 is a twentieth of an 8-bit level. The terms are those of the singular
    value decomposition; a Gaussian along the axes has one, most others have two to five.
    """
    u, s, v = np.linalg.svd(kernel.astype(np.float64))
    terms: list[tuple[Taps, Taps]] = []
    rest = kernel.astype(np.float64)
    while np.abs(rest).sum() > tolerance and len(terms) < len(s):
        column, row = u[:, len(terms)] * s[len(terms)], v[len(terms)]
        rest = rest - np.outer(column, row)
        terms.append((column.astype(np.float32), row.astype(np.float32)))
    return terms


def _grid(size: int) -> tuple[_Grid, _Grid]:
    """Compute x and y of the pixels, the middle at 0."""
    axis = np.arange(size, dtype=np.float64) - size // 2
    x, y = np.meshgrid(axis, axis)
    return x, y


def _quadratic_form(size: int, sigma_x: float, sigma_y: float, theta: float) -> _Grid:
    """Compute p^T S^-1 p on the grid, S the covariance with axes (sigma_x, sigma_y) turned by theta (radians)."""
    x, y = _grid(size)
    u = math.cos(theta) * x + math.sin(theta) * y
    v = -math.sin(theta) * x + math.cos(theta) * y
    return (u / sigma_x) ** 2 + (v / sigma_y) ** 2


def _normalised(kernel: _Grid) -> Taps:
    return (kernel / kernel.sum()).astype(np.float32)
