"""Colour fixes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from lpnsr.errors import InputError
from lpnsr.imaging import adain_colour_fix, colour, wavelet_colour_fix


def check_golden(path: Path) -> None:
    golden = load_file(path)
    reference = F.interpolate(golden["lr01"].float(), scale_factor=4, mode="bicubic", align_corners=False)
    fixed = wavelet_colour_fix(golden["swinir"].float(), reference)
    assert (fixed - golden["wavelet_fix"].float()).abs().max() < 5e-4


def test_wavelet_fix_equals_the_reference(data: Path) -> None:
    check_golden(data / "golden_tiny_a.safetensors")


@pytest.mark.shared
def test_wavelet_fix_equals_the_reference_at_paper_size(shared: Path) -> None:
    check_golden(shared / "reference" / "golden_full_a.safetensors")


def by_definition(sr: torch.Tensor, reference: torch.Tensor, levels: int) -> torch.Tensor:
    """High + low frequencies, with two-dimensional dilated convolutions."""

    def split(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
        kernel = kernel.expand(3, 1, 3, 3).to(image)
        high = torch.zeros_like(image)
        for level in range(levels):
            d = 2**level
            low = F.conv2d(F.pad(image, (d,) * 4, mode="replicate"), kernel, groups=3, dilation=d)
            high += image - low
            image = low
        return high, image

    return split(sr)[0] + split(reference)[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (70, 45)])
@pytest.mark.parametrize("levels", [1, 5])
def test_wavelet_fix_equals_its_definition(size, levels):
    sr, reference = torch.rand(2, 2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    expected = by_definition(sr, reference, levels)
    torch.testing.assert_close(wavelet_colour_fix(sr, reference, levels), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_wavelet_fix_in_other_precisions(dtype):
    sr, reference = torch.zeros(1, 3, 40, 40, dtype=dtype), torch.full((1, 3, 40, 40), 0.5, dtype=dtype)
    assert torch.equal(wavelet_colour_fix(sr, reference), reference)


@pytest.mark.parametrize("rows", [1, 7, 31, 32, 64, 500])
@pytest.mark.parametrize("columns", [3, 16, 1000])
def test_wavelet_fix_does_not_depend_on_its_strips(rows, columns, monkeypatch):
    sr, reference = torch.rand(2, 1, 3, 131, 70, generator=torch.Generator().manual_seed(0))
    whole = wavelet_colour_fix(sr, reference, rows=1000)
    monkeypatch.setattr(colour, "_COLUMNS", columns)
    assert torch.equal(wavelet_colour_fix(sr, reference, rows=rows), whole)


@pytest.mark.parametrize("heights", [[131], [1] * 131, [40, 1, 90]])
def test_strips_may_come_in_any_heights(heights):
    sr, reference = torch.rand(2, 3, 131, 20, generator=torch.Generator().manual_seed(0))
    tops = []

    def part(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
        tops.append(top)
        return reference[:, top:bottom, left:right]

    strips = list(colour.wavelet_strips(iter(sr.split(heights, 1)), part, (131, 20), rows=25))
    assert [strip.shape[1] for strip in strips] == [25] * 5 + [6]
    assert torch.equal(torch.cat(strips, 1), wavelet_colour_fix(sr[None], reference[None])[0])
    assert tops == sorted(tops)


def test_wavelet_fix_takes_over_a_colour_cast():
    sr = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.5
    cast = torch.tensor([0.1, -0.05, 0.2])[:, None, None]
    torch.testing.assert_close(wavelet_colour_fix(sr, sr + cast), sr + cast)


def test_adain_matches_mean_and_spread():
    generator = torch.Generator().manual_seed(0)
    sr = torch.rand(2, 3, 40, 30, generator=generator)
    reference = torch.rand(2, 3, 10, 8, generator=generator) * 0.3 + 0.4
    fixed = adain_colour_fix(sr, reference, eps=0.0)
    torch.testing.assert_close(fixed.mean((2, 3)), reference.mean((2, 3)))
    torch.testing.assert_close(fixed.std((2, 3), correction=0), reference.std((2, 3), correction=0))


@pytest.mark.parametrize("heights", [[41], [1] * 41, [40, 1]])
def test_adain_does_not_depend_on_its_strips(heights):
    sr, reference = torch.rand(2, 3, 41, 57, generator=torch.Generator().manual_seed(0))
    fix = colour.adain_fix(colour.ChannelSums(sr.split(heights, 1)), colour.ChannelSums(reference.split(heights, 1)))
    assert torch.equal(
        torch.cat([fix(strip) for strip in sr.split(heights, 1)], 1), adain_colour_fix(sr[None], reference[None])[0]
    )


def test_adain_of_flat_and_tiny_images_stays_finite():
    reference = torch.rand(1, 3, 8, 8)
    fixed = adain_colour_fix(torch.full((1, 3, 1, 1), 0.5), reference)
    torch.testing.assert_close(fixed[..., 0, 0], reference.mean((2, 3)))


def test_shapes_are_checked():
    with pytest.raises(InputError, match="equal shapes"):
        wavelet_colour_fix(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
    with pytest.raises(InputError, match="channels"):
        adain_colour_fix(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
