"""The paper's own figures (LPNSR, arXiv 2603.21045), where its text is known to this project.

ImageNet-Test, full-size networks. Keys are rows of the experiments, then names of metrics.
"""

from __future__ import annotations

SOURCE = "The paper's figures: ImageNet-Test, its full-size networks."

TABLE1 = {
    "ResShift": {"psnr": 27.33, "niqe": 5.8700, "musiq": 65.5860, "seconds": 0.81},
    "PreSet-B": {"psnr": 26.11, "niqe": 4.3807, "musiq": 71.7105, "seconds": 1.09},
}
"""At T = 4."""

TABLE2 = {"LPNSR": {"clipiqa": 0.6921, "musiq": 71.7105}, "InvSR": {"clipiqa": 0.7093, "musiq": 72.2900}}

TABLE4 = {"all on": {"niqe": 4.2175, "pi": 3.6963}, "off at t = 2": {"niqe": 5.8530, "pi": 4.7332}}

TITLES = {"psnr": "PSNR", "niqe": "NIQE", "musiq": "MUSIQ", "clipiqa": "CLIPIQA", "pi": "PI", "seconds": "seconds"}
