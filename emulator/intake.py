"""Reading a batch's requests: the whole file is checked at create, one bad line refuses it all.

A batch works on its own snapshot of the input (a second name for the same bytes), so that deleting or expiring the
upload does not change it. Requests that came inside the create call are written as such a file first.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from emulator import messages
from emulator.catalogue import MODELS
from emulator.errors import invalid
from emulator.generate import count_tokens

REQUESTS = {"generate": "GenerateContentRequest", "embed": "EmbedContentRequest"}
"""The message a line's request must be, by the kind of batch."""


@dataclass(frozen=True)
class Line:
    """One request line: its key if it has one, the request in camelCase, and what is echoed beside the answer."""

    key: str | None
    request: dict[str, Any]
    echoed: dict[str, Any]


@dataclass(frozen=True)
class Intake:
    """What a create counts: requests, and estimated input tokens of all of them."""

    requests: int
    tokens: int


class LineError(ValueError):
    """A request line that cannot be read, with the column (from 1) that is to blame."""

    def __init__(self, column: int, reason: str) -> None:
        """Keep the message in the form Google gives it."""
        super().__init__(f"invalid JSON, near column {column}: {reason}")


def read_line(raw: bytes, *, kind: str) -> Line:
    """Return one line of a request file.

    Raises:
        LineError: the line is no JSON object, has no request, or a member its message does not have.
    """
    document = _parse(raw)
    if not isinstance(document, dict):
        raise LineError(1, f"unexpected character: {raw.decode('utf-8', 'replace')[:1]!r}; expected '{{'")
    if "request" not in document:
        raise LineError(1, "missing field: 'request'")
    try:
        request = messages.read(REQUESTS[kind], document["request"], where="request")
    except messages.UnknownFieldError as error:
        raise LineError(raw.find(f'"{error.name}"'.encode()) + 1, f"no such field: {error.name!r}") from error
    except messages.WrongValueError as error:
        name = error.where.rpartition(".")[2].partition("[")[0]
        raise LineError(max(raw.find(f'"{name}"'.encode()), 0) + 1, str(error)) from error
    key = document.get("key", _metadata_key(document))
    if key is not None and not isinstance(key, str):
        raise LineError(raw.find(b'"key"') + 1, f"invalid value for 'key': {key!r}")
    return Line(key, request, {name: _echo(name, value) for name, value in document.items() if name != "request"})


def _parse(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = raw.decode("utf-8", "replace")
        found = text[error.pos : error.pos + 1]
        raise LineError(error.pos + 1, f"unexpected character: {found!r}" if found else "unexpected end") from error


def _metadata_key(document: Mapping[str, Any]) -> object:
    """Return the key that an inlined request carries in its metadata."""
    metadata = document.get("metadata")
    return metadata.get("key") if isinstance(metadata, dict) else None


def _echo(name: str, value: object) -> object:
    """Return a member as a result line repeats it: lists come back empty, as the live service was seen to do."""
    return [] if isinstance(value, list) and name != "metadata" else value


def check_file(path: Path, *, kind: str, model: str) -> Intake:
    """Check every line of a request file and count it; memory stays flat.

    Raises:
        ApiError: 400 naming the first bad line, or for a file without a request.
    """
    requests = tokens = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                line = read_line(raw.rstrip(b"\r\n"), kind=kind)
            except LineError as error:
                raise invalid(f"Error on line {number}: {error}") from error
            requests += 1
            tokens += count_tokens(line.request, MODELS[model]).total
    if requests == 0:
        raise invalid("The input file holds no requests.")
    return Intake(requests, tokens)


def write_inlined(requests: Sequence[object], path: Path) -> None:
    """Write requests that came inside a create call as a request file."""
    with path.open("wb") as file:
        for request in requests:
            file.write(orjson.dumps(request) + b"\n")


def snapshot(source: Path, target: Path) -> None:
    """Give `target` the bytes of `source`, by a second link where the file system has them, else by a copy."""
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
