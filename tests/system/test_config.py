"""What is said about wrong configuration: the key, the value seen, what is allowed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from lpnsr.errors import ConfigError
from lpnsr.system.config import StrictConfig


class Inner(StrictConfig):
    """One level down."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    kind: Literal["plain", "fancy"] = "plain"

    @field_validator("kind")
    @classmethod
    def _not_fancy(cls, value: str) -> str:
        if value == "fancy":
            raise ValueError("is out of fashion")
        return value


class Example(StrictConfig):
    """Every kind of key."""

    tile: Annotated[int, Field(ge=16)] | Literal[0, "auto"] = "auto"
    fidelity: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: int = Field(default=0, ge=0, lt=100)
    name: str = ""
    on: bool = False
    sizes: tuple[int, int] = (1, 2)
    levels: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    inner: Inner = Inner()
    more: dict[Literal["left", "right"], Inner] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _together(self) -> Example:
        if self.seed == 13 and self.on:
            raise ValueError("seed 13 cannot be on")
        return self


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tile": 10}, "tile = 10: should be greater than or equal to 16, or should be 0 or 'auto'"),
        ({"fidelity": 3}, "fidelity = 3: should be less than or equal to 1"),
        (
            {"name": 3, "seed": -1},
            "seed = -1: should be greater than or equal to 0; name = 3: should be a valid string",
        ),
        ({"sizes": [1, "b"]}, "sizes.1 = 'b': should be a valid integer, unable to parse string as an integer"),
        ({"levels": []}, "levels = []: Tuple should have at least 1 item after validation, not 0"),
        ({"inner": {"kind": "odd"}}, "inner.kind = 'odd': should be 'plain' or 'fancy'"),
        ({"inner": {"kind": "fancy"}}, "inner.kind = 'fancy': is out of fashion"),
        ({"inner": {"rat": 1}}, "unknown key 'inner.rat'; did you mean 'rate'?"),
        ({"more": {"left": {"rate": 2}}}, "more.left.rate = 2: should be less than or equal to 1"),
        ({"more": {"up": {}}}, "unknown key 'more.up'; should be 'left' or 'right'"),
        ({"seed": 13, "on": True}, "seed 13 cannot be on"),
        ({"name": ["x" * 200]}, "name = ['" + "x" * 75 + "...: should be a valid string"),
    ],
)
def test_one_sentence_for_every_wrong_key(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Example.parse(values, "here")
    assert str(caught.value) == f"here: {sentence}"
