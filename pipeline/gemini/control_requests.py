"""Build control requests, and check by their replies whether replies have the right keys.

A control request asks for a nonce, a random text, that no other request of its file contains. So a
reply with a nonce under another key, or a control request with the reply to a row, proves that the
service mixed up replies. The nonces are only in the sealed request file.

A control request that was refused, cut or lost proves nothing, and neither does an answer of
another form, because a model may ignore the schema.
"""

import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.core.files import read_lines
from pipeline.core.states import Outcome
from pipeline.gemini.requests import Prompt, RequestSettings
from pipeline.gemini.responses import ParsedReply, object_or_empty, parse_result_line
from pipeline.gemini.result_file import ResultFile, read_line_key
from pipeline.gemini.usage import Usage

# Keys of rows contain a slash, so no key of a row is equal to one of these. The first control
# request is the second line of a request file, the other is the last line.
CONTROL_KEYS = ("control-1", "control-2")
# The name of the nonce in an answer.
NONCE_FIELD = "findable_control"
NONCE_BYTES = 8
# Our own choice: room for the thoughts of a model that always thinks.
MAX_OUTPUT_TOKENS = 1024
# Our own choice: the expected tokens of an answer, which is one short object.
ANSWER_TOKENS = 24
# Our own choice: more than the bytes of a control request.
MAX_LINE_BYTES = 4096


class ControlRequest(NamedTuple):
    """One control request before it is written to a file."""

    # The request line with its line end.
    line: bytes
    # Estimated usage.
    usage: Usage


def make_control_requests(settings: RequestSettings) -> tuple[ControlRequest, ...]:
    """Return control requests with new nonces, one for each of CONTROL_KEYS.

    Args:
        settings: The settings of the requests about rows in the same file.
    """
    return tuple(_make_control_request(key, settings) for key in CONTROL_KEYS)


def _make_control_request(key: str, settings: RequestSettings) -> ControlRequest:
    """Return a request whose only valid answer is a new random text, the nonce.

    The reply to it shows whether the service gives each request its own reply.
    """
    nonce = secrets.token_hex(NONCE_BYTES)
    schema = {
        "type": "OBJECT",
        "properties": {NONCE_FIELD: {"type": "STRING", "enum": [nonce]}},
        "required": [NONCE_FIELD],
    }
    control_settings = replace(settings, answer_schema=schema, answer_tokens=ANSWER_TOKENS)
    parts = [{"text": f'Answer with {{"{NONCE_FIELD}": "{nonce}"}}.'}]
    line, usage = control_settings.build_line(key, Prompt("", parts, MAX_OUTPUT_TOKENS))
    return ControlRequest(line + b"\n", usage)


def read_nonces(request_path: Path) -> dict[str, str]:
    """Return the nonce of each control request of a request file, by key.

    A control request asks for a random text, the nonce, to show that replies are not mixed up. Only
    the second and the last line are read. A line that is no control request is left out, and a file
    that cannot be read has none.
    """
    nonces = {}
    try:
        lines = [*_read_second_and_last_line(request_path)]
    except OSError:
        return {}
    for line in lines:
        try:
            document = orjson.loads(line)
            schema = document["request"]["generationConfig"]["responseSchema"]
            [nonce] = schema["properties"][NONCE_FIELD]["enum"]
        except (ValueError, LookupError, TypeError):
            continue
        if document.get("key") in CONTROL_KEYS and isinstance(nonce, str):
            nonces[document["key"]] = nonce
    return nonces


def _read_second_and_last_line(path: Path) -> Iterator[bytes]:
    """Yield the second line of a file, then the last line; each has at most MAX_LINE_BYTES.

    In a file of two lines the second line is yielded twice. In a file of one line the second line
    is b"", and the last line is the first. A longer last line is cut at its beginning, other lines
    at their end.
    """
    with path.open("rb") as file:
        file.readline()
        yield file.readline(MAX_LINE_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_LINE_BYTES))
        yield file.read().rstrip(b"\n").rpartition(b"\n")[2]


def find_control_replies(results: ResultFile) -> dict[str, list[ParsedReply]]:
    """Return the replies to the control requests by key, and mark the keys as requested."""
    lines_by_key = zip(CONTROL_KEYS, results.find_lines(CONTROL_KEYS), strict=True)
    return {key: [parse_result_line(line) for line in lines] for key, lines in lines_by_key}


def find_misplaced_nonce(
    result_path: Path,
    nonces: Mapping[str, str],
    replies_by_key: Mapping[str, Sequence[ParsedReply]],
    *,
    row_fields: Collection[str],
) -> str:
    """Return in words which reply has the key of another request; "" if none was found.

    A control request asks for a random text, its nonce, which is in no other request. Looks for
    control requests with the reply to another request, then reads the whole result for a row that
    got the reply to a control request.

    Args:
        nonces: The nonces of the control requests, by key.
        replies_by_key: The replies to the control requests.
        row_fields: The names of fields in an answer about a row; a reply with one of them under the
            key of a control request is the reply to a row.
    """
    for key, replies in replies_by_key.items():
        for reply in replies:
            reason = _find_wrong_answer(key, reply, nonces, row_fields)
            if reason:
                return reason

    nonces_by_bytes = {nonce.encode(): key for key, nonce in nonces.items()}
    for _, line in read_lines(result_path):
        for nonce, key in nonces_by_bytes.items():
            if nonce in line and _is_answer_of_row(line, nonce):
                return f"a row got the reply to {_describe(key)}"
    return ""


def is_own_nonce(reply: ParsedReply, nonce: str | None) -> bool:
    """Return whether the answer of a control request is its nonce."""
    return nonce is not None and _parse_answer(reply).get(NONCE_FIELD) == nonce


def _parse_answer(reply: ParsedReply) -> Mapping[str, Any]:
    """Return the JSON object that a reply answers with; {} for any other reply."""
    if reply.outcome is not Outcome.ANSWERED:
        return {}
    try:
        return object_or_empty(orjson.loads(reply.text))
    except orjson.JSONDecodeError:
        return {}


def _find_wrong_answer(
    key: str,
    reply: ParsedReply,
    nonces: Mapping[str, str],
    row_fields: Collection[str],
) -> str:
    """Return in words that a control request got the reply to another request; else "".

    The words name the other request. A bad answer that is not that of another request gives "".
    """
    answer = _parse_answer(reply)
    for other_key, nonce in nonces.items():
        if other_key != key and answer.get(NONCE_FIELD) == nonce:
            return f"{_describe(key)} got the reply to {_describe(other_key)}"
    if NONCE_FIELD not in answer and not answer.keys().isdisjoint(row_fields):
        return f"{_describe(key)} got the reply to a row"
    return ""


def _is_answer_of_row(line: bytes, nonce: bytes) -> bool:
    """Return whether a result line has the key of a row, or of none, and answers with a nonce."""
    return (
        read_line_key(line) not in CONTROL_KEYS and nonce.decode() in parse_result_line(line).text
    )


def _describe(key: str) -> str:
    """Return the name of a control request in a message."""
    return f"control request {CONTROL_KEYS.index(key) + 1}"
