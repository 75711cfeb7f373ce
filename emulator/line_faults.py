"""Faults of single answers: each takes a good result line and returns the lines that stand in its place.

The same functions spoil a live answer, which is then the only line there is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from emulator.faults import Word

Emitted = list[dict[str, Any] | bytes]
"""What stands in a line's place: documents to be written as JSON, or bytes to be written as they are."""

_TEN_MB = 10 * 1024 * 1024
_BEYOND = 1_000_000  # above every number that a test asks about
_ERRORS = {
    3: "Request contains an invalid argument.",
    4: "The request timed out. Please try again.",
    8: "Resource has been exhausted (e.g. check quota).",
    13: "An internal error has occurred. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting",
    14: "The model is overloaded. Please try again later.",
    429: "Too many requests.",
    500: "Internal server error.",
    503: "The service is currently unavailable.",
}


def _missing(_line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Leave the line out."""
    return []


def _twice(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Write the line twice."""
    return [line, line]


def _twice_different(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Write the line and another valid answer under its key."""
    return [line, _with_text(line, _other_answer(_text(line)))]


def _error_then_answer(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Write an error line before the answer."""
    return [_failed(line, {"code": 13, "message": _ERRORS[13]}), line]


def _unknown_key(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Add a line under a key that no request has."""
    return [line, {**line, "key": args.get("name", "nobody/0")}]


def _more_rows(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Add further lines under keys of the same form that were not asked about."""
    prefix = str(line.get("key", "nobody/0")).rpartition("/")[0]
    return [line, *({**line, "key": f"{prefix}/{_BEYOND + number}"} for number in range(int(args.get("count", 10))))]


def _number_key(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Turn the key into the number that it ends in."""
    number = str(line.get("key", "")).rpartition("/")[2]
    return [{**line, "key": int(number) if number.isdecimal() else 0}]


def _invalid_utf8(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Put bytes that are no UTF-8 into the answer."""
    mark = "broken here"
    raw = orjson.dumps(_with_text(line, mark + _text(line)), option=orjson.OPT_SERIALIZE_NUMPY)
    return [raw.replace(mark.encode(), b"\xff\xfe\xc0\xaf", 1)]


def _garbage(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Add a line that is no JSON at all."""
    return [b"%%% \xff\xfe not json", line]


def _half(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Write only the first half of the line."""
    raw = orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)
    return [raw[: len(raw) // 2]]


def _ten_mb(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Make the line very long by blanks inside its answer."""
    return [_with_text(line, _text(line) + " " * int(args.get("bytes", _TEN_MB)))]


def _separators(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Put U+2028, U+2029 and U+0085 as they are into a thought that stands before the answer."""
    thought = {"text": "first\u2028second\u2029third\u0085fourth", "thought": True}
    content = {"parts": [thought, {"text": _text(line)}], "role": "model"}
    return [_with_candidate(line, finish="STOP", content=content)]


def _error(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Turn the answer into an error of the given google.rpc or HTTP code."""
    code = int(args.get("code", 13))
    error: dict[str, Any] = {"code": code}
    if args.get("message", True):
        error["message"] = str(args.get("message", _ERRORS.get(code, "Unknown error.")))
    if args.get("with_response"):
        return [{**line, "error": error}]
    return [_failed(line, error)]


def _max_tokens(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Cut the answer's text in half, as a spent token limit does."""
    text = _text(line)
    return [_with_candidate(line, finish="MAX_TOKENS", content=_content(text[: len(text) // 2]))]


def _max_tokens_empty(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Spend all tokens on thoughts, so that there is no content."""
    return [_with_candidate(line, finish="MAX_TOKENS", content=None, thoughts=512)]


def _prompt_blocked(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Block the prompt: no candidates, a reason beside."""
    response = {name: value for name, value in line["response"].items() if name != "candidates"}
    reason = str(args.get("reason", "PROHIBITED_CONTENT"))
    return [{**line, "response": {"promptFeedback": {"blockReason": reason}, **response}}]


def _finished(reason: str, *, keep_content: bool = False) -> Callable[[dict[str, Any], Mapping[str, Any]], Emitted]:
    """Return the fault that ends the answer with a finish reason."""

    def act(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
        """End the answer with the reason, mostly without content."""
        content = _content(_text(line)) if keep_content else None
        return [_with_candidate(line, finish=str(args.get("reason", reason)), content=content)]

    return act


def _no_candidates(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Answer with an empty list of candidates."""
    return [{**line, "response": {**line["response"], "candidates": []}}]


def _wrong_shape(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Answer with JSON that is not what the schema asks for."""
    return [_with_text(line, str(args.get("text", '{"labels":"law, water"}')))]


def _fenced(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Wrap the answer in a Markdown fence."""
    return [_with_text(line, f"```json\n{_text(line)}\n```")]


def _text_is(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Answer with the given text, whatever it is."""
    return [_with_text(line, str(args.get("text", "")))]


def _no_usage(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
    """Say nothing of the tokens that were used."""
    return [{**line, "response": {name: part for name, part in line["response"].items() if name != "usageMetadata"}}]


def _other_model(line: dict[str, Any], args: Mapping[str, Any]) -> Emitted:
    """Say that another model answered."""
    return [{**line, "response": {**line["response"], "modelVersion": str(args.get("version", "gemini-9-other"))}}]


def _with_vector(
    change: Callable[[list[float]], list[float]],
) -> Callable[[dict[str, Any], Mapping[str, Any]], Emitted]:
    """Return the fault that changes the vector of an embedding line."""

    def act(line: dict[str, Any], _args: Mapping[str, Any]) -> Emitted:
        """Change the vector; a line without one stays as it is."""
        response = line.get("response", {})
        if "embedding" not in response:
            return [line]
        values = change([float(value) for value in response["embedding"]["values"]])
        return [{**line, "response": {**response, "embedding": {"values": values}}}]

    return act


def _text(line: dict[str, Any]) -> str:
    """Return the text of the first candidate, empty where there is none."""
    for candidate in line.get("response", {}).get("candidates", []):
        return "".join(part.get("text", "") for part in candidate.get("content", {}).get("parts", []))
    return ""


def _content(text: str) -> dict[str, Any]:
    """Return a candidate's content with one text part."""
    return {"parts": [{"text": text}], "role": "model"}


def _with_candidate(
    line: dict[str, Any],
    *,
    finish: str,
    content: dict[str, Any] | None,
    thoughts: int = 0,
) -> dict[str, Any]:
    """Return the line with its one candidate replaced, thoughts counted where there are some (tokens)."""
    candidate = {"finishReason": finish, "index": 0}
    response = {**line["response"], "candidates": [{"content": content, **candidate} if content else candidate]}
    if thoughts:
        usage = {**response.get("usageMetadata", {}), "thoughtsTokenCount": thoughts}
        usage.pop("candidatesTokenCount", None)
        response["usageMetadata"] = {**usage, "totalTokenCount": usage.get("promptTokenCount", 0) + thoughts}
    return {**line, "response": response}


def _with_text(line: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the line with another text as its complete answer."""
    return _with_candidate(line, finish="STOP", content=_content(text))


def _failed(line: dict[str, Any], error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line with an error in place of its response."""
    return {"error": dict(error), **{name: value for name, value in line.items() if name != "response"}}


def _other_answer(text: str) -> str:
    """Return another valid answer of the same shape, its list turned round."""
    document = orjson.loads(text or b"[]")
    if isinstance(document, dict):
        return orjson.dumps({name: value[::-1] for name, value in document.items()}).decode()
    return orjson.dumps(document[::-1]).decode()


_CREATE = r":(batchGenerateContent|asyncBatchEmbedContent)$"
_CREATE_OR_LIVE = r":(batchGenerateContent|asyncBatchEmbedContent|generateContent|streamGenerateContent)(\?|$)"


def _line(code: str, act: Callable[[dict[str, Any], Mapping[str, Any]], Emitted]) -> Word:
    """Return the word for a fault that only a result file can have."""
    return Word(code, "line", act, "POST", _CREATE)


def _content_word(code: str, act: Callable[[dict[str, Any], Mapping[str, Any]], Emitted]) -> Word:
    """Return the word for a fault of an answer's content, in a result file or live."""
    return Word(code, "line", act, "POST", _CREATE_OR_LIVE)


def _whole(code: str) -> Word:
    """Return the word for a fault of a result file as a whole; the writer knows what to do."""
    return Word(code, "whole", None, "POST", _CREATE)


WORDS = {
    "missing_line": _line("F64", _missing),
    "duplicate_equal": _line("F65", _twice),
    "duplicate_different": _line("F65", _twice_different),
    "duplicate_error_first": _line("F65", _error_then_answer),
    "unknown_key": _line("F66", _unknown_key),
    "more_rows": _line("F66", _more_rows),
    "number_key": _line("F67", _number_key),
    "invalid_utf8": _line("F67", _invalid_utf8),
    "swapped_bodies": _line("F66b", lambda line, _args: [line]),
    "garbage_line": _line("F67", _garbage),
    "broken_line": _line("F67", _half),
    "long_line": _line("F67", _ten_mb),
    "line_separators": _line("F67", _separators),
    "error_line": _line("F68", _error),
    "all_lines_fail": _line("F69", _error),
    "max_tokens": _content_word("F71", _max_tokens),
    "max_tokens_empty": _content_word("F72", _max_tokens_empty),
    "prompt_blocked": _content_word("F73", _prompt_blocked),
    "safety": _content_word("F74", _finished("SAFETY")),
    "recitation": _content_word("F74", _finished("RECITATION")),
    "no_candidates": _content_word("F75", _no_candidates),
    "unknown_finish": _content_word("F76", _finished("BRAND_NEW", keep_content=True)),
    "schema_mismatch": _content_word("F77", _wrong_shape),
    "markdown_fence": _content_word("F77", _fenced),
    "answer_text": _content_word("F70", _text_is),
    "other_model": _content_word("F78", _other_model),
    "no_usage": _content_word("F78", _no_usage),
    "line_vector_wrong_dimension": _line("F81", _with_vector(lambda values: values[:-1])),
    "line_vector_not_unit": _line("F81", _with_vector(lambda values: [3 * value for value in values])),
    "cut_last_line": _whole("F67"),
    "no_last_newline": _whole("F67"),
    "blank_lines": _whole("F67"),
    "crlf": _whole("F67"),
    "bom": _whole("F67"),
}
"""Words for faults in results. `swapped_bodies` trades the bodies of the lines it hits, two by two."""
