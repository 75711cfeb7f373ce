"""Ask closed questions by Gemini's Decisions API: fields, questions, and replied probabilities.

- A decision model replies a probability for each option and writes no text.
- A field is *closed* if a decision can answer it: a choice of 2 to 255 options, a boolean, a whole
  number with both bounds, or a list of such choices or numbers. Each of them may be optional.
- The answer of a closed field is its most probable option, and the confidence is the probability of
  that answer.
- A whole number is asked as a score, whose levels are the numbers between its bounds. A yes/no
  question has the type `noul`.
- A list is asked as a yes/no question for each member that it may contain.
- The API is documented for v1beta: `POST /v1beta/decisions` (public pages of 2026-11-11, types of
  google-genai 3.3.0).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple

import orjson

from askrows.pipeline.core.answer_fields import AnswerField, Option
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.states import Outcome, normalize_api_enum
from askrows.pipeline.core.vocabulary import MAX_OPTIONS
from askrows.pipeline.provider.responses import (
    ParsedReply,
    excerpt_or_empty,
    make_excerpt,
    object_or_empty,
    read_token_usage,
)
from askrows.pipeline.provider.usage import estimate_tokens

# Options of a choice, and levels of a score (types of google-genai 3.3.0).
MIN_OPTIONS = 2
# The option for a missing value.
NO_VALUE_ID = "no value"
# Questions of a call (public pages of 2026-11-11).
MAX_QUESTIONS = 1_000
# From this probability on, a yes/no question counts as yes.
MIN_YES_PROBABILITY = 0.5

# Decimal places of a stored probability, so that it is compared and exported as it is displayed.
PROBABILITY_DECIMALS = 4
FieldKind = Literal["choice", "noul", "score", "members"]


class DecidedValue(NamedTuple):
    """The value of a field that a decision model chose."""

    value: Any
    # The probability that the value is right.
    confidence: float


@dataclass(frozen=True)
class ClosedField:
    """A closed field of an answer."""

    # The name in the answer's model, and the name of its member in a reply.
    name: str
    member: str
    kind: FieldKind
    # Its description, or else its name.
    instructions: str
    # Options by id, in their order: of a choice its values, of a score its levels, of a list the
    # values that it may contain. A boolean has none.
    options: Mapping[str, Option]
    # Bounds of the length of a list; without a maximum it is None.
    min_members: int = 0
    max_members: int | None = None

    def iterate_questions_about_field(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (id, question) for each question to a decision model about the field.

        A list has a question for each value that it may contain.
        """
        if self.kind == "members":
            for index, option in enumerate(self.options.values()):
                member_text = f'"{option.text}"'
                if option.meaning:
                    member_text += f" ({option.meaning})"
                instructions = f"{self.instructions}: does {member_text} apply?"
                question_id = f"{self.name}[{index}]"
                yield question_id, {"type": "noul", "instructions": instructions}
            return

        question: dict[str, Any] = {"type": self.kind, "instructions": self.instructions}
        if self.kind == "choice":
            question["criteria"] = {
                option_id: option.meaning or option.text or "an empty text"
                for option_id, option in self.options.items()
            }
        if self.kind == "score":
            question["criteria"] = [option.text for option in self.options.values()]
        yield self.name, question

    def read_decided_value(self, answers: Mapping[str, Any]) -> DecidedValue:
        """Return the value of the field in a reply, and its confidence.

        - A yes/no question is true from MIN_YES_PROBABILITY on. Its confidence is the probability
          of the returned value: 0.1 for yes becomes False with 0.9.
        - For a choice or a score it is the probability of the chosen option or level.
        - For a list it is the probability of the least certain decision: that a value is in the
          list, or that it is not.

        Args:
            answers: The answers of a reply, by question id.

        Raises:
            ValueError: An answer is missing or invalid; the message begins with the question id.
        """
        if self.kind == "members":
            return self._read_probable_list_members(answers)

        answer = require_answer(answers, self.name, self.kind)
        if self.kind == "noul":
            probability = parse_probability(answer.get("noul"), self.name)
            is_true = probability >= MIN_YES_PROBABILITY
            return DecidedValue(is_true, max(probability, 1 - probability))
        if self.kind == "score":
            return self._read_most_probable_score(answer)

        return self._read_chosen_option(answer)

    def _read_chosen_option(self, answer: Mapping[str, Any]) -> DecidedValue:
        """Return the value of the chosen option, and its probability.

        Raises:
            ValueError: The choice is not an option or has no probability, or a probability is
                invalid.
        """
        probabilities = _read_probabilities(answer, self.options, self.name)
        chosen_id = answer.get("choice")
        if not isinstance(chosen_id, str) or chosen_id not in self.options:
            raise ValueError(f"{self.name}: {make_excerpt(chosen_id)!r} is not an option")
        if chosen_id not in probabilities:
            raise ValueError(f"{self.name}: the chosen option has no probability")
        return DecidedValue(self.options[chosen_id].value, probabilities[chosen_id])

    def _read_most_probable_score(self, answer: Mapping[str, Any]) -> DecidedValue:
        """Return the most probable number of a score, and its probability.

        If two numbers are equally probable, it is the lower number. In a reply a number is named by
        its index, the level.

        Raises:
            ValueError: A probability is invalid, or no level has a probability.
        """
        options_by_level = {
            str(index): option for index, option in enumerate(self.options.values())
        }
        probabilities = _read_probabilities(answer, options_by_level, self.name)
        if not probabilities:
            raise ValueError(f"{self.name}: no level has a probability")

        best_level = max(probabilities, key=lambda level: (probabilities[level], -int(level)))
        return DecidedValue(options_by_level[best_level].value, probabilities[best_level])

    def _read_probable_list_members(self, answers: Mapping[str, Any]) -> DecidedValue:
        """Return the probable members of a list, most probable first, and their confidence.

        A value is probable from MIN_YES_PROBABILITY on. If fewer values are probable than the list
        must have at least, the next values are added. If more are probable than it may have at
        most, the least probable are left out. The confidence is the smallest probability of a
        decision: that a member is in the list, or that another value is not.

        Raises:
            ValueError: The answer about a value is missing or invalid.
        """
        options = list(self.options.values())
        probabilities = []
        for question_id, _ in self.iterate_questions_about_field():
            answer = require_answer(answers, question_id, "noul")
            probabilities.append(parse_probability(answer.get("noul"), question_id))

        order = sorted(range(len(options)), key=lambda index: (-probabilities[index], index))
        probable_count = sum(probability >= MIN_YES_PROBABILITY for probability in probabilities)
        member_count = max(probable_count, self.min_members)
        if self.max_members is not None:
            member_count = min(member_count, self.max_members)

        chosen_probabilities = [probabilities[index] for index in order[:member_count]]
        other_probabilities = [1 - probabilities[index] for index in order[member_count:]]
        members = [options[index].value for index in order[:member_count]]
        return DecidedValue(members, min(chosen_probabilities + other_probabilities))


def require_answer(answers: Mapping[str, Any], question_id: str, kind: str) -> Mapping[str, Any]:
    """Return the answer to a question; raise ValueError if it is missing or not of type `kind`."""
    answer = answers.get(question_id)
    if answer is None:
        raise ValueError(f"{question_id}: no answer")
    answer_type = make_excerpt(object_or_empty(answer).get("type"))
    if not isinstance(answer, dict) or normalize_api_enum(answer_type) != kind.upper():
        raise ValueError(f"{question_id}: an answer of type {kind} expected, not {answer_type}")
    return answer


def _read_probabilities(
    answer: Mapping[str, Any],
    asked_options: Mapping[str, Any],
    question_id: str,
) -> dict[str, float]:
    """Return the probability of each option in an answer; options may be missing.

    Probabilities that sum to more than 1 contradict each other. They are divided by their sum, so
    that a confidence is never higher than the reply supports.

    Raises:
        ValueError: A probability is invalid, or an option was not asked.
    """
    probabilities: dict[str, float] = {}
    for option_id, probability in object_or_empty(answer.get("probabilities")).items():
        if option_id not in asked_options:
            raise ValueError(f"{question_id}: {make_excerpt(option_id)!r} is not an option")
        probabilities[option_id] = parse_probability(probability, question_id)

    divisor = max(1.0, math.fsum(probabilities.values()))
    return {option_id: share / divisor for option_id, share in probabilities.items()}


def parse_probability(value: Any, question_id: str) -> float:
    """Return a probability as float; raise ValueError if it is not a number from 0 to 1.

    A number that is outside only by a rounding error, so that it would be stored as 0 or 1, becomes
    0 or 1.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison is false for NaN.
    if not is_number or not 0 <= round(value, PROBABILITY_DECIMALS) <= 1:
        raise ValueError(f"{question_id}: {make_excerpt(value)} is not a probability")
    return min(1.0, max(0.0, float(value)))


def find_closed_fields(fields: Iterable[AnswerField]) -> dict[str, ClosedField]:
    """Return those of the fields that a decision model can answer, by name, in their order."""
    closed_fields = map(_make_closed_field_if_answerable, fields)
    return {closed.name: closed for closed in closed_fields if closed is not None}


def _make_closed_field_if_answerable(field: AnswerField) -> ClosedField | None:
    """Return a field with its question to a decision model; None if the model cannot answer it.

    Its question is the description of the field, or else its label. A required boolean is a yes/no
    question, a required number a score, and any other field a choice. The model cannot answer a
    field with fewer than MIN_OPTIONS or more than MAX_OPTIONS options; for lists see
    `_make_closed_list_field`.
    """
    instructions = field.description.strip() or field.label
    if field.kind == "list":
        return _make_closed_list_field(field, instructions)

    options = field.list_options()
    if options is None or not MIN_OPTIONS <= len(options) <= MAX_OPTIONS:
        return None

    kind: FieldKind = "choice"
    if field.kind == "boolean" and not field.is_optional:
        kind = "noul"
    elif field.kind == "number" and not field.is_optional:
        kind = "score"
    return ClosedField(
        field.name, field.member, kind, instructions, map_options_by_text_id(options)
    )


def _make_closed_list_field(field: AnswerField, instructions: str) -> ClosedField | None:
    """Return the closed field of a list of choices or bounded numbers, or None.

    Each possible item becomes a question: is it in the list? None is returned if the items are not
    choices or bounded numbers, may be null, are true and false, or have more than MAX_QUESTIONS
    values. The answer to an optional list is a list too, never null; it may be empty.

    Args:
        instructions: The question about the field.
    """
    options = field.parts[0].list_options()
    has_plain_items = options is not None and not any(
        option.value is None or isinstance(option.value, bool) for option in options
    )
    if not options or not has_plain_items or len(options) > MAX_QUESTIONS:
        return None
    return ClosedField(
        field.name,
        field.member,
        "members",
        instructions,
        map_options_by_text_id(options),
        min_members=field.min_members,
        max_members=field.max_members,
    )


def map_options_by_text_id(options: Sequence[Option]) -> dict[str, Option]:
    """Return options by id, in their order.

    The id is the text of the value. The value None, and a text that the API does not accept as an
    id, get an id of ours that no other option has.
    """
    texts = {option.text for option in options if option.value is not None}
    options_by_id: dict[str, Option] = {}
    for index, option in enumerate(options):
        option_id = option.text
        # Types of google-genai 3.3.0.
        is_id = bool(option_id) and option_id == option_id.strip() and option_id.isprintable()
        if option.value is None or not is_id:
            option_id = NO_VALUE_ID if option.value is None else f"option {index + 1}"
            while option_id in texts:
                option_id = f"({option_id})"
        options_by_id[option_id] = option
    return options_by_id


# ---- questions and replies


def build_questions(closed_fields: Iterable[ClosedField]) -> dict[str, Any]:
    """Return the `questions` of a decision request about some closed fields.

    The id of a question is the name of its field. The questions of a list have ids such as
    `topics[3]`.
    """
    return dict(
        chain.from_iterable(field.iterate_questions_about_field() for field in closed_fields)
    )


def check_question_count(questions: Mapping[str, Any]) -> None:
    """Raise InputError if a decision request cannot have so many questions, or has none."""
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise InputError(
            f"a decision asks 1 to {MAX_QUESTIONS:,} questions, not {len(questions):,}; "
            "nothing was asked",
            hint="shorten the lists of options in the answer's fields",
        )


def estimate_question_tokens(questions: Mapping[str, Any]) -> int:
    """Estimate the prompt tokens of the questions of a request."""
    return estimate_tokens(orjson.dumps(questions).decode())


def parse_decisions(
    response: Any,
    closed_fields: Iterable[ClosedField],
) -> ParsedReply:
    """Parse the reply to a decision request about some closed fields.

    The outcome is REFUSED if the prompt was blocked, or the reply has feedback about the prompt and
    no answers. It is INVALID if the reply is not an object, or an answer is missing, was not asked,
    or has an invalid probability; the reason then names the question. The text of an ANSWERED reply
    is JSON for `parse_and_validate_answer`, with these fields only.

    Args:
        response: The JSON of the reply, of any form.
        closed_fields: The fields that were asked.
    """
    if not isinstance(response, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", excerpt_source=response)

    metadata = object_or_empty(response.get("usage") or response.get("usageMetadata"))
    details: dict[str, Any] = {
        "usage": read_token_usage(metadata),
        "model_version": excerpt_or_empty(response.get("modelVersion") or response.get("model")),
        "response_id": excerpt_or_empty(response.get("responseId") or response.get("id")),
    }
    feedback = object_or_empty(
        response.get("prompt_feedback") or response.get("promptFeedback"),
    )
    block_reason = normalize_api_enum(
        excerpt_or_empty(feedback.get("block_reason") or feedback.get("blockReason"))
    )
    answers = object_or_empty(response.get("answers"))
    if block_reason or (feedback and not answers):
        return ParsedReply(
            Outcome.REFUSED,
            "prompt-blocked",
            finish_reason=block_reason,
            excerpt_source=feedback,
            **details,
        )

    try:
        document, confidences = _read_values_and_confidences(answers, closed_fields)
    except ValueError as error:
        reason = make_excerpt(f"does-not-validate: {error}")
        return ParsedReply(Outcome.INVALID, reason, excerpt_source=answers, **details)

    text = json.dumps(document, ensure_ascii=False)
    return ParsedReply(
        Outcome.ANSWERED,
        "ok",
        text,
        confidences={
            name: round(number, PROBABILITY_DECIMALS) for name, number in confidences.items()
        },
        excerpt_source=text,
        **details,
    )


def _read_values_and_confidences(
    answers: Mapping[str, Any],
    closed_fields: Iterable[ClosedField],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the values of closed fields by member of a reply, and the confidences by field.

    Args:
        answers: The answers of a decision model, by question id.
        closed_fields: The fields that were asked.

    Raises:
        ValueError: An answer is missing or invalid, or belongs to a question that was not asked.
    """
    question_ids = set[str]()
    document: dict[str, Any] = {}
    confidences: dict[str, float] = {}
    for field in closed_fields:
        question_ids.update(question_id for question_id, _ in field.iterate_questions_about_field())
        decided = field.read_decided_value(answers)
        document[field.member] = decided.value
        confidences[field.name] = decided.confidence

    unasked_ids = sorted(answers.keys() - question_ids)
    if unasked_ids:
        raise ValueError(f"{unasked_ids[0]}: was not asked")
    return document, confidences
