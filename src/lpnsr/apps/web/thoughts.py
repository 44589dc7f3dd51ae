"""A kind of job that keeps the intermediate results of the chain: states, noise, uncertainty."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lpnsr.apps.jobs import Work
from lpnsr.diffusion import NoiseField, PredictedNoise, StepState
from lpnsr.errors import ConfigError
from lpnsr.imaging import read, to_unit
from lpnsr.networks import Guide
from lpnsr.upscaling.progress import Progress
from lpnsr.upscaling.restorer import fidelity_controls
from lpnsr.upscaling.upscaler import Upscaler

MOST = 128
"""Largest side of the image, LR pixels."""
_DIVERGING = ((0.13, 0.28, 0.62), (0.55, 0.72, 0.9), (0.97, 0.97, 0.95), (0.95, 0.66, 0.45), (0.7, 0.13, 0.13))
_SEQUENTIAL = ((0.05, 0.07, 0.2), (0.22, 0.25, 0.55), (0.13, 0.56, 0.55), (0.5, 0.8, 0.35), (0.99, 0.91, 0.15))


@torch.inference_mode()
def think(upscaler: Upscaler, work: Work) -> Path:
    """Run the chain on a small image and write a zip: ``facts.json``, and PNG files that it names.

    Of every step t: ``state`` (x_t, decoded), ``belief`` (the prediction of x_0, decoded), ``noise`` (z_t), and with a
    noise predictor ``predicted`` and ``uncertainty`` (its mean and exp(log-variance / 2)); maps are means of the
    channels. Raises ConfigError for images larger than MOST and for no steps.
    """
    options, device = work.options, upscaler.device
    photo = read(work.source)
    if max(photo.height, photo.width) > MOST:
        raise ConfigError(f"the steps are shown for at most {MOST} x {MOST} pixels; choose a part of the photograph")
    if options.steps == 0:
        raise ConfigError("with 0 steps there is no chain to show; choose 1 or more")
    lr = torch.from_numpy(to_unit(photo.pixels)).permute(2, 0, 1)[None].expand(-1, 3, -1, -1).to(device)
    work.callback(Progress(0, 1))
    album = _Album(upscaler.restorer.scale)
    with nullcontext() if upscaler.dtype == torch.float32 else torch.autocast(device.type, upscaler.dtype):
        _chain(upscaler, lr, work, album)
    work.callback(Progress(1, 1))
    return album.save(work.folder / "thoughts.zip")


def _chain(upscaler: Upscaler, lr: Tensor, work: Work, album: _Album) -> None:
    restorer, options = upscaler.restorer, work.options.settled(upscaler.spec, upscaler.parts)
    start_kind, noise = options.start or "upsampler", options.noise or "predicted"
    temperature, *_ = fidelity_controls(options.fidelity or 0.0)
    start, guide = restorer.start(lr, start_kind)
    album.picture("bicubic", restorer.bicubic(lr))
    album.picture("start", start)
    guesses: list[tuple[Tensor, Tensor]] = []

    def source(guide: Guide) -> Any:
        usual = restorer.noise_source(noise, guide, temperature)
        if not isinstance(usual, PredictedNoise):
            return usual

        def predict(state: StepState) -> tuple[Tensor, Tensor]:
            guesses.append(usual.predictor(state))
            return guesses[-1]

        return PredictedNoise(predict, usual.temperature)

    def watch(state: StepState) -> None:
        work.callback(Progress(0, 1, state))
        step: dict[str, Any] = {"t": state.t, "sigma": round(state.sigma, 4)}
        step["state"] = album.picture(f"state-{state.t}", restorer.finish(state.x_t, start, guide))
        step["belief"] = album.picture(f"belief-{state.t}", restorer.finish(state.x0, start, guide))
        if guesses:
            mean, log_variance = guesses.pop()
            step |= album.map("predicted", state.t, mean, _DIVERGING)
            step |= album.map("uncertainty", state.t, torch.exp(0.5 * log_variance), _SEQUENTIAL)
        if state.noise is not None:
            step |= album.map("noise", state.t, state.noise, _DIVERGING)
        album.steps.append(step)

    x0 = restorer.sample(guide, NoiseField(options.seed).draw(), steps=options.steps, noise=source, callback=watch)
    album.picture("result", restorer.finish(x0, start, guide))


class _Album:
    """PNG files and numbers on their way into a zip."""

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.steps: list[dict[str, Any]] = []
        self._files: dict[str, bytes] = {}

    def picture(self, name: str, image: Tensor) -> str:
        """(1, 3, H, W), about [0, 1]."""
        pixels = (image[0].float().clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy().astype(np.uint8)
        return self._keep(name, pixels)

    def map(self, what: str, t: int, values: Tensor, colours: Any) -> dict[str, Any]:
        """(1, c, h, w), the mean over its channels in colours, each value as large as what it becomes in the image."""
        plane = values[0].float().mean(0).cpu().numpy()
        if colours is _DIVERGING:  # the middle colour is zero
            high = max(float(np.abs(plane).max()), 1e-12)
            low = -high
        else:
            low, high = float(plane.min()), float(plane.max())
        shares = (plane - low) / max(high - low, 1e-12)
        pixels = _coloured(shares, colours).repeat(self.scale, 0).repeat(self.scale, 1)
        return {what: self._keep(f"{what}-{t}", pixels), f"{what}_range": [round(low, 4), round(high, 4)]}

    def _keep(self, name: str, pixels: NDArray[np.uint8]) -> str:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        self._files[f"{name}.png"] = out.getvalue()
        return f"{name}.png"

    def save(self, path: Path) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
            file.writestr("facts.json", json.dumps({"steps": self.steps}, indent=1))
            for name, data in self._files.items():
                file.writestr(name, data)
        return path


def _coloured(shares: NDArray[Any], colours: Any) -> NDArray[np.uint8]:
    """0..1 (h, w) -> 0..255 (h, w, 3), between colours that are equally far apart."""
    places = np.linspace(0, 1, len(colours))
    channels = [np.interp(shares, places, [colour[i] for colour in colours]) for i in range(3)]
    return (np.stack(channels, -1) * 255).round().astype(np.uint8)
