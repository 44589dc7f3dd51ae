"""What travels beside the pixels: kept, adapted to the new size or told, and never a reason to refuse a file."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from defusedxml import ElementTree
from PIL import Image, ImageCms

from lpnsr.errors import ImageReadError, LpnsrWarning
from lpnsr.imaging import EXTENSIONS, Photo, open_rows, read, write
from support.hard_inputs import (
    ADOBE_RGB,
    HEIGHT,
    WIDTH,
    XMP,
    big_profile,
    geo_tiff,
    gray_profile,
    iptc_block,
    jpeg_with_iptc,
    ome_tiff,
    picture,
    png_with,
    soft_shadow,
    text_chunk,
    to_srgb,
    wrong_checksum,
)
from support.pngs import chunk
from support.written import SRGB

KEEP_XMP = (".jpg", ".png", ".webp", ".tif", ".avif")


def enlarged(photo: Photo, down: int = 4, across: int = 4) -> Photo:
    return replace(photo, pixels=photo.pixels.repeat(down, 0).repeat(across, 1), alpha=None)


def result(source: Path, extension: str, **factors: int) -> Path:
    """A file of what is in ``source``, enlarged."""
    target = source.with_name(f"result{extension}")
    write(enlarged(read(source), **factors), target)
    return target


def told(source: Path, extension: str) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LpnsrWarning)
        result(source, extension)
    return " ".join(str(w.message) for w in caught if w.category is LpnsrWarning)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt packed"])
@pytest.mark.parametrize("length", [5, 2_100_000])
def test_texts_of_any_length(tmp_path, dtype, kind, length):
    text = "ä" * length
    path = png_with(tmp_path, text_chunk(kind, "workflow", text), dtype=dtype)
    photo = read(path)
    np.testing.assert_array_equal(photo.pixels, picture(dtype))
    np.testing.assert_array_equal(open_rows(path, held=0).whole().pixels, picture(dtype))
    assert photo.extras.texts == (("workflow", text),)
    again = result(path, ".png")
    with Image.open(again) as image:
        image.load()
        assert image.text["workflow"] == text
    assert read(again).extras.texts == photo.extras.texts
    assert "'workflow'" in told(path, ".webp")


def test_texts_beyond_latin_and_behind_the_pixels(tmp_path):
    path = png_with(tmp_path, behind=text_chunk("iTXt", "Comment", "猫"))
    with Image.open(result(path, ".png")) as image:
        image.load()
        assert image.text["Comment"] == "猫"
    with Image.open(result(path, ".jpg")) as image:
        assert image.info["comment"] == "猫".encode()


@pytest.mark.parametrize("kind", ["zTXt", "iTXt packed"])
def test_a_bomb_of_text_is_passed_over(tmp_path, kind):
    with pytest.warns(LpnsrWarning, match="inflates to more than"):
        photo = read(png_with(tmp_path, text_chunk(kind, "workflow", "a" * 40_000_000)))
    assert photo.extras.texts == ()
    np.testing.assert_array_equal(photo.pixels, picture())


def test_a_bomb_of_a_profile_is_passed_over(tmp_path):
    with pytest.warns(LpnsrWarning, match="iCCP .it inflates"):
        assert read(png_with(tmp_path, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10**8))))).icc is None


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        chunk(b"pHYs", struct.pack(">IIB", 3780, 3780, 1)),
        chunk(b"tEXt", b"Comment\0hello"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"hello")),
        chunk(b"gAMA", struct.pack(">I", 100000)),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(big_profile(10))),
        chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0"),
        chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)),
        chunk(b"teSt", b"private"),
    ],
    ids=lambda made: made[4:8].decode(),
)
def test_ancillary_chunks_with_a_wrong_checksum_are_passed_over(tmp_path, made, behind):
    bad = wrong_checksum(made)
    path = png_with(tmp_path, **{"behind": bad}) if behind else png_with(tmp_path, bad)
    with pytest.warns(LpnsrWarning, match=f"{made[4:8].decode()} .wrong checksum.") as caught:
        photo = read(path)
    assert len(caught) == 1
    np.testing.assert_array_equal(photo.pixels, picture())
    assert (photo.dpi, photo.icc, photo.exif, photo.alpha) == (None,) * 4
    assert not photo.extras.texts
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(open_rows(path, held=0).strips)
    assert len(caught) == 1


def test_critical_chunks_with_a_wrong_checksum_are_damage(tmp_path):
    path = png_with(tmp_path)
    data = bytearray(path.read_bytes())
    data[32] ^= 1  # of IHDR
    path.write_bytes(bytes(data))
    with pytest.raises(ImageReadError, match="damaged"):
        read(path)


@pytest.mark.parametrize("source", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("target", sorted(EXTENSIONS))
def test_large_profiles_are_kept_in_files_that_others_read(tmp_path, source, target):
    icc, path = big_profile(), tmp_path / f"x{source}"
    Image.fromarray(picture()).save(path, icc_profile=icc)
    assert read(path).icc == icc
    if target in (".gif", ".bmp"):
        assert "the colour profile" in told(path, target)
        return
    with Image.open(result(path, target)) as image:
        image.load()
        kept = image.info["icc_profile"]
    assert kept == read(path.with_name(f"result{target}")).icc
    np.testing.assert_array_equal(to_srgb(picture(), kept), to_srgb(picture(), icc))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_profile_that_is_too_large_for_png_is_converted(tmp_path, dtype):
    photo = Photo(picture(dtype), icc=big_profile(used=True))
    with pytest.warns(LpnsrWarning, match="converted to sRGB"):
        write(photo, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert "icc_profile" not in image.info
    pixels = read(tmp_path / "x.png").pixels
    assert pixels.dtype == dtype
    assert np.abs(pixels.astype(int) - picture(dtype)).max() <= np.iinfo(dtype).max // 127
    write(photo, tmp_path / "x.tif")
    assert read(tmp_path / "x.tif").icc == photo.icc


GAMMA = chunk(b"gAMA", struct.pack(">I", 100000))
ADOBE = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"cHRM", struct.pack(">8I", *ADOBE_RGB))
DISPLAY_P3, PQ = chunk(b"cICP", bytes((12, 13, 0, 1))), chunk(b"cICP", bytes((9, 16, 0, 1)))


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    unit = values / 255
    return np.where(unit <= 0.0031308, 12.92 * unit, 1.055 * np.maximum(unit, 1e-9) ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("made", [GAMMA, ADOBE, DISPLAY_P3, PQ, chunk(b"sRGB", b"\0")])
def test_what_a_png_says_of_its_colours_stays_in_a_png(tmp_path, dtype, made):
    data = result(png_with(tmp_path, made, dtype=dtype), ".png").read_bytes()
    assert made in data
    assert data.index(made) < data.index(b"IDAT")


@pytest.mark.parametrize("extension", [".tif", ".jpg", ".webp", ".avif"])
def test_gamma_becomes_a_profile_elsewhere(tmp_path, extension):
    icc = read(result(png_with(tmp_path, GAMMA), extension)).icc
    shown = to_srgb(picture(), icc).astype(int)
    assert np.abs(shown - linear_to_srgb(picture())).max() <= 2


def test_chromaticities_become_a_profile_elsewhere(tmp_path):
    icc = read(result(png_with(tmp_path, ADOBE), ".tif")).icc
    pixels = np.full((2, 2, 3), (60, 200, 90), np.uint8)
    linear = (pixels[0, 0] / 255) ** 2.2
    adobe_to_srgb = np.array([[1.3984, -0.3984, 0], [0, 1, 0], [0, -0.0429, 1.0429]])
    expected = linear_to_srgb(np.clip(adobe_to_srgb @ linear, 0, 1) * 255)
    assert np.abs(to_srgb(pixels, icc)[0, 0].astype(int) - expected).max() <= 2


def test_colours_that_no_profile_says_are_told(tmp_path):
    assert "cICP" in told(png_with(tmp_path, PQ), ".jpg")
    assert told(png_with(tmp_path, DISPLAY_P3), ".jpg") == ""
    assert read(tmp_path / "result.jpg").icc is not None


@pytest.mark.parametrize("made", [b"", chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455))])
def test_srgb_needs_no_profile(tmp_path, made):
    assert read(result(png_with(tmp_path, made), ".jpg")).icc is None


def test_gamma_of_gray(tmp_path):
    photo = replace(read(png_with(tmp_path, GAMMA)), pixels=picture()[..., :1])
    write(photo, tmp_path / "x.tif")
    back = read(tmp_path / "x.tif")
    assert back.gray
    source = ImageCms.ImageCmsProfile(io.BytesIO(back.icc))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "L", "RGB")
    shown = np.asarray(ImageCms.applyTransform(Image.fromarray(back.pixels[..., 0]), transform)).astype(int)
    assert np.abs(shown - linear_to_srgb(back.pixels)).max() <= 2


@pytest.mark.filterwarnings("error::lpnsr.errors.LpnsrWarning")
@pytest.mark.parametrize("extension", [".webp", ".avif"])
def test_a_gray_profile_becomes_one_for_colours(tmp_path, extension):
    Image.fromarray(picture()[..., 0]).save(tmp_path / "x.png", icc_profile=gray_profile(1.8))
    back = read(result(tmp_path / "x.png", extension))
    gray = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[None, :, None], 3, 2)
    expected = linear_to_srgb((gray / 255) ** 1.8 * 255)
    assert np.abs(to_srgb(gray, back.icc).astype(int) - expected).max() <= 2


def numbers(packet: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in ElementTree.fromstring(packet).iter():
        found |= {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        found[element.tag.rpartition("}")[2]] = element.text or ""
    return found


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("target", KEEP_XMP)
def test_xmp_with_its_sizes(tmp_path, source, target):
    path = tmp_path / f"x{source}"
    if source == ".png":
        path = png_with(tmp_path, text_chunk("iTXt", "XML:com.adobe.xmp", XMP.decode()))
    else:
        Image.fromarray(picture()).save(path, **({"tiffinfo": {700: XMP}} if source == ".tif" else {"xmp": XMP}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", LpnsrWarning)
        out = result(path, target, across=2)
    packet = read(out).extras.xmp
    assert b'xmlns:dc="http://purl.org/dc/elements/1.1/"' in packet
    found = numbers(packet)
    assert (found["rights"], found["ImageWidth"], found["PixelYDimension"]) == ("CC0", str(2 * WIDTH), str(4 * HEIGHT))
    with Image.open(out) as image:
        image.load()
        assert image.info["xmp"] == packet or image.tag_v2[700] == packet


def test_xmp_of_a_turned_picture_says_so_no_more(tmp_path):
    packet = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    Image.fromarray(picture()).save(tmp_path / "x.jpg", xmp=packet)
    photo = read(tmp_path / "x.jpg")
    assert photo.pixels.shape == (WIDTH, HEIGHT, 3)
    found = numbers(read(result(tmp_path / "x.jpg", ".png")).extras.xmp)
    assert (found["Orientation"], found["ImageWidth"]) == ("1", str(4 * HEIGHT))


def test_xmp_of_a_panorama_and_of_other_images(tmp_path):
    ours = b'<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="112" '
    ours += b'GPano:CroppedAreaTopPixels="3" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
    Image.fromarray(picture()).save(tmp_path / "x.jpg", xmp=XMP.replace(b"<rdf:Description ", ours))
    found = numbers(read(result(tmp_path / "x.jpg", ".jpg")).extras.xmp)
    assert (found["FullPanoWidthPixels"], found["CroppedAreaTopPixels"]) == ("448", "12")
    assert "Version" not in found


@pytest.mark.parametrize("packet", [b"<x", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_xmp_that_is_damaged_or_a_bomb_is_left_out(tmp_path, packet):
    Image.fromarray(picture()).save(tmp_path / "x.jpg", xmp=packet)
    assert "XMP" in told(tmp_path / "x.jpg", ".png")
    assert read(tmp_path / "result.png").extras.xmp is None


def test_comments(tmp_path):
    for source in (".jpg", ".gif"):
        Image.fromarray(picture()).save(tmp_path / f"x{source}", comment=b"a comment")
        for target in (".jpg", ".gif", ".png"):
            assert ("Comment", "a comment") in read(result(tmp_path / f"x{source}", target)).extras.texts
        with tifffile.TiffFile(result(tmp_path / f"x{source}", ".tif")) as file:
            assert file.pages.first.description == "a comment"
        assert "'Comment'" in told(tmp_path / f"x{source}", ".webp")


def test_iptc(tmp_path):
    path = jpeg_with_iptc(tmp_path)
    for target in (".jpg", ".png", ".tif"):
        out = result(path, target)
        assert read(out).extras.iptc == iptc_block()
    with Image.open(tmp_path / "result.jpg") as image:
        assert image.info["photoshop"][0x0404] == iptc_block()
    assert "IPTC" in told(path, ".webp")
    assert read(result(tmp_path / "result.png", ".jpg")).extras.iptc == iptc_block()


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_iptc_of_a_tiff_in_whole_numbers(tmp_path, byteorder):
    block = iptc_block() + bytes(-len(iptc_block()) % 4)
    values = struct.unpack(f"{byteorder}{len(block) // 4}I", block)
    tags = [(33723, 4, len(values), values, True)]
    tifffile.imwrite(
        tmp_path / "x.tif", picture(), photometric="rgb", byteorder=byteorder, metadata=None, extratags=tags
    )
    assert read(tmp_path / "x.tif").extras.iptc == iptc_block()


def geo(path: Path) -> dict[int, tuple[float, ...]]:
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages.first.tags if tag.code in (33550, 33922, 34264, 34735, 50844)}


SCALE, TIE = (33550, (10.0, 20.0, 1.0)), (33922, (1.0, 2.0, 0.0, 500000.0, 4600000.0, 0.0))
MATRIX = np.array([[10.0, 1, 0, 5e5], [2, -20, 0, 4.6e6], [0, 0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("point", [False, True])
def test_a_map_stays_in_its_place(tmp_path, byteorder, bigtiff, point):
    path = geo_tiff(tmp_path, SCALE, TIE, point=point, byteorder=byteorder, bigtiff=bigtiff)
    found = geo(result(path, ".tif", down=4, across=2))
    assert found[33550] == (5.0, 5.0, 1.0)
    assert found[33922][:2] == ((2.5, 9.5) if point else (2.0, 8.0))
    assert found[33922][3:5] == (500000.0, 4600000.0)
    assert found[34735] == ((1, 1, 0, 1, 1025, 0, 1, 2) if point else (1, 1, 0, 1, 1025, 0, 1, 1))


@pytest.mark.parametrize("point", [False, True])
def test_a_map_that_is_turned_by_a_matrix(tmp_path, point):
    path = geo_tiff(tmp_path, (34264, tuple(MATRIX.ravel())), point=point)
    new = np.array(geo(result(path, ".tif", down=4, across=2))[34264]).reshape(4, 4)
    half = 0.5 if point else 0.0
    for x, y in ((0, 0), (7, 9)):
        old_place = MATRIX @ (x - half, y - half, 0, 1)
        np.testing.assert_allclose(new @ (2 * x - half, 4 * y - half, 0, 1), old_place)


def test_a_map_elsewhere_loses_its_place_with_a_word(tmp_path):
    path = geo_tiff(tmp_path, SCALE, TIE)
    for extension in (".png", ".jpg"):
        assert "geo-reference" in told(path, extension)
    turned = [(274, 3, 1, 6, True)]
    tifffile.imwrite(
        path, picture(), photometric="rgb", metadata=None, extratags=[(33550, 12, 3, SCALE[1], True), *turned]
    )
    assert "geo-reference" in told(path, ".tif")
    assert 33550 not in geo(tmp_path / "result.tif")


def test_microscopy(tmp_path):
    with tifffile.TiffFile(result(ome_tiff(tmp_path), ".tif", down=4, across=2)) as file:
        pixels = next(e for e in ElementTree.fromstring(file.ome_metadata).iter() if e.tag.endswith("Pixels"))
        values = {name: float(pixels.get(name)) for name in ("SizeX", "SizeY", "PhysicalSizeX", "PhysicalSizeY")}
        assert pixels.get("PhysicalSizeXUnit") == "µm"
        assert file.asarray().shape == (4 * HEIGHT, 2 * WIDTH, 3)
    assert values == {"SizeX": 2 * WIDTH, "SizeY": 4 * HEIGHT, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.0625}


def test_rational_polynomials_are_of_the_new_pixels(tmp_path):
    """Lines and samples, (number - offset) / scale, count centres of pixels from 0."""
    values = tuple(map(float, range(1, 93)))
    new = geo(result(geo_tiff(tmp_path, (50844, values)), ".tif", down=4, across=2))[50844]
    assert new[2:4] == (3.5 * 4 - 0.5, 4.5 * 2 - 0.5)
    assert new[7:9] == (8 * 4, 9 * 2)
    assert [i for i in range(92) if new[i] != values[i]] == [2, 3, 7, 8]


@pytest.mark.parametrize("tag", [33550, 33922, 34264, 50844])
def test_a_damaged_geo_reference_is_no_reason_to_refuse_a_file(tmp_path, tag):
    assert read(result(geo_tiff(tmp_path, (tag, (1.0,))), ".tif")).height == 4 * HEIGHT
    extra = [(tag, 2, 3, "ab", True), (34735, 3, 1, (1,), True)]
    tifffile.imwrite(tmp_path / "text.tif", picture(), photometric="rgb", extratags=extra)
    assert read(result(tmp_path / "text.tif", ".tif")).height == 4 * HEIGHT


@pytest.mark.parametrize("description", ["ImageJ=1.53\nunit=micron\n", "Aperio Image Library\nMPP = 0.5"])
def test_sizes_of_pixels_that_cannot_be_adapted_are_left_out(tmp_path, description):
    tifffile.imwrite(tmp_path / "x.tif", picture(), photometric="rgb", description=description, metadata=None)
    assert "the size of a pixel" in told(tmp_path / "x.tif", ".tif")
    with tifffile.TiffFile(tmp_path / "result.tif") as file:
        assert not file.pages.first.description


def test_the_shape_that_tifffile_notes_is_no_description(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", picture(), photometric="rgb")
    assert told(tmp_path / "x.tif", ".tif") == ""
    with tifffile.TiffFile(tmp_path / "result.tif") as file:
        assert not file.pages.first.description


def test_half_transparency_in_a_gif_is_told(tmp_path):
    rgba = soft_shadow()
    with pytest.warns(LpnsrWarning, match="half-transparent"):
        write(Photo(rgba[..., :3], rgba[..., 3]), tmp_path / "x.gif")
    with warnings.catch_warnings():
        warnings.simplefilter("error", LpnsrWarning)
        write(Photo(rgba[..., :3], np.where(rgba[..., 3] > 3, 255, 0).astype(np.uint8)), tmp_path / "x.gif")


@pytest.mark.parametrize("extension", [".webp", ".avif"])
def test_the_density_is_kept_in_exif_where_a_format_has_no_other_place(tmp_path, extension):
    write(Photo(picture(), dpi=(300.0, 150.0)), tmp_path / f"x{extension}")
    with Image.open(tmp_path / f"x{extension}") as image:
        assert [float(image.getexif()[tag]) for tag in (282, 283, 296)] == [300, 150, 2]


def test_a_tiff_that_states_no_density_has_none(tmp_path):
    Image.fromarray(picture()).convert("YCbCr").save(tmp_path / "x.tif")
    assert read(tmp_path / "x.tif").dpi is None


@pytest.mark.parametrize("bytes_left", [None, 12, 30, 44])
@pytest.mark.parametrize("group", [{0x9003: "2020:01:01 00:00:00"}, {}])  # an empty one is sound
def test_exif_that_is_cut_is_told(tmp_path, bytes_left, group):
    exif = Image.Exif()
    exif[0x010F], exif[0x8769] = "maker", group
    Image.fromarray(picture()).save(tmp_path / "x.jpg", exif=exif.tobytes()[:bytes_left])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", LpnsrWarning)
        read(tmp_path / "x.jpg")
    assert any("its EXIF block is damaged" in str(w.message) for w in told) == (bytes_left is not None)


@pytest.mark.parametrize("form", ["jpg", "png", "webp", "heic", "jxl"])
def test_rubbish_in_the_place_of_exif_is_no_reason_to_refuse_a_file(tmp_path, form):
    path = tmp_path / f"x.{form}"
    if form == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif form == "jxl":
        pytest.importorskip("pillow_jxl")
    Image.fromarray(picture()).save(path, exif=b"Exif\0\0rubbish")
    with pytest.warns(LpnsrWarning, match="its EXIF block is damaged and is left out"):
        photo = read(path)
    assert photo.exif is None
    assert np.abs(photo.pixels - picture().astype(int)).mean() < 6


@pytest.mark.parametrize("form", ["png", "jpg", "tif"])
@pytest.mark.parametrize(("mode", "icc"), [("RGB", gray_profile()), ("L", SRGB), ("RGB", b"rubbish")])
def test_a_profile_of_other_pixels_is_told(tmp_path, form, mode, icc):
    Image.fromarray(picture()).convert(mode).save(tmp_path / f"x.{form}", icc_profile=icc)
    with pytest.warns(LpnsrWarning, match=f"colour profile is damaged, or not one for {'RGB' * (mode != 'L')}"):
        assert read(tmp_path / f"x.{form}").icc is None


def test_packed_metadata_of_a_jpeg_xl(tmp_path):
    pytest.importorskip("pillow_jxl")
    path, exif = tmp_path / "x.jxl", Image.Exif()
    exif[0x010F] = "maker"
    block = bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")

    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", len(data) + 8, kind) + data

    plain = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    plain += box(b"jxlc", imagecodecs.jpegxl_encode(picture(), lossless=True))
    packed = [kind + imagecodecs.brotli_encode(data) for kind, data in ((b"Exif", block), (b"xml ", XMP))]
    path.write_bytes(plain + b"".join(box(b"brob", data) for data in packed))
    photo = read(path)
    np.testing.assert_array_equal(photo.pixels, picture())
    assert photo.extras.xmp == XMP
    assert b"maker" in photo.exif
    path.write_bytes(plain + box(b"brob", b"xml rubbish!"))
    with pytest.warns(LpnsrWarning, match="its xml box is damaged or too large"):
        assert read(path).extras.xmp is None


def test_xmp_of_a_jpeg_xl(tmp_path):
    pytest.importorskip("pillow_jxl")
    Image.fromarray(picture()).save(tmp_path / "x.jxl", lossless=True, xmp=XMP)
    assert read(tmp_path / "x.jxl").extras.xmp == XMP
    Image.fromarray(picture()).save(tmp_path / "y.jxl", lossless=True)
    assert read(tmp_path / "y.jxl").extras.xmp is None


def test_extended_xmp_is_told_and_no_longer_referred_to(tmp_path):
    note = b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="00" rdf:about=""'
    data = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<x:xmpmeta/>"
    extra = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    image = Image.fromarray(picture())
    image.save(tmp_path / "x.jpg", xmp=XMP.replace(b'rdf:about=""', note), extra=extra)
    with pytest.warns(LpnsrWarning, match="its extended XMP, which is behind the main one, is left out"):
        photo = read(tmp_path / "x.jpg")
    write(photo, tmp_path / "y.jpg")
    xmp = read(tmp_path / "y.jpg").extras.xmp
    assert b"CC0" in xmp
    assert b"HasExtendedXMP" not in xmp
