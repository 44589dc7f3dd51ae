"""A model folder: read strictly, written atomically."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lpnsr import networks
from lpnsr.checkpoints import ChainSettings, ModelSpec, Score, load_folder, read_spec, save_folder
from lpnsr.checkpoints.verify import summarise, verify_folder
from lpnsr.errors import CheckpointError, LpnsrError, OutputError
from lpnsr.networks.tensors import is_derived

DENOISER = {
    "type": "swin_unet",
    "model_channels": 32,
    "channel_mult": [1, 1],
    "num_res_blocks": 1,
    "swin_embed_dim": 32,
    "image_size": 16,
    "window_size": 4,
}
SPEC = ModelSpec(
    name="tiny",
    licence="Apache-2.0",
    parts={"autoencoder": "autoencoder", "upsampler": "upsampler", "denoiser": "denoiser"},
    chain=ChainSettings(steps=3, kappa=1.5),
    scores=(Score(metric="PSNR", value=25.5, data="val", protocol="Y channel, border 4"),),
)


@pytest.fixture(scope="module")
def parts() -> dict[Any, nn.Module]:
    torch.manual_seed(0)
    nets = {
        "autoencoder": networks.build(
            {"type": "lite_autoencoder", "latent_channels": 3, "encoder_channels": 8, "decoder_channels": 8}
        ),
        "upsampler": networks.build({"type": "bicubic"}),
        "denoiser": networks.build(DENOISER),
    }
    with torch.no_grad():
        for parameter in (p for net in nets.values() for p in net.parameters()):
            parameter.normal_(std=0.1)
    return nets


@pytest.fixture(scope="module")
def original(parts: dict[Any, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(path, SPEC, parts)
    return path


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A fresh copy of the model folder to damage."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def equal(first: nn.Module, second: nn.Module, **tolerance: float) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.allclose(a[k], b[k], **{"rtol": 0.0, "atol": 0.0, **tolerance}) for k in a)


def test_a_model_comes_back_as_it_was_written(parts: dict[Any, nn.Module], original: Path) -> None:
    loaded = load_folder(original)
    assert loaded.path == original
    assert loaded.spec.model_copy(update={"sha256": {}}) == SPEC
    assert set(loaded.parts) == set(parts)
    for name, net in loaded.parts.items():
        assert equal(net, parts[name])
        assert networks.describe(net) == networks.describe(parts[name])
        assert not net.training


def test_computed_buffers_are_not_stored(parts: dict[Any, nn.Module], original: Path) -> None:
    kept = load_file(original / "denoiser" / "model.safetensors")
    assert any(is_derived(name) for name in parts["denoiser"].state_dict())
    assert not any(is_derived(name) for name in kept)


def test_half_precision_is_half_the_size_and_loads_as_float32(
    parts: dict[Any, nn.Module], original: Path, tmp_path: Path
) -> None:
    save_folder(tmp_path / "half", SPEC, parts, dtype=torch.float16)
    weights = "denoiser/model.safetensors"
    assert (tmp_path / "half" / weights).stat().st_size < 0.55 * (original / weights).stat().st_size
    loaded = load_folder(tmp_path / "half")
    assert all(p.dtype == torch.float32 for net in loaded.parts.values() for p in net.parameters())
    assert equal(loaded.parts["denoiser"], parts["denoiser"], rtol=1e-3, atol=1e-6)


def test_the_precision_of_loading_can_be_chosen(original: Path) -> None:
    loaded = load_folder(original, dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.parts["denoiser"].parameters()} == {torch.bfloat16}


def test_the_card_says_what_the_model_is(original: Path) -> None:
    card = (original / "README.md").read_text(encoding="utf-8")
    for text in (
        "license: apache-2.0",
        "# tiny",
        "| PSNR | 25.5 | val | Y channel, border 4 |",
        "kappa 1.5",
        "Gaussian",
    ):
        assert text in card


def test_a_card_of_ones_own_is_kept(parts: dict[Any, nn.Module], tmp_path: Path) -> None:
    save_folder(tmp_path / "m", SPEC, parts, card="# Mine\n")
    assert (tmp_path / "m" / "README.md").read_text(encoding="utf-8") == "# Mine\n"


def edit_json(path: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        values = json.loads((model / path).read_text(encoding="utf-8"))
        change(values)
        (model / path).write_text(json.dumps(values), encoding="utf-8")

    return damage


def edit_tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        path = model / "denoiser" / "model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(tensors)
        save_file(tensors, path)

    return damage


def truncate(model: Path) -> None:
    path = model / "denoiser" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lose_five_and_more(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("input_blocks.1.0.")]:
        del tensors[name]


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no model.json": (lambda m: (m / "model.json").unlink(), "model.json is missing"),
    "no JSON": (lambda m: (m / "model.json").write_text("{"), "cannot be read as JSON"),
    "a list": (lambda m: (m / "model.json").write_text("[1]"), "a JSON object is needed"),
    "not UTF-8": (lambda m: (m / "model.json").write_bytes(b'{"name": "\xff"}'), "cannot be read as JSON"),
    "newer": (
        edit_json("model.json", lambda v: v.update(format=2, novelty=1)),
        "format 2.*up to format 1.*pip install",
    ),
    "no format": (edit_json("model.json", lambda v: v.pop("format")), "'format' is missing"),
    "misspelt": (edit_json("model.json", lambda v: v["chain"].update(kapa=1)), "did you mean 'kappa'"),
    "no parts": (edit_json("model.json", lambda v: v.update(parts={})), "parts"),
    "strange part": (edit_json("model.json", lambda v: v["parts"].update(engine="x")), "engine"),
    "outside": (edit_json("model.json", lambda v: v["parts"].update(denoiser="../tiny")), "inside the model folder"),
    "absolute": (edit_json("model.json", lambda v: v["parts"].update(denoiser="/tmp")), "inside the model folder"),
    "no part": (lambda m: shutil.rmtree(m / "denoiser"), "config.json is missing"),
    "no config": (lambda m: (m / "denoiser" / "config.json").unlink(), "config.json is missing"),
    "unknown type": (edit_json("denoiser/config.json", lambda v: v.update(type="swin_unit")), "swin_unet"),
    "no type": (edit_json("denoiser/config.json", lambda v: v.pop("type")), "type None is unknown"),
    "unknown key": (edit_json("denoiser/config.json", lambda v: v.update(swin_dept=2)), "swin_depth"),
    "impossible": (edit_json("denoiser/config.json", lambda v: v.update(swin_embed_dim=33)), "not a multiple"),
    "enormous": (edit_json("denoiser/config.json", lambda v: v.update(model_channels=10**9)), "config.json"),
    "another size": (edit_json("denoiser/config.json", lambda v: v.update(model_channels=64)), r"misshapen.*\(64"),
    "no weights": (lambda m: (m / "denoiser" / "model.safetensors").unlink(), "model.safetensors is missing"),
    "truncated": (truncate, "damaged"),
    "empty": (lambda m: (m / "denoiser" / "model.safetensors").write_bytes(b""), "damaged"),
    "missing": (edit_tensors(lambda t: t.pop("out.2.bias")), "1 missing: out.2.bias$"),
    "many missing": (edit_tensors(lose_five_and_more), "10 missing: input_blocks.1.0.*, and 5 more"),
    "unexpected": (edit_tensors(lambda t: t.update(extra=torch.ones(1))), "1 unexpected: extra$"),
    "misshapen": (
        edit_tensors(lambda t: t.update({"out.2.bias": torch.ones(4)})),
        r"1 misshapen: out.2.bias \(4,\) instead of \(3,\)$",
    ),
    "integers": (
        edit_tensors(lambda t: t.update({"out.2.bias": torch.ones(3, dtype=torch.int64)})),
        "out.2.bias torch.int64 instead of torch.float32",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_named(model: Path, damage: str) -> None:
    harm, message = DAMAGES[damage]
    harm(model)
    with pytest.raises(CheckpointError, match=message):
        load_folder(model)


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is no folder"):
        load_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (SafetensorError("Error while serializing: I/O error: (os error 28)"), "the disk is full"),
        (SafetensorError("failed to write whole buffer"), "failed to write whole buffer"),
    ],
)
def test_nothing_is_left_when_writing_fails(
    error: Exception, words: str, parts: dict[Any, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise error

    monkeypatch.setattr("lpnsr.networks.tensors.save_file", full)
    with pytest.raises(OutputError, match=words):
        save_folder(tmp_path / "m", SPEC, parts)
    assert list(tmp_path.iterdir()) == []


def test_the_old_model_stays_when_overwriting_fails(
    parts: dict[Any, nn.Module], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_spec(model)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="Input/output"):
        save_folder(model, SPEC.model_copy(update={"name": "new"}), parts, overwrite=True)
    assert [path.name for path in model.parent.iterdir()] == [model.name]
    assert read_spec(model) == before
    load_folder(model)


def test_an_existing_model_is_replaced_only_on_purpose(parts: dict[Any, nn.Module], model: Path) -> None:
    new = SPEC.model_copy(update={"name": "new"})
    with pytest.raises(OutputError, match="exists already"):
        save_folder(model, new, parts)
    assert read_spec(model).name == "tiny"
    save_folder(model, new, parts, overwrite=True)
    assert read_spec(model).name == "new"
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_what_is_no_model_is_never_overwritten(parts: dict[Any, nn.Module], tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "a.jpg").write_bytes(b"precious")
    for target in (photographs, photographs / "a.jpg"):
        with pytest.raises(OutputError, match="no model folder"):
            save_folder(target, SPEC, parts, overwrite=True)
    assert (photographs / "a.jpg").read_bytes() == b"precious"


def test_parts_and_specification_have_to_agree(parts: dict[Any, nn.Module], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="denoiser"):
        save_folder(tmp_path / "m", SPEC, {"denoiser": parts["denoiser"]})


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), torch.float32), (1e6, torch.float16)])
def test_values_that_would_not_be_finite_are_not_written(
    parts: dict[Any, nn.Module], tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    bad = networks.build(DENOISER)
    with torch.no_grad():
        bad.get_parameter("out.2.bias")[0] = value
    with pytest.raises(LpnsrError, match=r"out\.2\.bias is not finite"):
        save_folder(tmp_path / "m", SPEC, {**parts, "denoiser": bad}, dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_a_sound_folder_passes_verification(original: Path) -> None:
    checks = list(verify_folder(original))
    assert len(checks) == 2 * 3 + 3 + 1
    assert all(check.ok for check in checks)


def test_verification_finds_changed_bytes(model: Path) -> None:
    edit_tensors(lambda t: t["out.2.bias"].add_(1))(model)
    assert [check.what for check in verify_folder(model) if not check.ok] == ["denoiser/model.safetensors"]


def test_verification_finds_weights_that_are_not_finite(model: Path) -> None:
    edit_tensors(lambda t: t["out.2.bias"].fill_(float("inf")))(model)
    failed = {check.what: check.detail for check in verify_folder(model) if not check.ok}
    assert set(failed) == {"denoiser/model.safetensors", "denoiser"}
    assert "out.2.bias" in failed["denoiser"]


def test_verification_finds_missing_records_and_files(model: Path) -> None:
    edit_json("model.json", lambda v: v["sha256"].pop("denoiser/config.json"))(model)
    (model / "autoencoder" / "model.safetensors").unlink()
    failed = {check.what: check.detail for check in verify_folder(model) if not check.ok}
    assert set(failed) == {"denoiser/config.json", "autoencoder/model.safetensors", "autoencoder"}


def test_the_summary_counts_what_is_learnt(parts: dict[Any, nn.Module], original: Path) -> None:
    found = {summary.name: summary for summary in summarise(original)[1]}
    for name, net in parts.items():
        assert found[name].parameters == sum(p.numel() for p in net.parameters())
        assert found[name].type == networks.describe(net)["type"]
