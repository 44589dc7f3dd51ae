"""Every kind of PNG that the standard allows, made by hand, against its known pixels."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lpnsr.errors import ImageReadError
from lpnsr.imaging import read
from support.pngs import ADAM7, KINDS, chunk, make_png, packed, random_samples


def full_range(samples: np.ndarray, depth: int) -> np.ndarray:
    if depth == 16:
        return samples.astype(np.uint16)
    return (samples * (255 // (2**depth - 1))).astype(np.uint8)


def read_bytes(folder: Path, data: bytes):
    path = folder / "image.png"
    path.write_bytes(data)
    return read(path)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
@pytest.mark.parametrize("size", [(11, 13), (1, 1)])
def test_every_kind(tmp_path, colour, depth, interlaced, size):
    samples = random_samples(colour, depth, size)
    palette = np.random.default_rng(1).integers(0, 256, (2 ** min(depth, 8), 3)).astype(np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) if colour == 3 else b""
    extra += chunk(b"tEXt", b"Comment\0ignored")
    extra = chunk(b"gAMA", struct.pack(">I", 100000)) + extra
    photo = read_bytes(tmp_path, make_png(samples, colour, depth, interlaced=interlaced, extra=extra))
    if colour == 3:
        expected, alpha = palette[samples[..., 0]], None
    else:
        values = full_range(samples, depth)
        expected, alpha = (values[..., :-1], values[..., -1]) if colour in (4, 6) else (values, None)
    assert photo.pixels.dtype == (np.uint16 if depth == 16 else np.uint8)
    np.testing.assert_array_equal(photo.pixels, expected)
    assert (photo.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(photo.alpha, alpha)


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_colour_key(tmp_path, colour, depth):
    samples = random_samples(colour, depth)
    key = samples[3, 4]
    extra = chunk(b"tRNS", key.astype(">u2").tobytes())
    photo = read_bytes(tmp_path, make_png(samples, colour, depth, extra=extra))
    top = 65535 if depth == 16 else 255
    expected = np.where((samples == key).all(-1), 0, top)
    assert (expected == 0).any()
    assert (expected == top).any()
    np.testing.assert_array_equal(photo.alpha, expected)
    opaque = expected > 0
    np.testing.assert_array_equal(photo.pixels[opaque], full_range(samples, depth)[opaque])


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


def test_broken_in_the_ways_of_the_png_test_suite(tmp_path):
    good = make_png(random_samples(2, 8), 2, 8)
    header, body = slice(8, 33), slice(33, len(good) - 12)
    broken = {
        "signature": b"\x8aPNG" + good[4:],
        "signature with changed line ends": good.replace(b"\r\n", b"\n", 1),
        "header checksum": good[:30] + b"\0" + good[31:],
        "data checksum": good[: len(good) - 13] + bytes([good[-13] ^ 1]) + good[-12:],
        "no data": good[:33] + good[-12:],
        "no header": good[:8] + good[33:],
        "twice the header, no data": good[:8] + good[header] * 2 + good[-12:],
    }
    for depth, colour in ((0, 2), (99, 2), (8, 1), (8, 9), (3, 0), (16, 3)):
        ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 11, depth, colour, 0, 0, 0))
        broken[f"depth {depth}, colour {colour}"] = good[:8] + ihdr + good[body] + good[-12:]
    for width, height in ((0, 11), (13, 0), (2**31, 11)):
        ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        broken[f"{width} x {height}"] = good[:8] + ihdr + good[body] + good[-12:]
    for data in broken.values():
        with pytest.raises(ImageReadError, match=r"image\.png: .{30}"):
            read_bytes(tmp_path, data)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_data_in_many_chunks(tmp_path, size):
    samples = random_samples(6, 16)
    data = zlib.compress(packed(samples, 16))
    pieces = b"".join(chunk(b"IDAT", data[at : at + size]) for at in range(0, len(data), size))
    good = make_png(samples, 6, 16)
    photo = read_bytes(tmp_path, good[:33] + chunk(b"IDAT", b"") + pieces + good[-12:])
    np.testing.assert_array_equal(photo.pixels, samples[..., :3])


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
