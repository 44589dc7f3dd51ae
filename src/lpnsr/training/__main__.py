"""``python -m lpnsr.training STAGE ...``: the same as ``lpnsr train``, for ``accelerate launch -m lpnsr.training``."""

import sys

from lpnsr.apps.cli import main

if __name__ == "__main__":
    sys.argv[:1] = ["lpnsr", "train"]
    main()
