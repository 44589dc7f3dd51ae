"""The models that a queue serves, each loaded once a device, when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lpnsr import checkpoints
from lpnsr.apps.jobs.settings import JobOptions
from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import DEFAULT_MODEL


class Models:
    """names: see ``checkpoints.resolve``; the first is the default. The others: see
    ``Upscaler.from_pretrained``.

    Raises CheckpointError for a model that is not here, before anything is loaded.
    """

    def __init__(
        self,
        names: Sequence[str] = (DEFAULT_MODEL,),
        *,
        dtype: str = "auto",
        cache_dir: str | Path | None = None,
        memory: int | str | None = None,
    ) -> None:
        if not names:
            raise ConfigError("no model to serve: name one at least")
        self.names = tuple(names)
        self._options: dict[str, Any] = {"dtype": dtype, "cache_dir": cache_dir, "memory": memory}
        self.specs = {name: checkpoints.read_spec(checkpoints.resolve(name, cache_dir=cache_dir)) for name in names}

    def check(self, options: JobOptions) -> JobOptions:
        """Return ``options`` with the model, by default the first, and the model's own choices.

        Raises ConfigError for a model that is not served, and for what the model does not have.
        """
        name = options.model or self.names[0]
        if name not in self.names:
            raise ConfigError(f"model = {name!r}; allowed: {', '.join(self.names)}")
        return options.model_copy(update={"model": name}).settled(self.specs[name])

    def load(self, name: str, device: str) -> Any:
        """An Upscaler. Raises CheckpointError, ConfigError."""
        from lpnsr.upscaling.upscaler import Upscaler

        return Upscaler.from_pretrained(name, device=device, **self._options)
