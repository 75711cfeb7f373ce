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

from emulator.answers.encoder import measure_likeness
from emulator.answers.text import choose_main_section, find_tagged_sections
from emulator.catalogue import MODEL_VERSION
from emulator.generate import MEDIUM_TOKENS, estimate_tokens
from emulator.messages import ApiError, FieldError

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
# Both spellings are used: the type of the SDK has the second.
_NOUL_CRITERIA = {"true", "false", "true_description", "false_description"}


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
    image_count: int = 0

    @property
    def token_count(self) -> int:
        """Return the estimated tokens of the request: of the input, and of each question.

        The input counts once, however many questions there are.
        """
        count = estimate_tokens(self.text) + self.image_count * MEDIUM_TOKENS
        for question_id, question in self.questions.items():
            meanings = question.criteria.values()
            words = [question_id, question.instructions, *question.criteria, *meanings]
            count += estimate_tokens(" ".join(words))
        return count


def parse_decision(message: Mapping[str, Any]) -> Decision:
    """Return the checked request of a CreateDecisionRequest message.

    An image in the input counts for the tokens only.

    Raises:
        ApiError: 400 with the path of the fault.
    """
    if not message.get("model"):
        raise _fault("model", "must be set")

    content = message.get("input")
    images = []
    if isinstance(content, list):
        images = [block for block in content if isinstance(block.get("data"), str)]
        content = [block for block in content if block not in images]
    text = _read_text(content, "input")
    questions = message.get("questions") or {}
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise _fault(
            "questions",
            f"must have between 1 and {MAX_QUESTIONS} questions; found {len(questions)}",
        )
    return Decision(
        message["model"].removeprefix("models/"),
        text,
        {
            question_id: _parse_question(question, f"questions[{question_id}]")
            for question_id, question in questions.items()
        },
        image_count=len(images),
    )


def answer_decision(decision: Decision) -> dict[str, Any]:
    """Return the CreateDecisionResponse to a request; equal requests get equal responses."""
    sections = find_tagged_sections(decision.text)
    text = sections[choose_main_section(sections)]
    answers = {
        question_id: _answer_question(question, text)
        for question_id, question in decision.questions.items()
    }
    tokens = decision.token_count
    return {
        "answers": answers,
        "usage": {
            "total_input_tokens": tokens,
            "total_output_tokens": 0,
            "total_tokens": tokens,
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

    The confidence is the largest probability. The last two also have all probabilities.
    """
    if question.type == "noul":
        subject = " ".join(_QUOTED_WORDS.findall(question.instructions)) or question.instructions
        exponent = _STEEPNESS * (_YES_LIKENESS - measure_likeness(subject, text))
        noul = min(max(round(1 / (1 + math.exp(exponent)), 4), MIN_NOUL), MAX_NOUL)
        return {"type": "noul", "noul": noul, "confidence": round(max(noul, 1 - noul), 4)}

    weights = {}
    for option, meaning in question.criteria.items():
        name = option.replace("_", " ") if question.type == "choice" else ""
        likeness = max(measure_likeness(name, text), measure_likeness(meaning, text))
        weights[option] = math.exp(_STEEPNESS * likeness)
    probabilities = _normalize(weights)
    confidence = max(probabilities.values())
    if question.type == "choice":
        return {
            "type": "choice",
            "choice": max(probabilities, key=lambda option: probabilities[option]),
            "probabilities": probabilities,
            "confidence": confidence,
        }

    score = math.fsum(int(level) * share for level, share in probabilities.items())
    return {
        "type": "score",
        "score": round(score, 4),
        "probabilities": probabilities,
        "legend": dict(question.criteria),
        "confidence": confidence,
    }


def _normalize(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each positive weight in their sum, with four decimals.

    The largest share absorbs the rounding errors, so that all sum to 1.
    """
    total = math.fsum(weights.values())
    probabilities = {option: round(weight / total, 4) for option, weight in weights.items()}
    best_option = max(weights, key=lambda option: weights[option])
    others = math.fsum(share for option, share in probabilities.items() if option != best_option)
    probabilities[best_option] = round(1 - others, 4)
    return probabilities


def _parse_question(question: Mapping[str, Any], path: str) -> Question:
    """Return a checked question from its message.

    The criteria of a "choice" map each option to its meaning. Those of a "score" are a list of the
    levels' meanings; here the levels become options named by their index, "0", "1" and so on. A
    "noul" (the API's name of a yes/no question) may have criteria. They are checked, but the
    returned question has none.

    Raises:
        ApiError: 400, if its type is unknown, its instructions are missing or invalid, its criteria
            are invalid, or a "choice" or "score" has no criteria.
    """
    question_type = question.get("type", "")
    if question_type not in QUESTION_TYPES:
        raise _fault(f"{path}.type", f"must be one of {', '.join(QUESTION_TYPES)}")

    instructions = _read_text(question.get("instructions"), f"{path}.instructions")
    criteria = question.get("criteria")
    criteria_path = f"{path}.criteria"
    if question_type == "noul":
        if criteria is not None:
            is_valid = (
                isinstance(criteria, dict)
                and criteria.keys() <= _NOUL_CRITERIA
                and all(isinstance(description, str) for description in criteria.values())
            )
            if not is_valid:
                raise _fault(criteria_path, "must describe the outcomes true and false")
        return Question(question_type, instructions, {})

    if question_type == "score":
        if not isinstance(criteria, list) or not all(isinstance(level, str) for level in criteria):
            raise _fault(criteria_path, "must be a list of texts")
        if not all(level.strip() for level in criteria):
            raise _fault(criteria_path, "levels must be non-empty")
        criteria = {str(index): level for index, level in enumerate(criteria)}
    return Question(question_type, instructions, _parse_options(criteria, criteria_path))


def _parse_options(criteria: Any, path: str) -> dict[str, str]:
    """Check the options of a choice, or of a score whose levels were made options; return them.

    Args:
        criteria: The meaning of each option, by option.
        path: Path of the criteria, for error messages.

    Raises:
        ApiError: 400, if `criteria` does not map options to texts, has too few or too many options,
            or has an option that is empty, has outer blanks or a control character.
    """
    if not isinstance(criteria, dict) or not all(
        isinstance(meaning, str) for meaning in criteria.values()
    ):
        raise _fault(path, "must map each option to a text")
    if not MIN_OPTIONS <= len(criteria) <= MAX_OPTIONS:
        raise _fault(
            path,
            f"must have between {MIN_OPTIONS} and {MAX_OPTIONS} options; found {len(criteria)}",
        )
    for option in criteria:
        has_control_character = any(ord(character) < ord(" ") for character in option)
        if not option or option != option.strip() or has_control_character:
            raise _fault(
                path,
                "option IDs must be non-empty with no control characters or leading/trailing "
                "whitespace",
            )
    return criteria


def _read_text(content: Any, path: str) -> str:
    """Return the text of an input or of instructions: a text, a text block, or a list of these.

    Raises:
        ApiError: 400, if there is no text, or a block is not text.
    """
    blocks: Sequence[Any] = content if isinstance(content, list) else [content]
    texts = []
    for block in blocks:
        text = block
        if isinstance(block, dict):
            if block.get("type") != "text":
                raise _fault(path, "the local engine decides about texts and images only")
            text = block.get("text")
        if not isinstance(text, str):
            raise _fault(path, "must be a text or a list of content blocks")
        texts.append(text)

    joined_text = "\n".join(texts)
    if not joined_text.strip():
        raise _fault(path, "must not be empty")
    return joined_text


def _fault(path: str, message: str) -> ApiError:
    """Return the 400 error of the member at `path`, for the caller to raise."""
    return FieldError(f"* CreateDecisionRequest.{path}: {message}.", name=path, path=path)
