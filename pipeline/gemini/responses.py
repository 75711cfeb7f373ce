"""Parse result lines and live replies, validate answers, and look up the lines of a result file.

- Gemini answers 200 or "succeeded" for many replies without an answer: a blocked prompt has no
  candidates, a cut answer does not parse, and a result file may contain error lines. Each reply
  gets an outcome and a reason. `parse_answer` then validates its text.
- Nothing is repaired. A Markdown fence around the JSON or a cut end is an invalid answer, and the
  row is asked again.
- Results arrive in any order, so only the key of a line links it to its request. A cut line that
  still shows its key at its start or end counts as a line of that key: its request is then charged
  for a bad line and not for a missing line. Any other line that does not parse is unreadable.
"""

import json
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from pipeline.core.files import read_lines
from pipeline.core.states import STANDARD, Mode, Outcome
from pipeline.core.text import INVALID_TEXT
from pipeline.gemini.models import NO_USAGE, Usage
from pipeline.gemini.requests import as_declared

if TYPE_CHECKING:
    from pydantic import BaseModel

# Finish reasons that concern the content (FinishReason, google-genai 3.3.0). Another try rarely
# helps.
BLOCKED = {
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "OTHER",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER",
}  # fmt: skip
# Names of the google.rpc codes; the first has code 1.
RPC_STATUS_NAMES = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
# An error line may have an HTTP status as its code.
RPC_CODE_BY_HTTP_STATUS = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    408: 4,
    409: 10,
    429: 8,
    499: 1,
    500: 13,
    501: 12,
    503: 14,
    504: 4,
}
HTTP_OF_RPC = {rpc: http for http, rpc in RPC_CODE_BY_HTTP_STATUS.items()} | {9: 400}
MIN_SERVER_ERROR_STATUS = 500
# Invalid argument, not found, permission denied and failed precondition.
FINAL_RPC_CODES = frozenset({3, 5, 7, 9})
# These codes with these words are errors about the project of the key: something is denied, used up
# or not set up. An error about a file concerns the row, whose request names the file.
ACCOUNT_RPC_CODES = frozenset({7, 8, 9, 16})
ACCOUNT_ERROR_PATTERN = re.compile(
    r"billing|prepa(?:y|id)|\bcredits?\b|spend(?:ing)? cap|permission|API key"
    r"|\b(?:caller|account)\b|suspended",
    re.IGNORECASE,
)
FILE_ERROR_PATTERN = re.compile(r"\bfiles?\b", re.IGNORECASE)
# An excerpt is long enough to recognise a line and short enough for a table.
MAX_EXCERPT_CHARS = 200
# The members of `usageMetadata` that make up a `Usage`, in its order.
USAGE_MEMBERS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
)
# A larger number is not a plausible count. The sum of two smaller numbers fits an INTEGER column.
MAX_TOKEN_COUNT = 2**30

# It reads only as much of a value as it prints, however large or deep the value is.
_SHORT_REPR = reprlib.Repr()
_SHORT_REPR.maxstring = MAX_EXCERPT_CHARS


class ParsedReply(NamedTuple):
    """One reply with its outcome and its details; the answer text is not validated yet."""

    # ANSWERED if the text can be validated, else REFUSED or INVALID.
    outcome: Outcome
    # ok, unreadable, error-line, no-response, no-candidates, prompt-blocked, blocked, bad-finish,
    # max-tokens (the text is cut), max-tokens-empty (thoughts used all tokens) or empty.
    reason: str
    # The answer; "" unless the outcome is ANSWERED.
    text: str = ""
    # The google.rpc code of an error line.
    code: int | None = None
    # The API's finish reason of the candidate, or its reason for blocking the prompt.
    finish: str = ""
    usage: Usage = NO_USAGE
    model_version: str = ""
    response_id: str = ""
    # The service tier that served the request; "" if the reply does not name it.
    tier: str = ""
    # The text, bytes or JSON value from which an excerpt is made.
    shown: Any = ""

    @property
    def excerpt(self) -> str:
        """Return at most 200 printable characters of the reply."""
        return excerpt_of(self.shown)

    @property
    def is_final(self) -> bool:
        """Return whether another try after this error code cannot help."""
        return self.code in FINAL_RPC_CODES

    @property
    def is_account_failure(self) -> bool:
        """Return whether this error is about billing or permissions of the project, not the row."""
        if self.code not in ACCOUNT_RPC_CODES:
            return False

        has_account_words = ACCOUNT_ERROR_PATTERN.search(self.excerpt) is not None
        has_file_words = FILE_ERROR_PATTERN.search(self.excerpt) is not None
        return has_account_words and not has_file_words


def judge_line(line: bytes) -> ParsedReply:
    """Parse a raw line of a result file, `{"key", "response" | "error"}`.

    The outcome is INVALID for a line that is not a JSON object, and REFUSED for an error or a
    missing response. If a line has both members, the error counts. An error without content is
    ignored if the line has a response.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ParsedReply(Outcome.INVALID, "unreadable", shown=line)
    if not isinstance(document, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", shown=document)

    error = document.get("error")
    if error is not None and (is_error(error) or "response" not in document):
        return _parse_error(error)

    if document.get("response") is None:
        return ParsedReply(Outcome.REFUSED, "no-response", shown=document)
    return judge_response(document["response"])


def judge_response(response: Any) -> ParsedReply:
    """Parse a GenerateContentResponse; only its first candidate counts.

    The outcome is INVALID if the response or the candidate is not an object. Missing and malformed
    details are empty.
    """
    if not isinstance(response, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", shown=response)

    outcome, reason, finish_reason, text = _parse_candidate(response)
    metadata = _as_object(response.get("usageMetadata"))
    token_counts = [
        _parse_count(metadata.get(member), below=MAX_TOKEN_COUNT) for member in USAGE_MEMBERS
    ]
    return ParsedReply(
        outcome,
        reason,
        text if outcome is Outcome.ANSWERED else "",
        finish=finish_reason,
        usage=Usage(*token_counts),
        model_version=_as_excerpt(response.get("modelVersion")),
        response_id=_as_excerpt(response.get("responseId")),
        tier=_find_tier(metadata),
        shown=text or finish_reason or response.get("promptFeedback") or "",
    )


def parse_answer(
    reply: ParsedReply,
    answer_model: "type[BaseModel]",
) -> "tuple[BaseModel | None, str]":
    """Validate the text of a reply; return (answer, "ok") or (None, reason).

    JSON types are strict: a text is not a number, and true is not 1. Databases and later readers
    would differ about texts with NUL or half a surrogate pair, invalid numbers, and objects with a
    member twice, so these are refused.

    Returns:
        The reason of a reply that is not ANSWERED is the reply's own. Other reasons are
        `does-not-parse: …` or `does-not-validate: <field>: <message>`, with at most 200 characters.
    """
    from pydantic import ValidationError

    if reply.outcome is not Outcome.ANSWERED:
        return None, reply.reason

    try:
        document = _STRICT_DECODER.decode(reply.text)
        _check_texts(document)
        declared_document = as_declared(document, answer_model)

        # 3 and 3.0 are equal in Python, so the documents are compared as JSON. An unchanged
        # document is validated from the original text, which preserves its decimals.
        declared_text = json.dumps(declared_document)
        if declared_text == json.dumps(document):
            declared_text = reply.text
        return answer_model.model_validate_json(declared_text, strict=True), "ok"
    except ValidationError as error:
        first_error = error.errors(
            include_url=False,
            include_input=False,
            include_context=False,
        )[0]
        field_path = ".".join(map(str, first_error["loc"])) or "the answer"
        return None, excerpt_of(f"does-not-validate: {field_path}: {first_error['msg']}")
    except (ValueError, RecursionError) as error:
        return None, excerpt_of(f"does-not-parse: {error}")


def read_back(stored: str, answer_model: "type[BaseModel]") -> "BaseModel | None":
    """Parse the stored JSON of an answer; return None if it is invalid or does not round-trip.

    For example, an answer does not round-trip if a validator of its model converts values.
    """
    try:
        answer = answer_model.model_validate_json(stored, by_alias=True, by_name=True)
    except Exception:  # noqa: BLE001 - a validator of a user's model may raise anything
        return None

    has_same_json = answer.model_dump_json() == stored
    return answer if has_same_json else None


def line_at_fault(message: str) -> int | None:
    """Return N if an error of a refused batch says "Error on line N", counted from 1; else None."""
    match = re.search(r"\bError on line (\d{1,9})\b", message)
    return int(match.group(1)) if match else None


def excerpt_of(value: Any) -> str:
    """Return at most 200 printable characters of a text, of bytes or of a JSON value.

    The excerpt has no line ends. Runs of blanks become one space, and a cut excerpt ends with "…".
    """
    if isinstance(value, bytes):
        text = value[: MAX_EXCERPT_CHARS * 8].decode("utf-8", "replace")
    elif isinstance(value, str):
        text = value[: MAX_EXCERPT_CHARS * 8]
    else:
        text = _SHORT_REPR.repr(value)

    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.split())

    if len(text) <= MAX_EXCERPT_CHARS:
        return text
    return text[: MAX_EXCERPT_CHARS - 1] + "…"


def is_error(error: Any) -> bool:
    """Return whether an `error` member has content; "", {}, code 0 and an empty message do not."""
    details = error.values() if isinstance(error, dict) else [error]
    stripped_details = [detail.strip() if isinstance(detail, str) else detail for detail in details]
    return any(detail not in (None, "", 0, "0", "OK", [], {}) for detail in stripped_details)


def error_code(error: Mapping[str, Any]) -> int | None:
    """Return the google.rpc code of an error, or None if it has no code and no known status.

    An HTTP status is converted to a google.rpc code. A status that is not in the table becomes
    UNAVAILABLE from 500 on, else UNKNOWN.
    """
    status_name = _as_excerpt(error.get("status"))
    code = _parse_count(error.get("code"), below=1_000)
    if not code:
        return _rpc_code(status_name) if status_name in RPC_STATUS_NAMES else None
    if code <= len(RPC_STATUS_NAMES):
        return code

    fallback_name = "UNAVAILABLE" if code >= MIN_SERVER_ERROR_STATUS else "UNKNOWN"
    return RPC_CODE_BY_HTTP_STATUS.get(code, _rpc_code(fallback_name))


def _rpc_code(status_name: str) -> int:
    """Return the google.rpc code of a status name; codes begin at 1."""
    return RPC_STATUS_NAMES.index(status_name) + 1


def _parse_error(error: Any) -> ParsedReply:
    """Return the refused reply of an error, which may be an object or any other JSON value."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    excerpt_source = message if isinstance(message, str) and message else error
    return ParsedReply(
        Outcome.REFUSED,
        "error-line",
        code=error_code(fields),
        shown=excerpt_source,
    )


def _parse_candidate(response: Mapping[str, Any]) -> tuple[Outcome, str, str, str]:
    """Return outcome, reason, finish reason and text of the first candidate.

    If there are no candidates, the finish reason is the API's reason for blocking the prompt.
    """
    candidates = response.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        feedback = _as_object(response.get("promptFeedback"))
        block_reason = _as_excerpt(feedback.get("blockReason"))
        reason = "prompt-blocked" if block_reason else "no-candidates"
        return Outcome.REFUSED, reason, block_reason, ""

    candidate = candidates[0]
    if not isinstance(candidate, dict):
        return Outcome.INVALID, "unreadable", "", ""

    text = _join_texts(candidate.get("content"))
    finish_reason = _as_excerpt(candidate.get("finishReason"))
    outcome, reason = _judge_finish(finish_reason, text)
    return outcome, reason, finish_reason, text


def _judge_finish(finish_reason: str, text: str) -> tuple[Outcome, str]:
    """Return outcome and reason of a candidate by its finish reason and its text."""
    has_text = bool(text.strip())
    if finish_reason in BLOCKED:
        return Outcome.REFUSED, "blocked"
    if finish_reason == "MAX_TOKENS" and has_text:
        return Outcome.INVALID, "max-tokens"
    if finish_reason == "MAX_TOKENS":
        return Outcome.REFUSED, "max-tokens-empty"
    if finish_reason not in {"", "STOP"}:
        return Outcome.REFUSED, "bad-finish"
    if not has_text:
        return Outcome.REFUSED, "empty"
    return Outcome.ANSWERED, "ok"


def _join_texts(content: Any) -> str:
    """Join the texts of a candidate's content without its thoughts; "" for malformed content."""
    parts = _as_object(content).get("parts")
    if not isinstance(parts, list):
        return ""

    answer_parts = [part for part in map(_as_object, parts) if not part.get("thought")]
    texts = [part.get("text") for part in answer_parts]
    return "".join(text for text in texts if isinstance(text, str))


def _find_tier(metadata: Mapping[str, Any]) -> str:
    """Return the service tier that `usageMetadata` names; "" if it names none.

    The member is `serviceTier` or `trafficType`, for example ON_DEMAND_FLEX. A name that is not
    flex or priority is the standard tier.
    """
    tier_name = _as_excerpt(metadata.get("serviceTier") or metadata.get("trafficType")).lower()
    for tier in (Mode.FLEX.tier, Mode.PRIORITY.tier):
        if tier in tier_name:
            return tier
    return STANDARD if tier_name else ""


def _parse_count(value: Any, *, below: int) -> int:
    """Convert a whole number or a text of digits to int; return 0 if it is invalid or too large."""
    if not isinstance(value, int | str):
        return 0

    match = re.fullmatch("[0-9]{1,10}", str(value))
    if match and int(match[0]) < below:
        return int(match[0])
    return 0


def _as_object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object unchanged, and {} for any other value."""
    return value if isinstance(value, dict) else {}


def _as_excerpt(value: Any) -> str:
    """Return an excerpt of a text, and "" for any other value."""
    return excerpt_of(value) if isinstance(value, str) else ""


def _make_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object; raise ValueError if two members have the same name."""
    document = dict(members)
    if len(document) != len(members):
        raise ValueError("a member stands twice in one object")
    return document


def _refuse_constant(name: str) -> Any:
    """Raise ValueError for NaN or an infinity, which Python's decoder would accept."""
    raise ValueError(f"{name} is no JSON number")


_STRICT_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object,
    parse_constant=_refuse_constant,
)


def _check_texts(node: Any) -> None:
    """Raise ValueError if a JSON document contains NUL or half a surrogate pair.

    Texts and member names are checked.
    """
    if isinstance(node, str) and INVALID_TEXT.search(node):
        raise ValueError("a text holds NUL or half a surrogate pair")

    children: Iterable[Any] = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list | tuple):
        children = node
    for child in children:
        _check_texts(child)


# Lines that are shown of each kind of anomaly.
MAX_ANOMALY_EXAMPLES = 3
BOM = b"\xef\xbb\xbf"
# Line ends are counted in blocks of this size.
_READ_BLOCK_BYTES = 1 << 20
# The end of a line that may contain its key; keys are far shorter.
_LINE_TAIL_BYTES = 2_048
_KEY_AT_START_PATTERN = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*[,}]')
_KEY_AT_END_PATTERN = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*\Z')


def key_of_line(line: bytes) -> str | None:
    """Return the key of a result line.

    A line that is not valid JSON may show its key at its start or at its end.

    Returns:
        The key. "" if the line is JSON without a text as key, and None if the line is not JSON and
        shows no key or two different keys.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _find_key_in_broken_line(line)

    key = _as_object(document).get("key")
    return key if isinstance(key, str) else ""


def _find_key_in_broken_line(line: bytes) -> str | None:
    """Return the key at the start or end of a broken line, or None if it shows no or two keys."""
    tail_offset = max(0, len(line) - _LINE_TAIL_BYTES)
    matches = (
        _KEY_AT_START_PATTERN.match(line),
        _KEY_AT_END_PATTERN.search(line, tail_offset),
    )
    keys = {_unquote(match.group(1)) for match in matches if match}
    return keys.pop() if len(keys) == 1 else None


def _unquote(quoted_text: bytes) -> str | None:
    """Parse a JSON text in quotes; return None if it is invalid."""
    try:
        return str(orjson.loads(quoted_text))
    except orjson.JSONDecodeError:
        return None


class ResultFile(AbstractContextManager["ResultFile"]):
    """The lines of a result file, by key.

    After all lookups `total` is the number of lines of requested keys, plus `unknown`, plus
    `unreadable_count`. The file stays open until the end of the `with` block.
    """

    def __init__(self, path: Path) -> None:
        """Open and read the file, and record the offset of each line under its key."""
        # All lines that are not blank.
        self.total = 0
        # Lines that are not JSON and show no key.
        self.unreadable_count = 0
        # Whether the file ends inside a line.
        self.is_cut = False
        self._file = path.open("rb")
        # Offsets of the lines of each key, in the order of the file.
        self._offsets_by_key: dict[str, list[int]] = {}
        # Keys that were looked up and have a line, in the order of the lookups.
        self._requested_keys: dict[str, None] = {}
        # Offsets and excerpts of the first unreadable lines.
        self._unreadable_examples: list[tuple[int, str]] = []

        self._read_lines(path)

    def _read_lines(self, path: Path) -> None:
        """Read the file once; fill the counts, the offsets of each key and `is_cut`."""
        last_offset = 0
        last_line = b""
        for offset, line in read_lines(path):
            last_offset = offset
            last_line = line
            self.total += 1

            key = key_of_line(line)
            if key is not None:
                self._offsets_by_key.setdefault(key, []).append(offset)
                continue

            self.unreadable_count += 1
            if self.unreadable_count <= MAX_ANOMALY_EXAMPLES:
                self._unreadable_examples.append((offset, excerpt_of(line)))

        has_line_end = path.stat().st_size > last_offset + len(last_line)
        is_broken_object = (
            last_line.lstrip().startswith(b"{") and judge_line(last_line).reason == "unreadable"
        )
        self.is_cut = is_broken_object and not has_line_end

    def lines_of(self, keys: Sequence[str]) -> list[list[bytes]]:
        """Return the raw lines of each key in the order of the file; mark the keys as requested."""
        return [list(map(self._read_line, self._request_offsets(key))) for key in keys]

    def note_asked(self, keys: Iterable[str]) -> None:
        """Mark keys as requested without reading their lines."""
        for key in keys:
            self._request_offsets(key)

    def _request_offsets(self, key: str) -> Sequence[int]:
        """Return the offsets of the lines of a key, and mark a key with lines as requested.

        The key "" has no offsets, because it collects the lines whose key is not a text.
        """
        if not key or key not in self._offsets_by_key:
            return ()

        self._requested_keys[key] = None
        return self._offsets_by_key[key]

    @property
    def has_odd_keys(self) -> bool:
        """Return whether the key of a readable line is missing or is not a text."""
        return "" in self._offsets_by_key

    def count_keys(self, keys: Iterable[str]) -> int:
        """Return how many of these keys have a line."""
        return sum(key in self._offsets_by_key for key in keys)

    @property
    def duplicates(self) -> int:
        """Return the number of lines of requested keys after the first line of each key."""
        return sum(len(self._offsets_by_key[key]) - 1 for key in self._requested_keys)

    @property
    def unknown(self) -> int:
        """Return the number of readable lines whose key was not requested or is not a text."""
        unrequested_keys = self._offsets_by_key.keys() - self._requested_keys.keys()
        return sum(len(self._offsets_by_key[key]) for key in unrequested_keys)

    def examples(self) -> dict[str, list[tuple[int, str]]]:
        """Return at most three examples of each kind of line that belongs to no request.

        Returns:
            Pairs of (line number, key or excerpt) under "unknown", "duplicate" and "unreadable".
        """
        unknown_lines = list[tuple[int, str]]()
        for key, offsets in self._offsets_by_key.items():
            if key not in self._requested_keys:
                unknown_lines += [(offset, key) for offset in offsets]
        unknown_lines.sort()

        duplicate_lines = list[tuple[int, str]]()
        for key in self._requested_keys:
            offsets = self._offsets_by_key[key]
            if len(offsets) > 1:
                duplicate_lines.append((offsets[-1], key))

        return {
            "unknown": self._describe_lines(unknown_lines),
            "duplicate": self._describe_lines(duplicate_lines),
            "unreadable": self._describe_lines(self._unreadable_examples),
        }

    def _describe_lines(self, lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Return line number and excerpt of the first three lines.

        Args:
            lines: Offset and text of each line. An empty text is replaced by the line's content.
        """
        return [
            (self._count_line_number(offset), excerpt_of(text or self._read_line(offset)))
            for offset, text in lines[:MAX_ANOMALY_EXAMPLES]
        ]

    def _read_line(self, offset: int) -> bytes:
        """Return the line at an offset without its line end; the first line without a BOM."""
        self._file.seek(offset)
        line = self._file.readline().rstrip(b"\r\n")
        return line.removeprefix(BOM) if offset == 0 else line

    def _count_line_number(self, offset: int) -> int:
        """Return the number of the line at an offset, counted from 1; blank lines count."""
        self._file.seek(0)
        line_number = 1
        for block_offset in range(0, offset, _READ_BLOCK_BYTES):
            block = self._file.read(min(_READ_BLOCK_BYTES, offset - block_offset))
            line_number += block.count(b"\n")
        return line_number

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()
