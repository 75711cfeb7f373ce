"""Measure undocumented facts about Gemini's decisions by three small calls, for a report.

A decision is a call to a decision model, which replies a probability for each option of a question.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from pipeline.core.errors import RemoteError
from pipeline.core.states import Outcome
from pipeline.gemini.client import Client
from pipeline.gemini.decisions import build_decision_request, build_questions, parse_decisions
from pipeline.gemini.responses import ParsedReply, make_excerpt, object_or_empty
from pipeline.gemini.usage import NO_USAGE, Usage

# Facts about decisions, in the order of the report.
SERVED = "decisions under v1beta"
USAGE_NAMES = "names in the usage of a decision"
ANSWER_ORDER = "order of the answers of a decision"
WRONG_QUESTION = "a wrong question among others"
SHARED_INPUT = "input of a decision that is billed once"
BLOCKED_INPUT = "a decision about a blocked input"
DECISION_FACTS = (
    SERVED,
    USAGE_NAMES,
    ANSWER_ORDER,
    WRONG_QUESTION,
    SHARED_INPUT,
    BLOCKED_INPUT,
)
# Input that is billed for each of four questions makes the second call about four times as large.
MAX_SHARED_RATIO = 2.0


class _Verdict(BaseModel):
    """The questions; the order of their names is not alphabetical."""

    verdict: Literal["praise", "blame", "neither"]
    is_urgent: bool
    language: Literal["English", "German", "French"] | None
    area: Literal["kitchen", "light"]


class DecisionFacts(NamedTuple):
    """Measured facts with what they cost."""

    texts: dict[str, str]
    usage: Usage


def measure_decisions(client: Client, model_name: str, input_text: str) -> DecisionFacts:
    """Ask a decision model invented questions, and return what its replies show.

    Makes up to three calls, which are paid for. An error of a call is the text of its fact, and
    raises nothing.

    Args:
        client: A client of Gemini.
        model_name: The name of a decision model.
        input_text: An invented text of about a hundred tokens.

    Returns:
        A text for each of DECISION_FACTS, and the usage of the first two calls. The usage of the
        third, which has a wrong question, is not read.
    """
    field_names = tuple(_Verdict.model_fields)
    texts = dict.fromkeys(DECISION_FACTS, "not met: no decision was answered")
    texts[BLOCKED_INPUT] = "not met: needs an input that Gemini blocks"
    try:
        response = _ask(client, model_name, input_text, field_names)
        single_response = _ask(client, model_name, input_text, field_names[:1])
    except RemoteError as error:
        texts[SERVED] = _describe_error(error)
        return DecisionFacts(texts, NO_USAGE)

    reply = parse_decisions(response, _Verdict, field_names)
    single_reply = parse_decisions(single_response, _Verdict, field_names[:1])
    if reply.outcome is Outcome.ANSWERED:
        texts[SERVED] = f"met: {len(field_names)} questions answered"
    else:
        texts[SERVED] = f"not met: {reply.reason}"

    usage_names = ", ".join(object_or_empty(response.get("usage")))
    texts[USAGE_NAMES] = make_excerpt(usage_names) or "not met: the reply has no usage"
    is_in_order = list(object_or_empty(response.get("answers"))) == list(field_names)
    texts[ANSWER_ORDER] = "that of the questions" if is_in_order else "another"
    texts[SHARED_INPUT] = _describe_shared_input(reply, single_reply)
    texts[WRONG_QUESTION] = _measure_wrong_question(client, model_name, input_text)
    return DecisionFacts(texts, reply.usage + single_reply.usage)


def _ask(
    client: Client,
    model_name: str,
    input_text: str,
    field_names: Sequence[str],
    extra_questions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask the questions about some fields, and return the raw reply.

    Raises:
        RemoteError: The call failed.
    """
    questions = build_questions(_Verdict, field_names) | dict(extra_questions or {})
    request = build_decision_request(
        model=model_name,
        prompt_text=input_text,
        questions=questions,
    )
    return asyncio.run(client.decide(model_name, request))


def _describe_shared_input(reply: ParsedReply, single_reply: ParsedReply) -> str:
    """Return a text that says whether an input is billed once for four questions.

    It begins with "met" or "not met", and has both numbers of prompt tokens. If a reply has no
    number, it begins with "not met".

    Args:
        reply: The reply to four questions about the input.
        single_reply: The reply to a single question about the same input.
    """
    token_count = reply.usage.prompt
    single_token_count = single_reply.usage.prompt
    if not token_count or not single_token_count:
        return "not met: the reply has no number of tokens"

    verdict = "met" if token_count < MAX_SHARED_RATIO * single_token_count else "not met"
    return f"{verdict}: {single_token_count} tokens with 1 question, {token_count} with 4"


def _measure_wrong_question(client: Client, model_name: str, input_text: str) -> str:
    """Ask a right and a wrong question; return in words which were answered, or the error.

    The wrong question has a single option. Gemini may charge for the call.
    """
    wrong_question = {"type": "choice", "instructions": "?", "criteria": {"only": ""}}
    extra_questions = {"wrong": wrong_question}
    try:
        response = _ask(client, model_name, input_text, ("verdict",), extra_questions)
    except RemoteError as error:
        return _describe_error(error)
    answered_ids = ", ".join(object_or_empty(response.get("answers")))
    return make_excerpt(f"answered: {answered_ids or 'no question'}")


def _describe_error(error: RemoteError) -> str:
    """Return the text of a fact whose call failed."""
    return f"not met: {make_excerpt(error.message)}"
