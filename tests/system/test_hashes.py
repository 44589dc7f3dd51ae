"""Names of weights by their contents, which results that are kept are found by."""

from __future__ import annotations

import torch

from lpnsr.system.hashes import tensors_sha256


def test_it_is_the_same_in_every_version() -> None:
    tensors = {"b": torch.arange(6, dtype=torch.float16).view(2, 3), "a": torch.ones(())}
    assert tensors_sha256(tensors, "chain").startswith("62684d65d6f840e0")


def test_names_values_types_and_shapes_count() -> None:
    x = torch.arange(4.0)
    others = [{"y": x}, {"x": x + 1}, {"x": x.double()}, {"x": x.view(2, 2)}, {"x": x, "y": x}]
    hashes = {tensors_sha256(other) for other in ({"x": x}, *others)} | {tensors_sha256({"x": x}, "before")}
    assert len(hashes) == len(others) + 2
    strided = torch.arange(8.0)[::2] / 2
    assert tensors_sha256({"x": strided}) == tensors_sha256({"x": x})
