"""Answer decision requests: check the questions, and give each option a probability.

The answers are placeholders. The probability of an option grows with the similarity of its words
to the words of the input, and nothing is understood.

A question has one of three types in the API: "noul" asks yes or no, "choice" for one of several
options, and "score" for a level on a scale. The criteria of a question say what each of them means.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from askrows.emulator.answers.encoder import measure_similarity
from askrows.emulator.answers.text import choose_main_section, find_tagged_sections
from askrows.emulator.catalogue import MODEL_VERSION
from askrows.emulator.generate import MEDIUM_TOKENS, estimate_tokens
from askrows.emulator.messages import ApiError, make_invalid_argument_error

# Limits of a decision (types of google-genai 3.3.0 and public pages of 2026-11-11).
MAX_QUESTIONS = 1_000
MIN_OPTIONS = 2
MAX_OPTIONS = 255
MIN_NOUL = 0.01
MAX_NOUL = 0.99
# How fast a weight grows with a likeness. At 12, a difference of 0.1 makes an option three times as
# probable.
_STEEPNESS = 12.0
# Likeness at which yes and no are equally probable. Words of another subject have about 0.1.
_YES_LIKENESS = 0.3
_QUOTED_WORDS = re.compile(r'"([^"]+)"')
QUESTION_TYPES = ("noul", "choice", "score")


@dataclass(frozen=True)
class Question:
    """A checked question."""

    type: str
    instructions: str
    # Meanings by option of a choice, or by level of a score; those of a noul are ignored.
    criteria: Mapping[str, str]


@dataclass(frozen=True)
class Decision:
    """A checked request."""

    model_name: str
    text: str
    questions: Mapping[str, Question]
    # Estimated tokens of the input and of all questions.
    token_count: int


def check_and_parse_decision_request(message: Mapping[str, Any]) -> Decision:
    """Return the checked request of a CreateDecisionRequest message.

    An image in the input counts for the tokens only. The model's name loses the prefix "models/".

    Raises:
        ApiError: 400 with the path of the fault: no model, no text, no or too many questions, or an
            invalid question.
    """
    if not message.get("model"):
        raise _make_fault_error("model", "must be set")

    content = message.get("input")
    blocks = content if isinstance(content, list) else [content]
    texts = [block for block in blocks if not _is_image(block)]
    text = _check_and_join_texts(texts, "input")

    questions = message.get("questions") or {}
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise _make_fault_error(
            "questions",
            f"must have between 1 and {MAX_QUESTIONS} questions; found {len(questions)}",
        )
    token_count = estimate_tokens(text) + estimate_tokens(orjson.dumps(questions).decode())
    return Decision(
        message["model"].removeprefix("models/"),
        text,
        {
            question_id: _parse_question(question, f"questions[{question_id}]")
            for question_id, question in questions.items()
        },
        token_count + MEDIUM_TOKENS * (len(blocks) - len(texts)),
    )


def answer_decision(decision: Decision) -> dict[str, Any]:
    """Return the CreateDecisionResponse to a request; equal requests get equal responses."""
    sections = find_tagged_sections(decision.text)
    text = sections[choose_main_section(sections)]
    answers = {
        question_id: _answer_question(question, text)
        for question_id, question in decision.questions.items()
    }
    return {
        "answers": answers,
        "usage": {
            "total_input_tokens": decision.token_count,
            "total_output_tokens": 0,
            "total_tokens": decision.token_count,
        },
        "modelVersion": MODEL_VERSION,
    }


def _answer_question(question: Question, text: str) -> dict[str, Any]:
    """Return the answer to a question about a text, with the confidence in it.

    - Answer to a "noul" (a yes/no question): the probability of yes, from MIN_NOUL to MAX_NOUL. It
      grows with the similarity of the text to the quoted words of the instructions, or to all.
    - Answer to a "choice": the most probable option. An option is the more probable the more
      similar its name or its meaning is to the text.
    - Answer to a "score": the mean of the indexes of its levels, weighed by their probabilities.

    The confidence is the largest probability. The last two also have all probabilities, and a
    score has the meanings of its levels as `legend`.
    """
    if question.type == "noul":
        subject = " ".join(_QUOTED_WORDS.findall(question.instructions)) or question.instructions
        exponent = _STEEPNESS * (_YES_LIKENESS - measure_similarity(subject, text))
        noul = min(max(1 / (1 + math.exp(exponent)), MIN_NOUL), MAX_NOUL)
        return {"type": "noul", "noul": noul, "confidence": max(noul, 1 - noul)}

    weights = {}
    for option, meaning in question.criteria.items():
        name = option.replace("_", " ") if question.type == "choice" else ""
        likeness = max(measure_similarity(name, text), measure_similarity(meaning, text))
        weights[option] = math.exp(_STEEPNESS * likeness)
    total = math.fsum(weights.values())
    probabilities = {option: weight / total for option, weight in weights.items()}
    answer = {
        "type": question.type,
        "probabilities": probabilities,
        "confidence": max(probabilities.values()),
    }
    if question.type == "choice":
        best_option = max(probabilities, key=lambda option: probabilities[option])
        return answer | {"choice": best_option}

    score = math.fsum(int(level) * share for level, share in probabilities.items())
    return answer | {"score": score, "legend": dict(question.criteria)}


def _parse_question(question: Mapping[str, Any], path: str) -> Question:
    """Return a checked question from its message.

    The criteria of a "choice" map each option to its meaning. Those of a "score" are a list of the
    levels' meanings; here the levels become options named by their index, "0", "1" and so on. The
    criteria of a "noul" (the API's name of a yes/no question) are ignored.

    Raises:
        ApiError: 400, if its type is unknown, its instructions are missing or invalid, or the
            criteria of a "choice" or "score" are missing or invalid.
    """
    question_type = question.get("type", "")
    if question_type not in QUESTION_TYPES:
        raise _make_fault_error(f"{path}.type", f"must be one of {', '.join(QUESTION_TYPES)}")

    instructions = _check_and_join_texts(question.get("instructions"), f"{path}.instructions")
    if question_type == "noul":
        return Question(question_type, instructions, {})

    criteria: Any = question.get("criteria")
    if question_type == "score" and isinstance(criteria, list):
        criteria = {str(index): level for index, level in enumerate(criteria)}
    _check_options(criteria, f"{path}.criteria")
    return Question(question_type, instructions, criteria)


def _check_options(criteria: Any, path: str) -> None:
    """Check the options of a choice, or of a score whose levels were made options.

    Args:
        criteria: The meaning of each option, by option.
        path: Path of the criteria, for error messages.

    Raises:
        ApiError: 400, if `criteria` does not map options to texts, has too few or too many options,
            or has an option that is empty, has outer blanks or a control character.
    """
    meanings = criteria.values() if isinstance(criteria, dict) else [None]
    if not all(isinstance(meaning, str) for meaning in meanings):
        raise _make_fault_error(path, "must map each option to a text, or be a list of texts")
    if not MIN_OPTIONS <= len(criteria) <= MAX_OPTIONS:
        raise _make_fault_error(
            path,
            f"must have between {MIN_OPTIONS} and {MAX_OPTIONS} options; found {len(criteria)}",
        )
    if not all(option == option.strip() and option.isprintable() and option for option in criteria):
        raise _make_fault_error(
            path,
            "option IDs must be non-empty with no control characters or leading/trailing "
            "whitespace",
        )


def _is_image(block: Any) -> bool:
    return isinstance(block, dict) and isinstance(block.get("data"), str)


def _check_and_join_texts(content: Any, path: str) -> str:
    """Return the text of an input or of instructions: a text, a text block, or a list of these.

    The texts of a list are joined by line breaks.

    Raises:
        ApiError: 400, if there is no text, or a block is not text.
    """
    blocks: Sequence[Any] = content if isinstance(content, list) else [content]
    texts: list[Any] = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    if not all(isinstance(text, str) for text in texts):
        raise _make_fault_error(path, "the local engine decides about texts and images only")

    joined_text = "\n".join(texts)
    if not joined_text.strip():
        raise _make_fault_error(path, "must not be empty")
    return joined_text


def _make_fault_error(path: str, message: str) -> ApiError:
    """Return the 400 error of the member at `path`, for the caller to raise."""
    return make_invalid_argument_error(f"* CreateDecisionRequest.{path}: {message}.")
