"""HR batch -> LR batch. Knows tensors only: no file, no model."""

from lpnsr.degradation.degrade import degrade
from lpnsr.degradation.recipe import PRESETS, DegradationRecipe

__all__ = ["PRESETS", "DegradationRecipe", "degrade"]
