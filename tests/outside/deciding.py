"""The outside server answers closed questions with probabilities.

The probability of an option depends on the words that it shares with the input, and on a hash.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tests.outside.answers import Json, tokens
from tests.outside.telling import OutsideError

DECISION_MODEL = "gemini-decision-1"
MAX_INPUT_TOKENS = 262_144
# A shared word makes an option this many times as probable.
SHARED_WORD_FACTOR = 6
TYPE_OF_THE_FUTURE = "rank"


def decision_hash(request: Json) -> str:
    """Return a hash of input and questions, which is equal for equal decisions."""
    asked = [request.get("input"), request.get("questions")]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def text_of(content: Any) -> str:
    """Return the text of an input or of instructions; an input may also have inline images."""
    blocks = content if isinstance(content, list) else [content]
    texts = [block.get("text", "") if isinstance(block, dict) else block for block in blocks]
    return "\n".join(texts)


def decide(request: Json) -> Json:
    """Return the reply to a request; the answers are in reverse order.

    Raises:
        OutsideError: The input is too long, or a question has less than two options.
    """
    text = text_of(request["input"])
    input_tokens = tokens(text + json.dumps(request["questions"]))
    if input_tokens > MAX_INPUT_TOKENS:
        raise OutsideError(400, f"The input has more than {MAX_INPUT_TOKENS} tokens.")
    for question_id, question in request["questions"].items():
        if len(question.get("criteria") or "yn") < 2:
            raise OutsideError(400, f"questions.{question_id}.criteria: 2 options are required")
    answers = {
        question_id: _answer(question, question_id, text)
        for question_id, question in request["questions"].items()
    }
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


def _answer(question: Json, question_id: str, text: str) -> Json:
    """Return the answer to a question about a text."""
    instructions = text_of(question["instructions"])
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
