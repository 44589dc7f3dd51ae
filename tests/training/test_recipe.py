"""Recipes: those that are bundled, those that extend others, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lpnsr import networks
from lpnsr.checkpoints import check_parts, read_spec, resolve
from lpnsr.errors import ConfigError
from lpnsr.training.parts import build_part
from lpnsr.training.recipe import load_recipe
from support.tiny_model import NETWORKS
from support.training_run import IMAGE, STAGE, written


def with_loss(**row: object) -> dict[str, object]:
    return STAGE | {"losses": [row]}


def test_no_recipe_speaks_of_photographs_and_licences_that_are_not_the_users() -> None:
    for name in ("base", "lite", "paper"):
        assert load_recipe(name).model.training == ""
        assert load_recipe(name).model.licence == "unknown"


def test_the_networks_of_base_are_those_of_its_recipe() -> None:
    recipe, folder = load_recipe("base"), resolve("base")
    spec = read_spec(folder)
    assert recipe.chain == spec.chain
    for part, place in spec.parts.items():
        bundled = json.loads((folder / place / "config.json").read_text())
        assert networks.describe(build_part(recipe, part, bundled)) == bundled


def test_the_bundled_recipes_build() -> None:
    chain = ("denoiser", "noise-predictor")
    orders = {name: load_recipe(name).order for name in ("base", "lite", "paper")}
    assert orders == {
        "base": ("autoencoder", *chain, "joint"),
        "lite": ("autoencoder", "upsampler", *chain, "joint"),
        "paper": ("autoencoder", "upsampler", *chain),
    }
    for name in ("base", "lite"):
        recipe = load_recipe(name)
        check_parts({part: build_part(recipe, part) for part in recipe.networks}, name)
    paper = load_recipe("paper")
    for name in ("denoiser", "noise_predictor", "autoencoder"):
        with torch.device("meta"):
            networks.build(paper.networks[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sedd": 1}, "seed"),
        ({"data": {"cropp": 1}}, "crop"),
        ({"data": {"degradations": {"reel": 1}}}, "real, light, classic"),
        ({"data": {"degradations": {"mine": 1}, "presets": {"mine": {"scale": 2}}}}, "mine.scale = 2, and models"),
        ({"stages": {"upsampler": {"step": 1}}}, "stages.upsampler: .*unknown key 'step'; did you mean 'steps'"),
        ({"stages": {"upsampler": STAGE | {"enter": {2: 1}}}}, "unknown key 'enter'"),
        ({"stages": {"upsmpler": STAGE}}, "unknown stage 'upsmpler'; did you mean 'upsampler'"),
        ({"stages": {"upsampler": with_loss(name="lpipz")}}, "unknown loss 'lpipz'; did you mean 'lpips'"),
        ({"stages": {"upsampler": with_loss(name="l1", wieght=2)}}, "losses.0: unknown key 'wieght'; did you mean 'we"),
        ({"stages": {"upsampler": with_loss(name="l1", form=2)}}, "losses.0: unknown key 'form'; did you mean 'from'"),
        ({"stages": {"upsampler": with_loss(name="mse")}}, "'mse' looks at the truth, which the stage lacks"),
        ({"stages": {"upsampler": STAGE | {"losses": [*IMAGE, *IMAGE]}}}, "losses has a name twice"),
        ({"stages": {"upsampler": with_loss(weight=2)}}, "losses.0: key 'name' is missing"),
        ({"stages": {"upsampler": with_loss(name="gan", kind="feature", chanels=2)}}, "did you mean 'channels'"),
        ({"networks": NETWORKS, "stages": {"upsampler": STAGE | {"teacher_for": ["real"]}}}, "name a model in data.te"),
        ({"stages": {"upsampler": STAGE | {"patch": 512}}}, "data.crop = 256"),
        ({"seed": -1}, "seed = -1: should be greater than or equal to 0"),
        ({"data": {"crop": 130}}, "crop = 130: should be a multiple of 4"),
        ({"chain": {"stepz": 4}}, "'chain.stepz'; did you mean 'steps'"),
        ({"model": {"inference": {"tile_overlp": 1}}}, "did you mean 'tile_overlap'"),
        ({"networks": {"upscaler": {}}}, "'networks.upscaler'; should be 'autoencoder', 'upsampler'"),
        ({"stages": {"upsampler": STAGE}}, "networks has no upsampler, which the stage upsampler needs"),
        ({"stages": {"upsampler": STAGE | {"betas": [0.9, 1.0]}}}, "betas.1 = 1.0: should be less than 1"),
        ({"stages": {"denoiser": STAGE | {"start_from": {"bicubic": 0}}}}, "start_from needs odds above 0"),
    ],
)
def test_a_typo_in_a_recipe_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(written({"networks": {}, "chain": {}, "stages": {}} | change, tmp_path)))


def test_a_recipe_states_what_differs_from_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "extends: lite\nstages: {denoiser: {steps: 7, losses: [{name: mse, weight: 3}]}}"
    )
    (tmp_path / "again.yaml").write_text("extends: mine.yaml\ndata: {degradations: {classic: 1}}\n")
    lite, again = load_recipe("lite"), load_recipe(str(tmp_path / "again.yaml"))
    denoiser = again.stages["denoiser"]
    assert (denoiser.steps, denoiser.batch) == (7, lite.stages["denoiser"].batch)
    assert [(row.name, row.weight, row.begin) for row in denoiser.losses] == [("mse", 3.0, 0)]
    assert again.stages["upsampler"] == lite.stages["upsampler"]
    assert again.data.degradations == {"classic": 1}
    assert again.data.crop == lite.data.crop


@pytest.mark.parametrize(("base", "words"), [("me.yaml", "extends itself"), ("nowhere", "no recipe"), ("[a]", "name")])
def test_a_recipe_that_extends_nothing_of_use(base: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "me.yaml").write_text(f"extends: {base}\n")
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(tmp_path / "me.yaml"))


@pytest.mark.parametrize("name", ["nothing", "missing.yaml"])
def test_a_recipe_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_recipe(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "extends: lite\nstages: {upsampler: {steps: 3}}\nstages: {denoiser: {steps: 3}}",
            "'stages' is there twice.*3",
        ),
        ("extends: lite\nstages:\n  denoiser: {steps: 3, steps: 4}", "'steps' is there twice, again at line 3"),
        ("stages: {upsampler: {steps: 3}}", "'networks' is missing; .* begins with: extends: lite"),
        ("extends: lite\ndata: {degradations: [real]}", "degradations = .*: should be a valid dictionary"),
    ],
)
def test_what_a_file_says_wrong_is_told(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_recipe(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml cannot be read: No such file or directory"):
        load_recipe(str(tmp_path / "nope.yaml"))


def test_what_keys_share_may_be_merged(tmp_path: Path) -> None:
    """And a key that is laid over one of these is not there twice."""
    (tmp_path / "mine.yaml").write_text(
        "extends: lite\n"
        "stages:\n"
        "  autoencoder: &shared {steps: 3, batch: 2}\n"
        "  upsampler: &more {<<: *shared, batch: 5}\n"
        "  joint: {<<: *more, steps: 7}\n"
    )
    stages = load_recipe(str(tmp_path / "mine.yaml")).stages
    assert (stages["upsampler"].steps, stages["upsampler"].batch) == (3, 5)
    assert (stages["joint"].steps, stages["joint"].batch) == (7, 5)
