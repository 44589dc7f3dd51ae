"""The models that a queue serves, each loaded once a device, when first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lpnsr import checkpoints
from lpnsr.apps.jobs.settings import JobOptions
from lpnsr.checkpoints import ModelSpec
from lpnsr.errors import ConfigError
from lpnsr.upscaling.options import DEFAULT_MODEL

_KEPT = 4


class Models:
    """names: see ``checkpoints.resolve``; the first is the default. offered: further models, and their places. The
    others: see ``Upscaler.from_pretrained``. ``kept`` is the most that a worker keeps loaded.

    Raises CheckpointError for one of ``names`` that is not here, before anything is loaded. What is offered is looked
    at when it is first asked for.
    """

    def __init__(
        self,
        names: Sequence[str] = (DEFAULT_MODEL,),
        *,
        offered: Mapping[str, str] | None = None,
        dtype: str = "auto",
        cache_dir: str | Path | None = None,
        memory: int | str | None = None,
    ) -> None:
        if not names:
            raise ConfigError("no model to serve: name one at least")
        self._places = {**(offered or {}), **{name: name for name in names}}
        self.names = tuple(dict.fromkeys([*names, *self._places]))
        self._options: dict[str, Any] = {"dtype": dtype, "cache_dir": cache_dir, "memory": memory}
        self.specs: dict[str, ModelSpec] = {}
        self.kept = max(_KEPT, len(names))
        for name in names:
            self.spec(name)

    def spec(self, name: str) -> ModelSpec:
        """The specification of a model of ``names``. Raises ConfigError, CheckpointError, MissingExtraError."""
        if name not in self.names:
            raise ConfigError(f"model = {name!r}; allowed: {', '.join(self.names)}")
        if name not in self.specs:
            place = checkpoints.resolve(self._places.get(name, name), cache_dir=self._options["cache_dir"])
            self.specs[name] = checkpoints.spec_of(place)
        return self.specs[name]

    def check(self, options: JobOptions) -> JobOptions:
        """Return ``options`` with the model, by default the first, and the model's own choices.

        Raises ConfigError for a model that is not served, and for what the model does not have.
        """
        name = options.model or self.names[0]
        return options.model_copy(update={"model": name}).settled(self.spec(name))

    def load(self, name: str, device: str) -> Any:
        """An Upscaler. Raises CheckpointError, ConfigError."""
        from lpnsr.upscaling.upscaler import Upscaler

        return Upscaler.from_pretrained(self._places[name], device=device, **self._options)
