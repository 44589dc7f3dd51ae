"""``python -m lpnsr.training STAGE ...``: the same as ``lpnsr train``, for ``accelerate launch -m lpnsr.training``."""

import sys

from lpnsr.apps.cli import app

if __name__ == "__main__":
    app(["train", *sys.argv[1:]], prog_name="lpnsr")
