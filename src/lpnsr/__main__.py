"""``python -m lpnsr ...``: the same as ``lpnsr ...``, for launchers such as ``accelerate launch -m lpnsr train``."""

from lpnsr.apps.cli import main

if __name__ == "__main__":
    main()
