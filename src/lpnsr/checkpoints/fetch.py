"""One published file: from the Hugging Face Hub by its own client, from other places over plain HTTP.

A file arrives in the hidden folder ``.arriving`` and gets its name once it is complete and checked. The caller holds a
lock: two fetches at a time would share what has arrived.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import ssl
import urllib.request
from contextlib import suppress
from pathlib import Path

from lpnsr.errors import DownloadError, OutputError
from lpnsr.system.atomic import refusal
from lpnsr.system.hashes import file_sha256

TIMEOUT_S = 30.0
CHUNK = 1 << 20


def address(mirror: str, name: str) -> str:
    """Return the URL of a file at ``mirror``: a Hub repository (``owner/name``) or the URL of a folder."""
    if "://" in mirror:
        return f"{mirror.rstrip('/')}/{name}"
    from huggingface_hub import hf_hub_url

    return hf_hub_url(mirror, name)


def fetch(mirror: str, name: str, folder: Path, sha256: str | None = None) -> str:
    """Bring the file ``name`` from ``mirror`` into ``folder`` and return its SHA-256.

    The size that the server states is checked, and ``sha256`` or else the hash that the server states. Raises
    DownloadError if the file cannot be had or is another one, OutputError if it cannot be written.
    """
    url, arriving = address(mirror, name), folder / ".arriving"
    try:
        arriving.mkdir(parents=True, exist_ok=True)
        path, stated = _over_http(url, arriving) if "://" in mirror else _from_hub(mirror, name, arriving)
        digest, expected = file_sha256(path), sha256 or stated
        if expected not in (None, digest):
            path.unlink()  # to go on with it would not help
            raise DownloadError(f"{url} is damaged or another file: SHA-256 {digest} instead of {expected}")
        path.replace(folder / name)
    except DownloadError:
        raise
    except Exception as error:  # the Hub's client has no one class of errors: HTTP, file system, value errors
        if reason := refusal(error, folder / name):
            raise OutputError(f"{folder / name}: {reason} (--cache-dir or LPNSR_CACHE)") from None
        raise DownloadError(f"{url} cannot be fetched: {_line(error)}") from None
    return digest


def _from_hub(repository: str, name: str, folder: Path) -> tuple[Path, str | None]:
    """Return the file in ``folder`` and the SHA-256 that the Hub states for it, if any."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download

    # First, as it does not try again for half a minute where there is no network.
    etag = get_hf_file_metadata(address(repository, name)).etag
    return Path(hf_hub_download(repository, name, local_dir=folder)), _sha256_in(etag)


def _over_http(url: str, folder: Path) -> tuple[Path, str | None]:
    """Return the file in ``folder`` and the SHA-256 that the server states for it, if any.

    What has arrived of a file is kept under a hash of its URL, size and ETag (or date): only the same file is resumed.
    """
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S) as response:
        headers = response.headers
    if headers.get_content_type() == "text/html":
        raise DownloadError(f"{url} gave a web page instead of a file; is there a login page in between?")
    if not (total := int(headers["Content-Length"] or 0)):
        raise DownloadError(f"{url}: the server does not state the size of the file, so it cannot be checked")
    etag = headers["ETag"] or "W/"
    tag = headers["Last-Modified"] if etag.startswith("W/") else etag  # a weak ETag does not promise the same bytes
    part = folder / (hashlib.sha256(f"{url} {total} {tag}".encode()).hexdigest() + ".part")
    part.touch()
    while (here := part.stat().st_size) < total:
        _append(url, part, total, tag)
        if part.stat().st_size <= here:
            raise DownloadError(f"{url}: the connection closed after {part.stat().st_size} of {total} bytes")
    if here > total:
        part.unlink()
        raise DownloadError(f"{url}: {here} bytes arrived instead of {total}")
    return part, _sha256_in(tag)


def _append(url: str, part: Path, total: int, tag: str | None) -> None:
    """Bring the rest of the file into ``part``, or all of it where the server knows no ranges or has another file."""
    from huggingface_hub.utils.tqdm import tqdm  # bars like those of the Hub's client, switched off in the same way

    here = part.stat().st_size
    # Without a tag nothing shows whether the rest is of the same file.
    ranges = {"Range": f"bytes={here}-", "If-Range": tag} if here and tag else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=ranges), timeout=TIMEOUT_S) as response:
        here = here if response.status == 206 else 0
        bar = {"desc": url.rsplit("/", 1)[-1], "total": total, "initial": here, "disable": None}
        # A connection that breaks off here is told from the size of the part.
        with (
            tqdm.wrapattr(response, "read", **bar) as reader,
            part.open("ab" if here else "wb") as file,
            suppress(http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError),
        ):
            shutil.copyfileobj(reader, file, CHUNK)


def _sha256_in(etag: str | None) -> str | None:
    digest = (etag or "").strip('"').lower()
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
