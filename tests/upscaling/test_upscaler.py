"""The public class on a tiny random model: kinds of image, options, tiles, memory, determinism."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpnsr import imaging
from lpnsr.errors import ConfigError, InputError, LpnsrError, LpnsrWarning
from lpnsr.imaging import Photo
from lpnsr.system import memory
from lpnsr.upscaling.upscaler import Upscaler, fidelity_controls
from support.tiny_model import tiny_upscaler


@pytest.fixture(scope="module")
def up() -> Upscaler:
    return tiny_upscaler()


def picture(height: int = 20, width: int = 28, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
def test_arrays_come_back_in_their_kind(up: Upscaler, dtype: type, shape: tuple[int, ...]) -> None:
    unit = np.random.default_rng(1).random(shape)
    array = (unit * (np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)).astype(dtype)
    out = up(array)
    assert out.dtype == dtype
    assert out.shape == (36, 28, *shape[2:])


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 9, 7), (2, 3, 9, 7), (1, 4, 9, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_tensors_come_back_in_their_kind(up: Upscaler, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    unit = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    out = up((unit * 255).to(dtype) if dtype == torch.uint8 else unit.to(dtype))
    assert out.dtype == dtype
    assert tuple(out.shape) == (*shape[:-2], 36, 28)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pil_images_come_back_as_pil_images(up: Upscaler, mode: str) -> None:
    image = Image.new("I;16", (7, 9), 30000) if mode == "I;16" else Image.fromarray(picture(9, 7)).convert(mode)
    out = up(image)
    assert out.size == (28, 36)
    assert out.mode == {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(mode, mode)


def test_a_path_and_a_photo_agree(up: Upscaler, tmp_path: Path) -> None:
    path = tmp_path / "ünïcode name.png"
    Image.fromarray(picture()).save(path)
    photo = up.upscale_photo(imaging.read(path))
    assert isinstance(photo, Photo)
    np.testing.assert_array_equal(np.asarray(up(path)), photo.pixels)
    np.testing.assert_array_equal(np.asarray(up(str(path))), photo.pixels)


def test_float_and_integer_input_agree(up: Upscaler) -> None:
    array = picture()
    assert np.abs(up(array) / 255 - up(array / 255.0)).max() < 0.6 / 255


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"scale": 2}, (40, 56)),
        ({"scale": 3.5}, (70, 98)),
        ({"scale": 0.1}, (2, 3)),
        ({"width": 100}, (71, 100)),
        ({"height": 50}, (50, 70)),
        ({"width": 31, "height": 33}, (33, 31)),
        ({"max_side": 60}, (43, 60)),
    ],
)
def test_any_output_size(up: Upscaler, options: dict[str, float], size: tuple[int, int]) -> None:
    assert up(picture(), **options).shape == (*size, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (17, 5)])
def test_every_input_size_from_one_pixel(up: Upscaler, size: tuple[int, int]) -> None:
    assert up(picture(*size)).shape == (size[0] * 4, size[1] * 4, 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.full((4, 4, 3), np.nan, np.float32), "finite"),
        (np.full((4, 4, 3), 200.0, np.float32), r"\[0, 1\]"),
        (torch.zeros(5, 4, 4), "shape"),
        ([1, 2], "list"),
    ],
)
def test_unusable_images_are_refused(up: Upscaler, image: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        up(image)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fidelity": 1.5}, "fidelity"),
        ({"noise": "predicte"}, "noise"),
        ({"steps": 5}, "steps|start"),
        ({"steps": -1}, "steps"),
        ({"seed": -1}, "seed"),
        ({"tile": 3}, "tile"),
        ({"scale": 0}, "scale"),
        ({"scale": 2, "width": 9}, "choose one of"),
        ({"color_fix": "none"}, "colour_fix"),
    ],
)
def test_wrong_options_are_named(up: Upscaler, options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        up(picture(4, 4), **options)


def test_same_seed_same_bits_other_seed_other_image(up: Upscaler) -> None:
    first, again, other = up(picture()), up(picture()), up(picture(), seed=1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.05


def test_tiles_change_little_and_draw_the_same_noise(up: Upscaler) -> None:
    image = picture(150, 70) // 4 + 90
    whole = up(image, tile=0).astype(int)
    for tile in (64, 96, 128):
        difference = np.abs(whole - up(image, tile=tile))
        assert difference.mean() < 0.5
        assert difference.max() <= 8  # the context that a tile's network sees ends somewhere


@pytest.mark.parametrize("option", [{"noise": "mode"}, {"noise": "gaussian"}, {"steps": 2}, {"steps": 1}, {"steps": 0}])
def test_chain_options_have_an_effect(up: Upscaler, option: dict[str, object]) -> None:
    assert (up(picture(), **option) != up(picture())).mean() > 0.02


def test_starts_differ(up: Upscaler) -> None:
    assert (up(picture(), start="bicubic") != up(picture())).mean() > 0.1


def test_colour_fix_restores_the_mean(up: Upscaler) -> None:
    lr = picture(32, 32) // 2
    for fix in ("wavelet", "adain"):
        assert abs(up(lr, colour_fix=fix).mean() - lr.mean()) < 2
    assert abs(up(lr, colour_fix="none").mean() - lr.mean()) > 2


def test_gray_stays_gray_and_alpha_is_kept(up: Upscaler) -> None:
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:12, 4:12] = 255
    photo = up.upscale_photo(Photo(np.full((16, 16, 1), 90, np.uint8), alpha))
    assert photo.pixels.shape == (64, 64, 1)
    assert photo.alpha is not None
    assert photo.alpha[32, 32] == 255
    assert photo.alpha[2, 2] == 0


def test_callback_sees_every_step_and_tile(up: Upscaler) -> None:
    seen = []
    up(picture(70, 40), tile=48, callback=seen.append)
    tiles = [p for p in seen if p.step is None]
    assert [p.done for p in tiles] == list(range(1, tiles[0].total + 1))
    assert [p.step.t for p in seen if p.step][:4] == [4, 3, 2, 1]


def test_a_tile_that_is_not_finite_is_computed_again_in_float32() -> None:
    up = tiny_upscaler("bfloat16")
    decode = up.restorer.decode

    def broken(z: torch.Tensor) -> torch.Tensor:
        image = decode(z)
        return image * float("nan") if image.dtype == torch.bfloat16 else image

    up.restorer.decode = broken  # type: ignore[method-assign]
    with pytest.warns(LpnsrWarning, match="float32"):
        out = up(picture())
    np.testing.assert_array_equal(out, tiny_upscaler()(picture()))


def test_damaged_weights_are_an_error() -> None:
    up = tiny_upscaler()
    torch.nn.init.constant_(up.restorer.autoencoder.decoder[0].bias, float("nan"))
    with pytest.raises(LpnsrError, match="damaged"):
        up(picture())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("gpu"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_tile_and_goes_on(error: Exception) -> None:
    up = tiny_upscaler()
    restore = up.restorer.restore
    sizes = []

    def limited(lr: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        sizes.append(max(lr.shape[-2:]))
        if sizes[-1] > 40 and len(sizes) > 2:  # the first rows of tiles fit
            raise error
        return restore(lr, *args, **kwargs)

    image = picture(150, 60) // 4 + 90
    whole = up(image).astype(int)
    up.restorer.restore = limited  # type: ignore[method-assign]
    seen = []
    with pytest.warns(LpnsrWarning, match="out of memory: going on with tiles of 32 px"):
        out = up(image, tile=64, callback=seen.append)
    assert sizes[:3] == [64] * 3
    assert sizes.count(64) == 3  # it is not tried again
    assert np.abs(out - whole).mean() < 1
    assert [p.done for p in seen if p.step is None] == list(range(1, seen[-1].total + 1))


def test_the_tile_is_halved_as_often_as_needed() -> None:
    up = tiny_upscaler()
    assert up.usual_tile > 100  # measured by a run of its own
    restore, sizes = up.restorer.restore, []

    def limited(lr: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        sizes.append(max(lr.shape[-2:]))
        if sizes[-1] > 30:
            raise torch.OutOfMemoryError("gpu")
        return restore(lr, *args, **kwargs)

    up.restorer.restore = limited  # type: ignore[method-assign]
    with pytest.warns(LpnsrWarning, match="out of memory"):
        assert up(picture(64, 40)).shape == (256, 160, 3)
    assert sizes[:3] == [64, 32, 16]
    assert max(sizes[3:]) <= 16


def test_out_of_memory_at_the_smallest_tile_is_an_error() -> None:
    up = tiny_upscaler()
    assert up.usual_tile > 100  # measured by a run of its own

    def never(*args: object, **kwargs: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("gpu")

    up.restorer.restore = never  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LpnsrWarning)
        with pytest.raises(LpnsrError, match="out of memory"):
            up(picture(100, 60))


def test_automatic_tiles_do_not_follow_the_free_memory_but_respect_it(monkeypatch: pytest.MonkeyPatch) -> None:
    up = tiny_upscaler()
    assert up.usual_tile > 100  # measured by a run of its own
    restore, sizes = up.restorer.restore, []

    def watched(lr: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        sizes.append(tuple(lr.shape[-2:]))
        return restore(lr, *args, **kwargs)

    up.restorer.restore = watched  # type: ignore[method-assign]
    outputs = []
    for free in (64 * 10**9, 8 * 10**9):
        monkeypatch.setattr(memory, "available_memory", lambda device, free=free: free)
        outputs.append(up(picture(60, 100)))
    monkeypatch.setattr(memory, "available_memory", lambda device: 10**6)
    with pytest.warns(
        LpnsrWarning, match="usual for this model.*tiles of 16 px, which takes longer and may change the result"
    ):
        outputs.append(up(picture(60, 100)))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert sizes[:2] == [(60, 100)] * 2
    assert max(sizes[-1]) < 60


def test_fidelity_controls_are_monotone() -> None:
    controls = [fidelity_controls(i / 20) for i in range(21)]
    assert controls == sorted(controls, key=lambda c: (-c[0], c[1]))
    assert controls[0] == (1.0, 0.0)
    assert controls[-1] == (0.0, 1.0)


def test_saved_and_loaded_it_gives_the_same_bits(up: Upscaler, tmp_path: Path) -> None:
    up.save_pretrained(tmp_path / "model")
    again = Upscaler.from_pretrained(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again(picture()), up(picture()))


@pytest.mark.parametrize(("device", "dtype"), [("warp", "auto"), ("cpu", "float8")])
def test_wrong_device_or_dtype(device: str, dtype: str, tmp_path: Path) -> None:
    tiny_upscaler().save_pretrained(tmp_path / "m")
    with pytest.raises(ConfigError, match=f"{device}|{dtype}"):
        Upscaler.from_pretrained(tmp_path / "m", device=device, dtype=dtype)
