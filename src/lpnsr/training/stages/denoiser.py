"""The prediction of x_0 from x_t."""

from __future__ import annotations

import torch
from torch import Tensor

from lpnsr.diffusion import q_sample
from lpnsr.networks import Guide, build, describe
from lpnsr.networks.perceptual import LPIPS
from lpnsr.networks.swin_unet import timestep
from lpnsr.training.data.draws import Draws
from lpnsr.training.data.pairs import Batch, PairPool
from lpnsr.training.losses import Outcome
from lpnsr.training.stages.base import ChainStage, Networks, Parts, register_stage
from lpnsr.upscaling.restorer import Restorer

MEASURE = "measure"
_MEASURED_CROPS = 512
_AT_A_TIME = 16


@register_stage("denoiser")
class DenoiserStage(ChainStage):
    """Learns from the forward process, at a random step of the chain for each sample.

    ``variance: measure`` in the network's configuration is measured on the pool when the stage begins untrained.
    """

    trains = ("denoiser",)
    needs = ("autoencoder",)
    shows = frozenset({"image", "latent", "truth"})
    best = "error"

    @torch.no_grad()
    def settle(self, networks: Networks, pool: PairPool) -> None:
        if networks["denoiser"].get("variance") != MEASURE:
            return
        restorer, side, means = self.restorer(), pool.hr.shape[1] // 16 * 16, []
        for step in range(-(-min(_MEASURED_CROPS, len(pool)) // _AT_A_TIME)):
            batch = pool.batch(0, step, _AT_A_TIME, side, self.pictures(self.recipe, networks))
            _, guide = self.start(restorer, batch)
            means.append((restorer.encode(batch.hr) - guide.y0).square().mean((0, 2, 3)))
        variance = torch.stack(means).mean(0).tolist()
        self.trained["denoiser"] = build(describe(self.trained["denoiser"]) | {"variance": variance})

    def forward(self, batch: Batch, draws: Draws, step: int) -> Outcome:
        restorer, net = self.restorer(), self.trained["denoiser"]
        image, guide = self.start(restorer, batch, draws)
        with torch.no_grad():
            true = restorer.encode(batch.hr).float()
        t = 1 + draws.integers(self.schedule.steps, len(true))
        noise = draws.normal(true)
        samples = zip(true, guide.y0, t.tolist(), noise, strict=True)
        states = torch.stack([self.schedule.input_scale(int(s[2])) * q_sample(self.schedule, *s) for s in samples])
        labels = torch.tensor([self.schedule.label(step) for step in t.tolist()], device=true.device)
        x0 = net.denoise(states, labels, guide, self.schedule)  # type: ignore[operator]
        unit = net.error_scale(true, labels, self.schedule)  # type: ignore[operator]
        return Outcome(batch.hr, lambda: restorer.finish(x0, image, guide), latent=x0, true=true, unit=unit)

    def _predictions(self, nets: Parts, batch: Batch) -> tuple[Restorer, Tensor, Guide, Tensor, dict[str, Tensor]]:
        """The chain, its start, the true latent, and the prediction from the forward process's x_t at each step."""
        restorer = self.restorer(nets)
        image, guide = self.start(restorer, batch)
        true = restorer.encode(batch.hr).float()
        noise = Draws(0, 0).normal(true)
        found = {}
        for t in range(self.schedule.steps, 0, -1):
            x = self.schedule.input_scale(t) * q_sample(self.schedule, true, guide.y0, t, noise)
            label = timestep(self.schedule.label(t), x)
            found[f"t = {t}"] = restorer.denoiser.denoise(x, label, guide, self.schedule)  # type: ignore[operator]
        return restorer, image, guide, true, found

    def preview(self, nets: Parts, batch: Batch) -> dict[str, Tensor]:
        restorer, image, guide, _, found = self._predictions(nets, batch)
        latents = {"start": guide.y0} | found
        return {name: restorer.finish(x0, image, guide) for name, x0 in latents.items()}

    def scores(self, nets: Parts, batch: Batch, lpips: LPIPS) -> dict[str, Tensor]:
        """Mean squared error of the latent: that of the start, that of the prediction at each step, and their mean."""
        _, _, guide, true, found = self._predictions(nets, batch)
        errors = {name: (x0.float() - true).square().mean((1, 2, 3)) for name, x0 in found.items()}
        mean = torch.stack(list(errors.values())).mean(0)
        return {"error": mean, "start": (guide.y0 - true).square().mean((1, 2, 3))} | errors
