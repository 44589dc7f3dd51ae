"""Big batches: ``lpnsr upscale --engine ray``.

    inputs -> listing (a file on disk) -> Ray Data: one task a bundle of names -> a pool of actors, each with a model
           -> outcomes -> report and manifest (Parquet)

Every actor works with the same code as ``lpnsr upscale`` does by itself, so the files are the same. The command imports
nothing of Ray before its own checks are done.
"""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path

from lpnsr.errors import ConfigError, MissingExtraError

LOCAL = "local"
"""The address that stands for processes of our own on this machine."""
_TOKEN = Path("~/.ray/auth_token")


def check_installed() -> None:
    """Raise MissingExtraError unless the extra ``scale`` is there."""
    for module in ("ray", "pyarrow", "fsspec"):
        if find_spec(module) is None:
            raise MissingExtraError("scale", module)


def prepare(address: str | None, *, debug: bool = False) -> str:
    """Settle what Ray reads from the environment when it is imported; returns the address, perhaps ``LOCAL``.

    Usage statistics are off, and unless ``debug`` so is what Ray prints on standard output. Processes of our own listen
    on the loopback interface alone, and to nobody without the token. Raises ConfigError for an address that cannot be
    used.
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    if address.startswith("ray://"):
        raise ConfigError(f"{address}: Ray's client protocol is not for this; run it on a machine of the cluster")
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if not debug:  # of lost workers, for instance, which are told of where an image is given up
        wanted["RAY_DEDUP_LOGS_SKIP_REGEX"] = "^"
    wanted["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # or it warns of a change to come
    if address == LOCAL:
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux too, it makes Ray use the loopback interface
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    elif {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or _TOKEN.expanduser().is_file():
        wanted["RAY_AUTH_MODE"] = "token"  # Ray does this by itself for the address auto alone
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    return address
