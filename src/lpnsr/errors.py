"""One tree of exceptions.

    LpnsrError
    ├── ConfigError          a configuration, recipe or argument is wrong
    ├── InputError           an image, array or tensor cannot be processed as given
    │   └── ImageReadError   a file cannot be read as an image
    │       └── ImageTooLargeError   it has more pixels than are allowed
    ├── OutputError          a result cannot be written
    ├── CheckpointError      a model folder or checkpoint is missing, damaged or of another layout
    │   └── DownloadError    a file could not be fetched
    ├── LicenceError         a licence has to be accepted first
    ├── MissingExtraError    an optional dependency is not installed
    └── TrainingError        a training run cannot start or go on

Every message says what happened, the value seen, what is allowed and what to do. The command line prints
the message of an LpnsrError without a traceback.
"""

from __future__ import annotations


class LpnsrError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(LpnsrError, ValueError):
    """A configuration, recipe or argument is wrong."""


class InputError(LpnsrError, ValueError):
    """An image, array or tensor cannot be processed as given."""


class ImageReadError(InputError):
    """A file cannot be read as an image."""


class ImageTooLargeError(ImageReadError):
    """A file declares more pixels than are allowed."""


class OutputError(LpnsrError, OSError):
    """A result cannot be written."""


class CheckpointError(LpnsrError):
    """A model folder or checkpoint is missing, damaged or of another layout."""


class DownloadError(CheckpointError):
    """A file could not be fetched."""


class LicenceError(LpnsrError):
    """A licence has to be accepted first."""


class MissingExtraError(LpnsrError, ImportError):
    """An optional dependency is not installed.

    ``MissingExtraError("train", "accelerate")`` names the exact ``pip install`` line.
    """

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(
            f"{module} is not installed, and this needs it. Install the extra with: pip install 'lpnsr[{extra}]'"
        )
        self.extra = extra
        self.module = module

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.extra, self.module)  # between processes


class TrainingError(LpnsrError):
    """A training run cannot start or go on."""


class LpnsrWarning(UserWarning):
    """Something was put right on the way and the user may want to know."""
