"""The concepts task: which concepts does a passage speak of, and which of its words prove each?"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from pipeline.passages import asking, stock, table
from pipeline.passages.table import ConceptRow
from pipeline.store import answers, pilots, runs, versions
from pipeline.task import Answered, Checked, Item, Stock, TakenBack, Task, Words, Written

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.passages.evidence import GroundedConcepts
    from pipeline.passages.schema import Shape
    from pipeline.quality.figures import Quality
    from pipeline.store.database import Connection, Select

LABEL = f"{table.TASK}@1"


@dataclass(frozen=True, eq=False)
class ConceptsTask(Task):
    """Concepts for passages; see `pipeline.task.Task` for what each member promises.

    `label` is what answers are attributed to; `skips` are the labels whose concepts keep a passage from being asked,
    None those of any version.
    """

    shape: "Shape"
    label: str = LABEL
    skips: tuple[str, ...] | None = None

    name = table.TASK
    answer_tokens = 900  # nine concepts of about a hundred tokens each, most of them quotations
    words = Words(
        one="passage",
        many="passages",
        done="with concepts",
        all_done="every passage with a text has concepts, or is claimed or parked",
        input="text",
        inputs="texts",
        after="make passages-status",
        again="make passages-backfill",
        named=" TASK=passages",
    )
    how_to_fill = "`make import-passages PASSAGES=file.jsonl` brings passages in"
    needs_pilot = True

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model of an answer; imported when it is asked for, because pydantic takes its time."""
        from pipeline.passages.answer import PassageConcepts

        return PassageConcepts

    def total(self, tx: "Connection") -> int:
        """Return how many passages there are."""
        return table.count(tx, self.shape)

    def open_items(self, *, after: str | None = None) -> "Select[Any]":
        """Return the SELECT of passages with a text and without concepts of the versions that are skipped."""
        return table.open_items(self.shape, skip=self.skips, label=self.label, after=after)

    def open_among(self, tx: "Connection", ids: Sequence[str]) -> set[str]:
        """Return which of these passages have a text and no concepts of the versions that are skipped."""
        return table.open_among(tx, self.shape, ids, skip=self.skips, label=self.label)

    def items(self, tx: "Connection", ids: Sequence[str]) -> Iterator[Item]:
        """Yield what to ask about these passages, in the order of `ids`."""
        texts = table.texts(tx, self.shape, ids)
        for one in ids:
            if one in texts:
                yield asking.item(one, texts[one])

    def contexts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, Any]:
        """Return the texts, in which quotations are looked for."""
        return table.texts(tx, self.shape, ids)

    def judged(self, answer: "BaseModel", context: Any, *, input_hash: str) -> "tuple[BaseModel | None, str]":
        """Return the concepts with the quotations that are in the text, or None and why there are none.

        Where the passage is gone, or has another text by now, nothing can be proven and nothing is lost: the answer
        will not be applied.
        """
        from pipeline.passages.answer import PassageConcepts
        from pipeline.passages.evidence import grounded

        assert isinstance(answer, PassageConcepts)  # noqa: S101 - the task's own model
        if context is None or (input_hash and asking.input_hash(context) != input_hash):
            return answer, ""
        return grounded(answer, context)

    def write(self, tx: "Connection", answers: Sequence[Answered], *, extractor: str, at: datetime) -> Written:
        """Write concepts where the text is still the one they were found in, and the version has none there yet."""
        label, _, model = extractor.partition("/")
        asked = {one.item_id: one for one in answers}
        texts = table.texts(tx, self.shape, list(asked), locked=True)
        outdated = {key for key, text in texts.items() if not _is_of(asked[key], text)}
        done = table.with_concepts(tx, self.shape, list(texts), versions=(label,))
        applied = [key for key in asked if key in texts and key not in outdated and key not in done]
        rows = [
            ConceptRow(
                passage_id=key,
                concept_name=concept.name,
                concept_type=concept.type,
                aliases=json.dumps(concept.aliases, ensure_ascii=False),
                confidence=concept.confidence,
                extractor_model=model,
                extractor_version=label,
                evidence=None if concept.evidence is None else concept.evidence.model_dump_json(),
                created_at=at,
            )
            for key in applied
            for concept in cast("GroundedConcepts", asked[key].answer).concepts
        ]
        table.add_concepts(tx, self.shape, rows)
        return Written(applied=set(applied), outdated=outdated)

    def kept(self, answer: "BaseModel", *, applied: bool) -> str:
        """Return how many concepts there are where they stand in their table; else the whole answer."""
        if not applied:
            return answer.model_dump_json()
        concepts = cast("GroundedConcepts", answer).concepts
        located = sum(one.evidence is not None for one in concepts)
        return json.dumps({"concepts": len(concepts), "located": located})

    def counts(self, tx: "Connection", *, now: datetime) -> dict[str, int]:
        """Return {total, with_concepts, open, empty, claimed, parked}."""
        return table.counts(tx, self.shape, now=now, skip=self.skips, label=self.label)

    def quality(self, tx: "Connection", extractor: str | None) -> "Quality":
        """Return what the concepts of one extractor are like."""
        from pipeline.passages.quality import quality

        return quality(tx, self.shape, extractor)

    def anew(self, tx: "Connection", label: str | None) -> "ConceptsTask":
        """Return this task under a version of its own: `label`, or `passage-concepts@n` with the next free number.

        Free is what no backfill was made under, nor anything else but a pilot, and what no row of another program has.
        """
        if label is None:
            begun = versions.listed(tx, self.name)
            taken = {one.extractor.partition("/")[0] for one in runs.of_mode(tx, self.name, mode=runs.BACKFILL)}
            taken |= {
                one.label
                for one in begun
                if answers.count_applied(tx, self.name, one.extractor) > pilots.drawn(tx, one.extractor)
            }
            taken |= table.versions_present(tx, self.shape) - {one.label for one in begun}
            label = next(one for one in map(f"{table.TASK}@{{}}".format, itertools.count(1)) if one not in taken)
        return replace(self, label=label, skips=(label,))

    def clear(self, tx: "Connection", ids: Sequence[str]) -> None:
        """Take back the concepts that were asked for here, of these passages; other programs' stay."""
        for one in versions.listed(tx, self.name):
            table.remove_concepts(tx, self.shape, ids, version=one.label, model=one.model)

    def stock(self, tx: "Connection") -> list[Stock]:
        """Return every version that has concepts here, other programs' too."""
        return stock.stock(tx, self.shape)

    def take_back(self, tx: "Connection", label: str, *, model: str, after: Any | None) -> TakenBack:
        """Delete the concepts of a version of the next passages."""
        return stock.take_back(tx, self.shape, label, model=model, after=after)

    def check(self, tx: "Connection") -> Checked | None:
        """Hold every quotation against its passage, and the concepts against the answers that were applied."""
        from pipeline.passages.checking import check

        return check(tx, self.shape)

    @property
    def tables(self) -> Sequence[str]:
        """Return the names of the two tables, as they are here."""
        return (self.shape.passages.name, self.shape.concepts.name)

    def tells(self, tx: "Connection", text: str) -> bool:
        """Return whether a text stands in a passage, a concept, or an answer that is kept."""
        return table.told_of(tx, self.shape, text)

    def names(self, tx: "Connection", ids: Sequence[str]) -> dict[str, str]:
        """Return the ids; passages have no other name."""
        return table.names(tx, self.shape, ids)


def _is_of(asked: Answered, text: str) -> bool:
    """Return whether an answer was asked for about this very text, and its quotations were looked for in it.

    They were not where the passage had another text at that moment and has its old one back.
    """
    from pipeline.passages.evidence import GroundedConcepts

    return isinstance(asked.answer, GroundedConcepts) and asking.input_hash(text) == asked.input_hash
