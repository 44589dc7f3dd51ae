"""``Upscaler``: an image of any kind in, the same kind at any scale out.

    LR rows -> tiles -> restorer (upsample -> encode -> chain -> decode) -> blend -> colour fix -> resample -> SR rows

The model works at its own scale, usually 4x; other scales are resampled from that, antialiased. All of it works on a
few rows at a time: what is whole in memory is only what a caller asks to be. Randomness comes from a noise field that
is tied to absolute positions, so a result does not depend on batches or the order of files.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from lpnsr import checkpoints, imaging, runtimes
from lpnsr.checkpoints import ModelSpec
from lpnsr.diffusion import Schedule
from lpnsr.errors import ConfigError, LpnsrError, LpnsrWarning
from lpnsr.imaging import InMemory, Photo, PhotoRows, TilePlan, Window
from lpnsr.networks import BicubicUpsampler, OtherStart
from lpnsr.networks.placement import settle
from lpnsr.system.devices import keep_freed_memory
from lpnsr.system.devices import pick_device as pick_device
from lpnsr.system.devices import pick_dtype as pick_dtype
from lpnsr.system.memory import parse_memory
from lpnsr.system.scratch import Scratch
from lpnsr.upscaling import files
from lpnsr.upscaling.kinds import Pack, Planes, pack_pixels, unpack
from lpnsr.upscaling.lr_rows import LrRows
from lpnsr.upscaling.memory import MemoryPlan, usual_tile
from lpnsr.upscaling.options import DEFAULT_MODEL, NoiseKind
from lpnsr.upscaling.options import Options as Options
from lpnsr.upscaling.planning import Planner, plan_model_tiles
from lpnsr.upscaling.progress import Callback as Callback
from lpnsr.upscaling.progress import Progress as Progress
from lpnsr.upscaling.restorer import Restorer, StartAlone
from lpnsr.upscaling.restorer import fidelity_controls as fidelity_controls
from lpnsr.upscaling.tiling import TileRestorer

Folder = str | os.PathLike[str] | None
Parts = dict[checkpoints.PartName, nn.Module]


class Upscaler:
    """A model on a device. Not to be shared between threads while it runs.

    memory: bytes, or a text such as "2G", that the process may hold in all (resident: Python, torch, the weights and
        the work); None is what is free on the machine. Where it is short, tiles are smaller and large images lie on the
        disk meanwhile. On a CPU, None also has the C library keep freed blocks for the process (``keep_freed_memory``
        of lpnsr.system.devices). Raises ConfigError for what is no size.
    """

    runtime: str = "torch"
    """Runtime of its networks, or of those that have left PyTorch."""

    def __init__(
        self,
        spec: ModelSpec,
        restorer: Restorer,
        device: str = "auto",
        dtype: str = "auto",
        *,
        memory: int | str | None = None,
    ) -> None:
        self.spec = spec
        self.memory = None if memory is None else parse_memory(memory)
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.restorer = restorer.eval().requires_grad_(False)
        settle(self.restorer, self.device, self.dtype)
        if self.device.type == "cpu" and self.memory is None:
            keep_freed_memory()
        self._planner = Planner(self.restorer, spec.inference, self.device, self.memory)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        start: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        runtime: str = "auto",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        memory: int | str | None = None,
    ) -> Self:
        """Load ``base``, ``lite`` (bundled), ``official`` (after ``lpnsr models download``), a folder or a hub id.

        A checkpoint file of any network that spandrel reads is a model without a chain, of its own scale. Files and
        folders in ``models`` in the cache folder are found by their names. start: such a file, whose network takes the
        place of the model's pre-upsampler; ``upsampler`` and ``bicubic`` are options of each call.
        device: auto (cuda, xpu, mps, cpu in this order) or a torch device name; with ncnn auto, cpu or vulkan:1.
        dtype: auto (bfloat16 on CUDA GPUs and CPUs that have it, else float32), float32, bfloat16 or float16.
        runtime: torch, onnx or openvino (in float32), or ncnn (the pre-upsampler, on the CPU or a GPU with Vulkan). The
        model is exported into the cache on first use. auto is what the folder was exported for; else torch, or ncnn if
        it is installed and torch would compute in float32 on the CPU.
        memory: see the class. Raises CheckpointError, ConfigError, MissingExtraError.
        """
        folder = checkpoints.resolve(str(model), revision=revision, cache_dir=cache_dir)
        exported = runtimes.choose(folder, runtime, device, dtype)
        if exported:
            if runtime == "auto" and not runtimes.is_exported(folder):
                device = "cpu"  # for which it was chosen, whatever other devices the runtime finds
            try:
                place, *machine = runtimes.placed(exported, device, dtype)
                spec, parts = runtimes.load(folder, exported, cache_dir, place)
                device, dtype = machine
            except LpnsrError as error:
                if runtime != "auto" or runtimes.is_exported(folder):
                    raise
                warnings.warn(f"{error}; continuing without {exported}", LpnsrWarning, stacklevel=2)
                exported = None
        if not exported:
            loaded = checkpoints.load_model(folder)
            spec, parts = loaded.spec, loaded.parts
            checkpoints.check_parts(parts, str(folder))
        if start is not None:
            spec, parts = _started(spec, parts, checkpoints.resolve_file(str(start), cache_dir))
        if spec.steps:
            schedule = Schedule.geometric(**spec.chain.model_dump())
            restorer = Restorer(schedule, **parts)
        else:
            restorer = StartAlone(parts["upsampler"])
        made = cls(spec, restorer, device, dtype, memory=memory)
        made.runtime = exported or "torch"
        if spec.inference.pixel_bytes and exported in (None, "ncnn"):  # with ncnn, which takes less, it is a bound
            made._planner.pixel_bytes = spec.inference.pixel_bytes
        return made

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model as a folder that ``from_pretrained`` reads. Raises ConfigError for an exported model."""
        if any(isinstance(part, runtimes.ExportedPart) for part in self.parts.values()):
            raise ConfigError("an exported model has no weights to save; load the one that it was made from with torch")
        inference = self.spec.inference.model_copy(update={"pixel_bytes": self._planner.pixel_bytes})
        spec = self.spec.model_copy(update={"inference": inference})
        checkpoints.save_folder(Path(folder), spec, self.parts, overwrite=overwrite)

    @property
    def parts(self) -> Parts:
        """The networks by the names of their roles."""
        return {name: part for name in checkpoints.PARTS if (part := getattr(self.restorer, name)) is not None}

    def __call__(
        self,
        image: Any,
        *,
        scale: float | None = None,
        steps: int | None = None,
        noise: NoiseKind | None = None,
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
        scale: any positive factor, the model's own by default; or ``width``, ``height`` or ``max_side`` in pixels
            instead. The output has exactly round(scale x input) pixels.
        steps: 1 up to the chain's number (default); fewer enter the chain late. 0 is the pre-upsampler alone.
        noise: predicted, mode (its mean: deterministic) or gaussian (ResShift). start: upsampler or bicubic. None is
            what the model has; what it does not have is refused.
        fidelity: 0 most perceptual .. 1 most faithful; None is the model's own choice. strength: detail, balanced or
            faithful, which are fidelity 0, 0.75 and 1.
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
        chosen = self._settled(given | options)
        images, pack = unpack(image)
        results = [self._whole(planes, chosen, callback) for planes in images]
        return _pack_all(results, pack, image)

    def upscale_photo(self, photo: Photo, *, callback: Callback | None = None, **options: Any) -> Photo:
        """``__call__`` for a photo: depth, alpha and metadata are kept."""
        return self.upscale_rows(PhotoRows.of(photo), callback=callback, whole=True, **options).whole()

    def upscale_file(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        quality: int | None = None,
        max_pixels: int | None = None,
        callback: Callback | None = None,
        **options: Any,
    ) -> None:
        """``__call__`` from file to file, row by row: images of any size, in the memory that was allowed.

        quality: as in ``imaging.write``; max_pixels: as in ``imaging.open_rows``. What does not fit into memory lies in
        the folder of ``target`` meanwhile. The EXIF field ImageHistory tells the settings; see
        ``upscaling.provenance``. Raises InputError, OutputError; ``target`` is written whole or not at all.
        """
        chosen = self._settled(options)
        files.upscale_file(self, source, target, chosen, quality=quality, max_pixels=max_pixels, callback=callback)

    def upscale_rows(
        self,
        rows: PhotoRows,
        *,
        callback: Callback | None = None,
        scratch: Folder = None,
        reserved: int = 0,
        whole: bool = False,
        **options: Any,
    ) -> PhotoRows:
        """``upscale_photo`` row by row: the work is done as the strips of the result are drawn.

        scratch: a folder for what does not fit into memory, by default the system's for temporary files. reserved:
        bytes of the memory that others take meanwhile. whole: the caller keeps the whole result.
        Raises InputError if the memory that was allowed, or is free, is too small.
        """
        chosen = self._settled(options)
        size = chosen.output_size((rows.height, rows.width), self.restorer.scale)
        self._planner.check_files(max(reserved, rows.decoding))
        result = replace(rows, height=size[0], width=size[1], decoding=0)
        held = reserved + (result.row_bytes * size[0] if whole else 0)
        lr = LrRows.of_photo(rows)
        work = self._planner.work(lr, chosen, held=held, sample_bytes=rows.dtype.itemsize, decoding=rows.decoding)
        strips = self._strips(lr, chosen, work, callback, scratch)
        return replace(result, strips=(Photo(*pack_pixels(strip, rows.dtype)) for strip in strips))

    def _whole(self, planes: Planes, options: Options, callback: Callback | None) -> Planes:
        """Planes in memory to planes in memory."""
        lr = LrRows.of_planes(planes)
        size = options.output_size((lr.height, lr.width), self.restorer.scale)
        channels = 3 if planes.alpha is None else 4
        work = self._planner.work(lr, options, held=2 * 4 * channels * size[0] * size[1], sample_bytes=4)
        out = torch.empty(channels, *size)
        top = 0
        for strip in self._strips(lr, options, work, callback, None):
            rows = slice(top, top + strip.rgb.shape[1])
            out[:3, rows] = strip.rgb
            if strip.alpha is not None:
                out[3:, rows] = strip.alpha
            top = rows.stop
        return Planes(out[:3], None if planes.alpha is None else out[3:], planes.gray)

    def _settled(self, options: Mapping[str, Any]) -> Options:
        """The options with the model's own choices. Raises ConfigError."""
        return Options.parse(options, "upscale").settled(self.spec, self.parts)

    @torch.inference_mode()
    def _strips(
        self, lr: LrRows, options: Options, work: MemoryPlan, callback: Callback | None, scratch: Folder
    ) -> Iterator[Planes]:
        """The result from top to bottom."""
        size = options.output_size((lr.height, lr.width), self.restorer.scale)
        canvas = partial(Scratch, dtype=np.float32, folder=scratch) if work.on_disk else InMemory
        plan = self.plan(lr.height, lr.width, work.tile)
        batch = self._planner.batch(plan)
        guides = lr.guides(work.rows)
        tiles = TileRestorer(self.restorer, self.spec.inference, options, self.device, self.dtype, batch)
        sr = tiles.strips(lr, plan, work.rows, callback, canvas)
        fixed = _colours_fixed(sr, lr, self.restorer.bicubic, options.colour_fix, work.rows, canvas)
        large = (self.restorer.scale * lr.height, self.restorer.scale * lr.width)
        guide = Window(imaging.resize_strips(guides, (lr.height, lr.width), size, rows=work.rows))
        top = 0
        for strip in imaging.resize_strips(fixed, large, size, rows=work.rows):
            bottom = top + strip.shape[1]
            yield _held_to(guide.crop(top, bottom), strip, lr.gray)
            top = bottom
            guide.forget(top)

    @property
    def scale(self) -> int:
        """The model's own factor."""
        return self.restorer.scale

    @property
    def usual_tile(self) -> int:
        """The side of the model's own tiles, where memory suffices."""
        return usual_tile(self._planner.pixel_bytes)

    def plan(self, height: int, width: int, tile: int) -> TilePlan:
        """The tiles of a height x width LR image; small ones overlap by half instead of the model's usual overlap."""
        return plan_model_tiles(height, width, tile, self.spec.inference)


_COLOURED, _VISIBLE = 1e-4, 1 / 65535
_BEYOND = 4 / 255


def _held_to(guides: Tensor, strip: Tensor, gray: bool) -> Planes:
    """The colours ``strip`` (3, n, W), with alpha, in what ``LrRows.guides`` says of the place.

    Where the input has no colour there is none. Where colours and alpha change together, so that it matters which
    colour lies under which alpha, both follow from the input, interpolated as their product. Near what is not opaque,
    colours do not leave the range of those around them.
    """
    alpha = None
    if len(guides) > 1:
        _, product, colours, alpha, least, most, together, near = torch.split(guides, [1, 3, 3, 1, 4, 4, 1, 1])
        own = torch.where(alpha > _VISIBLE, product / alpha.clamp(min=_VISIBLE), colours)
        strip = own + (1 - together.clamp(0, 1)) * (strip - colours)
        strip = torch.lerp(strip, strip.clamp(least[:3] - _BEYOND, most[:3] + _BEYOND), near.clamp(0, 1))
        alpha = alpha.clamp(least[3:], most[3:]).clamp(0, 1)
    strip = torch.where(guides[:1] < _COLOURED, strip.mean(0, keepdim=True), strip)
    return Planes(strip.clamp_(0, 1), alpha, gray)


def _colours_fixed(
    sr: Iterator[Tensor],
    lr: LrRows,
    enlarge: BicubicUpsampler,
    fix: Literal["wavelet", "adain", "none"],
    rows: int,
    canvas: Callable[..., Any],
) -> Iterator[Tensor]:
    """The strips (3, n, W) of ``sr`` with the colours of ``lr``, once on the whole image."""
    if fix == "none":
        yield from sr
        return
    bicubic = partial(lr.reader().bicubic, enlarge)
    height, width = enlarge.scale * lr.height, enlarge.scale * lr.width
    if fix == "wavelet":
        yield from imaging.wavelet_strips(sr, bicubic, (height, width), rows=rows)
        return
    whole, sums, like, top = canvas((3, height, width)), imaging.ChannelSums(), imaging.ChannelSums(), 0
    for strip in sr:
        bottom = top + strip.shape[1]
        sums.add(strip)
        like.add(bicubic(top, bottom, 0, width))
        whole.array[:, top:bottom] = strip.numpy()
        whole.release()
        top = bottom
    change = imaging.adain_fix(sums, like)
    for top in range(0, height, rows):
        yield change(torch.from_numpy(whole.array[:, top : top + rows]))
        whole.release()


def _started(spec: ModelSpec, parts: Parts, file: Path) -> tuple[ModelSpec, Parts]:
    """The model with the network in ``file`` as its pre-upsampler; features still come from its own."""
    if not spec.steps:
        raise ConfigError(f"start = {file}: {spec.name} has no chain that could start there")
    loaded = checkpoints.load_file(file, spec.scale)
    net = loaded.parts["upsampler"]
    if "upsampler" in parts and parts["denoiser"].feature_channels:
        net = OtherStart.of(net, parts["upsampler"])
    overlap = max(loaded.spec.inference.tile_overlap, spec.inference.tile_overlap)
    inference = spec.inference.model_copy(update={"pixel_bytes": None, "tile_overlap": overlap})
    places = {**spec.parts, "upsampler": spec.parts.get("upsampler", "upsampler")}
    changes = {"name": f"{spec.name} + {file.name}", "parts": places, "inference": inference, "scores": ()}
    return spec.model_copy(update=changes), {**parts, "upsampler": net}


def _pack_all(results: list[Planes], pack: Pack, image: Any) -> Any:
    if isinstance(image, Tensor) and image.ndim == 4:
        return torch.stack([pack(planes) for planes in results])
    return pack(results[0])
