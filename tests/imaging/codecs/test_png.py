"""Every kind of PNG that the standard allows, made by hand, against its known pixels."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lpnsr.errors import ImageReadError
from lpnsr.imaging import open_rows, read
from support.png_suite import broken, good
from support.pngs import ADAM7, chunk, make_png, random_samples


def read_bytes(folder: Path, data: bytes):
    path = folder / "image.png"
    path.write_bytes(data)
    return read(path)


def test_every_kind_of_the_png_suite(tmp_path):
    """Whole and row by row, the pixels that were put in; colours behind transparency are nobody's business."""
    path = tmp_path / "image.png"
    for name, data, pixels, alpha in good():
        path.write_bytes(data)
        for photo in (read(path), open_rows(path, held=0, scratch=tmp_path).whole()):
            assert photo.pixels.dtype == pixels.dtype, name
            np.testing.assert_array_equal(photo.alpha, alpha, name)
            shown = slice(None) if alpha is None or name.startswith("bas") else alpha > 0
            np.testing.assert_array_equal(photo.pixels[shown], pixels[shown], name)


@pytest.mark.parametrize("depth", [8, 16])
def test_without_its_end_a_png_has_all_pixels(tmp_path, depth):
    samples = random_samples(2, depth)
    for missing in range(1, 13):
        np.testing.assert_array_equal(read_bytes(tmp_path, make_png(samples, 2, depth)[:-missing]).pixels, samples)


@pytest.mark.parametrize("alphas", [[0], [255, 0], [255, 10, 0, 128], [7, 255]])
def test_palette_transparency(tmp_path, alphas):
    samples = random_samples(3, 4)
    palette = np.random.default_rng(2).integers(0, 256, (16, 3)).astype(np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", bytes(alphas))
    photo = read_bytes(tmp_path, make_png(samples, 3, 4, extra=extra))
    table = np.array(alphas + [255] * (16 - len(alphas)))
    np.testing.assert_array_equal(photo.alpha, table[samples[..., 0]])
    visible = photo.alpha > 0
    np.testing.assert_array_equal(photo.pixels[visible], palette[samples[..., 0]][visible])


@pytest.mark.parametrize(("colour", "depth"), [(2, 8), (2, 16), (0, 16), (6, 16), (3, 8)])
def test_cut_or_damaged_anywhere_is_one_clear_error(tmp_path, colour, depth):
    extra = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    good = make_png(random_samples(colour, depth, (40, 40)), colour, depth, extra=extra)
    cuts = [1, 7, 8, 20, 33, 60, len(good) // 2, len(good) - 30]
    damaged = [good[:cut] for cut in cuts]
    middle = len(good) - 200
    damaged.append(good[:middle] + bytes(b ^ 0x5A for b in good[middle : middle + 40]) + good[middle + 40 :])
    damaged.append(good[:33])  # a header, and nothing else
    damaged.append(good[:24] + b"\x07" + good[25:])  # 7 bits per sample
    for data in damaged:
        with pytest.raises(ImageReadError, match=r"image\.png"):
            read_bytes(tmp_path, data)


@pytest.mark.parametrize("name", broken())
def test_broken_in_the_ways_of_the_png_suite(tmp_path, name):
    with pytest.raises(ImageReadError, match=r"image\.png: .{30}"):
        read_bytes(tmp_path, broken()[name])
    with pytest.raises(ImageReadError, match=r"image\.png: .{30}"):
        open_rows(tmp_path / "image.png", held=0, scratch=tmp_path).whole()


def test_declared_size_is_checked_before_decoding(tmp_path, monkeypatch):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    with pytest.raises(ImageReadError, match=r"limit of 89,478,485.*--max-pixels.*LPNSR_MAX_PIXELS"):
        read_bytes(tmp_path, bomb)
    small = make_png(random_samples(2, 8), 2, 8)
    (tmp_path / "image.png").write_bytes(small)
    with pytest.raises(ImageReadError, match="13 x 11"):
        read(tmp_path / "image.png", max_pixels=100)
    monkeypatch.setenv("LPNSR_MAX_PIXELS", "142")
    with pytest.raises(ImageReadError, match="limit of 142"):
        read_bytes(tmp_path, small)
    monkeypatch.setenv("LPNSR_MAX_PIXELS", "143")
    assert read_bytes(tmp_path, small).pixels.shape == (11, 13, 3)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), [(2, 8), (2, 16), (0, 1), (0, 4)])
@pytest.mark.parametrize("rows", [12, 19, 3000])
def test_a_header_that_promises_more_rows_than_there_are(tmp_path, rows, colour, depth, interlaced):
    data = make_png(random_samples(colour, depth), colour, depth, interlaced=interlaced)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, rows, depth, colour, 0, 0, int(interlaced)))
    with pytest.raises(ImageReadError, match="damaged or cut short"):
        read_bytes(tmp_path, data[:8] + header + data[33:])


def test_adam7_covers_each_pixel_once():
    seen = np.zeros((16, 16), int)
    for x0, y0, dx, dy in ADAM7:
        seen[y0::dy, x0::dx] += 1
    assert (seen == 1).all()
    assert all(a[2] >= b[2] for a, b in pairwise(ADAM7))
