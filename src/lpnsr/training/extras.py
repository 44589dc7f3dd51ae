"""Imports of the extra ``train``. Without it the import is a MissingExtraError, which names the extra."""

from lpnsr.errors import MissingExtraError

try:
    from accelerate import Accelerator, InitProcessGroupKwargs
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    raise MissingExtraError("train", error.name or "accelerate") from None

__all__ = ["Accelerator", "InitProcessGroupKwargs", "SummaryWriter"]
