"""TIFF files of all layouts hold the picture, whichever page, planes, order of bytes and other channels they have."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from lpnsr.errors import ImageReadError, LpnsrWarning
from lpnsr.imaging import Photo, open_rows, read
from lpnsr.imaging.reading import header_size
from support.hard_inputs import (
    HEIGHT,
    WIDTH,
    cmyk_profile,
    picture,
    planar_tiff,
    raw_photograph,
    thumbnail_first,
    tiff_with_extra_channels,
)


def both(path: Path) -> Photo:
    """The photo, which is the same row by row."""
    whole, rows = read(path), open_rows(path, held=0, scratch=path.parent).whole()
    np.testing.assert_array_equal(rows.pixels, whole.pixels)
    np.testing.assert_array_equal(rows.alpha, whole.alpha)
    return whole


@pytest.mark.filterwarnings("error::lpnsr.errors.LpnsrWarning")
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"byteorder": ">"},
        {"rowsperstrip": 7},
        {"tile": (16, 32), "byteorder": ">"},
        {"compression": "lzw", "rowsperstrip": 9},
        {"compression": "zlib", "predictor": True, "tile": (16, 16), "bigtiff": True},
        {"compression": "packbits", "byteorder": ">"},
        {"compression": "zstd"},
    ],
    ids=str,
)
def test_planes_apart(tmp_path, channels, dtype, layout):
    photo = both(planar_tiff(tmp_path, channels=channels, dtype=dtype, **layout))
    np.testing.assert_array_equal(photo.pixels, picture(dtype)[..., : 1 if channels < 3 else 3])
    assert (photo.alpha is not None) == (channels in (2, 4))
    assert photo.alpha is None or photo.alpha.min() == np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(
    ("kinds", "alpha"),
    [
        (["unspecified"], None),
        (["unassalpha"], 0),
        (["unspecified", "unassalpha"], 1),
        (["unassalpha", "unspecified"], 0),
        (["unspecified", "unspecified"], None),
    ],
)
@pytest.mark.parametrize("layout", [{}, {"compression": "lzw", "byteorder": ">"}, {"tile": (16, 16)}], ids=str)
def test_only_what_is_called_alpha_is_transparency(tmp_path, dtype, gray, kinds, alpha, layout):
    path = tiff_with_extra_channels(tmp_path, kinds, gray=gray, dtype=dtype, **layout)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        photo = both(path)
    np.testing.assert_array_equal(photo.pixels, picture(dtype)[..., : 1 if gray else 3])
    if alpha is None:
        assert photo.alpha is None
    else:
        assert photo.alpha is not None
        assert set(photo.alpha.ravel()) == {np.iinfo(dtype).max * (alpha + 1) // 8}
    assert any("no transparency" in str(w.message) for w in told) == ("unspecified" in kinds)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_that_were_multiplied_by_alpha(tmp_path, dtype):
    photo = both(tiff_with_extra_channels(tmp_path, ["assocalpha", "unspecified"], dtype=dtype))
    top = np.iinfo(dtype).max
    expected = np.minimum(np.rint(picture(dtype) / ((top // 8) / top)), top)
    np.testing.assert_array_equal(photo.pixels, expected)


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("layout", [{}, {"byteorder": ">"}, {"bigtiff": True}], ids=str)
def test_the_picture_and_not_its_thumbnail(tmp_path, flagged, inside, layout):
    path = thumbnail_first(tmp_path, flagged=flagged, inside=inside, **layout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not flagged else "error", LpnsrWarning)
        np.testing.assert_array_equal(both(path).pixels, picture())
    assert header_size(path, "x", 10**6) == (HEIGHT, WIDTH)


def test_a_thumbnail_before_a_picture_that_pillow_decodes(tmp_path):
    path = tmp_path / "x.tif"
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85
    with tifffile.TiffWriter(path) as file:
        file.write(picture()[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        file.write(picture()[..., 0], photometric="palette", colormap=palette, compression="lzw", metadata=None)
    assert both(path).pixels.shape == (HEIGHT, WIDTH, 3)


def test_pages_of_one_size_are_pages(tmp_path):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        for page in (picture(), picture()[::-1], picture()[::2, ::2]):
            file.write(page, photometric="rgb", metadata=None)
    with pytest.warns(LpnsrWarning, match="3 pages: only the first is used"):
        np.testing.assert_array_equal(read(path).pixels, picture())


@pytest.mark.parametrize(("photometric", "dng"), [(32803, True), (34892, True), (32803, False)])
def test_raw_photographs_are_refused_by_name(tmp_path, photometric, dng):
    with pytest.raises(ImageReadError, match=r"raw\.dng: a raw photograph: develop it first"):
        read(raw_photograph(tmp_path, photometric=photometric, dng=dng))


@pytest.mark.parametrize(
    "head", [b"II*\0\x10\0\0\0CR\2\0", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"FUJIFILMCCD-RAW 0201"]
)
def test_raw_photographs_of_makers(tmp_path, head):
    (tmp_path / "x.raw").write_bytes(head + bytes(500))
    with pytest.raises(ImageReadError, match="a raw photograph: develop it first"):
        read(tmp_path / "x.raw")


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_bits_between_8_and_16_are_spread_over_the_range(tmp_path, bits):
    values = (picture(np.uint16)[..., 0] >> (16 - bits)).astype(np.uint16)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, values, photometric="minisblack", bitspersample=bits, metadata=None)
    expected = np.rint(values / (2**bits - 1) * 65535)
    np.testing.assert_array_equal(both(path).pixels[..., 0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_bits_in_reverse_order(tmp_path, dtype, byteorder):
    stored = picture(dtype).astype(np.dtype(dtype).newbyteorder(byteorder))
    turned = np.packbits(np.unpackbits(stored.view(np.uint8)), bitorder="little").view(stored.dtype)
    path, tags = tmp_path / "x.tif", [(65000, 3, 1, 2, True)]
    tifffile.imwrite(path, turned.reshape(stored.shape), photometric="rgb", byteorder=byteorder, extratags=tags)
    tag, fill_order = (struct.pack(f"{byteorder}2H", number, 3) for number in (65000, 266))
    path.write_bytes(path.read_bytes().replace(tag, fill_order))
    np.testing.assert_array_equal(read(path).pixels, picture(dtype))


@pytest.mark.filterwarnings("error::lpnsr.errors.LpnsrWarning")
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("icc", [None, cmyk_profile()], ids=["plain", "profile"])
def test_cmyk(tmp_path, planar, dtype, icc):
    ink = np.concatenate([picture(dtype), picture(dtype)[::-1, :, :1] // 3], 2)
    path = tmp_path / "x.tif"
    samples = ink if planar == "contig" else ink.transpose(2, 0, 1)
    tifffile.imwrite(path, samples, photometric="separated", planarconfig=planar, metadata=None, iccprofile=icc)
    photo = both(path)
    assert photo.pixels.dtype == dtype
    if icc is None:
        light = 1 - ink / np.iinfo(dtype).max
        expected = light[..., :3] * light[..., 3:] * np.iinfo(dtype).max
        assert np.abs(photo.pixels - expected).max() <= 0.51
    else:
        image = Image.fromarray((ink >> (8 * (dtype == np.uint16))).astype(np.uint8), "CMYK")
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, BytesIO(icc), srgb, 1, "RGB")
        shrunk = photo.pixels / (np.iinfo(dtype).max / 255)
        assert np.abs(shrunk - np.asarray(converted)).max() <= 2
        assert (len(np.unique(photo.pixels)) > 256) == (dtype == np.uint16)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_ycbcr(tmp_path, planar, tile, compression):
    values = np.asarray(Image.fromarray(picture()).convert("YCbCr"))
    samples = values if planar == "contig" else values.transpose(2, 0, 1)
    path, layout = tmp_path / "x.tif", {"tile": tile, "compression": compression, "planarconfig": planar}
    tifffile.imwrite(path, samples, photometric="ycbcr", subsampling=(1, 1), metadata=None, **layout)
    assert np.abs(both(path).pixels.astype(int) - picture()).max() <= 4


@pytest.mark.parametrize("order", "<>")
def test_ycbcr_with_fewer_samples_of_its_colours(tmp_path, order):
    """Two rows and columns of luma, then one Cb and one Cr."""
    smooth = Image.fromarray(picture()).resize((WIDTH // 2, HEIGHT // 2)).resize((WIDTH, HEIGHT))
    luma, blue, red = np.asarray(smooth.convert("YCbCr")).transpose(2, 0, 1)
    blocks = luma.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).transpose(0, 2, 1, 3).reshape(HEIGHT // 2, WIDTH // 2, 4)
    data = np.concatenate([blocks, blue[::2, ::2, None], red[::2, ::2, None]], 2).tobytes()
    tags = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 1, 262: 6, 273: 152, 277: 3, 278: HEIGHT, 279: len(data)}
    entries = b"".join(
        struct.pack(order + "HHI", tag, 4, 1) + struct.pack(order + "I", value) for tag, value in sorted(tags.items())
    ) + struct.pack(order + "HHIHH", 530, 3, 2, 2, 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags) + 1)
    path = tmp_path / "x.tif"
    path.write_bytes((head + entries + bytes(4)).ljust(152, b"\0") + data)
    assert np.abs(both(path).pixels.astype(int) - np.asarray(smooth)).mean() < 5


@pytest.mark.parametrize("tile", [None, (80, 112)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_the_warning_of_the_decoder_of_jpeg_in_tiff_is_passed_on(tmp_path, tile, planar):
    path = tmp_path / "x.tif"
    samples = np.tile(picture(), (2, 2, 1))
    samples = samples if planar == "contig" else samples.transpose(2, 0, 1)
    layout = {"tile": tile, "planarconfig": planar, "metadata": None}
    tifffile.imwrite(path, samples, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, **layout)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LpnsrWarning)
        read(path)
    with tifffile.TiffFile(path) as file:
        middle = file.pages.first.dataoffsets[-1] + file.pages.first.databytecounts[-1] * 4 // 5
    data = path.read_bytes()
    path.write_bytes(data[: middle - 40] + bytes(40) + data[middle:])
    with pytest.warns(LpnsrWarning, match="the decoder warns: Corrupt JPEG"):
        read(path)


@pytest.mark.parametrize("factor", [1, 257])
def test_palettes_of_8_bits(tmp_path, factor):
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256) % 251
    path, values = tmp_path / "x.tif", picture()[..., 0]
    tifffile.imwrite(path, values, photometric="palette", colormap=palette * factor, metadata=None)
    np.testing.assert_array_equal(both(path).pixels, palette.T[values])


@pytest.mark.parametrize("cut", [0.5, 0.9])
@pytest.mark.parametrize("layout", [{}, {"compression": "lzw"}, {"tile": (16, 16), "compression": "zlib"}], ids=str)
def test_cut_planes_are_damaged(tmp_path, cut, layout):
    path = planar_tiff(tmp_path, **layout)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(ImageReadError, match="damaged"):
        read(path)


def test_a_compression_that_is_not_known_is_not_called_damage(tmp_path):
    path = planar_tiff(tmp_path)
    data = path.read_bytes()
    entry = struct.pack("<HHI", 259, 3, 1)
    path.write_bytes(data.replace(entry + struct.pack("<H", 1), entry + struct.pack("<H", 65123)))
    with pytest.raises(ImageReadError, match=r"cannot be read \(photometric 2, compression 65123") as caught:
        read(path)
    assert "damaged" not in str(caught.value)


def test_what_is_not_supported_is_not_called_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "complex.tif", picture()[..., 0].astype(np.complex64), photometric="minisblack")
    with pytest.raises(ImageReadError, match="of a kind that cannot be read"):
        read(tmp_path / "complex.tif")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, picture(np.uint16), photometric="cielab", metadata=None)
    with pytest.raises(ImageReadError, match=r"cannot be read \(photometric 8") as caught:
        read(path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("cut", [1500, 1700])  # values of the directory, and itself
def test_a_directory_that_is_cut_off_is_damage_and_told_once(tmp_path, capfd, cut):
    path = tmp_path / "x.tif"
    Image.fromarray(picture()).convert("P").save(path, compression="tiff_lzw")  # the directory is behind the pixels
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ImageReadError, match="its header is damaged or cut short"):
        read(path)
    assert capfd.readouterr().err == ""
