"""The concepts task: which concepts does a passage speak of, which of its words prove each, and how are both found?"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Table

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.quotes import NONE_THERE
from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.core.settings import Settings
from pipeline.engine.record import PromptBuilder
from pipeline.engine.task import (
    ExportOptions,
    ExportRows,
    IndexedTask,
    RowFault,
    Task,
    TaskLabels,
    ValidAnswer,
    WriteResult,
)
from pipeline.passages import how_to_begin, table
from pipeline.passages.table import ConceptRow, PassagesShape
from pipeline.store import answers as versions
from pipeline.store import runs
from pipeline.store.answers import VersionCounts
from pipeline.store.database import pages
from pipeline.store.edits import AnswerEdit
from pipeline.tables.adopt import DEFAULTS
from pipeline.tables.cells import cell_words, loaded, text_hash
from pipeline.tables.lists import Grid, RowTable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.passages.declaration import PassageConcepts
    from pipeline.passages.evidence import GroundedConcepts


LABEL = f"{table.TASK}@1"
MAX_ASKED = 20_000  # characters, about 5,000 tokens: what is longer is asked about by its beginning
CUT = "The passage is longer; only its beginning is shown. Quote from what is shown alone."

_SHOWN = 1_000  # characters of the text that a hit shows
_PAGE = 500  # passages whose concepts are read at once
_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: `json.dumps` makes one for each call


def _indexed_of(shape: PassagesShape) -> IndexedTask:
    """Return what of the passages is indexed: each that has concepts, once that is asked for."""
    return IndexedTask(
        task=table.TASK,
        folder="tasks/passages",
        word="passage",
        columns={"rank": "rank", "passage": "id", "concepts": "concepts", "text": "text"},
        ranking=Ranking((FieldGroup(("text",)), FieldGroup(("concepts",), 0.5))),
        count=lambda tx: table.item_table(shape).total(tx, table.has_concepts(shape, None)),
        entries=partial(_entries, shape),
        tags=lambda metadata: [str(name) for name in metadata["concepts"]],
        told=lambda one: {
            "id": one["id"],
            "concepts": one["concepts"],
            "text": one["text"][:_SHOWN],
        },
        when_asked=True,
    )


def _entries(
    shape: PassagesShape, tx: Connection, among: Sequence[str] | None = None
) -> Iterator[Entry]:
    items = table.item_table(shape)
    found = table.has_concepts(shape, None)
    _, *beside = shape.names  # which WHERE= of a search may name
    for some in pages(items.cells(tx, ("id", "text", *beside), found, among=among), _PAGE):
        page = {cell_words(row[0]): row[1:] for row in some}
        named = table.concept_names(tx, shape, list(page))
        for key, cells in page.items():
            concepts = named.get(key, [])
            text = cell_words(cells[0])
            told = {name: loaded(cell) for name, cell in zip(beside, cells[1:], strict=True)}
            whole = f"{text} Concepts: {', '.join(concepts)}." if concepts else text
            words = {"text": text, "concepts": "\n".join(concepts)}
            metadata = {"id": key, "text": text, "concepts": concepts, **told}
            yield Entry(key, whole, metadata, [concepts, told], words)


class ConceptsTask(Task):
    """Concepts for passages, a row of each in a table of their own.

    `label` is what answers are attributed to; `skips` are the labels whose concepts keep a passage from being asked,
    None those of any version.
    """

    name = table.TASK
    subject = "passages"
    answer_tokens = 900  # nine concepts of about a hundred tokens each, most of them quotations
    words = TaskLabels(
        one="passage",
        many="passages",
        done="with concepts",
        all_done="every passage with a text has concepts, or is claimed or parked",
        input="text",
        inputs="texts",
        after=CommandHint("passages-status"),
        again=CommandHint("passages-backfill"),
        named="passages",
    )
    how_to_fill = how_to_begin
    how_to_index = HintTemplate(
        "`{}` embeds those that have concepts, and builds their index",
        CommandHint("index", task="passages"),
    )
    measured_by = "pipeline.passages.quality"
    needs_pilot = True
    export_word = "concept"
    export_choices = frozenset({"best", "extractor", "full"})
    export_formats: Mapping[str, str] = {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".parquet": "parquet",
    }
    columns = ("text",)
    needs_row = True

    def __init__(
        self,
        shape: PassagesShape,
        settings: Settings = DEFAULTS,
        label: str = LABEL,
        skips: tuple[str, ...] | None = None,
    ) -> None:
        """Make the task of the tables as they are, under one version."""
        self.shape = shape
        self._settings = settings
        self.label = label
        self.skips = skips
        self.preferred = settings.prefer_versions or ()
        self.index = _indexed_of(shape)

    @cached_property
    def question(self) -> PromptBuilder:
        """Return the question; the model of its answer is imported here, because pydantic takes its time."""
        from pipeline.passages.declaration import task

        return PromptBuilder(
            task,
            {"passage": "text"},
            told="",
            text_of=lambda _column, cell: cell_words(cell)[:MAX_ASKED],
        )

    def text(self, row: Mapping[str, Any]) -> str:
        """Return what is said about a passage; of a long one that only the beginning is shown."""
        text = super().text(row)
        return f"{text}\n{CUT}" if len(cell_words(row["text"])) > MAX_ASKED else text

    def input_hash(self, row: Mapping[str, Any], said: str | None = None) -> str:  # noqa: ARG002 - of all of it
        """Return the hash of the whole text: offsets are of it as it stood, also beyond what was shown."""
        return text_hash(cell_words(row["text"]))

    def table(self, tx: Connection) -> RowTable:  # noqa: ARG002 - the shape was read from it
        """Return the table of passages."""
        return table.item_table(self.shape, skip=self.skips, label=self.label)

    def proven(self, answer: "BaseModel", row: Mapping[str, Any]) -> "tuple[BaseModel | None, str]":
        """Return the concepts with the quotations that are in the text, or None and why there are none.

        Those that were found in a passage which asked the same prove as much here where they stand at the same places.
        """
        from pipeline.passages.evidence import GroundedConcepts, ground

        text = cell_words(row["text"])
        if isinstance(answer, GroundedConcepts):
            return (answer, "") if answer.stands_in(text) else (None, f"{NONE_THERE}passage")
        return ground(cast("PassageConcepts", answer), text)

    def write(
        self, tx: Connection, answers: Sequence[ValidAnswer], *, extractor: str, at: datetime
    ) -> WriteResult:
        """Write concepts where the text is still the one they were found in, and the version has none there yet."""
        (label, _, model), kept = extractor.partition("/"), self.kept_model
        asked = {one.item_id: one for one in answers}
        texts = table.passage_texts(tx, self.shape, list(asked), locked=True)
        is_of = {key: asked[key].input_hash == text_hash(text) for key, text in texts.items()}
        outdated = {
            key
            for key, is_same in is_of.items()
            if not (is_same and isinstance(asked[key].answer, kept))
        }
        done = table.item_table(self.shape).ids_among(
            tx, list(texts), table.has_concepts(self.shape, (label,))
        )
        applied = [key for key in asked if key in texts and key not in outdated and key not in done]
        self._add(
            tx,
            {key: cast("GroundedConcepts", asked[key].answer) for key in applied},
            label,
            model,
            at=at,
        )
        return WriteResult(applied=set(applied), outdated=outdated)

    def _add(
        self,
        tx: Connection,
        given: Mapping[str, "GroundedConcepts"],
        label: str,
        model: str,
        *,
        at: datetime,
    ) -> None:
        rows = [
            ConceptRow(
                passage_id=key,
                concept_name=concept.name,
                concept_type=concept.type,
                aliases=_JSON.encode(concept.aliases),
                confidence=concept.confidence,
                extractor_model=model,
                extractor_version=label,
                evidence=None if concept.evidence is None else concept.evidence.model_dump_json(),
                created_at=at,
            )
            for key, answer in given.items()
            for concept in answer.concepts
        ]
        table.add_concepts(tx, self.shape, rows)

    def as_given(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return concepts with the quotations that prove them."""
        concepts = [
            dict(one) if isinstance(one, Mapping) else one for one in answer.get("concepts", ())
        ]
        for one in concepts:
            if isinstance(one, dict) and "evidence" in one:
                support = (one.pop("evidence") or {}).get("support", ())
                one["quotes"] = [quotation["quote"] for quotation in support]
        return {"concepts": concepts}

    def show_corrected(
        self, tx: Connection, item_id: str, edit: AnswerEdit, *, stands: bool
    ) -> None:
        """Write the concepts that a person said in the place of those said before, or take them away."""
        table.remove_concepts(tx, self.shape, version=versions.PERSON, model="", ids=[item_id])
        if stands:
            said = cast("GroundedConcepts", self.kept_model.model_validate(edit.after))
            self._add(tx, {item_id: said}, versions.PERSON, "", at=edit.at)

    def take_back(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take back the concepts that were asked for here, of these passages; other programs' stay."""
        mine = (
            one
            for one in versions.list_versions(tx, table.TASK)
            if extractor in {None, one.extractor}
        )
        return sum(
            table.remove_concepts(tx, self.shape, ids=ids, version=one.label, model=one.model)
            for one in mine
        )

    def grid(self, tx: Connection) -> Grid:
        """Return what lists passages."""
        from pipeline.passages.show import passages_grid

        return passages_grid(tx, self.shape, self.table(tx))

    @property
    def kept_model(self) -> "type[BaseModel]":
        """Return the model of concepts with what proves them."""
        from pipeline.passages.evidence import GroundedConcepts

        return GroundedConcepts

    def new_version(self, tx: Connection, label: str | None) -> Task:
        """Return the task under a version of its own: `label`, or `passage-concepts@n` with the next free number.

        Free is what no backfill was made under, nor anything else but a pilot, and what no row of another program has.
        """
        if label is None:
            begun = versions.list_versions(tx, table.TASK)
            backfills = runs.list_runs(tx, table.TASK, mode=runs.BACKFILL)
            taken = {one.label for one in self.versions(tx)} - {one.label for one in begun}
            taken |= {one.extractor.partition("/")[0] for one in backfills}
            taken |= {
                one.label
                for one in begun
                if versions.count_answered(tx, table.TASK, one.extractor)
                > runs.pilot_items(tx, one.extractor)
            }
            label = next(
                one
                for one in map(f"{table.TASK}@{{}}".format, itertools.count(1))
                if one not in taken
            )
        return ConceptsTask(self.shape, self._settings, label, (label,))

    def versions(self, tx: Connection) -> list[VersionCounts]:
        """Return every version that has concepts here, other programs' too."""
        return table.concept_versions(tx, self.shape)

    def roll_back(self, tx: Connection, label: str, *, model: str) -> int:
        """Delete the concepts of a version."""
        return table.remove_concepts(tx, self.shape, version=label, model=model)

    def tables(self, tx: Connection) -> Sequence[Table]:
        """Return the two tables."""
        return table.TABLES.moved(tx, self._settings)

    def make_tables(self, tx: Connection, there: Connection) -> None:
        """Make the two tables and the view of the best concepts."""
        super().make_tables(tx, there)
        table.adopt(there, replace(self._settings, task="passages"))

    def check(self, tx: Connection) -> tuple[str, Mapping[str, int], Sequence[RowFault]]:
        """Compare every quotation with its passage, and the concepts with the answers that were applied."""
        from pipeline.passages.quality import verify_quotes

        return verify_quotes(tx, self.shape)

    def remove_row(
        self,
        tx: Connection,  # noqa: ARG002
        item_id: str,  # noqa: ARG002
        *,
        so_far: str = "nothing was changed",
    ) -> None:
        """Refuse to remove a passage, which other rows of the user's name."""
        raise ConfigurationError(
            f"passages are not forgotten one by one; {so_far}",
            hint=f"`{CommandHint('rollback')}` takes back what a version found in all of them",
        )

    def export_rows(self, tx: Connection, wanted: ExportOptions) -> ExportRows:
        """Return the concepts of one extractor, or the best of each name, by passage."""
        from pipeline.passages.show import encode_concepts

        encode = partial(encode_concepts, full=wanted.full)
        if wanted.best and wanted.extractor:
            raise InputError(
                f"{OptionHint('best')} and {OptionHint('extractor')} exclude each other; nothing was written",
                hint=f"{OptionHint('prefer_versions')} chooses",
            )
        found = table.concept_versions(tx, self.shape)
        shares = {one.extractor: one.items for one in found}
        if wanted.best:
            best = table.best_concepts(tx, self.shape, self._settings)
            return ExportRows(best, encode, versions=shares)
        newest_first = sorted(
            found, key=lambda one: str(one.last or ""), reverse=True
        )  # another program's may be text
        there = {one.extractor: one for one in newest_first}
        chosen = self.exported(tx, list(there), wanted)
        is_any = chosen is None or wanted.extractor is None
        rows = table.all_concepts(
            tx, self.shape, of=there[chosen][:2] if chosen else None, corrected=is_any
        )
        return ExportRows(rows, encode, extractor=chosen, versions=shares)
