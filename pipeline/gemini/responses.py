"""Judge what a result line, or a live reply, says about one request, and look up the lines of a result file by key.

Gemini answers 200 and "succeeded" for a great deal that is no answer: a blocked prompt has no candidates, a cut answer
is text that does not parse, an error line stands among good ones. Each reply gets exactly one outcome and a reason;
`parse_answer` then holds its text against the task's own model. Nothing is repaired: a Markdown fence round the JSON,
or a cut end, is an invalid answer that is asked again.

Results come in any order, so position says nothing; the key is the only link. Each line is exactly one of: a line of
the key it shows, or unreadable. A line that was cut but still shows its key at its very start or end counts as a line
of that key, so that the request is charged for it and not for a missing line. What was never asked for is unknown.
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

# A stop for what the answer says (FinishReason, google-genai 3.3.0); asking again rarely helps
BLOCKED = {
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "OTHER", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER",
}  # fmt: skip
# google.rpc, from 1; an error line may have an HTTP code in the place of one of these
RPC = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
RPC_OF_HTTP = {
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
HTTP_OF_RPC = {rpc: http for http, rpc in RPC_OF_HTTP.items()} | {9: 400}
FINAL_CODES = frozenset(
    {3, 5, 7, 9}
)  # invalid argument, not found, permission denied, precondition
# Errors about the key's project and not about the row: what is denied, used up or not set up, in such words. A file of
# a request that may not be read is the row's.
ACCOUNT_CODES = frozenset({7, 8, 9, 16})
ACCOUNT_WORDS = re.compile(
    r"billing|prepa(?:y|id)|\bcredits?\b|spend(?:ing)? cap|permission|API key|\b(?:caller|account)\b|suspended",
    re.IGNORECASE,
)
FILE_WORDS = re.compile(r"\bfiles?\b", re.IGNORECASE)
MAX_EXCERPT = 200  # characters; enough to recognise a line, few enough for a table
# The members of `usageMetadata` that make up a `Usage`, in its order.
COUNTED = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
)
MAX_TOKENS_SEEN = (
    2**30
)  # what is as large is no count; two below it add up to what an INTEGER column holds

_SHORT = reprlib.Repr()  # looks at no more of a value than it shows, however large or deep it is
_SHORT.maxstring = MAX_EXCERPT


class ParsedReply(NamedTuple):
    """One judged reply.

    `outcome` is ANSWERED while the text still has to be parsed, else REFUSED or INVALID. `reason` is one of ok,
    unreadable, error-line, no-response, no-candidates, prompt-blocked, blocked, bad-finish, max-tokens (the text is
    cut), max-tokens-empty (all went into thoughts), empty. `code` is the google.rpc code of an error line, `finish` the
    API's word, of the candidate or of the block, `shown` what an excerpt is made of. `tier` is which one served it, as
    far as that was told.
    """

    outcome: Outcome
    reason: str
    text: str = ""
    code: int | None = None
    finish: str = ""
    usage: Usage = NO_USAGE
    model_version: str = ""
    response_id: str = ""
    tier: str = ""
    shown: Any = ""

    @property
    def excerpt(self) -> str:
        """Return at most 200 printable characters of what came."""
        return excerpt_of(self.shown)

    @property
    def is_final(self) -> bool:
        """Return whether asking again after this code cannot help."""
        return self.code in FINAL_CODES

    @property
    def is_account_failure(self) -> bool:
        """Return whether this is an error about billing or permissions of the key's project, whatever the row."""
        return (
            self.code in ACCOUNT_CODES
            and ACCOUNT_WORDS.search(self.excerpt) is not None
            and FILE_WORDS.search(self.excerpt) is None
        )


def judge_line(line: bytes) -> ParsedReply:
    """Return what one raw line of a result file says, `{"key", "response" | "error"}`; where both stand, the error.

    An error that says nothing, beside a response, does not count.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ParsedReply(Outcome.INVALID, "unreadable", shown=line)
    if not isinstance(document, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", shown=document)
    error = document.get("error")
    if error is not None and (is_error(error) or "response" not in document):
        return _judge_error(error)
    if document.get("response") is None:
        return ParsedReply(Outcome.REFUSED, "no-response", shown=document)
    return judge_response(document["response"])


def judge_response(response: Any) -> ParsedReply:
    """Return what one GenerateContentResponse says; of several candidates the first counts."""
    if not isinstance(response, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", shown=response)
    outcome, reason, finish, text = _judge_candidate(response)
    used = _object(response.get("usageMetadata"))
    return ParsedReply(
        outcome,
        reason,
        text if outcome is Outcome.ANSWERED else "",
        finish=finish,
        usage=Usage(*(_number(used.get(name), below=MAX_TOKENS_SEEN) for name in COUNTED)),
        model_version=_word(response.get("modelVersion")),
        response_id=_word(response.get("responseId")),
        tier=_tier(used),
        shown=text or finish or response.get("promptFeedback") or "",
    )


def parse_answer(
    reply: ParsedReply, answer_model: "type[BaseModel]"
) -> "tuple[BaseModel | None, str]":
    """Return (answer, "ok"), or (None, reason) where the text is not what the model wants.

    A reply that is no answer gives its own reason. Else the reason is `does-not-parse: …` or
    `does-not-validate: <field>: <why>`, at most 200 characters. Texts with NUL or half a surrogate pair, numbers that
    are none, and objects with a member twice are refused: databases and later readers differ about them. JSON types
    count strictly: a text is no number, and true is not 1.
    """
    from pydantic import ValidationError

    if reply.outcome is not Outcome.ANSWERED:
        return None, reply.reason
    try:
        document = _DECODER.decode(reply.text)
        _check_texts(document)
        declared = as_declared(document, answer_model)
        # Compared as JSON, for 3 and 3.0 are equal in Python. An unchanged text keeps its decimals as they are written.
        declared_text = json.dumps(declared)
        text = reply.text if declared_text == json.dumps(document) else declared_text
        return answer_model.model_validate_json(text, strict=True), "ok"
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        return None, excerpt_of(f"does-not-validate: {place}: {first['msg']}")
    except (ValueError, RecursionError) as error:
        return None, excerpt_of(f"does-not-parse: {error}")


def read_back(stored: str, answer_model: "type[BaseModel]") -> "BaseModel | None":
    """Return an answer of its JSON; None where reading makes another one of it, as a validator that converts may."""
    try:
        answer = answer_model.model_validate_json(stored, by_alias=True, by_name=True)
    except Exception:  # noqa: BLE001 - a validator of the user's own may raise anything
        return None
    return answer if answer.model_dump_json() == stored else None


def line_at_fault(message: str) -> int | None:
    """Return N where a refused create says "Error on line N", counted from 1; None where it does not."""
    found = re.search(r"\bError on line (\d{1,9})\b", message)
    return int(found.group(1)) if found else None


def excerpt_of(value: Any) -> str:
    """Return at most 200 printable characters of a text, of bytes, or of a JSON value, on one line."""
    if isinstance(value, bytes):
        text = value[: MAX_EXCERPT * 8].decode("utf-8", "replace")
    elif isinstance(value, str):
        text = value[: MAX_EXCERPT * 8]
    else:
        text = _SHORT.repr(value)
    if not text.isprintable():
        text = "".join(one if one.isprintable() else " " for one in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_EXCERPT else text[: MAX_EXCERPT - 1] + "…"


def is_error(error: Any) -> bool:
    """Return whether an `error` member says anything; `""`, `{}`, code 0 and an empty message do not."""
    values = error.values() if isinstance(error, dict) else [error]
    texts = [value.strip() if isinstance(value, str) else value for value in values]
    return any(text not in (None, "", 0, "0", "OK", [], {}) for text in texts)


def error_code(error: Mapping[str, Any]) -> int | None:
    """Return the google.rpc code of an error, whichever family its code is of; None if it has neither code nor word."""
    status = _word(error.get("status"))
    code = _number(error.get("code"), below=1_000) or (
        RPC.index(status) + 1 if status in RPC else None
    )
    if code is not None and code > len(RPC):
        return RPC_OF_HTTP.get(code, RPC.index("UNAVAILABLE" if code >= 500 else "UNKNOWN") + 1)  # noqa: PLR2004 - HTTP
    return code


def _judge_error(error: Any) -> ParsedReply:
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    shown = message if isinstance(message, str) and message else error
    return ParsedReply(Outcome.REFUSED, "error-line", code=error_code(fields), shown=shown)


def _judge_candidate(response: Mapping[str, Any]) -> tuple[Outcome, str, str, str]:
    candidates = response.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        block = _word(_object(response.get("promptFeedback")).get("blockReason"))
        return Outcome.REFUSED, "prompt-blocked" if block else "no-candidates", block, ""
    candidate = candidates[0]
    if not isinstance(candidate, dict):
        return Outcome.INVALID, "unreadable", "", ""
    text = _text(candidate.get("content"))
    finish = _word(candidate.get("finishReason"))
    return *_judge_finish(finish, text), finish, text


def _judge_finish(finish: str, text: str) -> tuple[Outcome, str]:
    if finish in BLOCKED:
        return Outcome.REFUSED, "blocked"
    if finish == "MAX_TOKENS":
        return (
            (Outcome.INVALID, "max-tokens")
            if text.strip()
            else (Outcome.REFUSED, "max-tokens-empty")
        )
    if finish not in {"", "STOP"}:
        return Outcome.REFUSED, "bad-finish"
    return (Outcome.ANSWERED, "ok") if text.strip() else (Outcome.REFUSED, "empty")


def _text(content: Any) -> str:
    parts = _object(content).get("parts")
    told = (
        [part for part in map(_object, parts) if not part.get("thought")]
        if isinstance(parts, list)
        else []
    )
    return "".join(text for part in told if isinstance(text := part.get("text"), str))


def _tier(metadata: Mapping[str, Any]) -> str:
    """Return the tier that a reply tells, as `serviceTier`, else in its `trafficType`, such as ON_DEMAND_FLEX."""
    told = _word(metadata.get("serviceTier") or metadata.get("trafficType")).lower()
    return next(
        (one for one in (Mode.FLEX.tier, Mode.PRIORITY.tier) if one in told),
        STANDARD if told else "",
    )


def _number(value: Any, *, below: int) -> int:
    """Return a whole number, which may come as text; 0 for what is none, or too large."""
    found = re.fullmatch("[0-9]{1,10}", str(value)) if isinstance(value, int | str) else None
    return int(found[0]) if found and int(found[0]) < below else 0


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return excerpt_of(value) if isinstance(value, str) else ""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a member stands twice in one object")
    return document


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _check_texts(value: Any) -> None:
    """Raise ValueError if a text in a JSON document contains NUL or half a surrogate pair."""
    if isinstance(value, str) and INVALID_TEXT.search(value):
        raise ValueError("a text holds NUL or half a surrogate pair")
    members: Iterable[Any] = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list | tuple):
        members = value
    for member in members:
        _check_texts(member)


EXAMPLES = 3  # how many lines are shown of each kind of anomaly
BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20  # bytes in which line ends are counted at once
_TAIL = 2_048  # bytes at the end of a line that may hold its key; ours are far shorter
_AT_START = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*[,}]')
_AT_END = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*\Z')


def key_of_line(line: bytes) -> str | None:
    """Return the key a line shows; None when it shows none, or an ambiguous one; "" when its key is no text."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        ends = (_AT_START.match(line), _AT_END.search(line, max(0, len(line) - _TAIL)))
        shown = {_unquoted(found.group(1)) for found in ends if found}
        return shown.pop() if len(shown) == 1 else None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) else ""


def _unquoted(quoted: bytes) -> str | None:
    try:
        return str(orjson.loads(quoted))
    except orjson.JSONDecodeError:
        return None


class ResultFile(AbstractContextManager["ResultFile"]):
    """The lines of one result file by key; in the end `total` = lines asked for + `unknown` + `unreadable_count`."""

    def __init__(self, path: Path) -> None:
        """Read the file once and keep where each line begins."""
        self.total = self.unreadable_count = 0
        self.is_cut = False  # the file ends inside a line
        self._file = path.open("rb")
        self._places: dict[str, list[int]] = {}  # where the lines of each key begin
        self._asked: dict[str, None] = {}  # those of the keys that were asked for, in that order
        self._unreadable: list[tuple[int, str]] = []  # the first few
        last_offset = 0
        last_line = b""
        for offset, line in read_lines(path):
            last_offset = offset
            last_line = line
            self.total += 1
            if (key := key_of_line(line)) is not None:
                self._places.setdefault(key, []).append(offset)
                continue
            self.unreadable_count += 1
            if self.unreadable_count <= EXAMPLES:
                self._unreadable.append((offset, excerpt_of(line)))
        has_end = path.stat().st_size > last_offset + len(last_line)
        is_broken = (
            last_line.lstrip().startswith(b"{") and judge_line(last_line).reason == "unreadable"
        )
        self.is_cut = is_broken and not has_end

    def lines_of(self, keys: Sequence[str]) -> list[list[bytes]]:
        """Return for each key its raw lines in the order of the file."""
        return [[self._line(offset) for offset in self._found(key)] for key in keys]

    def note_asked(self, keys: Iterable[str]) -> None:
        """Keep that these keys were asked for, whose lines are not needed any more."""
        for key in keys:
            self._found(key)

    def _found(self, key: str) -> Sequence[int]:
        """Return where the lines of a key begin, and keep that they were asked for; "" is of those that are no text."""
        found = self._places.get(key, ()) if key else ()
        if found:
            self._asked[key] = None
        return found

    @property
    def has_odd_keys(self) -> bool:
        """Return whether a readable line has no key that is a text."""
        return "" in self._places

    def count_keys(self, keys: Iterable[str]) -> int:
        """Return how many of these keys have a line."""
        return sum(key in self._places for key in keys)

    @property
    def duplicates(self) -> int:
        """Return how many lines have a key that was asked for and stands on another line, too."""
        return sum(len(self._places[key]) - 1 for key in self._asked)

    @property
    def unknown(self) -> int:
        """Return how many readable lines have a key that was not looked up, or none that is a text."""
        return sum(len(found) for key, found in self._places.items() if key not in self._asked)

    def examples(self) -> dict[str, list[tuple[int, str]]]:
        """Return at most three of each kind of line that belongs to no request: (its number, its key or an excerpt)."""
        unasked = sorted(
            (at, key)
            for key, found in self._places.items()
            if key not in self._asked
            for at in found
        )
        twice = [(self._places[key][-1], key) for key in self._asked if len(self._places[key]) > 1]
        found = {"unknown": unasked, "duplicate": twice, "unreadable": self._unreadable}
        return {
            kind: [
                (self._line_number(at), excerpt_of(shown or self._line(at)))
                for at, shown in some[:EXAMPLES]
            ]
            for kind, some in found.items()
        }

    def _line(self, offset: int) -> bytes:
        self._file.seek(offset)
        line = self._file.readline().rstrip(b"\r\n")
        return line.removeprefix(BOM) if offset == 0 else line

    def _line_number(self, offset: int) -> int:
        """Return the number of the line at an offset, counted from 1; blank lines count."""
        self._file.seek(0)
        return 1 + sum(
            self._file.read(min(_PIECE, offset - at)).count(b"\n")
            for at in range(0, offset, _PIECE)
        )

    def __exit__(self, *_: object) -> None:
        self._file.close()
