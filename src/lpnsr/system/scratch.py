"""Arrays on a disk instead of in memory."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lpnsr.errors import OutputError

SCRATCH_VARIABLE = "LPNSR_SCRATCH"


class Scratch:
    """An array in a file without a name, which vanishes with the process, however that ends.

    Pages that were read or written stay in memory until ``release``; then they are the system's file cache, which gives
    way to programs. All values are 0 at first. The file is in the folder that LPNSR_SCRATCH in the environment names,
    else in ``folder``, else in the system's for temporary files. Raises OutputError where the disk has no room.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, folder: str | os.PathLike[str] | None = None) -> None:
        size = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        asked = tempfile.gettempdir() if folder is None else os.fspath(folder) or "."
        where = os.environ.get(SCRATCH_VARIABLE) or asked
        try:
            with tempfile.TemporaryFile(prefix=".lpnsr-", dir=where) as file:
                _reserve(file.fileno(), size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise OutputError(
                f"{where}: a temporary file of {size / 2**30:,.1f} GiB cannot be made there: "
                f"{error.strerror or error}; make room, or name another folder in the environment's {SCRATCH_VARIABLE}"
            ) from None
        self.array: NDArray[Any] = np.frombuffer(self._map, dtype, int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def release(self) -> None:
        """Release the memory; the values stay on the disk."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _reserve(descriptor: int, size: int) -> None:
    """Reserve ``size`` bytes on the disk: writing to a mapped file on a full disk would kill the process."""
    os.truncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot
                raise
