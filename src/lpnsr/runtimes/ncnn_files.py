"""Convolutional networks as files of ncnn: ``.param``, the layers as text, and ``.bin``, their weights.

A network is called with ``Blob`` objects in the place of tensors, and every operation on them adds a layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.errors import ConfigError

_MAGIC = "7767517"
_SINGLE, _HALF = bytes(4), (0x01306B47).to_bytes(4, "little")  # precision of the weights that follow
_PADDINGS = {"constant": 0, "replicate": 1}
_ENLARGEMENTS = {"nearest": 1, "bilinear": 2}


@dataclass
class _Layer:
    kind: str
    inputs: tuple[Blob, ...]
    parameters: str
    weights: bytes = b""


@dataclass(eq=False)
class Blob:
    """The output of the last of ``layers``. parts: what it is a concatenation of."""

    layers: list[_Layer]
    parts: tuple[Blob, ...] = ()
    device, dtype = torch.device("cpu"), torch.float32  # which networks ask for
    number: int = field(init=False)
    _padded: dict[object, Blob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.number = len(self.layers) - 1

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _OPERATIONS:
            raise ConfigError(f"ncnn gets no layer for {getattr(func, '__name__', func)}")
        return _OPERATIONS[func](*args, **(kwargs or {}))

    def __add__(self, other: Blob) -> Blob:
        return self.then("Eltwise", "0=1", other)

    add_ = __add__

    def then(self, kind: str, parameters: str, *others: Blob, weights: bytes = b"") -> Blob:
        """Add a layer that takes this blob and ``others``, and return its output."""
        self.layers.append(_Layer(kind, (self, *others), parameters, weights))
        return Blob(self.layers)

    def padded(self, sides: tuple[int, ...], mode: str) -> Blob:
        """Pad by ``sides`` (left, right, top, bottom). Maps are padded before they are concatenated: each only once."""
        if not any(sides):
            return self
        if (sides, mode) not in self._padded:
            left, right, top, bottom = sides
            self._padded[sides, mode] = (
                _concatenate([part.padded(sides, mode) for part in self.parts])
                if self.parts
                else self.then("Padding", f"0={top} 1={bottom} 2={left} 3={right} 4={_PADDINGS[mode]}")
            )
        return self._padded[sides, mode]


def write_ncnn(net: nn.Module, inputs: int, path: Path) -> None:
    """Write the layers of ``net``, called with so many blobs, to ``path`` and their weights to the ``.bin`` beside it.

    ``net`` returns a tuple. Raises ConfigError for an operation that gets no layer.
    """
    layers: list[_Layer] = []
    blobs = []
    for _ in range(inputs):
        layers.append(_Layer("Input", (), ""))
        blobs.append(Blob(layers))
    with torch.no_grad():
        outputs = [blob.then("Noop", "") for blob in net(*blobs)]  # the last layers, in the order of the outputs
    used: set[int] = set()
    pending = [blob.number for blob in outputs]
    while pending:
        number = pending.pop()
        used.add(number)
        pending += [blob.number for blob in layers[number].inputs if blob.number not in used]
    kept = {number: layers[number] for number in sorted(used)}
    lines = list(_lines(kept))
    names = {name for line in lines for name in line.split()[4 : 4 + sum(map(int, line.split()[2:4]))]}
    path.write_text("\n".join([_MAGIC, f"{len(lines)} {len(names)}", *lines]) + "\n")
    with path.with_suffix(".bin").open("wb") as file:
        file.writelines(layer.weights for layer in kept.values())


def _lines(layers: dict[int, _Layer]) -> Iterator[str]:
    """List the layers as text. A blob that several layers take is split: in ncnn each blob is for one layer."""
    uses = Counter(blob.number for layer in layers.values() for blob in layer.inputs)
    taken: Counter[int] = Counter()
    for number, layer in layers.items():
        names = []
        for blob in layer.inputs:
            names.append(f"{blob.number}.{taken[blob.number]}" if uses[blob.number] > 1 else str(blob.number))
            taken[blob.number] += 1
        yield " ".join([layer.kind, f"layer{number}", f"{len(names)} 1", *names, str(number), layer.parameters])
        if uses[number] > 1:
            copies = [f"{number}.{index}" for index in range(uses[number])]
            yield " ".join(["Split", f"split{number}", f"1 {len(copies)}", str(number), *copies])


def _convolve(
    x: Blob,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: int | Sequence[int] = 0,
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Blob:
    if tuple(stride) != (1, 1) or tuple(dilation) != (1, 1) or groups != 1:
        raise ConfigError("ncnn gets no layer for a convolution with a stride, dilation or groups")
    vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding
    x = x.padded((horizontal, horizontal, vertical, vertical), "constant")
    outputs, _, height, width = weight.shape
    parameters = f"0={outputs} 1={width} 11={height} 5={int(bias is not None)} 6={weight.numel()}"
    return x.then("Convolution", parameters, weights=_stored(weight) + (b"" if bias is None else _bytes(bias.float())))


def _stored(weight: Tensor) -> bytes:
    """Return the weights in half precision, if that is exact."""
    half = weight.half()
    if not torch.equal(half.to(weight.dtype), weight):
        return _SINGLE + _bytes(weight.float())
    stored = _bytes(half)
    return _HALF + stored + bytes(-len(stored) % 4)


def _bytes(values: Tensor) -> bytes:
    return values.detach().contiguous().numpy().tobytes()


def _leaky(x: Blob, negative_slope: float = 0.01, inplace: bool = False) -> Blob:
    layer = x.layers[x.number]
    if not inplace or layer.kind != "Convolution":
        return x.then("ReLU", f"0={negative_slope}")
    layer.parameters += f" 9=2 -23310=1,{negative_slope}"  # nothing else sees what is computed in place
    return x


def _concatenate(blobs: Sequence[Blob], dim: int = 0) -> Blob:
    flat = tuple(part for blob in blobs for part in (blob.parts or (blob,)))
    joined = flat[0].then("Concat", "0=0", *flat[1:])
    joined.parts = flat
    return joined


def _enlarge(x: Blob, size: None = None, scale_factor: float = 2.0, mode: str = "nearest", **_: object) -> Blob:
    return x.then("Interp", f"0={_ENLARGEMENTS[mode]} 1={scale_factor} 2={scale_factor}")


_OPERATIONS: dict[Any, Callable[..., Blob]] = {
    F.conv2d: _convolve,
    F.pad: lambda x, pad, mode="constant", value=None: x.padded(tuple(pad), mode),
    F.leaky_relu: _leaky,
    F.silu: lambda x, inplace=False: x.then("Swish", ""),
    F.interpolate: _enlarge,
    F.pixel_shuffle: lambda x, upscale_factor: x.then("PixelShuffle", f"0={upscale_factor}"),
    torch.cat: _concatenate,
    torch.add: lambda x, other, alpha=1.0: x.then("Eltwise", f"0=1 -23301=2,1.0,{alpha}", other),
}
