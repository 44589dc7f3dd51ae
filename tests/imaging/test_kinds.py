"""Files of other kinds that lie among photographs: read, or refused by their names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpnsr.errors import ImageReadError, LpnsrWarning
from lpnsr.imaging import open_rows, read, write
from support.hard_inputs import HEIGHT, WIDTH, damaged_jpeg, picture

HEIC, JXL = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", b"\xff\x0a" + bytes(40)


def refused(folder: Path, data: bytes) -> str:
    path = folder / "file"
    path.write_bytes(data)
    with pytest.raises(ImageReadError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41",
        b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"\0\0\0\x18ftyp3gp5\0\0\0\x003gp5isom",
        b"\x1aE\xdf\xa3",
        b"RIFF\0\0\0\0AVI LIST",
    ],
)
def test_videos(tmp_path, head):
    message = refused(tmp_path, head + bytes(300))
    assert "a video" in message
    assert "damaged" not in message


@pytest.mark.parametrize(
    ("head", "name"), [(b"%PDF-1.7", "a PDF"), (b"8BPS\0\1", "a Photoshop"), (b"<!DOCTYPE html>", "a web page")]
)
def test_other_files(tmp_path, head, name):
    assert name in refused(tmp_path, head + bytes(300))


@pytest.mark.parametrize(("head", "extra"), [(HEIC, "heif"), (JXL, "jxl")])
def test_without_the_plugin_the_line_that_installs_it_is_told(tmp_path, monkeypatch, head, extra):
    for module in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, module, None)
    message = refused(tmp_path, head + bytes(300))
    assert f"pip install 'lpnsr[{extra}]'" in message
    assert "damaged" not in message


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    pillow_heif.from_pillow(Image.fromarray(picture())).save(tmp_path / "x.heic", quality=95, exif=exif.tobytes())
    photo = read(tmp_path / "x.heic")
    assert photo.format == "HEIF"
    upright = picture()[::-1].transpose(1, 0, 2)
    assert photo.pixels.shape == upright.shape
    assert np.abs(photo.pixels.astype(int) - upright).mean() < 8
    write(photo, tmp_path / "x.jpg")
    assert Image.open(tmp_path / "x.jpg").getexif().get(0x0112, 1) == 1
    assert read(tmp_path / "x.jpg").pixels.shape == upright.shape


def test_jpeg_xl(tmp_path):
    pytest.importorskip("pillow_jxl")
    Image.fromarray(picture()).save(tmp_path / "x.jxl", lossless=True)
    photo = read(tmp_path / "x.jxl")
    assert photo.format == "JXL"
    np.testing.assert_array_equal(photo.pixels, picture())
    np.testing.assert_array_equal(open_rows(tmp_path / "x.jxl", held=0).whole().pixels, picture())


@pytest.mark.parametrize("extension", [".ppm", ".pgm", ".pbm"])
def test_netpbm(tmp_path, extension):
    mode = {".ppm": "RGB", ".pgm": "L", ".pbm": "1"}[extension]
    image = Image.fromarray(picture()).convert(mode)
    image.save(tmp_path / f"x{extension}")
    photo = read(tmp_path / f"x{extension}")
    np.testing.assert_array_equal(
        photo.pixels, np.asarray(image.convert("L" if mode == "1" else mode)).reshape(HEIGHT, WIDTH, -1)
    )


@pytest.mark.parametrize("most", [65535, 1023])
@pytest.mark.parametrize("channels", [1, 3])
def test_netpbm_with_more_than_8_bits(tmp_path, most, channels):
    values = (picture(np.uint16)[..., :channels] // (65536 // (most + 1))).astype(">u2")
    head = f"P{5 if channels == 1 else 6}\n# a comment\n{WIDTH} {HEIGHT}\n{most}\n".encode()
    (tmp_path / "x.ppm").write_bytes(head + values.tobytes())
    photo = read(tmp_path / "x.ppm")
    assert photo.pixels.dtype == np.uint16
    np.testing.assert_array_equal(photo.pixels, np.rint(values / most * 65535))


def test_netpbm_of_text(tmp_path):
    (tmp_path / "x.pgm").write_text("P2\n2 1\n255\n7 200\n")
    assert read(tmp_path / "x.pgm").pixels.ravel().tolist() == [7, 200]


@pytest.mark.parametrize("how", ["cut", "hole"])
@pytest.mark.parametrize(("mode", "options"), [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"subsampling": 0})])
def test_the_warning_of_the_jpeg_decoder_is_passed_on(tmp_path, how, mode, options):
    path = damaged_jpeg(tmp_path, how, mode, **options)
    with pytest.warns(LpnsrWarning, match="the decoder warns: Corrupt JPEG"):
        read(path)
    with pytest.warns(LpnsrWarning, match="the decoder warns: Corrupt JPEG"):
        list(open_rows(path, held=0, scratch=tmp_path).strips)
