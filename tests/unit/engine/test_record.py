"""What the result lines of one key come to: the first valid answer, else the first failure, else a missing line."""

import json

from pipeline.core.states import Outcome
from pipeline.engine.record import MissingLine, judge_lines
from pipeline.experts.task import TASK
from pipeline.store.asks import Ask

MISSING = MissingLine("no line in the result", charged=True)


def line(tags: str) -> bytes:
    """Return a result line with some text as its answer."""
    candidate = {"content": {"parts": [{"text": tags}]}, "finishReason": "STOP"}
    return json.dumps({"key": "expert-tags/1", "response": {"candidates": [candidate]}}).encode()


REFUSED = b'{"key": "expert-tags/1", "error": {"code": 8, "message": "no room"}}'
INVALID = line("no JSON")
GOOD, OTHER = line('{"tags": ["bees"]}'), line('{"tags": ["water law"]}')


def test_the_first_valid_line_wins() -> None:
    """A bad line before or behind it changes nothing, and neither does a second valid one."""
    for lines in ([REFUSED, INVALID, GOOD, OTHER], [GOOD, REFUSED, OTHER]):
        found = judge_lines(TASK, Ask("1", "hash"), lines, missing=MISSING)
        assert found.outcome is Outcome.ANSWERED
        assert found.answer is not None
        assert found.answer.model_dump() == {"tags": ["bees"]}
