"""Writing: what each format keeps, and that a file is whole or absent."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from lpnsr.errors import ConfigError, LpnsrWarning, OutputError
from lpnsr.imaging import (
    EXTENSIONS,
    FORMATS,
    Photo,
    PhotoRows,
    check_size,
    eight_bit,
    flatten,
    read,
    write,
    write_rows,
    writing,
)
from lpnsr.imaging.codecs import encoders
from lpnsr.system.atomic import write_bytes
from lpnsr.system.scratch import Scratch
from support.encoded import encoded, photo_of, write_png, write_tiff
from support.written import SRGB, exif_block, failing


def photo(channels: int = 3, alpha: bool = False, dtype: type = np.uint8, **extra) -> Photo:
    generator = np.random.default_rng(channels)
    top = np.iinfo(dtype).max + 1
    pixels = generator.integers(0, top, (24, 32, channels)).astype(dtype)
    return Photo(pixels, generator.integers(0, top, (24, 32)).astype(dtype) if alpha else None, **extra)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_lossless_round_trip_with_metadata(tmp_path, extension, channels, alpha, dtype):
    icc = SRGB if channels == 3 else None
    original = photo(channels, alpha, dtype, icc=icc, exif=exif_block(), dpi=(300.0, 150.0))
    path = tmp_path / f"ö{extension}"
    write(original, path)
    back = read(path)
    pixels = original.pixels
    if extension == ".tif" and channels == 1 and alpha and dtype == np.uint16:
        pixels = np.repeat(pixels, 3, 2)  # documented: few programs read 16-bit gray + alpha TIFF
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.pixels.dtype == dtype
    if alpha:
        np.testing.assert_array_equal(back.alpha, original.alpha)
    else:
        assert back.alpha is None
    assert back.icc == icc
    assert back.dpi == pytest.approx((300, 150), abs=0.02)
    check_exif(back)


def check_exif(back: Photo) -> None:
    exif = Image.Exif()
    exif.load(back.exif)
    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif[ExifTags.Base.Artist] == "Someone"
    group = exif.get_ifd(ExifTags.IFD.Exif)
    assert group[0x9003] == "2020:02:02 02:02:02"
    assert float(group[0x829A]) == pytest.approx(1 / 125)
    assert (group[0xA002], group[0xA003]) == (back.width, back.height)
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"


@pytest.mark.parametrize("extension", [".jpg", ".webp", ".avif"])
def test_lossy_formats_carry_metadata(tmp_path, extension):
    if extension not in EXTENSIONS:
        pytest.skip(f"this Pillow has no {extension}")
    original = photo(icc=SRGB, exif=exif_block(), dpi=(300.0, 300.0))
    original = replace(original, pixels=np.full((48, 64, 3), (200, 100, 50), np.uint8))
    write(original, tmp_path / f"x{extension}")
    back = read(tmp_path / f"x{extension}")
    assert back.icc == SRGB
    check_exif(back)
    assert np.abs(back.pixels.astype(int) - original.pixels).max() <= 3
    if extension == ".jpg":
        assert back.dpi == (300, 300)


def test_exif_with_orientation_and_size_of_a_turned_jpeg(tmp_path):
    exif = Image.Exif()
    exif.load(exif_block())
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(photo().pixels).save(tmp_path / "in.jpg", exif=exif, dpi=(100, 200), icc_profile=SRGB)
    turned = read(tmp_path / "in.jpg")
    assert turned.pixels.shape == (32, 24, 3)
    assert turned.dpi == (200, 100)
    big = replace(turned, pixels=np.repeat(np.repeat(turned.pixels, 4, 0), 4, 1))
    write(big, tmp_path / "out.jpg")
    again = read(tmp_path / "out.jpg")
    assert again.pixels.shape == (128, 96, 3)
    check_exif(again)
    out = Image.open(tmp_path / "out.jpg").getexif()
    assert out[ExifTags.Base.Orientation] == 1


def test_gray_profile_does_not_end_up_in_a_colour_file(tmp_path):
    gray_icc = bytearray(SRGB)
    gray_icc[16:20] = b"GRAY"
    original = photo(1, icc=bytes(gray_icc))
    write(original, tmp_path / "x.webp")
    assert read(tmp_path / "x.webp").icc is None
    write(original, tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").info["icc_profile"] == bytes(gray_icc)


@pytest.mark.parametrize("extension", [".jpg", ".bmp"])
def test_alpha_is_flattened_on_white_with_a_warning(tmp_path, extension):
    pixels = np.zeros((16, 16, 3), np.uint8)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:, 8:] = 255
    with pytest.warns(LpnsrWarning, match="white"):
        write(Photo(pixels, alpha), tmp_path / f"x{extension}")
    back = read(tmp_path / f"x{extension}").pixels
    assert back[:, :6].min() > 245
    assert back[:, 10:].max() < 10


def test_gif_keeps_colours_and_transparency(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = (200, 30, 40)
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:4] = 20
    write(Photo(pixels, alpha), tmp_path / "x.gif")
    back = read(tmp_path / "x.gif")
    np.testing.assert_array_equal(back.alpha == 0, alpha == 20)
    assert np.abs(back.pixels[4:].astype(int) - pixels[4:]).max() <= 6


def test_avif_says_that_it_keeps_8_bits(tmp_path):
    with pytest.warns(LpnsrWarning, match="AVIF is written with 8 bits"):
        write(Photo(np.zeros((8, 8, 3), np.uint16)), tmp_path / "x.avif")


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_stay_or_are_rounded(tmp_path, extension, channels):
    values = np.full((24, 32, channels), 0x80FF // 257 * 257 + 200, np.uint16)  # rounds up
    write(Photo(values), tmp_path / f"x{extension}")
    back = read(tmp_path / f"x{extension}")
    if FORMATS[EXTENSIONS[extension]].sixteen_bit:
        np.testing.assert_array_equal(back.pixels, values)
    else:
        expected = 0x80FF // 257 + 1
        assert back.pixels.dtype == np.uint8
        assert np.abs(back.pixels.astype(int) - expected).max() <= (0 if extension in (".bmp", ".jpg") else 1)
    keeps_gray = FORMATS[EXTENSIONS[extension]].gray and EXTENSIONS[extension] != "GIF"
    if keeps_gray:
        assert back.gray == (channels == 1)


def test_eight_bit_rounds_every_value():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(eight_bit(Photo(values)).pixels, expected)


def test_flatten_mixes_linearly():
    half = Photo(np.zeros((2, 2, 3), np.uint16), np.full((2, 2), 32768, np.uint16))
    assert np.abs(flatten(half).pixels.astype(int) - 32767).max() <= 1
    assert flatten(half, 0.0).pixels.max() == 0


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 4),
    seed=st.integers(0, 9),
    rows=st.integers(1, 50),
)
def test_png16_and_tiff_encoders_against_opencv(height, width, channels, seed, rows):
    generator = np.random.default_rng(seed)
    samples = generator.integers(0, 65536, (height, width, channels)).astype(np.uint16)
    if seed % 2:
        samples //= 500  # small steps, so that both filters occur
    wide = samples[..., [0, 0, 0, 1]] if channels == 2 else samples
    expected = wide[..., [2, 1, 0, 3][: wide.shape[2]]] if channels > 1 else wide[..., 0]
    for data in (encoded(write_png, samples, rows=rows), encoded(write_tiff, samples, rows=rows)):
        got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(got, expected)


def test_the_better_filter_is_taken():
    column = np.random.default_rng(0).integers(0, 65536, (30, 1, 3)).astype(np.uint16)
    for samples, number in ((column.repeat(40, 1), 1), (column.transpose(1, 0, 2).repeat(40, 0), 2)):
        chunks = encoded(write_png, samples).split(b"IDAT")[1:]
        rows = zlib.decompress(b"".join(piece[:-8] for piece in chunks[:-1]) + chunks[-1][:-16])
        assert set(rows[1 + samples[0].nbytes :: 1 + samples[0].nbytes]) == {number}


def test_tiff_with_inverted_gray_and_premultiplied_colour(tmp_path):
    def patched(samples: np.ndarray, tag: int, value: int) -> Photo:
        data = bytearray(encoded(write_tiff, samples))
        data[data.index(struct.pack("<HHI", tag, 3, 1)) + 8] = value
        (tmp_path / "x.tif").write_bytes(bytes(data))
        return read(tmp_path / "x.tif")

    gray = np.arange(0, 60000, 1000, dtype=np.uint16).reshape(6, 10, 1)
    np.testing.assert_array_equal(patched(gray, 262, 0).pixels, 65535 - gray)
    rgba = np.full((2, 3, 4), (20000, 10000, 0, 32768), np.uint16)
    rgba[0, 0] = 0
    straight = patched(rgba, 338, 1)
    np.testing.assert_array_equal(straight.alpha, rgba[..., 3])
    assert straight.pixels[1, 1].tolist() == [39999, 20000, 0]
    assert straight.pixels[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_eight_and_sixteen_bit_files_against_pillow_and_tifffile(tmp_path, channels, dtype, monkeypatch):
    monkeypatch.setattr(encoders, "_STRIP_BYTES", 500)
    monkeypatch.setattr(encoders, "_CLASSIC_TIFF_BYTES", 1000)
    samples = np.random.default_rng(0).integers(0, 256, (70, 33, channels)).astype(dtype)
    exif = Image.Exif()
    exif.load(exif_block())
    data = encoded(write_tiff, samples, exif, rows=11, icc=SRGB, dpi=(300.0, 150.0))
    assert data[:4] == b"II+\0"
    expected = samples[..., [0, 0, 0, 1]] if channels == 2 and dtype == np.uint16 else samples
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert file.is_bigtiff
        assert len(page.dataoffsets) > 4
        np.testing.assert_array_equal(page.asarray().reshape(expected.shape), expected)
        assert page.tags["XResolution"].value == (300, 1)
        assert bytes(page.tags["InterColorProfile"].value) == SRGB
        assert page.tags["ExifTag"].value["DateTimeOriginal"] == "2020:02:02 02:02:02"
    (tmp_path / "x.tif").write_bytes(data)
    (tmp_path / "x.png").write_bytes(encoded(write_png, samples, exif, rows=11))
    for name, values in (("x.tif", photo_of(expected)), ("x.png", photo_of(samples))):
        back = read(tmp_path / name)
        np.testing.assert_array_equal(back.pixels, values.pixels)
        np.testing.assert_array_equal(back.alpha, values.alpha)
        assert back.exif is not None


@pytest.mark.parametrize("channels", [1, 3])
def test_large_jpeg_files_are_made_from_a_disk_with_the_same_pixels(tmp_path, channels, monkeypatch):
    made = []
    monkeypatch.setattr(writing, "Scratch", lambda *arguments: made.append(Scratch(*arguments)) or made[-1])
    big = Photo(np.random.default_rng(0).integers(0, 256, (300, 200, channels), dtype=np.uint8), exif=exif_block())
    write(big, tmp_path / "memory.jpg")
    write_rows(PhotoRows.of(big, 7), tmp_path / "frugal.jpg", frugal=True)
    monkeypatch.setattr(writing, "_LARGE", 1)
    write(big, tmp_path / "large.jpg")
    assert [scratch.array.shape for scratch in made] == [(300, 200, 1 if channels == 1 else 4)] * 2
    for name in ("frugal.jpg", "large.jpg"):
        np.testing.assert_array_equal(read(tmp_path / name).pixels, read(tmp_path / "memory.jpg").pixels)
        check_exif(read(tmp_path / name))
    assert len(list(tmp_path.iterdir())) == 3


def test_scratch_files_are_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LPNSR_SCRATCH", str(tmp_path / "absent"))
    with pytest.raises(OutputError, match=r"absent: a temporary file .* LPNSR_SCRATCH"):
        Scratch((4, 4), np.float32, tmp_path)
    (tmp_path / "absent").mkdir()
    Scratch((4, 4), np.float32, "/nowhere").array[:] = 1


def test_a_scratch_file_for_which_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: failing(errno.ENOSPC)())
    with pytest.raises(OutputError, match=r"0\.0 GiB cannot be made there: No space left.*make room"):
        Scratch((4, 4), np.float32, tmp_path)


def test_a_scratch_array_keeps_its_values(tmp_path):
    scratch = Scratch((50, 1000), np.float32, tmp_path)
    assert not scratch.array.any()
    assert list(tmp_path.iterdir()) == []
    scratch.array[:] = np.arange(1000)
    scratch.release()
    assert (scratch.array == np.arange(1000)).all()


def test_unknown_extension_and_too_large(tmp_path):
    with pytest.raises(OutputError, match=r"\.xyz.*\.png"):
        write(photo(), tmp_path / "x.xyz")
    with pytest.raises(OutputError, match="16383"):
        check_size("x.webp", 10, 16384)
    check_size("x.webp", 10, 16383)
    with pytest.raises(ConfigError, match="1 to 100"):
        write(photo(), tmp_path / "x.jpg", quality=101)


def test_quality_counts(tmp_path):
    for quality in (20, 95):
        write(photo(), tmp_path / f"{quality}.jpg", quality=quality)
    assert (tmp_path / "20.jpg").stat().st_size * 2 < (tmp_path / "95.jpg").stat().st_size


@pytest.mark.parametrize(
    ("function", "number", "message"),
    [
        ("fsync", errno.ENOSPC, "full"),
        ("fsync", errno.EDQUOT, "quota"),
        ("open", errno.EROFS, "read-only"),
        ("open", errno.EACCES, "no permission"),
        ("replace", errno.EIO, "cannot be written"),
    ],
)
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, function, number, message):
    target = tmp_path / "x.png"
    target.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing(number))
        with pytest.raises(OutputError, match=message) as caught:
            write(photo(), target)
    assert str(target) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert target.read_bytes() == b"old"


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(photo(), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_no_folder_and_folder_in_the_way(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        write(photo(), tmp_path / "absent" / "x.png")
    (tmp_path / "x.png").mkdir()
    with pytest.raises(OutputError, match="folder of this name"):
        write(photo(), tmp_path / "x.png")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a folder"):
        write(photo(), tmp_path / "file" / "x.png")


def test_rights_follow_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"1")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(Path(tmp_path / "x").stat().st_mode) == 0o640
