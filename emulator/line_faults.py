"""Faults of single answers: each takes a good result line and returns the lines that stand in its place.

The same functions spoil a live answer, which is then the only line there is. What each word means
stands in `docs/local-engine.md`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from emulator.faults import CREATE, without, words

Document = dict[str, Any]
Args = Mapping[str, Any]
Emitted = list[Document | bytes]
"""What stands in a line's place: documents to be written as JSON, or bytes to be written as they are."""
Act = Callable[[Document, Args], Emitted]

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


def _text_fault(change: Callable[[str, Args], str]) -> Act:
    """Return the fault that puts another text in the place of the answer's."""
    return lambda line, args: [_with_text(line, change(_text(line), args))]


def _response_fault(change: Callable[[Document, Args], Document]) -> Act:
    """Return the fault that changes the response of a line."""
    return lambda line, args: [{**line, "response": change(line["response"], args)}]


def _finish_fault(finish: str, *, share: float | None = None, thoughts: int = 0) -> Act:
    """Return the fault that ends the answer with a finish reason, and a share of its text or no content."""

    def act(line: Document, args: Args) -> Emitted:
        text = _text(line)
        content = None if share is None else _content(text[: int(len(text) * share)])
        reason = finish if finish == "MAX_TOKENS" else str(args.get("reason", finish))
        return [_with_candidate(line, finish=reason, content=content, thoughts=thoughts)]

    return act


def _vector_fault(change: Callable[[list[float]], list[float]]) -> Act:
    """Return the fault that changes the vector of an embedding line; a line without one stays as it is."""

    def act(line: Document, _args: Args) -> Emitted:
        response = line.get("response", {})
        if "embedding" not in response:
            return [line]
        values = change([float(value) for value in response["embedding"]["values"]])
        return [{**line, "response": {**response, "embedding": {"values": values}}}]

    return act


def _more_rows(line: Document, args: Args) -> Emitted:
    prefix = str(line.get("key", "nobody/0")).rpartition("/")[0]
    return [line, *({**line, "key": f"{prefix}/{_BEYOND + number}"} for number in range(int(args.get("count", 10))))]


def _number_key(line: Document, _args: Args) -> Emitted:
    number = str(line.get("key", "")).rpartition("/")[2]
    return [{**line, "key": int(number) if number.isdecimal() else 0}]


def _invalid_utf8(line: Document, _args: Args) -> Emitted:
    mark = "broken here"
    return [_raw(_with_text(line, mark + _text(line))).replace(mark.encode(), b"\xff\xfe\xc0\xaf", 1)]


def _half(line: Document, _args: Args) -> Emitted:
    raw = _raw(line)
    return [raw[: len(raw) // 2]]


def _separators(line: Document, _args: Args) -> Emitted:
    thought = {"text": "first\u2028second\u2029third\u0085fourth", "thought": True}
    content = {"parts": [thought, {"text": _text(line)}], "role": "model"}
    return [_with_candidate(line, finish="STOP", content=content)]


def _error(line: Document, args: Args) -> Emitted:
    code = int(args.get("code", 13))
    error: Document = {"code": code}
    if args.get("message", True):
        error["message"] = str(args.get("message", _ERRORS.get(code, "Unknown error.")))
    if args.get("with_response"):
        return [{**line, "error": error}]
    return [{"error": error, **without(line, "response")}]


def _prompt_blocked(response: Document, args: Args) -> Document:
    reason = str(args.get("reason", "PROHIBITED_CONTENT"))
    return {"promptFeedback": {"blockReason": reason}, **without(response, "candidates")}


def _raw(line: Document) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)


def _text(line: Document) -> str:
    """Return the text of the first candidate, empty where there is none."""
    for candidate in line.get("response", {}).get("candidates", []):
        return "".join(part.get("text", "") for part in candidate.get("content", {}).get("parts", []))
    return ""


def _content(text: str) -> Document:
    return {"parts": [{"text": text}], "role": "model"}


def _with_candidate(line: Document, *, finish: str, content: Document | None, thoughts: int = 0) -> Document:
    """Return the line with its one candidate replaced, thoughts counted where there are some (tokens)."""
    candidate = {"finishReason": finish, "index": 0}
    response = {**line["response"], "candidates": [{"content": content, **candidate} if content else candidate]}
    if thoughts:
        usage = without({**response.get("usageMetadata", {}), "thoughtsTokenCount": thoughts}, "candidatesTokenCount")
        response["usageMetadata"] = {**usage, "totalTokenCount": usage.get("promptTokenCount", 0) + thoughts}
    return {**line, "response": response}


def _with_text(line: Document, text: str) -> Document:
    """Return the line with another text as its complete answer."""
    return _with_candidate(line, finish="STOP", content=_content(text))


def _other_answer(text: str) -> str:
    """Return another valid answer of the same shape, its list turned round."""
    document = orjson.loads(text or b"[]")
    if isinstance(document, dict):
        return orjson.dumps({name: value[::-1] for name, value in document.items()}).decode()
    return orjson.dumps(document[::-1]).decode()


WORDS = {
    **words(
        "line",
        "POST",
        CREATE,
        missing_line=("F64", lambda _line, _args: []),
        duplicate_equal=("F65", lambda line, _args: [line, line]),
        duplicate_different=("F65", lambda line, _args: [line, _with_text(line, _other_answer(_text(line)))]),
        duplicate_error_first=("F65", lambda line, _args: [*_error(line, {}), line]),
        unknown_key=("F66", lambda line, args: [line, {**line, "key": args.get("name", "nobody/0")}]),
        more_rows=("F66", _more_rows),
        number_key=("F67", _number_key),
        invalid_utf8=("F67", _invalid_utf8),
        swapped_bodies=("F66b", lambda line, _args: [line]),
        garbage_line=("F67", lambda line, _args: [b"%%% \xff\xfe not json", line]),
        broken_line=("F67", _half),
        long_line=("F67", _text_fault(lambda text, args: text + " " * int(args.get("bytes", _TEN_MB)))),
        line_separators=("F67", _separators),
        error_line=("F68", _error),
        all_lines_fail=("F69", _error),
        line_vector_wrong_dimension=("F81", _vector_fault(lambda values: values[:-1])),
        line_vector_not_unit=("F81", _vector_fault(lambda values: [3 * value for value in values])),
    ),
    **words(
        "line",
        "POST",
        r":(batchGenerateContent|asyncBatchEmbedContent|generateContent|streamGenerateContent)(\?|$)",
        answer_text=("F70", _text_fault(lambda _text, args: str(args.get("text", "")))),
        max_tokens=("F71", _finish_fault("MAX_TOKENS", share=0.5)),
        max_tokens_empty=("F72", _finish_fault("MAX_TOKENS", thoughts=512)),
        prompt_blocked=("F73", _response_fault(_prompt_blocked)),
        safety=("F74", _finish_fault("SAFETY")),
        recitation=("F74", _finish_fault("RECITATION")),
        no_candidates=("F75", _response_fault(lambda response, _args: {**response, "candidates": []})),
        unknown_finish=("F76", _finish_fault("BRAND_NEW", share=1)),
        schema_mismatch=("F77", _text_fault(lambda _text, args: str(args.get("text", '{"labels":"law, water"}')))),
        markdown_fence=("F77", _text_fault(lambda text, _args: f"```json\n{text}\n```")),
        other_model=(
            "F78",
            _response_fault(lambda it, args: {**it, "modelVersion": str(args.get("version", "gemini-9-other"))}),
        ),
        no_usage=("F78", _response_fault(lambda response, _args: without(response, "usageMetadata"))),
    ),
    **words(
        "whole",
        "POST",
        CREATE,
        cut_last_line=("F67", None),
        no_last_newline=("F67", None),
        blank_lines=("F67", None),
        crlf=("F67", None),
        bom=("F67", None),
    ),
}
"""Words for faults in results. `swapped_bodies` trades the bodies of the lines it hits, two by two."""
