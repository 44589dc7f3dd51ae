"""The kinds of files of the PngSuite, under its names, made by hand with the pixels that they stand for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from support.pngs import CHANNELS, KINDS, SIGNATURE, chunk, make_png, packed, random_samples

LETTERS = {0: "g", 2: "c", 3: "p", 4: "a", 6: "a"}
Case = tuple[str, bytes, np.ndarray, np.ndarray | None]
"""Name, file, pixels (H, W, 1 | 3) and alpha (H, W) or None."""


def kind(colour: int, depth: int) -> str:
    return f"{colour}{LETTERS[colour]}{depth:02}"


def palette(depth: int) -> np.ndarray:
    return np.random.default_rng(depth).integers(0, 256, (2**depth, 3)).astype(np.uint8)


def case(name: str, colour: int, depth: int, extra: bytes = b"", key: bytes = b"", size: int = 32, **how: Any) -> Case:
    """A square of random samples. extra: chunks before PLTE. key: the contents of tRNS."""
    samples = random_samples(colour, depth, (size, size))
    if key and colour != 3:
        samples[size // 2 :] = np.frombuffer(key, ">u2")  # so that there is something transparent
    chunks = extra + (chunk(b"PLTE", palette(depth).tobytes()) if colour == 3 else b"")
    data = make_png(samples, colour, depth, extra=chunks + (chunk(b"tRNS", key) if key else b""), **how)
    if colour == 3:
        table = np.frombuffer(key.ljust(2**depth, b"\xff"), np.uint8)
        return name, data, palette(depth)[samples[..., 0]], table[samples[..., 0]] if key else None
    full = samples.astype(np.uint16) if depth == 16 else (samples * (255 // (2**depth - 1))).astype(np.uint8)
    if colour in (4, 6):
        return name, data, full[..., :-1], full[..., -1]
    opaque = (samples != np.frombuffer(key, ">u2")).any(-1) if key else None
    return name, data, full, None if opaque is None else (opaque * np.iinfo(full.dtype).max).astype(full.dtype)


def good() -> Iterator[Case]:
    """Every kind that can be read."""
    for colour, depth in KINDS:
        yield case(f"basn{kind(colour, depth)}", colour, depth)
        yield case(f"basi{kind(colour, depth)}", colour, depth, interlaced=True)
    for size in range(1, 41):
        depth = 1 if size < 3 else 2 if size < 8 else 4
        for letter in "in":
            yield case(f"s{size:02}{letter}3p{depth:02}", 3, depth, size=size, interlaced=letter == "i")
    for letter, colour, depth in (("g", 4, 16), ("w", 6, 8), ("y", 6, 8), ("a", 4, 8), ("b", 4, 8), ("a", 6, 16)):
        ground = chunk(b"bKGD", struct.pack(f">{CHANNELS[colour] - 1}H", *[1] * (CHANNELS[colour] - 1)))
        yield case(f"bg{letter}n{kind(colour, depth)}", colour, depth, ground)
    for colour, depth, key in (
        *((0, depth, b"\0\1") for depth in (1, 2, 4, 8)),
        (0, 16, b"\x12\x34"),
        (2, 8, b"\0\x10\0\x20\0\x30"),
        (2, 16, b"\x01\x10\x02\x20\x03\x30"),
        *((3, depth, bytes(range(0, 256, 256 >> depth))[1:]) for depth in (1, 2, 4, 8)),
        (3, 8, b"\0"),
    ):
        for letter in "in":
            name = f"tp{len(key)}{letter}{kind(colour, depth)}"
            yield case(name, colour, depth, key=key, interlaced=letter == "i")
    for gamma in (35000, 45000, 55000, 70000, 100000, 250000):
        for colour, depth in ((0, 16), (2, 8), (3, 4)):
            chunks = chunk(b"gAMA", struct.pack(">I", gamma))
            yield case(f"g{gamma // 10000:02}n{kind(colour, depth)}", colour, depth, chunks)
    for number in range(5):
        for colour, depth in KINDS:
            yield case(f"f{number:02}n{kind(colour, depth)}", colour, depth, filters=(number,))
    for colour, depth in KINDS:
        yield case(f"f99i{kind(colour, depth)}", colour, depth, filters=(4, 2, 0, 3, 1), interlaced=True)
    for depth in (8, 16):
        suggested = b"six\0" + bytes([depth]) + bytes(6 * (depth // 2 + 2))
        for colour in (0, 2):
            yield case(f"ps{depth // 8}n{kind(colour, 16)}", colour, 16, chunk(b"sPLT", suggested))
        yield case(f"pp0n{kind(6, depth)}", 6, depth, chunk(b"PLTE", palette(4).tobytes()))
        yield case(f"pp0n{kind(2, depth)}", 2, depth, chunk(b"PLTE", palette(4).tobytes()))
    chromaticities = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    text = b"Title\0PngSuite"
    for name, colour, depth, chunks in (
        ("ccwn", 2, 8, chunk(b"cHRM", chromaticities)),
        ("ccwn", 3, 8, chunk(b"cHRM", chromaticities)),
        ("cdfn", 2, 8, chunk(b"pHYs", struct.pack(">IIB", 1, 4, 0))),
        ("cdun", 2, 8, chunk(b"pHYs", struct.pack(">IIB", 1000, 1000, 1))),
        ("cm9n", 0, 4, chunk(b"tIME", struct.pack(">HBBBBB", 1999, 12, 31, 23, 59, 59))),
        ("cm0n", 0, 4, chunk(b"tIME", bytes(7))),
        ("cs3n", 3, 8, chunk(b"sBIT", bytes([3, 3, 3]))),
        ("cs5n", 2, 8, chunk(b"sBIT", bytes([5, 5, 5]))),
        ("cs3n", 2, 16, chunk(b"sBIT", bytes([13, 13, 13]))),
        ("ct1n", 0, 4, chunk(b"tEXt", text) + chunk(b"tEXt", b"Author\0Someone")),
        ("ctzn", 0, 4, chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"PngSuite"))),
        ("cthn", 0, 4, chunk(b"iTXt", "Title\0\0\0hi\0शीर्षक\0PngSuite".encode())),
    ):
        yield case(name + kind(colour, depth), colour, depth, chunks)
    yield case("ctbn0g04", 0, 4, after=chunk(b"tEXt", text))
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0"
    yield case("exif2c08", 2, 8, chunk(b"eXIf", exif))
    for name, split in (("oi1", None), ("oi2", 1000), ("oi4", 500), ("oi9", 1)):
        for colour in (0, 2):
            yield case(f"{name}n{kind(colour, 16)}", colour, 16, split=split)
    for level in (0, 3, 6, 9):
        yield case(f"z{level:02}n2c08", 2, 8, level=level)
    for place in (33, -12):  # chunks of no bytes among those of the data
        name, data, pixels, alpha = case(f"empty data at {place}", 6, 16, split=100)
        yield name, data[:place] + chunk(b"IDAT", b"") + data[place:], pixels, alpha


def broken() -> dict[str, bytes]:
    """Every kind that is damaged, and some more."""
    data = make_png(random_samples(2, 8), 2, 8)
    header, body, end = data[8:33], data[33:-12], data[-12:]
    found = {
        "xs1n0g01": b"\x88" + data[1:],
        "xs2n0g01": b"\x89QNG" + data[4:],
        "xs4n0g01": data[:4] + b"\n\r\x1a\n" + data[8:],
        "xs7n0g01": data[:6] + b"\0" + data[7:],
        "xcrn0g04": data.replace(b"\n", b"\r\n"),
        "xlfn0g04": data.replace(b"\r\n", b"\n"),
        "xhdn0g08": data[:30] + b"\0" + data[31:],
        "xcsn0g01": data[:-13] + bytes([data[-13] ^ 1]) + end,
        "xdtn0g01": SIGNATURE + header + end,
        "no header": SIGNATURE + body + end,
        "twice the header, no data": SIGNATURE + header * 2 + end,
        "no palette": make_png(random_samples(3, 8), 3, 8),
    }
    sizes = {"0 x 11": (0, 11), "13 x 0": (13, 0), "2^31 x 11": (2**31, 11)}
    kinds = {"xc1": (1, 8), "xc9": (9, 8), "xd0": (2, 0), "xd3": (0, 3), "xd9": (2, 99), "16-bit palette": (3, 16)}
    changed = {name: (*size, 8, 2) for name, size in sizes.items()}
    changed |= {name: (13, 11, depth, colour) for name, (colour, depth) in kinds.items()}
    for name, fields in changed.items():
        found[name] = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", *fields, 0, 0, 0)) + body + end
    for method in (1, 2):  # of filters and interlacing
        unknown = [*struct.unpack(">IIBBBBB", header[8:21])]
        unknown[4 + method] = 9
        found[f"method {method}"] = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", *unknown)) + body + end
    lines = bytearray(packed(random_samples(2, 8), 8))
    lines[0] = 5
    found["unknown filter"] = SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(lines))) + end
    return found
