"""Build control requests, and check by their replies whether replies have the right keys.

A control request asks for a nonce, a random text, that no other request of its file contains. The
nonces are only in the sealed request file. Two observations prove that the service mixed up
replies:

- a reply with a nonce under another key
- replies like those to rows under the keys of two control requests; under one it proves nothing,
  because a model may ignore the schema

A control request that was refused, cut or lost proves nothing, and neither does an answer of
another form.
"""

import contextlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from askrows.pipeline.core.files import iterate_lines_with_offsets
from askrows.pipeline.core.states import Outcome
from askrows.pipeline.provider.requests import Prompt, RequestSettings
from askrows.pipeline.provider.responses import ParsedReply, object_or_empty, parse_result_line
from askrows.pipeline.provider.result_file import ResultFile, read_line_key
from askrows.pipeline.provider.usage import Usage

# Keys of rows contain a slash, so no key of a row is equal to one of these. The control requests
# are the second, the middle and the last line of a request file.
CONTROL_KEYS = ("control-1", "control-2", "control-3")
# The name of the nonce in an answer.
NONCE_FIELD = "askrows_control"
NONCE_BYTES = 8
# Our own choice: room for the thoughts of a model that always thinks.
MAX_OUTPUT_TOKENS = 1024
# Our own choice: the expected tokens of an answer, which is one short object.
ANSWER_TOKENS = 24
# Our own choice: so many control requests with replies like those to rows prove a mix-up.
MIN_ROW_REPLIES = 2
# The beginning of a control request's line.
_LINE_START = b'{"key":"control-'


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
    return tuple(_make_control_request_with_random_answer(key, settings) for key in CONTROL_KEYS)


def _make_control_request_with_random_answer(key: str, settings: RequestSettings) -> ControlRequest:
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
    line, usage = control_settings.build_request_line(key, Prompt("", parts, MAX_OUTPUT_TOKENS))
    return ControlRequest(line + b"\n", usage)


def read_nonces_by_key(request_path: Path) -> dict[str, str]:
    """Return the nonce of each control request of a request file, by key.

    A control request asks for a random text, the nonce, to show that replies are not mixed up. A
    damaged line is left out, and a file that cannot be read has none.
    """
    nonces = {}
    with contextlib.suppress(OSError):
        for _, line in iterate_lines_with_offsets(request_path):
            if not line.startswith(_LINE_START):
                continue
            try:
                document = orjson.loads(line)
                schema = document["request"]["generationConfig"]["responseSchema"]
                [nonces[document["key"]]] = schema["properties"][NONCE_FIELD]["enum"]
            except (ValueError, LookupError, TypeError):
                continue
    return nonces


def read_and_mark_control_replies(results: ResultFile) -> dict[str, list[ParsedReply]]:
    """Return the replies to the control requests by key, and mark the keys as requested."""
    lines_by_key = zip(CONTROL_KEYS, results.read_and_mark_lines(CONTROL_KEYS), strict=True)
    return {key: [parse_result_line(line) for line in lines] for key, lines in lines_by_key}


def count_replies_with_own_nonce(
    nonces: Mapping[str, str],
    replies_by_key: Mapping[str, Sequence[ParsedReply]],
) -> int:
    """Return how many control requests got a reply with their nonce; others prove nothing.

    Args:
        nonces: The nonces of the control requests, by key.
        replies_by_key: The replies to the control requests.
    """
    return sum(
        any(_parse_answer(reply).get(NONCE_FIELD) == nonce for reply in replies_by_key[key])
        for key, nonce in nonces.items()
    )


def describe_misplaced_reply(
    result_path: Path,
    nonces: Mapping[str, str],
    replies_by_key: Mapping[str, Sequence[ParsedReply]],
    *,
    row_fields: Collection[str],
) -> str:
    """Return in words which reply has the key of another request; "" if none was found.

    A control request asks for a random text, its nonce, which is in no other request. Looks for
    control requests with the reply to a row; fewer than MIN_ROW_REPLIES prove nothing. Then reads
    the whole result for a reply with the nonce of another request.

    Args:
        nonces: The nonces of the control requests, by key.
        replies_by_key: The replies to the control requests.
        row_fields: The names of fields in an answer about a row; a reply with one of them under the
            key of a control request is like the reply to a row.
    """
    row_reply_keys = [
        key
        for key, replies in replies_by_key.items()
        if any(_has_only_row_fields(_parse_answer(reply), row_fields) for reply in replies)
    ]
    if len(row_reply_keys) >= MIN_ROW_REPLIES:
        return f"{len(row_reply_keys)} of {len(nonces)} control requests got replies to rows"

    nonces_by_bytes = {nonce.encode(): key for key, nonce in nonces.items()}
    for _, line in iterate_lines_with_offsets(result_path):
        for nonce, key in nonces_by_bytes.items():
            if nonce not in line or nonce.decode() not in parse_result_line(line).text:
                continue
            line_key = read_line_key(line)
            if line_key != key:
                receiver = _describe(line_key) if line_key in CONTROL_KEYS else "a row"
                return f"{receiver} got the reply to {_describe(key)}"
    return ""


def _has_only_row_fields(answer: Mapping[str, Any], row_fields: Collection[str]) -> bool:
    """Return whether an answer has a field of an answer about a row, and no nonce."""
    return NONCE_FIELD not in answer and not answer.keys().isdisjoint(row_fields)


def _parse_answer(reply: ParsedReply) -> Mapping[str, Any]:
    """Return the JSON object that a reply answers with; {} for any other reply."""
    if reply.outcome is not Outcome.ANSWERED:
        return {}
    try:
        return object_or_empty(orjson.loads(reply.text))
    except orjson.JSONDecodeError:
        return {}


def _describe(key: str) -> str:
    """Return the name of a control request in a message."""
    return f"control request {CONTROL_KEYS.index(key) + 1}"
