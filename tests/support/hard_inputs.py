"""Small image files that programs like this one stumbled over: one picture in many shapes.

Each function writes a case into a folder and returns its path.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageCms

from support.pngs import chunk, make_png
from support.written import SRGB

HEIGHT, WIDTH = 40, 56
ADOBE_RGB = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
"""Chromaticities in the units of cHRM."""
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    f'tiff:ImageWidth="{WIDTH}" tiff:Orientation="1"><exif:PixelYDimension>{HEIGHT}</exif:PixelYDimension>'
    "<dc:rights>CC0</dc:rights></rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()


def picture(dtype: type = np.uint8) -> np.ndarray:
    """(40, 56, 3): slopes, a disc, noise and a line."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rgb = np.stack([40 + 3 * x, 60 + 3 * y, 200 - 2 * x - y], -1).astype(float)
    rgb[np.hypot(x - 38, y - 14) < 9] = (220, 60, 40)
    rgb[26:36, 6:26] += np.random.default_rng(0).normal(0, 25, (10, 20, 1))
    rgb[x == y] = (250, 250, 245)
    values = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return values if dtype == np.uint8 else values.astype(dtype) * 257


def planar_tiff(folder: Path, *, channels: int = 3, dtype: type = np.uint16, **layout) -> Path:
    """Planes apart: gray or RGB, the second or fourth of them straight alpha."""
    samples = np.concatenate([picture(dtype), np.full((HEIGHT, WIDTH, 1), np.iinfo(dtype).max, dtype)], 2)
    samples = samples[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    path = folder / "planar.tif"
    tifffile.imwrite(
        path,
        samples.transpose(2, 0, 1) if channels > 1 else samples[..., 0],
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="separate" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        metadata=None,
        **layout,
    )
    return path


def tiff_with_extra_channels(folder: Path, kinds: list[str], *, gray: bool = False, dtype: type = np.uint16, **layout):
    """Channels behind the colours; the ``i``-th is constant, (i + 1) eighths of the range."""
    colours = picture(dtype)[..., :1] if gray else picture(dtype)
    top = np.iinfo(dtype).max
    extra = [np.full((HEIGHT, WIDTH, 1), top * (i + 1) // 8, dtype) for i in range(len(kinds))]
    path = folder / "extra.tif"
    colour = "minisblack" if gray else "rgb"
    samples = np.concatenate([colours, *extra], 2)
    tifffile.imwrite(path, samples, photometric=colour, planarconfig="contig", extrasamples=kinds, **layout)
    return path


def thumbnail_first(folder: Path, *, flagged: bool = True, inside: bool = False, **layout) -> Path:
    """A page of a quarter of the sides, then the picture: behind it or in its SubIFDs."""
    rgb, path = picture(), folder / "thumbnail.tif"
    with tifffile.TiffWriter(path, **layout) as file:
        sub = {"subifds": 1} if inside else {}
        file.write(rgb[::4, ::4], photometric="rgb", subfiletype=int(flagged), metadata=None, **sub)
        file.write(rgb, photometric="rgb", subfiletype=0, metadata=None)
    return path


def raw_photograph(folder: Path, *, photometric: int = 32803, dng: bool = True) -> Path:
    """A preview, and a colour filter array in its SubIFDs."""
    path, version = folder / "raw.dng", [(50706, 1, 4, b"\1\4\0\0", True)]
    with tifffile.TiffWriter(path) as file:
        tags = version if dng else []
        file.write(picture()[::4, ::4], photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
        values = picture(np.uint16) if photometric == 34892 else picture(np.uint16)[..., 0]
        file.write(values, photometric=photometric, subfiletype=0, metadata=None)
    return path


def geo_tiff(folder: Path, *tags: tuple[int, tuple[float, ...]], point: bool = False, **options) -> Path:
    keys = (1, 1, 0, 1, 1025, 0, 1, 2) if point else (1, 1, 0, 1, 1025, 0, 1, 1)
    extra = [(number, 12, len(values), values, True) for number, values in tags]
    path = folder / "geo.tif"
    extra.append((34735, 3, len(keys), keys, True))
    tifffile.imwrite(path, picture(), photometric="rgb", metadata=None, extratags=extra, **options)
    return path


def ome_tiff(folder: Path) -> Path:
    path = folder / "microscope.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25}
    tifffile.imwrite(path, picture(), photometric="rgb", metadata=metadata)
    return path


def png_with(folder: Path, *chunks: bytes, dtype: type = np.uint8, behind: bytes = b"") -> Path:
    """A PNG with ``chunks`` before the pixels and ``behind`` after them."""
    depth = np.dtype(dtype).itemsize * 8
    data = make_png(picture(dtype), 2, depth, extra=b"".join(chunks))
    path = folder / "chunks.png"
    path.write_bytes(data[:-12] + behind + data[-12:])
    return path


def wrong_checksum(made: bytes) -> bytes:
    """A chunk with its last bit turned."""
    return made[:-1] + bytes([made[-1] ^ 1])


def text_chunk(kind: str, keyword: str, text: str) -> bytes:
    """kind: tEXt, zTXt, iTXt, or iTXt packed."""
    key = keyword.encode("latin-1") + b"\0"
    if kind == "tEXt":
        return chunk(b"tEXt", key + text.encode("latin-1"))
    if kind == "zTXt":
        return chunk(b"zTXt", key + b"\0" + zlib.compress(text.encode("latin-1")))
    packed = kind == "iTXt packed"
    return chunk(b"iTXt", key + bytes([packed, 0, 0, 0]) + (zlib.compress(text.encode()) if packed else text.encode()))


def big_profile(size: int = 1_300_000, *, used: bool = False) -> bytes:
    """sRGB, and ``size`` bytes behind it; used: in a tag of look-up tables, as those of printers are."""
    if not used:
        profile = SRGB + bytes(size)
        return struct.pack(">I", len(profile)) + profile[4:]
    (count,) = struct.unpack_from(">I", SRGB, 128)
    entries = [struct.unpack_from(">4sII", SRGB, 132 + 12 * i) for i in range(count)]
    table = b"".join(struct.pack(">4sII", name, at + 12, length) for name, at, length in entries)
    body = SRGB[132 + 12 * count :]
    table += struct.pack(">4sII", b"gamt", 144 + 12 * count + len(body), size)
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    profile = SRGB[:128] + struct.pack(">I", count + 1) + table + body + noise
    return struct.pack(">I", len(profile)) + profile[4:]


def gray_profile(gamma: float = 2.2) -> bytes:
    """The smallest profile of a gray with a gamma."""
    tags = {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))}
    return _profile(b"mntrGRAYXYZ ", tags)


def cmyk_profile() -> bytes:
    """A profile whose table gives CMYK the lightness (1 - black) (1 - mean ink) and a little colour."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(16, 4)
    light = 0xFF00 * (1 - corners[:, 3]) * (1 - corners[:, :3].mean(1))
    lab = np.stack([light, 0x8000 + 0x1000 * corners[:, 1], 0x8000 + 0x1000 * corners[:, 2]], 1).astype(">u2")
    ramp = struct.pack(">2H", 0, 65535)
    head = struct.pack(">4B9i2H", 4, 3, 2, 0, *np.eye(3, dtype=int).ravel() * 65536, 2, 2)
    return _profile(b"prtrCMYKLab ", {b"A2B0": b"mft2" + bytes(4) + head + 4 * ramp + lab.tobytes() + 3 * ramp})


def _profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    name, white = b"made\0", struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": b"XYZ " + bytes(4) + white,
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytes(4) + b"lcms\2\x40\0\0" + kind + bytes(12) + b"acsp" + bytes(28) + white
    profile = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def soft_shadow() -> np.ndarray:
    """RGBA: an opaque yellow patch with a black shadow of alpha 3 to 1 along two of its sides."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[6:30, 8:40] = (240, 220, 60, 255)
    for i, alpha in enumerate((3, 2, 1)):
        rgba[30 + i, 8:40] = rgba[6:30, 40 + i] = (0, 0, 0, alpha)
    return rgba


def damaged_jpeg(folder: Path, how: str, mode: str = "RGB", **options) -> Path:
    """A JPEG that is cut and closed again, or has a hole of zeros."""
    path = folder / f"{how}.jpg"
    large = Image.fromarray(picture()).resize((WIDTH * 8, HEIGHT * 8), Image.Resampling.BICUBIC)
    large.convert(mode).save(path, quality=90, **options)
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) * 6 // 10] + b"\xff\xd9"
    else:
        middle = len(data) // 2
        data[middle : middle + 300] = bytes(300)
    path.write_bytes(bytes(data))
    return path


def iptc_block(caption: str = "a caption") -> bytes:
    """An IPTC-IIM block with a caption."""
    data = caption.encode()
    return b"\x1c\2\x78" + struct.pack(">H", len(data)) + data


def jpeg_with_iptc(folder: Path) -> Path:
    block = iptc_block()
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(block)) + block + bytes(len(block) % 2)
    data = b"Photoshop 3.0\0" + resource
    path = folder / "iptc.jpg"
    extra = b"\xff\xed" + struct.pack(">H", len(data) + 2) + data
    Image.fromarray(picture()).save(path, quality=95, extra=extra)
    return path


def to_srgb(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """What a viewer makes of pixels (H, W, 3) uint8 with a profile."""
    import io

    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform))
