"""The outcome of every image, as Parquet files in one folder."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lpnsr.apps.ray.places import Place
from lpnsr.errors import ConfigError, OutputError
from lpnsr.system.atomic import write_bytes

ROWS, SECONDS = 5000, 20.0
"""A file is written when so many rows, or as many seconds, have come together."""

SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("input", pa.string()),
        ("output", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("input_width", pa.int32()),
        ("input_height", pa.int32()),
        ("input_bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("output_bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("finished", pa.timestamp("ms", tz="UTC")),
        ("attempt", pa.int32()),
        ("worker", pa.string()),
        ("threads", pa.int32()),
        ("device", pa.string()),
        ("seed", pa.int64()),
        ("options", pa.string()),
        ("model", pa.string()),
        ("model_digest", pa.string()),
        ("version", pa.string()),
    ]
)


class Manifest:
    """Rows of one run. Each file is whole or not there, so that whoever is killed leaves a folder that can be read.

    place: the folder; files of earlier runs stay. common: columns that are the same in every row. Raises ConfigError
    where a file has the folder's name, and as ``Place.check_writable`` does.
    """

    def __init__(self, place: Place, run: str, common: dict[str, Any]) -> None:
        if place.local is not None and os.path.lexists(place.local) and not place.is_dir():
            raise ConfigError(f"{place.name()} is no folder, and the manifest needs one; name another by --manifest")
        try:
            place.check_writable()
        except OutputError as error:
            raise OutputError(f"the manifest cannot be written: {error} (--manifest names another folder)") from None
        self.place = place
        self.run = run
        self.common = {"run": run} | common
        self._rows: list[dict[str, Any]] = []
        self._files = 0
        self._written = time.monotonic()

    def add(self, row: dict[str, Any]) -> None:
        """Note a row, and write if it is time to."""
        self._rows.append({name: row.get(name, self.common.get(name)) for name in SCHEMA.names})
        if len(self._rows) >= ROWS or time.monotonic() - self._written >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written. Raises OutputError."""
        self._written = time.monotonic()
        if not self._rows:
            return
        table = pa.Table.from_pylist([_texts(row) for row in self._rows], SCHEMA)
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        name = f"{self.run}-{self._files:05d}.parquet"
        data = buffer.getvalue().to_pybytes()
        if self.place.local is not None:
            try:
                self.place.local.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"the manifest's folder {self.place.name()} cannot be made ({error.strerror}); name another by "
                    "--manifest"
                ) from None
            write_bytes(self.place.local / name, data)
        else:
            with tempfile.TemporaryDirectory(prefix="lpnsr-") as folder:
                write_bytes(Path(folder) / name, data)
                self.place.put(Path(folder) / name, name)
        self._files += 1
        self._rows = []


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    """Names that are no text become text: with backslashes for the bytes that are none."""
    return {
        key: value.encode(errors="surrogateescape").decode(errors="backslashreplace")
        if isinstance(value, str)
        else value
        for key, value in row.items()
    }
