"""The losses of the stages, and the registry by which recipes name them."""

from lpnsr.training.losses import adversarial, image, latent
from lpnsr.training.losses.base import (
    LOSSES,
    Comparison,
    Loss,
    LossRecipe,
    Outcome,
    Subject,
    parse_losses,
    register_loss,
)

__all__ = [
    "LOSSES",
    "Comparison",
    "Loss",
    "LossRecipe",
    "Outcome",
    "Subject",
    "adversarial",
    "image",
    "latent",
    "parse_losses",
    "register_loss",
]
