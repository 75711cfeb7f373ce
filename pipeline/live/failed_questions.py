"""The questions that failed in a run: each failure is charged to those too that ask the same and come to it later.

Rows are read page by page, so that not all that ask the same are in the line when a question fails.
"""

from typing import NamedTuple

from pipeline.engine.questions import PlannedRequest
from pipeline.engine.record import Judgement

MOST = 1000  # questions whose replies are in memory; an older one is asked again


class Failure(NamedTuple):
    """How a request failed; `told` are the items that it was charged to, or cannot be."""

    request: int
    judgement: Judgement
    told: set[str]


class FailedQuestions:
    """The failures of a run, by question; one thread may add to them while another looks."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[str, tuple[Failure, ...]] = {}

    def add(self, question: str, failure: Failure) -> None:
        """Keep a failure of a question."""
        self._found[question] = (*self._found.get(question, ()), failure)
        if len(self._found) > MOST:
            del self._found[next(iter(self._found))]

    def untold(self, question: PlannedRequest) -> list[Failure]:
        """Return the failures of a question that its item has not been told of, oldest first."""
        found = self._found.get(question.question or "", ())
        return [one for one in found if question.item.id not in one.told]
