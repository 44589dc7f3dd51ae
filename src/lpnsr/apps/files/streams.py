"""Standard input and output, pipes and devices in the place of files.

An image is read more than once and appears whole or not at all, so what streams hold lies in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lpnsr.apps.files.plan import Naming, result_name
from lpnsr.errors import ConfigError, OutputError

STANDARD = "-"


def is_stream(name: str) -> bool:
    """Whether ``name`` is the standard stream, or a pipe or device: nothing that a file can replace."""
    if name == STANDARD:
        return True
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 (raises ValueError for names that no file can have)
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def staged(names: list[str], output: str, ext: str) -> Iterator[tuple[list[str], str, dict[str, str]]]:
    """Put files in the place of streams in ``names`` and ``output``; what is made is sent into the stream at the end.

    Yield both, and the names of the streams by their files. ext: of what is sent; auto is that of the one input, else
    PNG. Raises ConfigError, OutputError.
    """
    shown: dict[str, str] = {}
    reads, writes = STANDARD in names, is_stream(output)
    if not reads and not writes:
        yield names, output, shown
        return
    with tempfile.TemporaryDirectory(prefix="lpnsr-") as folder:
        if reads:
            source = Path(folder) / "standard-input"
            with source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            shown[str(source)] = STANDARD
            names = [str(source) if name == STANDARD else name for name in names]
        if not writes:
            yield names, output, shown
            return
        if len(names) > 1 or Path(names[0]).is_dir():
            raise ConfigError(f"-o {output}: a stream takes the result of one image; several need a folder")
        result = Path(folder) / f"result{result_name(Path(names[0]), Naming(output, ext=ext)).suffix}"
        yield names, str(result), shown | {str(result): output}
        if result.exists():
            _send(result, output)


def _send(result: Path, output: str) -> None:
    try:
        with result.open("rb") as file:
            if output == STANDARD:
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                with Path(output).open("wb") as target:
                    shutil.copyfileobj(file, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"-o {output}: cannot be written: {error.strerror or error}") from None
