"""The body of an upload, limited in bytes and time whatever its headers say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

from fastapi import HTTPException, Request
from starlette.datastructures import FormData, UploadFile

from lpnsr.apps.jobs import JobOptions, TooLargeError
from lpnsr.apps.jobs.settings import mebibytes
from lpnsr.errors import ConfigError

FIELD = "image"
_FORM = 1 << 16  # bytes that options and the parts' headers may take beside the image
_MOST_FIELDS = 32


@asynccontextmanager
async def received(request: Request, limit: int, seconds: float) -> AsyncIterator[tuple[BinaryIO, str, JobOptions]]:
    """The image of a form, its name and the options; ``limit`` in bytes.

    Raises TooLargeError, ConfigError, HTTPException.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(422, f"send a form (multipart/form-data) with a file in its field {FIELD!r}")
    try:
        async with asyncio.timeout(seconds):
            form = await _counted(request, limit + _FORM).form(max_files=1, max_fields=_MOST_FIELDS)
    except TimeoutError:
        raise HTTPException(408, f"the upload took longer than {seconds:g} s") from None
    try:
        image = form.get(FIELD)
        if not isinstance(image, UploadFile):
            raise ConfigError(f"the form has no file in a field {FIELD!r}")
        yield image.file, image.filename or "", _options(form)
    finally:
        await form.close()


def _counted(request: Request, limit: int) -> Request:
    """Return the request with a body that raises TooLargeError beyond ``limit`` bytes."""
    error = TooLargeError(
        f"the upload has more than {mebibytes(limit - _FORM)}, and that is the limit; send a smaller image"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise error
    seen = 0

    async def receive() -> Any:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise error
        return message

    return Request(request.scope, receive)


def _options(form: FormData) -> JobOptions:
    """The other fields; empty ones count as absent."""
    values: dict[str, str] = {}
    for key, value in form.multi_items():
        if key == FIELD:
            continue
        if not isinstance(value, str) or key in values:
            raise ConfigError(f"{key}: one value is needed")
        if value != "":
            values[key] = value
    return JobOptions.parse(values, "options")


def form_schema(models: Sequence[str]) -> dict[str, Any]:
    """Return the OpenAPI description of the form."""
    schema = JobOptions.model_json_schema()
    fields = {name: _not_null(field) for name, field in schema["properties"].items() if name != "tile"}
    fields["model"] |= {"enum": list(models), "default": models[0]}
    image = {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or Netpbm"}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: image, **fields},
                    "additionalProperties": False,
                }
            }
        },
    }


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    """Remove null from a field of the schema: a form leaves the field out instead."""
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "title", "default")}
    if field.get("default") is not None:
        rest["default"] = field["default"]
    for option in field.get("anyOf", ()):
        if option != {"type": "null"}:
            rest |= option
    return rest
