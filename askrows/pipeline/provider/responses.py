"""Parse result lines and live replies, validate answers, and look up the lines of a result file.

- Gemini answers 200 or "succeeded" for many replies without an answer: a blocked prompt has no
  candidates, a cut answer does not parse, and a result file may contain error lines. Each reply
  gets an outcome and a reason. `parse_and_validate_answer` then validates its text.
- To parse a reply is to find its outcome, reason and text. To validate it is to check the text
  against the model of the task's answers.
- An error line is a line of a result file with `error` in place of `response`.
- Nothing is repaired. A Markdown fence around the JSON or a cut end is an invalid answer, and the
  row is asked again.
- Results arrive in any order, so only the key of a line links it to its request. A cut line that
  still shows its key at its start or end counts as a line of that key: its request is then charged
  for a bad line and not for a missing line. Any other line that does not parse is unreadable.
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from askrows.pipeline.core.answer_fields import make_strict_answer_validator
from askrows.pipeline.core.redact import redact
from askrows.pipeline.core.states import PRIORITY, STANDARD, Mode, Outcome, normalize_api_enum
from askrows.pipeline.core.text import INVALID_TEXT, shorten, to_single_line
from askrows.pipeline.provider.answer_schema import decode_reply
from askrows.pipeline.provider.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from pydantic import BaseModel

# Characters stored of the reason of a failed batch.
MAX_ERROR_CHARS = 1_000
# Finish reasons that concern the content (FinishReason, google-genai 3.3.0). Another try rarely
# helps.
BLOCKING_FINISH_REASONS = {
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "OTHER",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER",
}  # fmt: skip
# Service tiers that a reply of a call may name, besides the standard tier.
TIERS_OF_CALLS = (
    *(mode.facts.tier for mode in Mode if mode is not Mode.BATCH and mode.facts.tier != STANDARD),
    PRIORITY,
)
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
HTTP_STATUS_BY_RPC_CODE = {rpc: http for http, rpc in RPC_CODE_BY_HTTP_STATUS.items()} | {9: 400}
MIN_SERVER_ERROR_STATUS = 500
# Invalid argument, not found, permission denied and failed precondition.
FINAL_RPC_CODES = frozenset({3, 5, 7, 9})
# These codes with these words are errors about the project of the key: something is denied, used up
# or not set up. An error about a file or an address concerns the row, whose request names it.
ACCOUNT_RPC_CODES = frozenset({7, 8, 9, 16})
ACCOUNT_ERROR_PATTERN = re.compile(
    r"billing|prepa(?:y|id)|\bcredits?\b|spend(?:ing)? cap|permission|API key"
    r"|\b(?:caller|account)\b|suspended|denied access|authentication",
    re.IGNORECASE,
)
# What an error does, if the provider says so: the fault is that of the service, of the account, or
# of the form that all requests share. Its row is not charged then.
SERVICE_EFFECT = "service"
ACCOUNT_EFFECT = "account"
FORM_EFFECT = "form"
FILE_ERROR_PATTERN = re.compile(r"\b(?:files?|ur[il]s?)\b", re.IGNORECASE)
# The reason of a request that failed like all others.
WRONG_FORM_REASON = "wrong-form"
# An excerpt is long enough to recognise a line and short enough for a table.
MAX_EXCERPT_CHARS = 200
# Names of the token counts in a reply, in lower case and without "_". The second name of a kind is
# that of a decision (types of google-genai 3.3.0); which of them arrives is not documented.
TOKEN_COUNT_KINDS = {
    "prompttokencount": "prompt",
    "totalinputtokens": "prompt",
    "candidatestokencount": "answer",
    "totaloutputtokens": "answer",
    "thoughtstokencount": "thoughts",
    "totalthoughttokens": "thoughts",
    "cachedcontenttokencount": "cached",
    "totalcachedtokens": "cached",
    "tooluseprompttokencount": "tool prompt",
    "totaltoolusetokens": "tool prompt",
    "totaltokencount": "total",
    "totaltokens": "total",
}
# Digits of the largest whole number that surely fits 64 bits.
MAX_INTEGER_CHARS = 18
# A larger number is not a plausible count. The sum of two smaller numbers fits an INTEGER column.
MAX_TOKEN_COUNT = 2**30
# A whole number, also as a fraction.
_COUNT = re.compile(r"([0-9]{1,10})(?:\.0+)?")

# It reads only as much of a value as it prints, however large or deep the value is.
_SHORT_REPR = reprlib.Repr()
_SHORT_REPR.maxstring = MAX_EXCERPT_CHARS


class ParsedReply(NamedTuple):
    """One reply with its outcome and its details; the answer text is not validated yet."""

    # ANSWERED if the text can be validated, else REFUSED or INVALID.
    outcome: Outcome
    # ok, unreadable, error-line, no-response, no-candidates, prompt-blocked, blocked, bad-finish,
    # max-tokens (the text is cut), max-tokens-empty (thoughts used all tokens) or empty. Of a
    # decision also `does-not-validate: <question>: <message>`.
    reason: str
    # The answer; "" unless the outcome is ANSWERED.
    text: str = ""
    # The google.rpc code of an error line.
    rpc_code: int | None = None
    # The API's finish reason of the candidate, or its reason for blocking the prompt; see
    # `normalize_api_enum`.
    finish_reason: str = ""
    usage: Usage = NO_USAGE
    model_version: str = ""
    response_id: str = ""
    # The service tier that served the request; "" if the reply does not name it.
    served_tier: str = ""
    # The text, bytes or JSON value from which an excerpt is made.
    excerpt_source: Any = ""
    # What its error does; "" if the provider does not say so.
    effect: str = ""
    # The probability of each field that a decision model answered, by field name.
    confidences: Mapping[str, float] = MappingProxyType({})

    @property
    def excerpt(self) -> str:
        """Return at most 200 printable characters of the reply."""
        return make_excerpt(self.excerpt_source)

    @property
    def is_final(self) -> bool:
        """Return whether another try after this error code cannot help."""
        return self.rpc_code in FINAL_RPC_CODES

    @property
    def is_account_failure(self) -> bool:
        """Return whether this error is about billing or permissions of the project, not the row.

        The `effect` decides if there is one. Otherwise the google.rpc code and the words of the
        excerpt decide, and an error about a file is about the row.
        """
        if self.effect:
            return self.effect == ACCOUNT_EFFECT
        if self.rpc_code not in ACCOUNT_RPC_CODES:
            return False

        has_account_words = ACCOUNT_ERROR_PATTERN.search(self.excerpt) is not None
        has_file_words = FILE_ERROR_PATTERN.search(self.excerpt) is not None
        return has_account_words and not has_file_words


# Parses the response of an API method.
ResponseParser = Callable[[Any], ParsedReply]


def decode_json_document(data: bytes) -> Any:
    """Return the JSON document of a reply or of a raw line of a result file.

    A comma after the document is ignored. A number that is not JSON, or that has no 64 bits, is
    None: we need no such number, and the answer is a text of the document.

    Raises:
        ValueError: The bytes are no JSON document, or have another text after it.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode().strip().removesuffix(",").rstrip()

    try:
        document = _LENIENT_DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Half a surrogate pair is refused here, as above.
    return orjson.loads(orjson.dumps(document))


def _parse_finite_float(number_text: str) -> float | None:
    """Return a number; None if it is too large for a float."""
    number = float(number_text)
    return number if math.isfinite(number) else None


def _parse_short_integer(number_text: str) -> int | None:
    """Return a whole number; None if it has more digits than 64 bits always have room for."""
    return int(number_text) if len(number_text) <= MAX_INTEGER_CHARS else None


def parse_result_line(
    line: bytes,
    parse: ResponseParser | None = None,
) -> ParsedReply:
    """Parse a raw line of a result file, `{"key", "response" | "error"}`.

    The outcome is INVALID for a line that is not a JSON object (see `decode_json_document`), and
    REFUSED for an error or a missing response. If a line has both members, the error counts. An
    error without content is ignored if the line has a response. The key is not read here.

    Args:
        parse: Parses the `response` of a line without an error; None means
            `parse_generated_response`, for a reply of generateContent.
    """
    try:
        document = decode_json_document(line)
    except ValueError:
        return ParsedReply(Outcome.INVALID, "unreadable", excerpt_source=line)
    if not isinstance(document, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", excerpt_source=document)

    error = document.get("error")
    if error is not None and (has_error_content(error) or "response" not in document):
        return _parse_error_reply(error)

    if document.get("response") is None:
        return ParsedReply(Outcome.REFUSED, "no-response", excerpt_source=document)
    return (parse or parse_generated_response)(document["response"])


def parse_generated_response(response: Any) -> ParsedReply:
    """Parse a GenerateContentResponse; only its first candidate counts.

    The outcome is INVALID if the response or the candidate is not an object, else that of
    `_parse_first_candidate`. Only an ANSWERED reply has a text. Missing and malformed details are
    empty or 0; see `read_token_usage` for the token counts.
    """
    if not isinstance(response, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", excerpt_source=response)

    outcome, reason, finish_reason, text = _parse_first_candidate(response)
    metadata = object_or_empty(response.get("usageMetadata") or response.get("usage_metadata"))
    return ParsedReply(
        outcome,
        reason,
        text if outcome is Outcome.ANSWERED else "",
        finish_reason=finish_reason,
        usage=read_token_usage(metadata),
        model_version=excerpt_or_empty(response.get("modelVersion")),
        response_id=excerpt_or_empty(response.get("responseId")),
        served_tier=_find_service_tier(metadata),
        excerpt_source=text or finish_reason or response.get("promptFeedback") or "",
    )


def parse_and_validate_answer(
    reply: ParsedReply,
    answer_model: "type[BaseModel]",
) -> "tuple[BaseModel | None, str]":
    """Validate the text of a reply; return (answer, "ok") or (None, reason).

    The text is first converted from the form of a reply to the declared form, see `decode_reply`.
    For example, a number choice is a text in a reply.

    JSON types are strict: a text is not a number, and true is not 1. A reply does not parse if it
    has a text with NUL or half a surrogate pair, NaN, an infinite number, or an object with a
    member twice, because programs read these differently.

    Args:
        reply: A parsed reply.
        answer_model: The model of the task's answers.

    Returns:
        The reason of a reply that is not ANSWERED is `reply.reason`. Other reasons are
        `does-not-parse: …` or `does-not-validate: <field>: <message>` about the first fault; the
        whole reason has at most 200 characters.
    """
    from pydantic import ValidationError

    if reply.outcome is not Outcome.ANSWERED:
        return None, reply.reason

    try:
        document = _STRICT_DECODER.decode(reply.text)
        _check_no_invalid_text(document)
        declared_document = decode_reply(document, answer_model)

        # An unchanged document is validated from the original text, which preserves its decimals.
        # 3 and 3.0 are equal in Python, but their representations differ.
        declared_text = reply.text
        if repr(declared_document) != repr(document):
            declared_text = json.dumps(declared_document)
        validator = make_strict_answer_validator(answer_model)
        return validator.validate_json(declared_text, strict=True), "ok"
    except ValidationError as error:
        first_error = error.errors(
            include_url=False,
            include_input=False,
            include_context=False,
        )[0]
        field_path = ".".join(map(str, first_error["loc"])) or "the answer"
        return None, make_excerpt(f"does-not-validate: {field_path}: {first_error['msg']}")
    except RecursionError:
        return None, "does-not-parse: nested too deeply"
    except ValueError as error:
        return None, make_excerpt(f"does-not-parse: {error}")


def parse_stored_answer(stored_json: str, answer_model: "type[BaseModel]") -> "BaseModel | None":
    """Parse the stored JSON of an answer; return None if it is invalid or does not round-trip.

    For example, an answer does not round-trip if a validator of its model converts values.
    """
    try:
        validator = make_strict_answer_validator(answer_model)
        answer: BaseModel = validator.validate_json(stored_json, by_alias=True, by_name=True)
    except Exception:  # noqa: BLE001 - a validator of a user's model may raise anything
        return None

    has_same_json = answer.model_dump_json() == stored_json
    return answer if has_same_json else None


def parse_bad_line_number(message: str) -> int | None:
    """Return N if an error of a refused batch says "Error on line N", counted from 1; else None."""
    match = re.search(r"\bError on line (\d{1,9})\b", message)
    if match is None:
        return None
    return int(match.group(1))


def parse_token_limit(message: str) -> int | None:
    """Return the limit of queued tokens that the error of a failed batch names; else None."""
    match = re.search(r"token_limit_exceeded.*?\bLimit: ([\d,]{1,20})", message)
    if match is None:
        return None
    return int(match[1].replace(",", "")) or None


def make_excerpt(value: Any) -> str:
    """Return at most 200 printable characters of a text, of bytes or of a JSON value.

    The excerpt has no line ends. Runs of blanks become one space, and a cut excerpt ends with "…".
    """
    if isinstance(value, bytes):
        text = value[: MAX_EXCERPT_CHARS * 8].decode("utf-8", "replace")
    elif isinstance(value, str):
        text = value[: MAX_EXCERPT_CHARS * 8]
    else:
        text = _SHORT_REPR.repr(value)

    return shorten(to_single_line(text), MAX_EXCERPT_CHARS)


def has_error_content(error: Any) -> bool:
    """Return whether an `error` member has content; "", {}, code 0 and an empty message do not."""
    details = error.values() if isinstance(error, dict) else [error]
    stripped_details = [detail.strip() if isinstance(detail, str) else detail for detail in details]
    return any(detail not in (None, "", 0, "0", "OK", [], {}) for detail in stripped_details)


def read_rpc_code(error: Mapping[str, Any]) -> int | None:
    """Return the google.rpc code of an error, or None if it has no code and no known status.

    An HTTP status in `code` is converted to a google.rpc code. An HTTP status without a google.rpc
    code becomes UNAVAILABLE from 500 on, else UNKNOWN.
    """
    status_name = normalize_api_enum(excerpt_or_empty(error.get("status")))
    code = parse_count_or_zero(error.get("code"), below=1_000)
    if not code:
        return _rpc_code(status_name) if status_name in RPC_STATUS_NAMES else None
    if code <= len(RPC_STATUS_NAMES):
        return code

    fallback_name = "UNAVAILABLE" if code >= MIN_SERVER_ERROR_STATUS else "UNKNOWN"
    return RPC_CODE_BY_HTTP_STATUS.get(code, _rpc_code(fallback_name))


def _rpc_code(status_name: str) -> int:
    """Return the google.rpc code of a status name; codes begin at 1."""
    return RPC_STATUS_NAMES.index(status_name) + 1


def _parse_error_reply(error: Any) -> ParsedReply:
    """Return the refused reply of an error, which may be an object or any other JSON value.

    Its reason is WRONG_FORM_REASON if the error has FORM_EFFECT, else `error-line`.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    excerpt_source = message if isinstance(message, str) and message else error
    effect = excerpt_or_empty(fields.get("effect"))
    return ParsedReply(
        Outcome.REFUSED,
        WRONG_FORM_REASON if effect == FORM_EFFECT else "error-line",
        effect=effect,
        rpc_code=read_rpc_code(fields),
        excerpt_source=excerpt_source,
    )


def _parse_first_candidate(response: Mapping[str, Any]) -> tuple[Outcome, str, str, str]:
    """Return outcome, reason, finish reason and text of the first candidate.

    The reason is our code for the outcome, such as `ok` or `prompt-blocked`. The finish reason is
    the API's; with the text it decides the outcome, see `_classify_finish`.

    Without candidates the outcome is REFUSED, and the finish reason is the API's reason for
    blocking the prompt, or "". A candidate that is not an object is INVALID.
    """
    candidates = response.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        feedback = object_or_empty(response.get("promptFeedback"))
        block_reason = normalize_api_enum(excerpt_or_empty(feedback.get("blockReason")))
        reason = "prompt-blocked" if block_reason else "no-candidates"
        return Outcome.REFUSED, reason, block_reason, ""

    candidate = candidates[0]
    if not isinstance(candidate, dict):
        return Outcome.INVALID, "unreadable", "", ""

    text = _join_answer_texts(candidate.get("content"))
    finish_reason = normalize_api_enum(excerpt_or_empty(candidate.get("finishReason")))
    outcome, reason = _classify_finish(finish_reason, text)
    return outcome, reason, finish_reason, text


def _classify_finish(finish_reason: str, text: str) -> tuple[Outcome, str]:
    """Return the outcome and the reason of a candidate by its finish reason and its text.

    A blocking or unknown finish reason is REFUSED. MAX_TOKENS is INVALID with a text and REFUSED
    without. STOP or no finish reason is ANSWERED with a text and REFUSED without.
    """
    has_text = bool(text.strip())
    if finish_reason in BLOCKING_FINISH_REASONS:
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


def _join_answer_texts(content: Any) -> str:
    """Join the texts of a candidate's content without its thoughts; "" for malformed content."""
    parts = object_or_empty(content).get("parts")
    if not isinstance(parts, list):
        return ""

    answer_parts = [part for part in map(object_or_empty, parts) if not part.get("thought")]
    texts = [part.get("text") for part in answer_parts]
    return "".join(text for text in texts if isinstance(text, str))


def read_token_usage(metadata: Mapping[str, Any]) -> Usage:
    """Return the token counts of a reply; a missing or invalid count is 0.

    The names of the members may be in camel case or snake case. Tokens of the total that are in no
    other count are output, because output is the dearest. If a count is negative, all counts are
    0, because the other counts are doubtful, too.
    """
    counts = dict.fromkeys(TOKEN_COUNT_KINDS.values(), 0)
    for name, value in metadata.items():
        kind = TOKEN_COUNT_KINDS.get(name.replace("_", "").lower())
        if kind is None:
            continue
        if str(value).startswith("-"):
            return NO_USAGE
        counts[kind] = max(counts[kind], parse_count_or_zero(value, below=MAX_TOKEN_COUNT))

    input_count = counts["prompt"] + counts["tool prompt"]
    uncounted_output = counts["total"] - input_count - counts["thoughts"]
    answer_count = max(counts["answer"], uncounted_output)
    return Usage(counts["prompt"], answer_count, counts["thoughts"], counts["cached"])


def _find_service_tier(metadata: Mapping[str, Any]) -> str:
    """Return the service tier that `usageMetadata` names; "" if it names none.

    The member is `serviceTier` or `trafficType`, for example ON_DEMAND_FLEX. A name that is neither
    the tier of a mode with calls nor priority is the standard tier.
    """
    tier_name = excerpt_or_empty(metadata.get("serviceTier") or metadata.get("trafficType")).lower()
    for tier in TIERS_OF_CALLS:
        if tier in tier_name:
            return tier
    return STANDARD if tier_name else ""


def parse_count_or_zero(value: Any, *, below: int) -> int:
    """Return a whole number, also of a float or a text; return 0 if the value is not valid.

    These are not valid: a negative number, a fraction, a boolean, more than ten digits, and any
    other type or text.

    Args:
        below: This number and larger numbers are not valid either.
    """
    if not isinstance(value, int | float | str):
        return 0

    match = _COUNT.fullmatch(str(value))
    if match and int(match[1]) < below:
        return int(match[1])
    return 0


def object_or_empty(value: Any) -> Mapping[str, Any]:
    """Return a JSON object unchanged, and {} for any other value."""
    return value if isinstance(value, dict) else {}


def to_text(member: Any) -> str:
    """Return a JSON text as it is; "" for any other type."""
    return member if isinstance(member, str) else ""


def format_api_error(error: Any) -> str:
    """Return an error object of the API as `<code>: <text>` on one line; "" if there is none.

    The error is a JSON object, read as a dict. Anything else, and an empty dict, gives "".
    The code is the `code` or the `status`; without both only the text is returned. The text is the
    message, or an excerpt of the error. Upload sessions and passwords in addresses are removed; an
    API key is not, because it is not known here. At most MAX_ERROR_CHARS characters are returned.
    """
    if not isinstance(error, dict) or not error:
        return ""

    message = error.get("message")
    text = message if isinstance(message, str) else make_excerpt(error)
    code = error.get("code", error.get("status", ""))
    if isinstance(code, int | str) and code != "":
        text = f"{code}: {text}"
    return to_single_line(redact(text))[:MAX_ERROR_CHARS]


def excerpt_or_empty(value: Any) -> str:
    """Return an excerpt of a text, and "" for any other value."""
    return make_excerpt(to_text(value))


def _make_object_without_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object; raise ValueError if two members have the same name."""
    document = dict(members)
    if len(document) != len(members):
        raise ValueError("an object contains a member twice")
    return document


def _refuse_constant(name: str) -> Any:
    """Raise ValueError for NaN or an infinity, which Python's decoder would accept."""
    raise ValueError(f"{name} is not a JSON number")


_LENIENT_DECODER = json.JSONDecoder(
    parse_constant=lambda _name: None,
    parse_float=_parse_finite_float,
    parse_int=_parse_short_integer,
)
_STRICT_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object_without_duplicates,
    parse_constant=_refuse_constant,
)


def _check_no_invalid_text(node: Any) -> None:
    """Raise ValueError if a JSON document contains NUL or half a surrogate pair.

    Texts and member names are checked.
    """
    if isinstance(node, str) and INVALID_TEXT.search(node):
        raise ValueError("a text contains NUL or half a surrogate pair")

    children: Iterable[Any] = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list | tuple):
        children = node
    for child in children:
        _check_no_invalid_text(child)
