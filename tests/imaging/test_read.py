"""Other formats, odd modes, orientation, and files that are no images."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms, features

from lpnsr.errors import ConfigError, ImageReadError, InputError, LpnsrWarning
from lpnsr.imaging import EXTENSIONS, Photo, from_unit, read, to_unit
from support.encoded import encoded, write_png, write_tiff

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    """A smooth picture, on which lossy formats do well."""
    y, x = np.mgrid[:height, :width]
    planes = [(x * 7) % 256, (y * 9) % 256, 255 - (x * 7) % 256, 255 - (y * 5) % 256]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_every_format_is_read(tmp_path, extension):
    options = {"lossless": True} if extension == ".webp" else {"quality": 100} if extension == ".avif" else {}
    photo = read(saved(tmp_path / f"ü o{extension}", Image.fromarray(picture()), **options))
    assert photo.pixels.shape == (24, 32, 3)
    assert photo.alpha is None
    assert photo.format == EXTENSIONS[extension]
    assert np.abs(photo.pixels.astype(int) - picture()).mean() < 8


def test_avif_is_there_where_pillow_has_it():
    assert (".avif" in EXTENSIONS) == features.check("avif")


def test_the_content_decides_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture()).save(path, format="PNG")
    photo = read(path)
    assert photo.format == "PNG"
    np.testing.assert_array_equal(photo.pixels, picture())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png8", "png16", "tiff8", "tiff8 deflated", "tiff16", "webp", "avif"])
def test_orientation_is_applied_once(tmp_path, orientation, kind):
    """The reference is built from the meaning in the EXIF standard: where row 0 and column 0 of the file
    belong.
    """
    stored = picture(20, 12)
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    name = tmp_path / ("image." + {"png": "png", "tif": "tif", "web": "webp", "avi": "avif"}[kind[:3]])
    if f".{name.suffix[1:]}" not in EXTENSIONS:
        pytest.skip(f"this Pillow has no {name.suffix}")
    if kind == "png16":
        name.write_bytes(encoded(write_png, stored.astype(np.uint16) * 257, exif))
    elif kind == "tiff16":
        data = bytearray(encoded(write_tiff, stored.astype(np.uint16) * 257, exif))
        at = data.index(bytes.fromhex("1201 0300 01000000 0100".replace(" ", "")))
        data[at + 8] = orientation
        name.write_bytes(bytes(data))
    else:
        options = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}
        options["tiff8 deflated"] = {"compression": "tiff_deflate"}
        saved(name, Image.fromarray(stored), exif=exif, **options.get(kind, {}))
    photo = read(name)
    got = photo.pixels if photo.pixels.dtype == np.uint8 else (photo.pixels // 257).astype(np.uint8)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() <= (6 if kind == "avif" else 0)
    if photo.exif is not None:
        carried = Image.Exif()
        carried.load(photo.exif)
        assert carried.get(0x0112, 1) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_pillow_mode_of_tiff_and_friends(tmp_path, mode):
    if mode == "YCbCr" and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 cannot read the TIFF that it writes of it")
    image = Image.fromarray(picture())
    image = image.convert("RGBA").convert("LA") if mode == "LA" else image.convert(mode)
    photo = read(saved(tmp_path / "image.tif", image))
    assert photo.gray == (mode in ("1", "L", "LA"))
    assert (photo.alpha is not None) == (mode in ("LA", "RGBA"))
    if mode not in ("1", "P"):
        expected = np.asarray(image.convert("L" if photo.gray else "RGB")).reshape(photo.pixels.shape)
        assert np.abs(photo.pixels.astype(int) - expected).max() <= 3
    assert photo.icc is None


def test_cmyk_goes_through_its_profile(tmp_path):
    cmyk = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    plain = read(saved(tmp_path / "plain.jpg", cmyk, quality=100))
    with pytest.warns(LpnsrWarning, match="colours are approximate"):
        broken = read(saved(tmp_path / "broken.jpg", cmyk, quality=100, icc_profile=b"x" * 200))
    np.testing.assert_array_equal(plain.pixels, broken.pixels)
    assert plain.icc is None
    assert broken.icc is None
    assert plain.pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("extension", [".gif", ".png", ".webp", ".tif", ".avif"])
def test_of_several_frames_the_first_is_read_and_the_others_are_told(tmp_path, extension):
    if extension not in EXTENSIONS:
        pytest.skip(f"this Pillow has no {extension}")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue", "green")]
    path = tmp_path / f"a{extension}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    what = "pages" if extension == ".tif" else "frames"
    with pytest.warns(LpnsrWarning, match=rf"a\{extension} has 3 {what}: only the first is used"):
        photo = read(path)
    assert np.abs(photo.pixels[0, 0].astype(int) - [255, 0, 0]).max() <= 3


def test_one_frame_is_nothing_to_tell(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for extension in EXTENSIONS:
            read(saved(tmp_path / f"a{extension}", Image.new("RGB", (8, 8), "red")))
        preview = Image.new("RGB", (4, 4))  # as cameras put one behind the photograph
        read(
            saved(
                tmp_path / "camera.jpg", Image.new("RGB", (8, 8)), format="MPO", append_images=[preview], save_all=True
            )
        )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.25], [0.5, 1.0]], np.float32), [[0, 16384], [32768, 65535]]),
        (np.array([[0, 7], [300, 65535]], np.int32), [[0, 7], [300, 65535]]),
    ],
)
def test_float_and_long_tiff(tmp_path, values, expected):
    photo = read(saved(tmp_path / "x.tif", Image.fromarray(values)))
    assert photo.pixels.dtype == np.uint16
    np.testing.assert_array_equal(photo.pixels[..., 0], expected)


@pytest.mark.parametrize("values", [np.float32([[0, 300]]), np.float32([[0, np.nan]]), np.int32([[-1, 5]])])
def test_numbers_without_a_known_range_are_refused(tmp_path, values):
    with pytest.raises(ImageReadError, match="Rescale"):
        read(saved(tmp_path / "x.tif", Image.fromarray(values)))


def test_files_that_are_no_images(tmp_path):
    def expect(path: Path, message: str) -> None:
        with pytest.raises(ImageReadError, match=message) as caught:
            read(path)
        assert str(caught.value).count(str(path)) == 1

    (tmp_path / "text.png").write_text("hello " * 50)
    expect(tmp_path / "text.png", "not an image")
    (tmp_path / "empty.jpg").touch()
    expect(tmp_path / "empty.jpg", "empty")
    (tmp_path / "folder.png").mkdir()
    expect(tmp_path / "folder.png", "folder")
    expect(tmp_path / "absent.png", "no such file")
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    expect(tmp_path / "x.heic", "HEIC")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    expect(tmp_path / "b.png", "damaged")
    os.mkfifo(tmp_path / "pipe.png")
    expect(tmp_path / "pipe.png", "pipe")
    (tmp_path / "script.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    expect(tmp_path / "script.eps", "not an image")


def test_unreadable(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", Image.fromarray(picture()))

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageReadError, match="no permission"):
        read(path)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "BMP", "GIF", "PNG", "AVIF"])
def test_cut_files(tmp_path, format):
    if format not in EXTENSIONS.values():
        pytest.skip(f"this Pillow has no {format}")
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format)
    data = stream.getvalue()
    for share in (0.01, 0.1, 0.4, 0.7, 0.9):
        (tmp_path / "x").write_bytes(data[: max(3, int(len(data) * share))])
        with pytest.raises(ImageReadError):
            read(tmp_path / "x")


def test_jpeg_that_promises_more_than_it_can_hold(tmp_path):
    data = bytearray(saved(tmp_path / "x.jpg", Image.fromarray(picture())).read_bytes())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = (9000).to_bytes(2, "big") * 2
    (tmp_path / "x.jpg").write_bytes(bytes(data))
    with pytest.raises(ImageReadError, match="9000 x 9000"):
        read(tmp_path / "x.jpg")


def test_bad_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("LPNSR_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="many"):
        read(tmp_path / "x.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unit_range_round_trip(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(1, -1, 1)
    np.testing.assert_array_equal(from_unit(to_unit(values), dtype), values)
    top = np.iinfo(dtype).max
    near = np.array([[[-1.0, 0.49 / top, 0.51 / top, (top - 0.51) / top, (top - 0.49) / top, 2.0]]])
    assert from_unit(near, dtype).ravel().tolist() == [0, 0, 1, top - 1, top, top]


def test_photo_refuses_what_it_cannot_mean():
    with pytest.raises(InputError, match="uint8 or uint16"):
        Photo(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(InputError, match="shape"):
        Photo(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="alpha"):
        Photo(np.zeros((4, 4, 3), np.uint8), alpha=np.zeros((4, 5), np.uint8))
