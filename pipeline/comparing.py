"""What a batch and a live call made of the same request, held against each other: facts of replies, and a verdict.

Answers differ from call to call, so their texts are not compared; their shape, how they ended, which model gave them
and what they used are.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.apply import Judgement
from pipeline.states import Outcome
from pipeline.store.probes import Verdict

PROMPT_APART = 0.02  # ours: of the same request; what is more is another way of counting, and of paying
ANSWER_APART = 2.0  # ours: times as many tokens; answers of one model vary by less


class Seen(NamedTuple):
    """Facts of one reply: how it was judged and why, the API's finish word, its tokens, and the model's version."""

    outcome: str
    reason: str = ""
    finish: str = ""
    prompt: int = 0
    answer: int = 0
    thoughts: int = 0
    model: str = ""

    @property
    def validates(self) -> bool:
        """Return whether it is an answer."""
        return self.outcome == Outcome.ANSWERED


def seen(judgement: Judgement) -> Seen:
    """Return the facts of a judged reply; of one that never came, why."""
    reply = judgement.reply
    if reply is None:
        return Seen(judgement.outcome.value, judgement.reason)
    used = reply.usage
    return Seen(
        judgement.outcome.value,
        judgement.reason,
        reply.finish,
        used.prompt,
        used.answer,
        used.thoughts,
        reply.model_version,
    )


def differences(batch: Seen, live: Seen) -> list[str]:
    """Return in words how a batch's reply differs from a live one to the same request."""
    found = []
    if batch.validates != live.validates:
        found.append(f"the batch's is {_judged(batch)}, the live one {_judged(live)}")
    if batch.finish != live.finish:
        found.append(f"ended with {batch.finish or 'no word'} and {live.finish or 'no word'}")
    if batch.model != live.model:
        found.append(f"by {batch.model or 'no model'} and {live.model or 'no model'}")
    if abs(batch.prompt - live.prompt) > PROMPT_APART * max(batch.prompt, live.prompt):
        found.append(f"{batch.prompt:,} and {live.prompt:,} prompt tokens")
    least, most = sorted((batch.answer, live.answer))
    if most > ANSWER_APART * least:
        found.append(f"{batch.answer:,} and {live.answer:,} answer tokens")
    if bool(batch.thoughts) != bool(live.thoughts):
        found.append(f"{batch.thoughts:,} and {live.thoughts:,} tokens of thought")
    return found


def compare(batch: Mapping[int, Seen], live: Mapping[int, Seen]) -> tuple[Verdict, dict[str, Any]]:
    """Return the verdict over requests that went both ways, by line, and a report of them for programs and people.

    It failed where a live answer validates and the batch's does not, and where none of the batch's does. Anything else
    that differs is told and holds nobody up.
    """
    both = sorted(batch.keys() & live.keys())
    worse = [line for line in both if live[line].validates and not batch[line].validates]
    good = [line for line in both if batch[line].validates]
    lines = [
        {
            "line": line,
            "batch": batch[line]._asdict(),
            "live": live[line]._asdict(),
            "differs": differences(batch[line], live[line]),
        }
        for line in both
    ]
    if not both:
        return Verdict.VOID, {"compared": 0, "valid": 0, "lines": []}
    verdict = Verdict.FAILED if worse or not good else Verdict.PASSED
    return verdict, {"compared": len(both), "valid": len(good), "lines": lines}


def _judged(one: Seen) -> str:
    """Return how a reply was judged, with its reason where it is no answer."""
    return one.outcome if one.validates else f"{one.outcome} ({one.reason})"
