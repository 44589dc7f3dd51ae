"""What is planned by the memory there is: tiles, and what lies on a disk."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lpnsr.diffusion import Schedule
from lpnsr.errors import ConfigError, InputError, LpnsrWarning
from lpnsr.networks import BicubicUpsampler, build
from lpnsr.system import memory
from lpnsr.upscaling.files import Buffers
from lpnsr.upscaling.kinds import Planes
from lpnsr.upscaling.lr_rows import LrRows
from lpnsr.upscaling.memory import (
    SMALLEST_TILE,
    MemoryPlan,
    best_plan,
    bytes_per_pixel,
    is_out_of_memory,
    ladder,
    usual_tile,
)
from lpnsr.upscaling.options import Options
from lpnsr.upscaling.planning import Planner
from lpnsr.upscaling.restorer import Restorer
from lpnsr.upscaling.upscaler import Upscaler
from support.tiny_model import NETWORKS, tiny_upscaler

GIB = 2**30


def test_the_usual_tile_follows_the_cost_of_the_model_alone() -> None:
    assert [usual_tile(cost) for cost in (1, 4480, 16384, 41536, 49740, 10**7)] == [512, 512, 256, 224, 192, 64]


@pytest.mark.parametrize(
    ("value", "size"), [("2G", 2 * GIB), ("1.5g", 3 * GIB // 2), ("700M", 700 << 20), ("1 GiB", GIB), (12345, 12345)]
)
def test_sizes_of_memory(value: int | str, size: int) -> None:
    assert memory.parse_memory(value) == size


@pytest.mark.parametrize("value", ["", "2", "G", "-1G", "0G", "2X", "1..5G", 0, -5])
def test_what_is_no_size(value: int | str) -> None:
    with pytest.raises(ConfigError, match="2G"):
        memory.parse_memory(value)


def test_a_smaller_tile_or_the_disk_where_memory_is_short() -> None:
    def needed(tile: int, on_disk: bool) -> int:
        return tile**2 * 1000 + (0 if on_disk else tile * 10**6)

    def best(room: int) -> tuple[int, bool]:
        work = best_plan(ladder(192), needed, room, 7)
        assert work.needed == needed(work.tile, work.on_disk)
        assert work.rows == 7
        return work.tile, work.on_disk

    fits = needed(192, False)
    assert [best(room) for room in (10 * fits, fits, fits - 1)] == [(192, False), (192, False), (192, True)]
    assert best(needed(192, True) - 1) == (128, True)
    assert best(0) == (SMALLEST_TILE, True)


def planner(cost: int = 1000, memory: int | None = None, base: int = 0) -> Planner:
    up = tiny_upscaler()
    made = Planner(up.restorer, up.spec.inference, up.device, memory)
    made.__dict__ |= {"pixel_bytes": cost, "base": base}
    return made


def planned(made: Planner, height: int, width: int, held: int = 0, **options: Any) -> MemoryPlan:
    lr = LrRows(height, width, iter(()))
    return made.work(lr, Options(**options), held=held, sample_bytes=1)


def test_the_free_memory_changes_no_tile_while_it_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(free: float, **options: Any) -> MemoryPlan:
        monkeypatch.setattr(memory, "available_memory", lambda device: int(free))
        return planned(planner(), 700, 700, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        most = work(1e12)
        assert {work(free) for free in (most.needed / 0.79, 1e10)} == {most}
        assert (most.tile, most.on_disk) == (512, False)
        tight = work(most.needed / 0.81)
        assert (tight.tile, tight.on_disk) == (512, True)
        assert work(0, tile=300).tile == 300
    with pytest.warns(LpnsrWarning, match=r"tiles of 512 px.* going on with tiles of 256 px.*tile=256"):
        assert work(tight.needed / 0.81).tile == 256


def test_what_was_allowed_is_for_the_whole_process() -> None:
    most = planned(planner(memory=10**12, base=5 * 10**8), 700, 700)
    needed = most.needed + 5 * 10**8
    assert planned(planner(memory=needed, base=5 * 10**8), 700, 700) == most
    assert planned(planner(memory=needed - 1, base=5 * 10**8), 700, 700).on_disk
    assert planned(planner(memory=needed + 100, base=5 * 10**8), 700, 700, held=101).on_disk
    with pytest.raises(
        InputError, match=r"memory = 572 MiB .* tiles of 16 px need \d+ MiB, 477 of them .*; allow more$"
    ):
        planned(planner(memory=6 * 10**8, base=5 * 10**8), 700, 700)
    with pytest.raises(InputError, match=r"tiles of 512 px need .* or smaller tiles$"):
        planned(planner(memory=7 * 10**8, base=5 * 10**8), 700, 700, tile=512)


@pytest.mark.filterwarnings("ignore::lpnsr.errors.LpnsrWarning")
@pytest.mark.parametrize("width", [8, 500, 20000])
def test_the_plan_of_an_image_does_not_grow_with_its_height(width: int) -> None:
    made = planner(cost=4480, memory=2 * GIB, base=800 << 20)
    plans = [planned(made, height, width) for height in (2000, 20000, 10**6)]
    assert len({(work.tile, work.on_disk) for work in plans[1:]}) == 1
    assert max(work.needed for work in plans) <= 2 * GIB - made.base


def test_decoding_and_adain_count() -> None:
    made = planner(memory=10**12)
    lr = LrRows(700, 700, iter(()))
    plain = planned(made, 700, 700)
    assert made.work(lr, Options(), held=5, sample_bytes=1, decoding=10**10).needed == 10**10 + 5
    assert planned(made, 700, 700, colour_fix="adain").needed - plain.needed == 12 * 16 * 700**2


def test_much_work_lies_on_a_disk_whatever_memory_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 10**12)
    small, large = planned(planner(), 9000, 4000), planned(planner(), 9000, 40000)
    assert (small.tile, small.on_disk, large.tile, large.on_disk) == (512, False, 512, True)
    assert large.needed < 5 * GIB // 2
    assert not planned(planner(), 9000, 4000, held=100 * GIB).on_disk  # what the caller keeps is not the work


def test_files_that_cannot_be_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 3 * GIB)
    planner().check_files(3 * GIB)
    with pytest.raises(InputError, match=r"takes 4\.0 GiB, and 3\.0 GiB are free; PNG and TIFF"):
        planner().check_files(4 * GIB)
    monkeypatch.setattr(memory, "available_memory", lambda device: 0)
    planner().check_files(GIB)  # the figure is an estimate


def test_the_memory_of_the_process_is_measured() -> None:
    up = tiny_upscaler()
    base = Planner(up.restorer, up.spec.inference, up.device).base
    assert base % (64 << 20) == 0
    assert 100 << 20 < base < 8 * GIB


NETS = [({"type": "vq_autoencoder", "embed_dim": 4, "codebook_size": 8}, 100), (NETWORKS["autoencoder"], 64)]


@pytest.mark.parametrize(("autoencoder", "channels"), NETS)
def test_the_cost_is_what_is_alive_at_once(autoencoder: dict[str, Any], channels: int) -> None:
    parts = {name: build(config) for name, config in (NETWORKS | {"autoencoder": autoencoder}).items()}
    restorer = Restorer(Schedule.geometric(steps=4, kappa=0.5), **parts)
    cost = bytes_per_pixel(restorer)
    assert 2 * 4 * channels < cost < 50000
    assert not any(parameter.is_meta for parameter in restorer.parameters())
    assert bytes_per_pixel(restorer) == cost


def test_of_a_chain_of_layers_two_tensors_are_alive() -> None:
    class Chain(torch.nn.Module):
        def upsample(self, lr: torch.Tensor) -> tuple[torch.Tensor, None]:
            x = lr.repeat(1, 10, 4, 4)
            for _ in range(5):
                x = x * 2
            return x[:, :3], None

    up = tiny_upscaler()
    up.restorer.upsampler = Chain()
    assert bytes_per_pixel(up.restorer) == 4 * 2 * 30 * 16


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (OSError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_recognised(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) == is_it


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (37, 41)])
def test_parts_of_the_bicubic_enlargement_are_those_of_the_whole_bit_for_bit(height: int, width: int) -> None:
    rgb = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    net = BicubicUpsampler()
    whole = net(rgb[None])[0]
    for rows, columns in ((1, 9), (10, 64), (64, 3)):
        reader = LrRows.of_planes(Planes(rgb)).reader()
        for top in range(0, 4 * height, 7):
            for left in range(0, 4 * width, 13):
                bottom, right = min(4 * height, top + rows), min(4 * width, left + columns)
                part = reader.bicubic(net, top, bottom, left, right)
                assert torch.equal(part, whole[:, top:bottom, left:right])


@pytest.mark.parametrize("name", ["lite", "base"])
def test_a_bundled_model_says_what_its_tiles_take(name: str) -> None:
    up = Upscaler.from_pretrained(name, device="cpu")
    assert up.spec.inference.pixel_bytes == bytes_per_pixel(up.restorer)


def test_a_small_image_is_upscaled_without_the_compiler_of_torch(tmp_path: Path) -> None:
    code = """
        import sys
        import numpy as np
        from PIL import Image
        from lpnsr import Upscaler
        Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save("a.png")
        Upscaler.from_pretrained("lite", device="cpu").upscale_file("a.png", "b.png")
        heavy = ("torch._dynamo", "torch.utils.flop_counter", "triton", "sympy", "tifffile", "cv2", "torchvision")
        heavy += ("spandrel", "onnx", "ncnn", "huggingface_hub")
        print([name for name in heavy if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("memory", "buffers"), [("2000G", Buffers(frugal=True)), ("1G", Buffers(1 << 23, 1 << 24, True))]
)
def test_what_waits_around_the_model_takes_a_part_and_never_more_than_usual(memory: str, buffers: Buffers) -> None:
    assert Buffers.of(memory) == buffers
