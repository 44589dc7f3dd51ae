"""Files of other kinds that lie among photographs: read, or refused by their names."""

from __future__ import annotations

import sys
from pathlib import Path

import imagecodecs
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


def test_heic_with_other_sides_than_its_header_states(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "x.heic"
    heif.from_pillow(Image.fromarray(picture())).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"clap") + 22] = 100  # it cuts out a place far away, which the decoder passes over
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=f"the header states {WIDTH} x {HEIGHT} pixels"):
        open_rows(path, held=0, scratch=tmp_path).whole()


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


@pytest.mark.parametrize("most", [65535, 1023, 100])
@pytest.mark.parametrize("kind", ["P5", "P6", "P7 GRAYSCALE", "P7 GRAYSCALE_ALPHA", "P7 RGB", "P7 RGB_ALPHA", "P7"])
def test_netpbm_of_any_range(tmp_path, most, kind):
    colours = 1 if "5" in kind or "GRAY" in kind else 3
    channels = colours + ("ALPHA" in kind or kind == "P7")
    wide = np.concatenate([picture(np.uint16), picture(np.uint16)[::-1, :, :1]], 2)
    values = (wide[..., [0, 3] if channels == 2 else slice(channels)] / 65535 * most).round()
    if kind[:2] == "P7":
        lines = f"WIDTH {WIDTH}\n# a comment\nHEIGHT {HEIGHT}\nDEPTH {channels}\nMAXVAL {most}\n"
        head = f"P7\n{lines}{f'TUPLTYPE {kind[3:]}' if kind[3:] else ''}\nENDHDR\n"
    else:
        head = f"{kind}\n# a comment\n{WIDTH} {HEIGHT}\n{most}\n"
    path = tmp_path / "x.pam"
    path.write_bytes(head.encode() + values.astype(">u2" if most > 255 else "u1").tobytes())
    if kind == "P7":  # with line ends of Windows
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 8))
    photo, top = read(path), 65535 if most > 255 else 255
    expected = np.floor(values * top / most + 0.5)
    np.testing.assert_array_equal(photo.pixels, expected[..., :colours])
    assert (photo.alpha is not None) == (channels > colours)
    assert photo.alpha is None or (photo.alpha == expected[..., -1]).all()
    np.testing.assert_array_equal(open_rows(path, held=0).whole().pixels, photo.pixels)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageReadError, match="ends before the last of 40 rows"):
        read(path)


def test_netpbm_of_text(tmp_path):
    (tmp_path / "x.pgm").write_text("P2\n2 1\n255\n7 200\n")
    assert read(tmp_path / "x.pgm").pixels.ravel().tolist() == [7, 200]
    (tmp_path / "x.ppm").write_text("P3 1 2 # size\n1000\n0 500\n1000 # a comment\n1 2000 3")
    assert read(tmp_path / "x.ppm").pixels.ravel().tolist() == [0, 32768, 65535, 66, 65535, 197]
    assert "ends before the last of 9 rows" in refused(tmp_path, b"P2\n9 9\n255\n1 2 3\n")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"Pf\n2 1\n-1.0\n" + bytes(8), "a PFM file"),
        (b"PF\n2 1\n-1.0\n" + bytes(24), "a PFM file"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\n" + bytes(4), "the kind CMYK"),
    ],
)
def test_netpbm_of_other_kinds(tmp_path, data, name):
    message = refused(tmp_path, data)
    assert name in message
    assert "damaged" not in message


@pytest.mark.parametrize("data", [b"P5\n2 1\n", b"P5\n0 1\n255\n", b"P7\nWIDTH 1\nENDHDR\n", b"P6\n" + b" " * 60000])
def test_netpbm_with_a_damaged_header(tmp_path, data):
    assert "its header is damaged" in refused(tmp_path, data)


@pytest.mark.parametrize("kind", ["heic 10", "heic 12", "avif 10", "avif 12", "jxl 16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_more_than_8_bits_are_kept(tmp_path, kind, channels):
    form, bits = kind.split()[0], int(kind.split()[1])
    values = np.concatenate([picture(np.uint16), picture(np.uint16)[::-1, :, :1]], 2)[..., :channels] >> (16 - bits)
    values = np.ascontiguousarray(values[..., 0] if channels == 1 else values)
    path = tmp_path / f"x.{form}"
    if form == "heic":
        heif = pytest.importorskip("pillow_heif")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
            mode = {1: "L;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
            heif.from_bytes(mode, (WIDTH, HEIGHT), (values << (16 - bits)).tobytes()).save(
                path, quality=-1, chroma=444, matrix_coefficients=0
            )
    elif form == "avif":
        path.write_bytes(imagecodecs.avif_encode(values, level=100, bitspersample=bits, pixelformat="444"))
    else:
        pytest.importorskip("pillow_jxl")
        path.write_bytes(imagecodecs.jpegxl_encode(values, lossless=True))
    photo = read(path)
    assert photo.pixels.dtype == np.uint16
    found = photo.pixels if photo.alpha is None else np.concatenate([photo.pixels, photo.alpha[..., None]], 2)
    expected = np.rint(values / (2**bits - 1) * 65535).reshape(HEIGHT, WIDTH, -1)
    assert np.abs(found[..., : expected.shape[2]] - expected).max() <= 65535 / (2**bits - 1) * 3
    np.testing.assert_array_equal(open_rows(path, held=0, scratch=tmp_path).whole().pixels, photo.pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_jpeg_xl_of_floating_point_numbers(tmp_path, dtype):
    pytest.importorskip("pillow_jxl")
    values = (picture(np.uint16) / 60000).astype(dtype)  # a little above 1
    (tmp_path / "x.jxl").write_bytes(imagecodecs.jpegxl_encode(values, lossless=True))
    photo = read(tmp_path / "x.jxl")
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.pixels / 65535 - values.clip(0, 1)).max() < 1e-3


@pytest.mark.parametrize("form", ["avif", "jxl"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_first_frame_of_an_animation(tmp_path, form, dtype):
    frames = np.stack([picture(dtype), picture(dtype)[::-1]])
    if form == "avif":
        bits = 8 if dtype == np.uint8 else 10
        frames = frames >> (6 if bits == 10 else 0)
        data = imagecodecs.avif_encode(frames, level=100, bitspersample=bits, pixelformat="444")
    else:
        pytest.importorskip("pillow_jxl")
        data = imagecodecs.jpegxl_encode(frames, lossless=True)
    (tmp_path / "x").write_bytes(data)
    with pytest.warns(LpnsrWarning, match="2 frames: only the first is used"):
        photo = read(tmp_path / "x")
    assert photo.pixels.dtype == dtype
    step = np.iinfo(dtype).max // 255
    assert np.abs(photo.pixels // step - picture().astype(int)).max() <= 4


@pytest.mark.parametrize("form", ["heic", "avif"])
@pytest.mark.parametrize(("primaries", "transfer", "carried"), [(12, 13, True), (9, 16, True), (1, 13, False)])
def test_colours_that_a_heic_or_avif_states_by_numbers(tmp_path, form, primaries, transfer, carried):
    path = tmp_path / f"x.{form}"
    if form == "heic":
        heif = pytest.importorskip("pillow_heif")
        numbers = {"color_primaries": primaries, "transfer_characteristics": transfer}
        heif.from_pillow(Image.fromarray(picture())).save(path, quality=90, save_nclx_profile=True, **numbers)
    else:
        data = imagecodecs.avif_encode(picture(), primaries=primaries, transfer=transfer)
        path.write_bytes(data)
    colour = ((b"cICP", bytes((primaries, transfer, 0, 1))),) if carried else ()
    assert read(path).extras.colour == colour


@pytest.mark.parametrize("how", ["cut", "hole"])
@pytest.mark.parametrize(("mode", "options"), [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"subsampling": 0})])
def test_the_warning_of_the_jpeg_decoder_is_passed_on(tmp_path, how, mode, options):
    path = damaged_jpeg(tmp_path, how, mode, **options)
    with pytest.warns(LpnsrWarning, match="the decoder warns: Corrupt JPEG"):
        read(path)
    with pytest.warns(LpnsrWarning, match="the decoder warns: Corrupt JPEG"):
        list(open_rows(path, held=0, scratch=tmp_path).strips)


def test_jpeg_files_of_kinds_that_cannot_be_read_are_named(tmp_path):
    deep = refused(tmp_path, imagecodecs.jpeg8_encode(picture(np.uint16) >> 4, bitspersample=12))
    lossless = refused(tmp_path, imagecodecs.ljpeg_encode(picture(np.uint16)[..., 0], bitspersample=16))
    assert "a JPEG file with 12 bits per sample" in deep
    assert "a JPEG file without loss" in lossless
    assert "damaged" not in deep + lossless
    assert "header is damaged" in refused(tmp_path, b"\xff\xd8\xff\xe0\0\x10JFIF")


@pytest.mark.parametrize("fill", [b"", b"\xff\xff"])
def test_jpeg_without_loss_is_kept_from_a_decoder_that_crashes(tmp_path, monkeypatch, fill):
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *given, **options: pytest.fail("it would crash"))
    data = imagecodecs.jpeg8_encode(picture(), lossless=True)
    frame = data.index(b"\xff\xc3")
    (tmp_path / "x.jpg").write_bytes(data[:frame] + fill + data[frame:])
    np.testing.assert_array_equal(read(tmp_path / "x.jpg").pixels, picture())
