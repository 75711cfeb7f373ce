"""Facts of the replies to one request, sent in a batch and by a live call, and how the two differ.

Answers differ from call to call, so texts are not compared; validity, finish reason and tokens are.
"""

from typing import NamedTuple

from pipeline.core.states import Outcome
from pipeline.engine.record import Judgement

PROMPT_APART = 0.02  # ours: of the same request; what is more is another way of counting, and of paying
ANSWER_APART = 2.0  # ours: times as many tokens; answers of one model vary by less


class ReplyFacts(NamedTuple):
    """What is known of one reply: its outcome and the kind of its reason, the API's finish reason, and its tokens."""

    outcome: str
    reason: str = ""
    finish: str = ""
    prompt: int = 0
    answer: int = 0
    thoughts: int = 0

    @property
    def is_valid(self) -> bool:
        """Return whether it is an answer."""
        return self.outcome == Outcome.ANSWERED

    @property
    def verdict(self) -> str:
        """Return the outcome in words, with its reason where it is no answer."""
        return self.outcome if self.is_valid else f"{self.outcome} ({self.reason})"


def facts_of(judgement: Judgement) -> ReplyFacts:
    """Return the facts of a judged reply; without its reason's details, which may quote it."""
    kind, reply = judgement.reason.partition(":")[0], judgement.reply
    if reply is None:
        return ReplyFacts(judgement.outcome.value, kind)
    used = reply.usage
    return ReplyFacts(judgement.outcome.value, kind, reply.finish, used.prompt, used.answer, used.thoughts)


def differences(batch: ReplyFacts, live: ReplyFacts) -> list[str]:
    """Return in words how a batch's reply differs from a live one to the same request."""
    found = []
    if batch.is_valid != live.is_valid:
        found.append(f"the batch's is {batch.verdict}, the live one {live.verdict}")
    if batch.finish != live.finish:
        found.append(f"ended with {batch.finish or 'no word'} and {live.finish or 'no word'}")
    if abs(batch.prompt - live.prompt) > PROMPT_APART * max(batch.prompt, live.prompt):
        found.append(f"{batch.prompt:,} and {live.prompt:,} prompt tokens")
    least, most = sorted((batch.answer, live.answer))
    if most > ANSWER_APART * least:
        found.append(f"{batch.answer:,} and {live.answer:,} answer tokens")
    if bool(batch.thoughts) != bool(live.thoughts):
        found.append(f"{batch.thoughts:,} and {live.thoughts:,} tokens of thought")
    return found
