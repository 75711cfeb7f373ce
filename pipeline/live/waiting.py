"""The line in which questions of a run wait for their calls; those that are the same wait together."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.engine.questions import PlannedRequest

if TYPE_CHECKING:
    from pipeline.gemini.tokens import Usage


@dataclass
class Entry:
    """A question on its way, its estimated prompt tokens, and how often the service failed it in this run.

    `same` are those of other items that ask the same, and wait with it.
    """

    question: PlannedRequest
    tokens: int
    failures: int = 0
    same: list[PlannedRequest] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Return the item that asks."""
        return self.question.item.id

    @property
    def questions(self) -> list[PlannedRequest]:
        """Return the question as each item asks it that the answer is for."""
        return [self.question, *self.same]

    @property
    def ids(self) -> list[str]:
        """Return all items that the answer is for."""
        return [one.item.id for one in self.questions]


class WaitingLine(deque[Entry]):
    """Entries in the order in which they are asked."""

    def __init__(self, likely: "Callable[[PlannedRequest], Usage]") -> None:
        """Begin with none; `likely` tells what a question will use."""
        super().__init__()
        self._likely = likely

    def put_last(self, question: PlannedRequest, *, failures: int = 0) -> None:
        """Put a question at the end, or to one in the line that is the same."""
        asked = question.question
        same = next((one for one in self if one.question.question == asked), None) if asked is not None else None
        if same is not None:
            same.same.append(question)
        else:
            self.append(Entry(question, self._likely(question).prompt, failures))
