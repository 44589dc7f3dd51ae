"""Images to latents and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lpnsr.errors import ConfigError
from lpnsr.training.data.draws import Draws
from lpnsr.training.data.pairs import Batch
from lpnsr.training.losses import Outcome
from lpnsr.training.stages.base import Parts, Stage, register_stage


@register_stage("autoencoder")
class AutoencoderStage(Stage):
    """Reconstructs HR crops. Losses may look at the latents, and at the codes of a network that has a codebook."""

    trains = ("autoencoder",)
    shows = frozenset({"image", "latent", "codes"})

    def forward(self, batch: Batch, draws: Draws, step: int) -> Outcome:
        net: Any = self.trained["autoencoder"]
        z = net.encode(batch.hr * 2 - 1)
        codes = None
        if any(row.name == "codebook" for row in self.recipe.losses):
            if not hasattr(net, "quantize"):
                raise ConfigError("stages.autoencoder: the loss 'codebook' needs an autoencoder that has a codebook")
            codes = net.quantize.embedding(net.quantize.nearest(z)).permute(0, 3, 1, 2)
        return Outcome(batch.hr, lambda: (net.decode(z) + 1) / 2, latent=z, codes=codes)

    def preview(self, nets: Parts, batch: Batch) -> dict[str, Tensor]:
        net: Any = nets["autoencoder"]
        return {"autoencoder": (net.decode(net.encode(batch.hr * 2 - 1)) + 1) / 2}
