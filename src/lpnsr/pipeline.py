"""``Upscaler``: an image of any kind in, the same kind at any scale out.

    tiles -> restorer (upsample -> encode -> chain -> decode) -> blend -> colour fix -> resample

The model works at 4x; other scales are resampled from that, antialiased. Randomness comes from a noise field that is
tied to absolute positions, so a result does not depend on tiles, batches or the order of files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lpnsr import checkpoints, imaging
from lpnsr.checkpoints import ModelSpec
from lpnsr.checkpoints.fitting import FACTOR as FACTOR
from lpnsr.config import StrictConfig
from lpnsr.devices import pick_device as pick_device
from lpnsr.devices import pick_dtype as pick_dtype
from lpnsr.diffusion import NoiseField, Schedule, StepState
from lpnsr.errors import CheckpointError, ConfigError, LpnsrError, LpnsrWarning
from lpnsr.imaging import Photo, TilePlan
from lpnsr.kinds import Pack, Planes, pack_photo, photo_planes, unpack
from lpnsr.memory import SMALLEST_TILE, affordable_tile, bytes_per_pixel, is_out_of_memory, usual_tile
from lpnsr.networks import BicubicUpsampler
from lpnsr.restoration import NoiseKind, Restorer, StartKind


class Options(StrictConfig):
    """What a caller can choose for one image; see ``Upscaler.__call__``."""

    scale: Annotated[float, Field(gt=0)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None
    max_side: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=0)] | None = None
    noise: NoiseKind = "predicted"
    fidelity: Annotated[float, Field(ge=0, le=1)] | None = None
    start: StartKind = "upsampler"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    tile: Annotated[int, Field(ge=SMALLEST_TILE)] | Literal[0, "auto"] = "auto"
    colour_fix: Literal["wavelet", "adain", "none"] = "wavelet"

    def output_size(self, size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the result for an input of ``size``; 4x unless something else was chosen."""
        sides = {"width": self.width, "height": self.height, "max_side": self.max_side}
        scale = float(FACTOR) if self.scale is None and not any(sides.values()) else self.scale
        return imaging.output_size((size[0], size[1]), scale=scale, **sides)


@dataclass(frozen=True)
class Progress:
    """State handed to a callback: ``done`` of ``total`` tiles, and the chain's step when one has just ended."""

    done: int
    total: int
    step: StepState | None = None


Callback = Callable[[Progress], None]


class Upscaler:
    """A model on a device. Not to be shared between threads while it runs."""

    def __init__(self, spec: ModelSpec, restorer: Restorer, device: str = "auto", dtype: str = "auto") -> None:
        self.spec = spec
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.restorer = restorer.eval().requires_grad_(False)
        self.restorer.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pixel_bytes: int | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "lite",
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Load ``lite`` (bundled), ``official`` (after ``lpnsr models download``), a model folder or a hub id.

        device: auto (cuda, mps, cpu in this order) or a torch device name. dtype: auto (bfloat16 on GPUs that have it,
        else float32), float32, bfloat16 or float16. Raises CheckpointError, ConfigError.
        """
        folder = checkpoints.resolve(str(model), revision=revision, cache_dir=cache_dir)
        loaded = checkpoints.load_folder(folder)
        parts = loaded.parts
        checkpoints.check_parts(parts, str(folder))
        restorer = Restorer(
            Schedule.geometric(**loaded.spec.chain.model_dump()),
            parts["autoencoder"],
            parts["denoiser"],
            parts.get("upsampler"),
            parts.get("noise_predictor"),
        )
        return cls(loaded.spec, restorer, device, dtype)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model as a folder that ``from_pretrained`` reads."""
        parts = {name: part for name, part in self.restorer.named_children() if name in checkpoints.PARTS}
        checkpoints.save_folder(Path(folder), self.spec, parts, overwrite=overwrite)

    def __call__(
        self,
        image: Any,
        *,
        scale: float | None = None,
        steps: int | None = None,
        noise: NoiseKind = "predicted",
        fidelity: float | None = None,
        seed: int = 0,
        tile: int | Literal["auto"] = "auto",
        callback: Callback | None = None,
        **options: Any,
    ) -> Any:
        """Upscale ``image`` and return it in the kind that was given (a path comes back as a PIL image).

        image: path, PIL image, Photo, array (H, W[, 1|3|4]) or tensor ([B,] 1|3|4, H, W); integers count to their full
            range, floats are in [0, 1]. A path or PIL image with an EXIF orientation is upscaled as it is displayed:
            the result is upright and no longer says that it is to be turned.
        scale: any positive factor, 4 by default; or ``width``, ``height`` or ``max_side`` in pixels instead. The
            output has exactly round(scale x input) pixels.
        steps: 1 up to the chain's number (default); fewer enter the chain late. 0 is the pre-upsampler alone.
        noise: predicted, mode (its mean: deterministic) or gaussian (ResShift). start: upsampler or bicubic.
        fidelity: 0 most perceptual .. 1 most faithful; None is the model's own choice.
        seed: same seed, same result.
        tile: LR pixels from 16, or 0 for the whole image. auto is the model's own: the same everywhere and always,
            unless so little memory is free that it has to be smaller, which an LpnsrWarning tells.
        colour_fix: wavelet, adain or none, once on the whole image.
        Raises ConfigError for options, InputError for images that cannot be used.
        """
        given = {
            "scale": scale,
            "steps": steps,
            "noise": noise,
            "fidelity": fidelity,
            "seed": seed,
            "tile": tile,
        }
        chosen = Options.parse(given | options, "upscale")
        images, pack = unpack(image)
        results = [self._upscale(planes, chosen, callback) for planes in images]
        return _pack_all(results, pack, image)

    def upscale_photo(self, photo: Photo, *, callback: Callback | None = None, **options: Any) -> Photo:
        """``__call__`` for a photo: depth, alpha and metadata are kept."""
        chosen = Options.parse(options, "upscale")
        return pack_photo(self._upscale(photo_planes(photo), chosen, callback), photo)

    @torch.inference_mode()
    def _upscale(self, planes: Planes, options: Options, callback: Callback | None) -> Planes:
        size = options.output_size(planes.rgb.shape[-2:])
        if (options.steps or 0) > self.restorer.schedule.steps:
            most = self.restorer.schedule.steps
            raise ConfigError(f"steps = {options.steps}: allowed are 0 (the pre-upsampler alone) to {most}")
        sr = self._fix_colours(self._restore(planes.rgb, options, callback), planes.rgb, options)
        alpha = None if planes.alpha is None else _resize(planes.alpha, size)
        return Planes(_resize(sr, size).clamp_(0, 1), alpha, planes.gray)

    def _fix_colours(self, sr: Tensor, lr: Tensor, options: Options) -> Tensor:
        if options.colour_fix == "none":
            return sr
        if options.colour_fix == "adain":
            return imaging.adain_colour_fix(sr[None], BicubicUpsampler()(lr[None]), out=sr[None])[0]
        return imaging.wavelet_colour_fix(sr[None], partial(_bicubic_rows, lr), out=sr[None])[0]

    def _restore(self, lr: Tensor, options: Options, callback: Callback | None) -> Tensor:
        """(3, h, w) -> (3, 4h, 4w) tile by tile; tiles that do not fit into memory are halved."""
        tile = self._tile_size(lr, options)
        while True:
            try:
                return self._restore_tiles(lr, tile, options, callback)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = (tile or max(lr.shape[-2:])) // 2
                if smaller < SMALLEST_TILE:
                    raise LpnsrError(
                        f"out of memory with tiles of {tile} px; close other programs or choose a smaller model"
                    ) from None
                tile = smaller
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            warnings.warn(f"out of memory: going on with tiles of {tile} px", LpnsrWarning, stacklevel=4)

    def plan(self, height: int, width: int, tile: int) -> TilePlan:
        """The tiles of a height x width LR image; small ones overlap by half instead of the model's usual overlap."""
        rules = self.spec.inference
        overlap = min(rules.tile_overlap, tile // 2)
        multiple = rules.tile_multiple
        while tile and tile // multiple * multiple - overlap < multiple:
            multiple //= 2  # ends at 1: the overlap is at most half
        return imaging.plan_tiles(height, width, tile=tile, overlap=overlap, multiple=multiple)

    def _tile_size(self, lr: Tensor, options: Options) -> int:
        """The tile that was asked for; for ``auto`` the model's usual one, smaller only where memory is short."""
        if options.tile != "auto":
            return options.tile
        height, width = lr.shape[-2:]
        cost = self._pixel_bytes = self._pixel_bytes or bytes_per_pixel(self.restorer)
        free = imaging.available_memory(self.device)
        if self.device.type != "cuda":  # else what is assembled lies elsewhere
            free = max(0, free - 4 * FACTOR**2 * lr.numel())

        def needed(tile: int) -> int:
            plan = self.plan(height, width, tile)
            return plan.rows.size * plan.columns.size * cost

        usual = usual_tile(cost)
        tile = affordable_tile(usual, needed, free)
        if tile < usual:
            warnings.warn(
                f"tiles of {usual} px, usual for this model, need {needed(usual) / 2**20:,.0f} MiB and "
                f"{free / 2**20:,.0f} MiB are left: going on with tiles of {tile} px, which may change the result a "
                f"little; -t {tile} or tile={tile} gives this result anywhere",
                LpnsrWarning,
                stacklevel=5,
            )
        return tile

    def _restore_tiles(self, lr: Tensor, tile: int, options: Options, callback: Callback | None) -> Tensor:
        height, width = lr.shape[-2:]
        plan = self.plan(height, width, tile)
        field = NoiseField(options.seed)
        blender = imaging.Blender(plan, scale=FACTOR)
        for done, box in enumerate(plan):

            def watch(state: StepState, done: int = done) -> None:
                if callback:
                    callback(Progress(done, len(plan), state))

            blender.add(self._restore_patch(box.crop(lr)[None], field, (box.top, box.left), options, watch))
            if callback:
                callback(Progress(done + 1, len(plan)))
        return blender.out

    def _restore_patch(
        self,
        patch: Tensor,
        field: NoiseField,
        offset: tuple[int, int],
        options: Options,
        watch: Callable[[StepState], None],
    ) -> Tensor:
        """(1, 3, h, w) -> (1, 3, 4h, 4w), both float32 on the CPU; computed again in float32 if not finite."""
        fidelity = self.spec.inference.fidelity if options.fidelity is None else options.fidelity
        temperature, mean_share, bicubic_share = fidelity_controls(fidelity)
        for dtype in (self.dtype, torch.float32):
            with self._precision(dtype):
                sr = self.restorer.restore(
                    patch.to(self.device).contiguous(memory_format=torch.channels_last),
                    field.draw([offset]),
                    steps=options.steps,
                    noise=options.noise,
                    temperature=temperature,
                    mean_share=mean_share,
                    bicubic_share=bicubic_share,
                    start=options.start,
                    callback=watch,
                )
            sr = sr.float().cpu()
            if bool(torch.isfinite(sr).all()):
                return sr
            if dtype == torch.float32:
                break
            warnings.warn(f"a tile was not finite in {dtype}: computed again in float32", LpnsrWarning, stacklevel=6)
        raise CheckpointError(
            "the model's output is not finite even in float32: its weights are damaged; run lpnsr models verify"
        )

    def _precision(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)


def fidelity_controls(fidelity: float) -> tuple[float, float, float]:
    """(noise temperature, share of the conditional mean, share of bicubic) of a fidelity in [0, 1].

    0..0.5 cools the predicted noise from a sample to its mode; 0.5..1 blends the result into the chain's first
    prediction of x_0, the closest to the conditional mean, and up to one half into the bicubic upsampling.
    """
    upper = max(0.0, 2 * fidelity - 1)
    return max(0.0, 1 - 2 * fidelity), upper, upper / 2


def _bicubic_rows(lr: Tensor, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of the bicubic enlargement (1, 3, 4h, 4w) of ``lr`` (3, h, w), which is never there whole."""
    reach = 2  # LR rows that bicubic interpolation sees beyond its own
    first, last = max(0, start // FACTOR - reach), min(lr.shape[1], -(-stop // FACTOR) + reach)
    return BicubicUpsampler()(lr[None, :, first:last])[..., start - first * FACTOR : stop - first * FACTOR, :]


def _resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) to another size, antialiased and then in [0, 1] (bicubic overshoots); of the same size, itself."""
    if tuple(planes.shape[1:]) == size:
        return planes
    pixels = planes.permute(1, 2, 0).numpy()
    return torch.from_numpy(imaging.resize(pixels, size)).permute(2, 0, 1).clamp_(0, 1)


def _pack_all(results: list[Planes], pack: Pack, image: Any) -> Any:
    if isinstance(image, Tensor) and image.ndim == 4:
        return torch.stack([pack(planes) for planes in results])
    return pack(results[0])
