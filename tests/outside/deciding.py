"""The outside server answers closed questions with probabilities.

The probability of an option depends on the words that it shares with the input, and on a hash.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tests.outside.answers import Json, tokens
from tests.outside.checking import BadRequestError

DECISION_MODEL = "gemini-decision-1"
# The limits of the notes on the protocol.
MAX_QUESTIONS = 1_000
MAX_INPUT_TOKENS = 262_144
OPTION_COUNTS = range(2, 256)
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A shared word makes an option this many times as probable.
SHARED_WORD_FACTOR = 6
IMAGE_MEMBERS = {"type", "mime_type", "data", "resolution"}
TYPE_OF_THE_FUTURE = "rank"


def decision_hash(request: Json) -> str:
    """Return a hash of input and questions, which is equal for equal decisions."""
    asked = [request.get("input"), request.get("questions")]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def check_decision(request: Json, refused_question: str) -> None:
    """Refuse a request that the notes on the protocol do not allow.

    Args:
        request: The body of the call.
        refused_question: A question with this text is refused, if it is not empty.

    Raises:
        BadRequestError: A member is unknown, missing or wrong; the message names it.
    """
    unknown_names = sorted(request.keys() - {"model", "input", "questions"})
    if unknown_names:
        raise BadRequestError(f'Unknown name "{unknown_names[0]}": Cannot find field.')
    questions = request.get("questions")
    if not isinstance(questions, dict) or not 1 <= len(questions) <= MAX_QUESTIONS:
        raise BadRequestError(f"questions: 1 to {MAX_QUESTIONS} questions are required")

    text = text_of(request.get("input"), "input")
    if tokens(text + json.dumps(questions)) > MAX_INPUT_TOKENS:
        raise BadRequestError(f"The input has more than {MAX_INPUT_TOKENS} tokens.")
    for question_id, question in questions.items():
        _check_question(question, f"questions.{question_id}")
        if refused_question and refused_question in json.dumps(question, ensure_ascii=False):
            raise BadRequestError(f"questions.{question_id}: the question cannot be evaluated")


def text_of(content: Any, path: str) -> str:
    """Return the text of an input or of instructions; an input may also have inline images.

    Raises:
        BadRequestError: There is no text, or a block of another type.
    """
    blocks = content if isinstance(content, list) else [content]
    if path == "input":
        blocks = [block for block in blocks if not _is_image(block)]
    texts: list[Any] = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    has_only_texts = all(isinstance(text, str) for text in texts)
    if not has_only_texts or not "".join(texts).strip():
        raise BadRequestError(f"{path}: a text is required")
    return "\n".join(texts)


def _is_image(block: Any) -> bool:
    """Return whether a block is an inline image.

    Raises:
        BadRequestError: It is an image with other members, or without readable bytes.
    """
    if not isinstance(block, dict) or block.get("type") != "image":
        return False
    try:
        has_bytes = bool(base64.b64decode(block.get("data", ""), validate=True))
    except ValueError:
        has_bytes = False
    has_type = str(block.get("mime_type", "")).startswith("image/")
    if not has_bytes or not has_type or block.keys() - IMAGE_MEMBERS:
        raise BadRequestError("input: an image block is wrong")
    return True


def decide(request: Json) -> Json:
    """Return the reply to a checked request; the answers are in reverse order."""
    text = text_of(request["input"], "input")
    answers = {
        question_id: _answer(question, question_id, text)
        for question_id, question in request["questions"].items()
    }
    input_tokens = tokens(text + json.dumps(request["questions"]))
    return {
        "usage": {"totalTokens": input_tokens, "totalInputTokens": input_tokens},
        "prompt_feedback": {},
        "answers": dict(reversed(answers.items())),
        "etag": f'"{input_tokens}"',
    }


def with_unknown_type(reply_document: Json) -> Json:
    """Return a reply whose first answer has a type that no client knows."""
    answers = dict(reply_document["answers"])
    answers[next(iter(answers))] = {"type": TYPE_OF_THE_FUTURE, "order": [1, 0]}
    return {**reply_document, "answers": answers}


def _check_question(question: Any, path: str) -> None:
    """Refuse a question of an unknown type, without instructions, or with wrong options."""
    if not isinstance(question, dict):
        raise BadRequestError(f"{path}: an object is required")
    text_of(question.get("instructions"), f"{path}.instructions")
    criteria = question.get("criteria")
    match question.get("type"):
        case "noul":
            if criteria is not None and set(criteria) - {"true", "false"}:
                raise BadRequestError(f"{path}.criteria: only true and false can be described")
        case "choice":
            if not isinstance(criteria, dict) or len(criteria) not in OPTION_COUNTS:
                raise BadRequestError(f"{path}.criteria: 2 to 255 options are required")
            for option in criteria:
                _check_option(option, f"{path}.criteria")
        case "score":
            if not isinstance(criteria, list) or len(criteria) not in OPTION_COUNTS:
                raise BadRequestError(f"{path}.criteria: 2 to 255 levels are required")
        case other_type:
            raise BadRequestError(f"{path}.type: there is no type {other_type!r}")


def _check_option(option: str, path: str) -> None:
    """Refuse an option id that is empty, has blanks at its ends, or a control character."""
    if not option or option.strip() != option or CONTROL_CHARACTERS.search(option):
        raise BadRequestError(f"{path}: {option!r} is no valid id of an option")


def _answer(question: Json, question_id: str, text: str) -> Json:
    """Return the answer to a question about a text."""
    instructions = text_of(question["instructions"], question_id)
    if question["type"] == "noul":
        weights = _weigh({"yes": instructions, "no": ""}, question_id, text)
        noul = round(min(max(weights["yes"], 0.01), 0.99), 2)
        return {"confidence": max(noul, 1 - noul), "noul": noul, "type": "noul"}

    if question["type"] == "choice":
        meanings = {option: f"{option} {words}" for option, words in question["criteria"].items()}
        probabilities = _weigh(meanings, question_id, text)
        choice = max(probabilities, key=lambda option: probabilities[option])
        return {
            "confidence": probabilities[choice],
            "probabilities": probabilities,
            "choice": choice,
            "type": "choice",
        }

    legend = {str(level): words for level, words in enumerate(question["criteria"])}
    probabilities = _weigh(legend, question_id, text)
    return {
        "confidence": max(probabilities.values()),
        "legend": legend,
        "probabilities": probabilities,
        "score": math.fsum(int(level) * share for level, share in probabilities.items()),
        "type": "score",
    }


def _weigh(meanings: Mapping[str, str], question_id: str, text: str) -> dict[str, float]:
    """Return probabilities that sum to 1, from shared words and a hash, in alphabetical order."""
    text_words = _words(text)
    weights = {}
    for option in sorted(meanings):
        shared_count = len(_words(meanings[option]) & text_words)
        digest = hashlib.sha256(f"{question_id}\0{option}\0{text}".encode()).digest()
        weights[option] = (1 + digest[0] / 256) * SHARED_WORD_FACTOR ** min(shared_count, 3)
    total = math.fsum(weights.values())
    return {option: weight / total for option, weight in weights.items()}


def _words(text: str) -> set[str]:
    """Return the words of a text with at least three letters, in lower case."""
    return set(re.findall(r"\w{3,}", text.casefold()))
