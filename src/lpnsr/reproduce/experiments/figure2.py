"""Figure 2: maps of the predicted noise beside the LR image and its edges."""

from __future__ import annotations

from torch import Tensor

from lpnsr.reproduce.images import Pair
from lpnsr.reproduce.lab import NOISE_EDGES, Lab, edge_map, noise_map, optimal_noises
from lpnsr.reproduce.plots import maps, require
from lpnsr.reproduce.report import Column, Hypothesis, Plot, Report, compare

_ROWS = 3


def make_report(lab: Lab) -> Report:
    """Correlate noise with edges on all images, and draw maps of the first few of every set."""
    require()
    noisy = lab.noisy_steps()
    cases = [lab.chain(noise, noise=noise) for noise in ("mode", "predicted", "gaussian")]
    columns = [Column(f"edges_t{t}", f"correlation, t = {t}", True) for t in noisy]
    optimal = [Column(f"edges_optimal_t{t}", f"optimal noise there, t = {t}") for t in noisy]
    tests = [
        Hypothesis(
            "Predicted noise follows the structure of the LR image: its mode correlates with the edges more than "
            "Gaussian noise does.",
            "mode",
            ["gaussian"],
            columns,
            "Figure 2 shows maps, no numbers",
        ),
        Hypothesis("So does the sample.", "predicted", ["gaussian"], columns),
    ]
    tables, claims = compare(lab, cases, [*columns, *optimal], tests, [NOISE_EDGES])
    headings = ["LR", "edges", *(f"predicted, t = {t}" for t in noisy), "optimal, t = 2"]
    plots = [
        Plot(
            images.name,
            maps(headings, [_row(lab, pair) for pair in images.pairs[:_ROWS]]),
            f"{images.name}: LR image, its edges, root mean square over channels of the predicted noise (mode) of each "
            "step, and of the optimal noise of the last of them; each map between its own extremes",
        )
        for images in lab.sets
    ]
    return Report(
        "figure2",
        "Figure 2: what predicted noise looks like",
        "Pearson correlation, over the pixels of an image, between the noise map (root mean square over the latent's "
        "channels) and the edges (Sobel magnitude) of the LR image; means over images. All steps, pre-upsampler start.",
        tables,
        claims,
        plots,
    )


def _row(lab: Lab, pair: Pair) -> list[Tensor]:
    run = lab.make(pair, lab.chain("mode", noise="mode"))
    triples = optimal_noises(run)
    noises = [noise_map(noise) for _, noise, _ in triples]
    return [run.lr, edge_map(run.lr), *noises, noise_map(triples[-1][2])]
