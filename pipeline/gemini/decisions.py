"""Build closed questions for Gemini's Decisions API, and parse the probabilities that it replies.

- A decision model replies a probability for each option and writes no text.
- A closed field of an answer has a fixed list of values, so a decision model can answer it. The
  question of a yes/no field has the type `noul`.
- The API is documented for v1beta: `POST /v1beta/decisions` (public pages of 2026-11-11, types of
  google-genai 3.3.0).
"""

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import orjson

from pipeline.core.errors import InputError
from pipeline.core.states import Outcome
from pipeline.gemini.closed_fields import (
    MAX_QUESTIONS,
    ClosedField,
)
from pipeline.gemini.responses import (
    MAX_TOKEN_COUNT,
    ParsedReply,
    excerpt_or_empty,
    make_excerpt,
    object_or_empty,
    parse_count,
)
from pipeline.gemini.usage import Usage, estimate_tokens

# Input tokens of a call (the same pages).
MAX_PROMPT_TOKENS = 262_144
# Decimal places of a stored probability, so that it is compared and exported as it is displayed.
PROBABILITY_DECIMALS = 4
# Names of the token counts in a reply. The first two are the forms of the SDK's type, the third is
# that of generateContent; which of them arrives is not documented.
_USAGE_NAMES = (
    ("total_input_tokens", "totalInputTokens", "promptTokenCount"),
    ("total_output_tokens", "totalOutputTokens", "candidatesTokenCount"),
    ("total_thought_tokens", "totalThoughtTokens", "thoughtsTokenCount"),
    ("total_cached_tokens", "totalCachedTokens", "cachedContentTokenCount"),
)


def build_questions(closed_fields: Iterable[ClosedField]) -> dict[str, Any]:
    """Return the `questions` of a decision request about some closed fields.

    The id of a question is the name of its field. The questions of a list have ids such as
    `topics[3]`.
    """
    return dict(chain.from_iterable(field.iter_questions() for field in closed_fields))


def build_decision_request(
    *,
    model: str,
    prompt_text: str,
    questions: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of a decision request.

    Args:
        model: The name of a decision model.
        prompt_text: The text that all questions are about.
        questions: The questions of `build_questions`.

    Raises:
        InputError: There is no question, or the request exceeds MAX_QUESTIONS or
            MAX_PROMPT_TOKENS.
    """
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise InputError(
            f"a decision asks 1 to {MAX_QUESTIONS:,} questions, not {len(questions):,}; "
            "nothing was asked",
            hint="shorten the lists of options in the answer's fields",
        )

    token_count = estimate_decision_tokens(prompt_text, questions)
    if token_count > MAX_PROMPT_TOKENS:
        raise InputError(
            f"the prompt and its questions have about {token_count:,} tokens, and a decision "
            f"accepts {MAX_PROMPT_TOKENS:,}; the row was not asked",
            hint="shorten the text of the row, or ask it in another mode",
        )
    return {
        "model": f"models/{model.removeprefix('models/')}",
        "input": prompt_text,
        "questions": dict(questions),
    }


def estimate_decision_tokens(prompt_text: str, questions: Mapping[str, Any]) -> int:
    """Estimate the input tokens of a decision; a decision has no billed output."""
    return estimate_tokens(prompt_text) + estimate_tokens(orjson.dumps(questions).decode())


def parse_decisions(
    response: Any,
    closed_fields: Iterable[ClosedField],
) -> ParsedReply:
    """Parse the reply to a decision request about some closed fields.

    The outcome is REFUSED if the prompt was blocked. It is INVALID if the reply is not an object,
    or an answer is missing, was not asked, or has an invalid probability; the reason then names the
    question. The text of an ANSWERED reply is JSON for `parse_answer`, with these fields only.

    Args:
        response: The JSON of the reply, of any form.
        closed_fields: The fields that were asked.
    """
    if not isinstance(response, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", excerpt_source=response)

    metadata = object_or_empty(response.get("usage") or response.get("usageMetadata"))
    token_counts = [
        max(parse_count(metadata.get(name), below=MAX_TOKEN_COUNT) for name in names)
        for names in _USAGE_NAMES
    ]
    details: dict[str, Any] = {
        "usage": Usage(*token_counts),
        "model_version": excerpt_or_empty(response.get("modelVersion") or response.get("model")),
        "response_id": excerpt_or_empty(response.get("responseId") or response.get("id")),
    }
    feedback = object_or_empty(
        response.get("prompt_feedback") or response.get("promptFeedback"),
    )
    block_reason = excerpt_or_empty(feedback.get("block_reason") or feedback.get("blockReason"))
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
        document, confidences = _read_answers(answers, closed_fields)
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


def _read_answers(
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
        question_ids.update(question_id for question_id, _ in field.iter_questions())
        document[field.member], confidences[field.name] = field.read_answer(answers)

    unasked_ids = sorted(answers.keys() - question_ids)
    if unasked_ids:
        raise ValueError(f"{unasked_ids[0]}: was not asked")
    return document, confidences
