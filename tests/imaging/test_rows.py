"""Images read row by row are those that are read whole; images written while they are made are whole or absent."""

from __future__ import annotations

import errno
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from lpnsr.errors import ImageReadError, LpnsrWarning, OutputError
from lpnsr.imaging import EXTENSIONS, Photo, PhotoRows, RowWriter, open_rows, opening, read
from lpnsr.system.atomic import remove_leftovers
from support.encoded import encoded, photo_of, write_png, write_tiff
from support.pngs import KINDS, chunk, make_png, random_samples
from support.written import SRGB, exif_block, failing


def picture(height: int = 61, width: int = 43, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    y, x, c = np.mgrid[:height, :width, :channels]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, channels))
    values = (x * 3 + y * 2 + c * 50) % 200 + noise
    return values.astype(np.uint8) if dtype == np.uint8 else (values * 257 + noise).astype(np.uint16)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of a few rows."""
    for module in ("codecs.png_rows", "codecs.tiff", "opening"):
        monkeypatch.setattr(f"lpnsr.imaging.{module}.rows_at_once", lambda row_bytes: 7)


def check(path: Path, strips: bool = True) -> PhotoRows:
    """Row by row and whole, a file is the same photo; return the rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LpnsrWarning)
        whole, rows = read(path), open_rows(path, held=0, scratch=path.parent)
        parts = list(rows.strips)
    assert (rows.height, rows.width, rows.gray, rows.dtype) == (
        whole.height,
        whole.width,
        whole.gray,
        whole.pixels.dtype,
    )
    assert (rows.icc, rows.exif, rows.dpi, rows.format) == (whole.icc, whole.exif, whole.dpi, whole.format)
    assert rows.transparent == (whole.alpha is not None)
    np.testing.assert_array_equal(np.concatenate([part.pixels for part in parts]), whole.pixels)
    if whole.alpha is not None:
        np.testing.assert_array_equal(np.concatenate([part.alpha for part in parts]), whole.alpha)
    if strips:
        assert max(part.height for part in parts) <= 7
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return rows


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind_of_png(tmp_path, narrow, colour, depth, key):
    samples = random_samples(colour, depth, (40, 29))
    palette = np.random.default_rng(1).integers(0, 256, (2 ** min(depth, 8), 3)).astype(np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) if colour == 3 else b""
    if key and colour in (0, 2, 3):
        first = samples[3, 3].astype(">u2").tobytes()
        extra += chunk(b"tRNS", bytes([0, 128]) if colour == 3 else first)
    path = tmp_path / "x.png"
    path.write_bytes(make_png(samples, colour, depth, extra=extra))
    assert check(path).transparent == (colour in (4, 6) or (key and colour in (0, 2, 3)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("maker", ["pillow", "opencv", "ours"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_filters(tmp_path, narrow, channels, maker, dtype):
    """Between them, the encoders use all filters."""
    samples, path = picture(channels=channels, dtype=dtype), tmp_path / "x.png"
    if maker == "pillow" and dtype == np.uint8:
        Image.fromarray(samples[..., 0] if channels == 1 else samples).save(path, dpi=(300, 300), icc_profile=SRGB)
    elif maker == "opencv" and channels != 2:
        cv2.imwrite(str(path), samples, [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED])
    else:
        path.write_bytes(encoded(write_png, samples))
    check(path)


def test_png_metadata_behind_the_pixels_and_orientation(tmp_path, narrow):
    exif = Image.Exif()
    exif.load(exif_block())
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        data = encoded(write_png, picture(), exif, dpi=(300.0, 150.0))
        start = data.index(b"eXIf") - 4
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        path = tmp_path / "x.png"
        path.write_bytes(data[:start] + data[stop:-12] + data[start:stop] + data[-12:])
        assert check(path).exif is not None


def test_png_files_that_are_decoded_whole(tmp_path, narrow):
    path = tmp_path / "x.png"
    path.write_bytes(make_png(picture(), 2, 8, interlaced=True))
    assert check(path).decoding > 0
    frames = [Image.new("RGB", (31, 31), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    check(path)
    path.write_bytes(make_png(picture(dtype=np.uint16), 2, 16, interlaced=True))
    check(path, strips=False)


def test_a_png_that_is_damaged_is_told_before_its_rows(tmp_path):
    data = encoded(write_png, picture())
    (tmp_path / "x.png").write_bytes(data[:-200])
    with pytest.raises(ImageReadError, match=r"x\.png: the header promises"):
        open_rows(tmp_path / "x.png", held=0)
    head = data[: data.index(b"IDAT") - 4]
    lines = b"".join(bytes([9]) + row.tobytes() for row in picture())  # there is no filter 9
    (tmp_path / "x.png").write_bytes(head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))
    with pytest.raises(ImageReadError, match=r"x\.png: the image data is damaged"):
        list(open_rows(tmp_path / "x.png", held=0).strips)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"rowsperstrip": 9},
        {"byteorder": ">"},
        {"byteorder": ">", "rowsperstrip": 5, "compression": "zlib"},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "zlib", "predictor": True, "bigtiff": True},
    ],
    ids=str,
)
def test_layouts_of_tiff(tmp_path, narrow, channels, dtype, layout):
    samples, path = picture(channels=channels, dtype=dtype), tmp_path / "x.tif"
    options = {"byteorder": "<"} | layout
    with tifffile.TiffWriter(path, byteorder=options.pop("byteorder"), bigtiff=options.pop("bigtiff", False)) as file:
        extra = ["unassalpha"] if channels == 4 else None
        values = samples[..., 0] if channels == 1 else samples
        colours = "minisblack" if channels == 1 else "rgb"
        file.write(values, photometric=colours, extrasamples=extra, resolution=(300, 300), metadata=None, **options)
    expected = photo_of(samples)
    rows = check(path, strips=False)
    assert rows.decoding == 0
    parts = list(open_rows(path, held=0).strips)
    assert max(part.height for part in parts) <= 16
    np.testing.assert_array_equal(np.concatenate([part.pixels for part in parts]), expected.pixels)


def test_tiff_files_that_are_decoded_whole(tmp_path, narrow, monkeypatch):
    path = tmp_path / "x.tif"
    image = Image.fromarray(picture())
    for made, options in (
        (image, {"compression": "tiff_lzw"}),
        (image, {"compression": "jpeg"}),
        (image.convert("CMYK"), {}),
        (image.convert("P"), {}),
        (image.convert("1"), {"compression": "group4"}),
        (image.convert("LAB"), {}),
    ):
        made.save(path, **options)
        check(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    check(path, strips=False)
    Image.fromarray(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)).save(path)
    check(path, strips=False)
    monkeypatch.setattr("lpnsr.imaging.codecs.tiff._LARGEST_SEGMENT", 1000)
    path.write_bytes(encoded(write_tiff, picture()))
    check(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_on_the_disk(tmp_path, narrow, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    path = tmp_path / "x.jpg"
    Image.fromarray(picture()).save(path, exif=exif, dpi=(100, 200), progressive=orientation > 4)
    rows = check(path)
    assert rows.decoding == 61 * 43 * (10 if orientation > 4 else 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("extension", sorted({".jpg", ".webp", ".bmp", ".gif", ".avif"} & EXTENSIONS.keys()))
def test_other_formats(tmp_path, narrow, mode, extension):
    path = tmp_path / f"x{extension}"
    base = picture(channels=4)
    base[..., 3] = np.where(base[..., 3] < 100, 0, 255)
    image = Image.fromarray(base).convert("LA").convert(mode) if mode == "LA" else Image.fromarray(base).convert(mode)
    try:
        image.save(path)
    except (OSError, ValueError):
        pytest.skip(f"{extension} has no {mode}")
    check(path)


def test_small_images_are_decoded_at_once_and_limits_hold(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(encoded(write_png, picture()))
    monkeypatch.setattr(opening, "_png_strips", None)
    assert open_rows(path).decoding == 0
    with pytest.raises(ImageReadError, match="--max-pixels"):
        open_rows(path, held=0, max_pixels=1000)
    with pytest.raises(ImageReadError, match="no such file"):
        open_rows(tmp_path / "y.png", held=0)


def test_more_pixels_are_taken_by_rows_than_in_memory(tmp_path):
    def declared(width: int, height: int) -> Path:
        path = tmp_path / "x.png"
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = zlib.compress(bytes(10**6))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data))
        return path

    with pytest.raises(ImageReadError, match="promises 12000 x 9000 pixels, but the file holds fewer"):
        open_rows(declared(12000, 9000))
    with pytest.raises(ImageReadError, match="limit of 400,000,000"):
        open_rows(declared(20001, 20000))
    with pytest.raises(ImageReadError, match="limit of 89"):
        read(declared(12000, 9000))


def test_strips_are_put_together_again():
    photo = photo_of(picture(channels=4))
    for rows in (1, 7, 100):
        again = PhotoRows.of(photo, rows).whole()
        np.testing.assert_array_equal(again.pixels, photo.pixels)
        np.testing.assert_array_equal(again.alpha, photo.alpha)


@pytest.mark.parametrize("extension", [".png", ".tif", ".jpg", ".gif"])
def test_a_photo_written_while_it_is_made(tmp_path, extension):
    photo = photo_of(picture())
    path = tmp_path / f"x{extension}"
    rows = PhotoRows.of(photo, 5)
    writer = RowWriter(rows, path, ahead=100)
    for strip in rows.strips:
        writer.put(strip)
    writer.finish()
    writer.wait()
    assert not path.exists()
    assert read(writer.path).pixels.shape == photo.pixels.shape
    writer.commit()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if extension in (".png", ".tif"):
        np.testing.assert_array_equal(read(path).pixels, photo.pixels)


def test_an_abandoned_photo_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    rows = PhotoRows.of(photo_of(picture()), 5)
    threads = set(threading.enumerate())
    writer = RowWriter(rows, path)
    writer.put(next(rows.strips))
    remove_leftovers(tmp_path)
    assert Path(writer.path).exists()  # somebody is at work on it
    writer.abandon()
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert path.read_bytes() == b"old"
    assert set(threading.enumerate()) <= threads


def test_a_full_disk_is_told_while_there_is_more_to_come(tmp_path, monkeypatch):
    rows = PhotoRows.of(photo_of(np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)), 50)
    monkeypatch.setattr("lpnsr.imaging.codecs.encoders._STRIP_BYTES", 1000)
    writer = RowWriter(rows, tmp_path / "x.png", ahead=1)
    monkeypatch.setattr("lpnsr.imaging.codecs.encoders.png_chunk", lambda *_: failing(errno.ENOSPC)())

    def put_all() -> None:
        for strip in rows.strips:
            writer.put(strip)
        raise AssertionError("nobody told")

    with pytest.raises(OutputError, match="full"):
        put_all()
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_only_so_many_bytes_wait_for_the_encoder(tmp_path):
    strip = Photo(np.zeros((10, 100, 1), np.uint8))
    like = PhotoRows(10 * 50, 100, True, np.dtype(np.uint8), False, iter(()))
    writer = RowWriter(like, tmp_path / "x.png", ahead=2500)
    with writer._changed:  # the encoder cannot take any
        for _ in range(3):
            writer.put(strip)
        assert writer._waiting == 3000
        assert not writer._changed.wait_for(lambda: False, timeout=0)
    writer.abandon()
