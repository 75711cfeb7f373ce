"""Have a person judge what variants of the search find, without telling which of them found what.

The hits of all variants are pooled and shuffled, question after question, and kept in the database until they are
judged: who stops in the middle, or is killed, goes on there.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.errors import InputError
from pipeline.index.lab.import_ import item_ids
from pipeline.index.lab.lab_build import LabBuild
from pipeline.index.lab.systems import Ranks
from pipeline.store import lab

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Store
    from pipeline.store.lab import LabQuestion

POOL = 10  # hits of each variant that are judged
GRADES = {"0": "no", "1": "partly", "2": "good"}  # by their keys
SKIP, UNDO, QUIT = "s", "u", "q"
KEYS = f"{', '.join(f'{key} {word}' for key, word in GRADES.items())}, {SKIP} skip, {UNDO} undo, {QUIT} quit"


class Card(NamedTuple):
    """One item to be judged for one question: what a judge sees, and the ids of both."""

    qid: str
    item_id: str
    question: str
    name: str
    text: str
    done: int
    total: int


class Judging:
    """What is left to be judged of one task, over one build."""

    def __init__(
        self, store: "Store", task: "Task", build: LabBuild, *, judge: str, now: Callable[[], datetime]
    ) -> None:
        """Take an open build; nothing is read yet."""
        self._store, self._task, self._build = store, task, build
        self._judge, self._now = judge, now

    def fill(self, ranks: Sequence[Ranks], *, seed: int) -> int:
        """Pool the first hits of some systems for every question, in the place of what is left; return how many pairs.

        Raises:
            InputError: there is no question.
        """
        questions = list(self._questions.values())
        if not questions:
            hint = f"`{self._task.words.make('lab-import')} QUERIES=queries.jsonl`"
            raise InputError("there are no questions in the lab; nothing is to be judged", hint=hint)
        found = zip(*(rank([one.text for one in questions]) for rank in ranks), strict=True)
        pooled = {
            one.qid: _once(name for names in some for name in names[:POOL])
            for one, some in zip(questions, found, strict=True)
        }
        with self._store.write() as tx:
            ids = item_ids(tx, self._task, (name for names in pooled.values() for name in names))
            judged = lab.lab_grades(tx, self._task.name)
            pairs = [(qid, ids[name]) for qid, name in _shuffled(pooled, seed=seed) if name in ids]
            return lab.put_pool(tx, self._task.name, [one for one in pairs if one[1] not in judged.get(one[0], {})])

    def left(self) -> int:
        """Return how many pairs are left."""
        with self._store.read() as tx:
            return lab.count_pool(tx, self._task.name)[1]

    def run(self, *, show: Callable[[Card], None], key: Callable[[], str], say: Callable[[str], None]) -> int:
        """Show one card after the other, and do what each key says; return how many were judged or skipped.

        It ends where nothing is left, and at an empty key: no more will come.
        """
        acted = 0
        while (card := self.next()) is not None:
            show(card)
            pressed = key()
            if pressed in {QUIT, ""}:
                break
            if pressed == UNDO:
                acted -= self.undo()
            elif pressed in GRADES or pressed == SKIP:
                self.act(card, int(pressed) if pressed in GRADES else None)
                acted += 1
            else:
                say(f"{pressed!r} is none of: {KEYS}")
        return acted

    def next(self) -> Card | None:
        """Return what is to be judged next; None where nothing is left."""
        with self._store.read() as tx:
            pair = lab.next_in_pool(tx, self._task.name)
            if pair is None:
                return None
            name = self._task.names(tx, [pair[1]]).get(pair[1], pair[1])
            total, left = lab.count_pool(tx, self._task.name)
        text = self._build.plain_text(pair[1]) or "it is not in the index any more"
        return Card(*pair, self._questions[pair[0]].text, name, text, total - left, total)

    def act(self, card: Card, grade: int | None) -> None:
        """Store what the judge said of a card; without a grade it is skipped, and not asked about again."""
        with self._store.write() as tx:
            pair = {"qid": card.qid, "item_id": card.item_id}
            lab.act_in_pool(tx, self._task.name, **pair, grade=grade, judge=self._judge, at=self._now())

    def undo(self) -> bool:
        """Take back what was said last; false where nothing was."""
        with self._store.write() as tx:
            return lab.undo_in_pool(tx, self._task.name)

    @cached_property
    def _questions(self) -> "dict[str, LabQuestion]":
        with self._store.read() as tx:
            return {one.qid: one for one in lab.lab_questions_of(tx, self._task.name)}


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _shuffled(pooled: Mapping[str, Sequence[str]], *, seed: int) -> Iterable[tuple[str, str]]:
    """Yield pairs of question and name, question after question, all in an order that the seed gives."""
    dice = random.Random(seed)  # noqa: S311 - an order, nothing secret
    qids = sorted(pooled)
    dice.shuffle(qids)
    for qid in qids:
        names = sorted(pooled[qid])
        dice.shuffle(names)
        yield from ((qid, name) for name in names)
