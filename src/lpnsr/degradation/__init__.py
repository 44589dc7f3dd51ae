"""HR batch -> LR batch. Knows tensors only: no file, no model."""

from lpnsr.degradation.degrade import degrade
from lpnsr.degradation.plan import DRAWING_ORDER
from lpnsr.degradation.recipe import PRESETS, DegradationRecipe

__all__ = ["DRAWING_ORDER", "PRESETS", "DegradationRecipe", "degrade"]
