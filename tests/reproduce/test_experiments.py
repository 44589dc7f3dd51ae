"""The experiments' parts: settings, chains with oracle and mixed noise, cache, claims."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lpnsr import runtimes
from lpnsr.diffusion import Schedule
from lpnsr.errors import ConfigError, InputError
from lpnsr.evaluation.cache import Cache
from lpnsr.evaluation.enlarging import load_network
from lpnsr.evaluation.upscaling import upscale_folder
from lpnsr.imaging import Photo, write
from lpnsr.networks import build
from lpnsr.networks.tensors import stored
from lpnsr.reproduce.cases import Ceiling, Chain, Folder
from lpnsr.reproduce.experiments import table1
from lpnsr.reproduce.experiments.oracle import _share
from lpnsr.reproduce.images import ImageSet, find_pairs
from lpnsr.reproduce.lab import (
    LATENT_ERROR,
    NOISE_EDGES,
    NOISE_MATCH,
    Lab,
    Scores,
    correlation,
    edge_map,
    latent_error,
    noise_edges,
    noise_match,
)
from lpnsr.reproduce.markdown import claim_lines, table_text
from lpnsr.reproduce.model import Model, Restoration, Setting
from lpnsr.reproduce.plots import maps
from lpnsr.reproduce.report import Claim, Column, Hypothesis, differences, table_of
from lpnsr.runtimes import loading
from lpnsr.system import machine
from lpnsr.upscaling.restorer import Restorer
from support.pairs import make_images
from support.tiny_model import CHAIN, GUIDED, NETWORKS, tiny_upscaler

LOWER, HIGHER = Column("niqe", "distance", False), Column("niqe", "quality", True)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> Model:
    upscaler = tiny_upscaler()
    return Model("tiny", upscaler.restorer, upscaler.device)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    make_images(folder, 3)
    return find_pairs("tiny", folder / "lr", folder / "hr")


def scores(images: ImageSet, **rows: list[float | None]) -> Scores:
    return Scores(images, {label: [{"niqe": value} for value in values] for label, values in rows.items()})


def test_a_run_is_what_upscale_gives(model: Model, images: ImageSet) -> None:
    pair = images.pairs[0]
    upscaled = tiny_upscaler()(pair.lr, seed=3, fidelity=0.75, noise="mode", steps=3, tile=0)
    setting = Setting(steps=3, noise="mode", fidelity=0.75, seed=3)
    assert torch.equal(model.restore(pair.lr, pair.hr, setting).sr, (upscaled.clamp(0, 1) * 255).round() / 255)


def test_oracle_noise_lands_nearer_to_the_truth(model: Model, images: ImageSet) -> None:
    for pair in images.pairs:
        runs = {n: model.restore(pair.lr, pair.hr, Setting(noise=n)) for n in ("oracle", "gaussian", "predicted")}
        states = {noise: run.states[-1].x_t - run.truth() for noise, run in runs.items()}
        assert states["oracle"].norm() < 0.2 * min(states["gaussian"].norm(), states["predicted"].norm())
        match = noise_match(runs["oracle"])
        assert match["distance_t2"] == 0
        assert match["correlation_t4"] == pytest.approx(1)


def test_a_mixture_switches_the_predictor_at_the_named_step(model: Model, images: ImageSet) -> None:
    pair = images.pairs[0]
    asked: list[int] = []
    predictor = model.restorer.noise_predictor
    handle = predictor.register_forward_hook(lambda net, inputs, out: asked.append(int(inputs[3][0])))
    try:
        model.restore(pair.lr, pair.hr, Setting(at=((3, "gaussian"),)))
        off = list(asked)
        asked.clear()
        run = model.restore(pair.lr, pair.hr, Setting(noise="gaussian", at=((2, "predicted"),)))
    finally:
        handle.remove()
    assert off == [3, 1]
    assert asked == [1]
    assert [torch.equal(s.noise, s.draw()) for s in run.states if s.noise is not None] == [True, True, False]


def test_settings_that_cannot_differ_are_one() -> None:
    def same(a: Setting, b: Setting) -> bool:
        return a.identity() == b.identity()

    assert same(Setting(steps=1, noise="gaussian"), Setting(steps=1, noise="predicted"))
    assert same(Setting(noise="mode"), Setting(noise="predicted", fidelity=0.5))
    assert same(Setting(noise="gaussian"), Setting(noise="gaussian", fidelity=0.4))
    assert same(Setting(steps=0, seed=1, fidelity=1), Setting(steps=0))
    assert same(Setting(at=((2, "predicted"),)), Setting())
    assert not same(Setting(noise="mode"), Setting(noise="predicted", fidelity=0.25))
    assert not same(Setting(noise="gaussian"), Setting(noise="gaussian", fidelity=0.6))
    assert not same(Setting(at=((2, "gaussian"),)), Setting(at=((3, "gaussian"),)))
    assert not same(Setting(seed=1), Setting())
    assert not same(Setting(start="bicubic"), Setting())


def test_settings_that_make_no_sense_are_refused(model: Model, images: ImageSet) -> None:
    with pytest.raises(ConfigError, match="t = 3 takes no noise in 2 steps"):
        Setting(steps=2, at=((3, "gaussian"),))
    with pytest.raises(ConfigError, match="choose gaussian"):
        Setting(noise="orcale")  # type: ignore[arg-type]
    bare = model.starting_from("bare", None)
    with pytest.raises(ConfigError, match="no pre-upsampler"):
        bare.check(Setting())
    bare.restorer.noise_predictor = None
    with pytest.raises(ConfigError, match="no noise predictor"):
        bare.check(Setting(start="bicubic"))
    bare.check(Setting(start="bicubic", noise="gaussian"))
    with pytest.raises(ConfigError, match="5 steps"):
        model.check(Setting(steps=5))


def test_a_model_is_told_by_its_weights(model: Model) -> None:
    again = tiny_upscaler()
    twin = Model("another name", again.restorer, again.device)
    assert twin.digest == model.digest
    bare = model.starting_from("bare", None)
    assert bare.digest != model.digest
    changed = tiny_upscaler().restorer
    changed.denoiser.out[2].weight.data[0, 0, 0, 0] += 1e-3
    assert Model("tiny", changed, model.device).digest != model.digest


def test_numbers_do_not_depend_on_the_runtimes_that_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: object())  # ncnn is there
    monkeypatch.setattr(runtimes, "load", lambda *_: pytest.fail("it computes in another runtime"))
    assert Model.load("lite", "cpu").digest
    make_images(tmp_path, 1)
    made, _, _ = upscale_folder("lite", sorted((tmp_path / "lr").iterdir()), tmp_path / "out", device="cpu")
    assert len(made) == 1


def test_models_of_the_same_weights_but_another_configuration_share_no_results(
    model: Model, images: ImageSet, tmp_path: Path
) -> None:
    def variant(chain: dict | None = None, **denoiser: object) -> Model:
        own = {name: getattr(model.restorer, name) for name in NETWORKS}
        weights = own["denoiser"].state_dict()
        own["denoiser"] = build(NETWORKS["denoiser"] | denoiser)
        own["denoiser"].load_state_dict(weights)
        restorer = Restorer(Schedule.geometric(**CHAIN | (chain or {})), **own)
        return Model("tiny", restorer.eval().requires_grad_(False), model.device)

    pair = images.pairs[0]
    others = [variant(residual=False), variant(chain={"kappa": 0.6})]
    assert variant().digest == model.digest
    assert len({one.digest for one in (model, *others)}) == 3
    ours = model.restore(pair.lr, pair.hr, Setting()).sr
    assert not any(torch.equal(other.restore(pair.lr, pair.hr, Setting()).sr, ours) for other in others)
    for name, residual in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        save_file(stored(model.restorer.denoiser, torch.float32, name), tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps(NETWORKS["denoiser"] | {"residual": residual}))
    assert load_network(tmp_path / "a", model.device)[1] != load_network(tmp_path / "b", model.device)[1]


def test_the_arithmetic_of_a_setting(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "seconds", lambda *_: 1.0)
    for networks in (NETWORKS, GUIDED):
        upscaler = tiny_upscaler(networks=networks)
        tiny = Model("tiny", upscaler.restorer, upscaler.device)
        lab = Lab(tiny, (ImageSet("one", images.pairs[:1]),), (), Cache(tmp_path / "cache.jsonl"), lambda *_: None)
        rows = {label: row["mflop"].mean for label, row in table1.make_report(lab).tables[0].rows.items()}
        assert rows["T = 1, ResShift"] == rows["T = 1, PreSet-A"] < rows["T = 4, ResShift"] < rows["T = 4, PreSet-A"]
        guided = networks is GUIDED  # its chain asks the pre-upsampler for features, whatever the start is
        assert (rows["T = 4, PreSet-A"] == rows["T = 4, PreSet-B"]) == guided


def test_seconds_of_another_machine_are_measured_again(
    model: Model, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(Model, "seconds", lambda *_: counted.append(1) or 1.0)

    def runs() -> int:
        before = len(counted)
        table1.make_report(Lab(model, (images,), (), Cache(tmp_path / "cache.jsonl"), lambda *_: None))
        return len(counted) - before

    timed = (4 * 3 - 1) * 2 * 3  # of steps and ways, two are one; images; times
    assert runs() == timed
    assert runs() == 0
    torch.set_num_threads(2)
    assert runs() == timed
    torch.set_num_threads(1)
    assert runs() == 0
    monkeypatch.setattr(machine, "_processor", lambda: "Another CPU")
    assert runs() == timed
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert runs() == timed
    assert machine.machine_of(model.device).endswith("cores, 1 threads, PyTorch 99.0")


@pytest.mark.parametrize(
    ("information", "name"), [("processor: 0\nmodel name\t: Some  CPU @ 2 GHz\n", "Some CPU @ 2 GHz"), ("", "chip")]
)
def test_the_name_of_the_processor(information: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: information)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "chip")
    assert machine._processor.__wrapped__() == name


def test_rows_of_one_name_are_refused(model: Model, images: ImageSet, tmp_path: Path) -> None:
    lab = Lab(model, (images,), (), Cache(tmp_path / "cache.jsonl"), lambda *_: None)
    with pytest.raises(ConfigError, match="two rows are called 'LPNSR'"):
        lab.score(images, [lab.chain("LPNSR"), lab.chain("LPNSR", steps=1)])


def test_a_lab_computes_once(model: Model, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    original = Model.restore
    monkeypatch.setattr(Model, "restore", lambda self, *a: counted.append(1) or original(self, *a))

    def lab() -> Lab:
        return Lab(model, (images,), (), Cache(tmp_path / "cache.jsonl"), lambda *_: None)

    cases = [lab().chain("gaussian", noise="gaussian"), lab().chain("mode", noise="mode")]
    first = lab().score(images, cases, [LATENT_ERROR, NOISE_EDGES])
    assert len(counted) == 6  # not once an instrument
    assert lab().score(images, cases, [LATENT_ERROR, NOISE_EDGES]) == first
    assert len(counted) == 6
    more = lab().score(images, [*cases, lab().chain("the same", fidelity=0.5)], [LATENT_ERROR, NOISE_MATCH])
    assert len(counted) == 12  # for the new instrument, but the third case is the mode
    assert more.of("mode", "latent_error") == first.of("mode", "latent_error") == more.of("the same", "latent_error")


def test_instruments(model: Model, images: ImageSet) -> None:
    pair = images.pairs[0]
    run = model.restore(pair.lr, pair.hr, Setting(noise="gaussian"))
    last = run.states[-1].x_previous
    assert latent_error(run)["latent_error"] == pytest.approx(float((last - run.truth()).square().mean().sqrt()))
    what = ("distance", "correlation", "size", "size_optimal")
    assert set(match := noise_match(run)) == {f"{name}_t{t}" for name in what for t in (4, 3, 2)}
    assert match["size_t3"] == pytest.approx(1, abs=0.1)
    assert match["distance_t3"] == pytest.approx(
        (match["size_t3"] ** 2 + match["size_optimal_t3"] ** 2) ** 0.5, rel=0.2
    )
    assert abs(noise_edges(run)["edges_t3"]) < 0.3  # 256 pixels of chance
    start = model.restore(pair.lr, pair.hr, Setting(steps=0))
    assert latent_error(start)["latent_error"] == pytest.approx(
        float((start.y0 - start.truth()).square().mean().sqrt())
    )
    assert latent_error(Restoration(pair.lr, pair.hr, pair.hr)) == {"latent_error": None}
    a = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert correlation(a, 3 * a + 2) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, torch.ones(50)) is None
    step = torch.zeros(3, 8, 8)
    step[..., 4:] = 1
    assert edge_map(step)[:, 3:5].min() > 0.4
    assert edge_map(step)[:, [0, 1, 6, 7]].max() == 0
    assert torch.equal(edge_map(step.mT), edge_map(step).mT)


def test_the_ceiling_knows_the_truth(model: Model, images: ImageSet) -> None:
    pair = images.pairs[0]
    run = Ceiling("ceiling", model).make(pair)
    assert run.sr.shape == pair.hr.shape
    chain = Chain("chain", model, Setting())
    assert Ceiling("ceiling", model).identity(pair) != chain.identity(pair)


@torch.inference_mode()
def test_guided_chains(images: ImageSet) -> None:
    upscaler = tiny_upscaler(networks=GUIDED)
    guided = Model("guided", upscaler.restorer, upscaler.device)
    pair, other = images.pairs[:2]
    asked: list[int] = []
    upsampler = guided.restorer.upsampler
    handle = upsampler.conv_last.register_forward_hook(lambda *_: asked.append(1))
    settings = [Setting(), Setting(noise="oracle"), Setting(start="bicubic", steps=2), Setting(steps=0)]
    runs = [guided.restore(pair.lr, pair.hr, setting) for setting in settings]
    ceiling = guided.ceiling(pair.lr, pair.hr)
    assert len(asked) == 1  # the settings of an image share what the pre-upsampler gave
    guided.restore(other.lr, other.hr, Setting())
    again = guided.restore(pair.lr, pair.hr, Setting())
    assert len(asked) == 3
    handle.remove()
    assert torch.equal(again.sr, runs[0].sr)
    assert torch.equal(runs[0].sr, (upscaler(pair.lr, tile=0).clamp(0, 1) * 255).round() / 255)
    assert guided.seconds(pair.lr, pair.hr, Setting()) > 0
    image, guide = guided.restorer.start(pair.lr[None])
    at_truth = guided.restorer.finish(runs[0].truth(), image, guide)
    assert torch.equal(ceiling, guided.finish(at_truth.clamp(0, 1), pair.lr))
    assert not torch.equal(ceiling, guided.finish(guided.restorer.decode(runs[0].truth()).clamp(0, 1), pair.lr))


@torch.inference_mode()
def test_another_start_leaves_the_features_of_a_guided_chain(images: ImageSet) -> None:
    upscaler, pair = tiny_upscaler(networks=GUIDED), images.pairs[0]
    guided = Model("guided", upscaler.restorer, upscaler.device)
    plain = tiny_upscaler().restorer.upsampler  # gives no features
    other = guided.starting_from("other", plain)
    assert other.digest != guided.digest
    assert torch.equal(
        other.restore(pair.lr, pair.hr, Setting(steps=0)).y0, other.encode(plain(pair.lr[None])[0].clamp(0, 1))
    )
    (_, ours), (_, theirs) = (one.restorer.start(pair.lr[None]) for one in (guided, other))
    assert torch.equal(ours.features, theirs.features)


def test_folders_of_other_methods(images: ImageSet, tmp_path: Path) -> None:
    first, second, third = images.pairs
    hr = first.hr_path.parent
    with pytest.raises(ConfigError, match="no images"):
        Folder("other", tmp_path, hr).make(first)
    for pixels, name in ((first.hr, "0_x4.png"), (second.lr, "1.png")):
        write(Photo((pixels * 255).round().byte().permute(1, 2, 0).numpy()), tmp_path / name)
    method = Folder("other", tmp_path, hr)
    assert torch.equal(method.make(first).sr, first.hr)
    assert method.identity(first) != method.identity(second)
    with pytest.raises(InputError, match="16 x 16 px"):
        method.make(second)
    with pytest.raises(InputError, match=r"no image for 2\.png"):
        method.make(third)


def test_pairs_are_checked(tmp_path: Path) -> None:
    make_images(tmp_path, 2)
    assert [pair.name for pair in find_pairs("x", tmp_path / "lr", tmp_path / "hr", 1).pairs] == ["0"]
    (tmp_path / "hr" / "1.png").rename(tmp_path / "hr" / "other.png")
    with pytest.raises(
        ConfigError, match=r"1 of 2 images in .* have no HR image .* 1.png: HR has no image of a like name"
    ):
        find_pairs("x", tmp_path / "lr", tmp_path / "hr")
    swapped = find_pairs("x", tmp_path / "lr", tmp_path / "lr").pairs[0]
    with pytest.raises(InputError, match="64 x 64"):
        _ = swapped.hr


@pytest.mark.parametrize(
    ("a", "b", "column", "outcome"),
    [
        ([1.0, 1.1, 0.9], [2.0, 2.2, 1.8], LOWER, "holds"),
        ([1.0, 1.1, 0.9], [2.0, 2.2, 1.8], HIGHER, "fails"),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], LOWER, "not decided"),
        ([1.0, None, None], [2.0, 2.0, None], LOWER, "not decided"),  # one image shows no spread
        ([3.0, 3.0, None], [2.0, 2.5, None], HIGHER, "holds"),
        ([1.01, 1.02, 1.03], [1.0, 1.0, 1.0], LOWER, "no effect of interest"),  # certain, and below 0.05
        ([1.04, 1.0, 1.07], [1.0, 1.0, 1.0], LOWER, "not decided"),
    ],
)
def test_verdicts(images: ImageSet, a: list, b: list, column: Column, outcome: str) -> None:
    (found,) = differences(scores(images, a=a, b=b), Hypothesis("", "a", ["b"], [column]))
    assert found.outcome == outcome
    assert Claim("", [found]).verdict("tiny") == outcome


def test_a_claim_over_several_numbers(images: ImageSet) -> None:
    def claim(*columns: Column) -> Claim:
        test = Hypothesis("", "a", ["b"], columns)
        return Claim("It is so.", differences(scores(images, a=[1.0, 1.0, 1.1], b=[2.0, 2.0, 2.0]), test), "by far")

    assert claim(LOWER, LOWER).verdict("tiny") == "holds"
    assert claim(LOWER, HIGHER).verdict("tiny") == "holds in part"
    assert claim(HIGHER).verdict("tiny") == "fails"
    lines = claim_lines(claim(LOWER))
    assert lines[0] == "- It is so. (Paper: by far.)"
    assert lines[1].startswith("    - tiny: **holds**. distance -0.97 (-48%, -1.00 to -0.90), holds")


def test_tables_show_the_papers_figures_beside(images: ImageSet) -> None:
    column = Column("niqe", "NIQE", False)
    rows = Scores(images, {"a": [{"niqe": 4.0}, {"niqe": 5.0}, {}], "b": [{}, {}, {}]})
    text = table_text(table_of(rows, [column], {"a": {"niqe": 3.5}, "theirs": {"niqe": 9.25, "pi": 2.0}}))
    assert text.splitlines() == [
        "|  | NIQE ↓ | paper: NIQE | paper: PI |",
        "| --- | ---: | ---: | ---: |",
        "| a | 4.500 | 3.5 |  |",
        "| b | – |  |  |",
        "| theirs |  | 9.25 | 2 |",
    ]


def test_a_name_breaks_no_table(images: ImageSet) -> None:
    rows = Scores(images, {"a | b": [{"niqe": 4.0}] * 3})
    text = table_text(table_of(rows, [Column("niqe", "NIQE", False)]))
    assert text.splitlines()[2] == "| a \\| b | 4.000 |"


def test_share_of_the_gap(images: ImageSet) -> None:
    known = scores(images, gaussian=[4.0, 4.2, 4.4], predicted=[3.0, 3.2, 3.4], oracle=[2.0, 2.2, 2.4])
    share = _share(known, "predicted", "niqe")
    assert share is not None
    assert (share.mean, share.low, share.high) == pytest.approx((0.5, 0.5, 0.5))
    nothing = scores(images, gaussian=[4.0, 4.2, 4.4], predicted=[3.0, 3.2, 3.4], oracle=[4.2, 4.0, 4.4])
    assert _share(nothing, "predicted", "niqe") is None


def test_a_figure_of_noise_stays_small() -> None:
    row = [torch.zeros(3, 128, 128), *torch.randn(2, 128, 128)]
    headings = [str(column) for column in range(3)]
    data = maps(headings, [row] * 5)
    assert len(data) < 100_000
    assert Image.open(BytesIO(data)).height > Image.open(BytesIO(maps(headings, [row]))).height
