"""Let the model repeat a code of the row, so that an answer on a wrong row is seen.

- A task with `echo=True` sends a code of four characters with each row. The answer must repeat it.
- The code is derived from task, row id and input, so a retry has the same code. Nothing is stored.
- The code is removed from a reply before the answer is validated.
- Two rows have the same code with a chance of 1 in 41^4 = 2,825,761.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from pipeline.core.declaration import ECHO_FIELD
from pipeline.gemini.models import Model
from pipeline.gemini.responses import make_excerpt
from pipeline.gemini.usage import (
    PUNCTUATION_TOKENS,
    Usage,
    calculate_cost,
    estimate_tokens,
)

CODE_CHARS = 4
# No vowels, so that no code is a word. No 0, 1, I, l and O, which look alike. No small letter with
# the form of its capital letter.
CODE_ALPHABET = "23456789BCDFGHJKLMNPQRSTVWXYZbdfghjmnqrty"
# Beginning of the reason of a reply with another code than its row's.
WRONG_CODE_REASON = "wrong row code"
MISSING_CODE_REASON = f"{WRONG_CODE_REASON}: the reply has none"

_DESCRIPTION = f"The {ECHO_FIELD} of the last line, copied exactly"
_DECODER = json.JSONDecoder()
_WHITESPACE = re.compile(r"[ \t\r\n]*")


def make_row_code(task_name: str, row_id: str, input_hash: str) -> str:
    """Return the code of a row, which its answer must repeat: CODE_CHARS of CODE_ALPHABET.

    The same row with the same input always has the same code.
    """
    source = json.dumps([task_name, row_id, input_hash])
    number = int.from_bytes(hashlib.sha256(source.encode()).digest())
    code = ""
    for _ in range(CODE_CHARS):
        number, char_index = divmod(number, len(CODE_ALPHABET))
        code += CODE_ALPHABET[char_index]
    return code


def format_code_line(code: str) -> str:
    """Return the end of a prompt that names the row's code."""
    return f"\n\n{ECHO_FIELD}: {code}"


def add_code_field(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response schema with the row's code as its first and required property."""
    code_schema = {"type": "STRING", "description": _DESCRIPTION}
    return {
        **schema,
        "properties": {ECHO_FIELD: code_schema, **schema["properties"]},
        "propertyOrdering": [ECHO_FIELD, *schema["propertyOrdering"]],
        "required": [ECHO_FIELD, *schema.get("required", ())],
    }


def add_code(answer_json: str, code: str) -> str:
    """Return the JSON of an answer with the code of its row as its first member."""
    members = answer_json.removeprefix("{")
    separator = "" if members == "}" else ","
    return f'{{"{ECHO_FIELD}":"{code}"{separator}{members}'


def estimate_echo_usage() -> Usage:
    """Return the estimated tokens that the code adds to a request and to its answer.

    Each character of a code counts as a token.
    """
    prompt_tokens = estimate_tokens(format_code_line("")) + CODE_CHARS
    answer_tokens = 2 * PUNCTUATION_TOKENS + estimate_tokens(ECHO_FIELD) + CODE_CHARS
    return Usage(prompt_tokens, answer_tokens)


def estimate_echo_cost(model: Model, service_tier: str, *, count: int, day: date) -> float:
    """Return the estimated cost in USD of the codes of `count` requests and answers."""
    usage = estimate_echo_usage()
    total_usage = Usage(count * usage.prompt, count * usage.answer)
    return calculate_cost(model, total_usage, service_tier, day=day)


def split_reply(reply_text: str) -> tuple[list[Any], str]:
    """Return the row codes of a reply, and the text of the reply without them.

    Returns:
        First, all values of the member ECHO_FIELD; a right reply has this member once. Second, the
        reply without this member. The texts of the other members stay as they are. A text that is
        not a JSON object is returned unchanged, and the list of codes is empty.
    """
    try:
        document = json.loads(reply_text)
    except (ValueError, RecursionError):
        return [], reply_text
    if not isinstance(document, dict):
        return [], reply_text

    codes = []
    members = []
    position = _skip_whitespace(reply_text, reply_text.index("{") + 1)
    while reply_text[position] != "}":
        start = position
        name, position = _DECODER.raw_decode(reply_text, position)
        colon_position = _skip_whitespace(reply_text, position)
        value_position = _skip_whitespace(reply_text, colon_position + 1)
        value, position = _DECODER.raw_decode(reply_text, value_position)
        if name == ECHO_FIELD:
            codes.append(value)
        else:
            members.append(reply_text[start:position])

        position = _skip_whitespace(reply_text, position)
        if reply_text[position] == ",":
            position = _skip_whitespace(reply_text, position + 1)
    return codes, f"{{{','.join(members)}}}"


def find_code_fault(expected_code: str, codes: list[Any]) -> str:
    """Return why a reply does not have exactly the code of its row; empty if it does.

    Args:
        codes: All codes of the reply.
    """
    if codes == [expected_code]:
        return ""
    if not codes:
        return MISSING_CODE_REASON
    shown_code = make_excerpt(" and ".join(map(str, codes)))
    return f"{WRONG_CODE_REASON}: {shown_code!r} instead of {expected_code!r}"


def _skip_whitespace(text: str, position: int) -> int:
    """Return the position of the next character that is not JSON's whitespace."""
    whitespace = _WHITESPACE.match(text, position)
    return whitespace.end() if whitespace else position
