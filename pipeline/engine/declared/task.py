"""Carry out a declared task: the engine's protocol, made from a record of the task and, to ask and judge, its file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from pipeline.core.declaration import Declaration, column_named, fill_template
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.task import (
    Answered,
    Item,
    ItemsWanted,
    ListedItem,
    Prompt,
    RolledBackPage,
    StaleItems,
    Task,
    VersionCounts,
    Words,
    WriteResult,
)
from pipeline.engine.declared.fingerprint import digest, fingerprint_of
from pipeline.engine.declared.judge import Judge, asked_document, judge_as_asked
from pipeline.engine.declared.listing import UNUSABLE, list_rows
from pipeline.engine.declared.question import Question
from pipeline.engine.declared.row_images import UNSET, ImageSettings, RowImages
from pipeline.engine.declared.task_file import load_declaration
from pipeline.store import answers, versions
from pipeline.store.database import among, pages
from pipeline.store.tables import answers as given
from pipeline.store.tasks import TaskRecord
from pipeline.tables import answers_rows, items, write_to
from pipeline.tables.answers_rows import ProjectedRow
from pipeline.tables.answers_spec import AnswersSpec
from pipeline.tables.item_values import value_text
from pipeline.tables.items import ItemsSpec
from pipeline.tables.rows import ItemStates, count_item_states, rows_among

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.store.database import Connection

ANSWER_TOKENS = 150  # before past answers tell better
NAMED = 1_000  # characters of a label that are kept


@dataclass(frozen=True)
class DeclaredTask(Task):
    """A task that a file declares; see `pipeline.core.task.Task` for what each member promises.

    `refreshes` asks again about items whose input changed since they were answered. `document` is of a fingerprint, and
    answers are judged by it and not by the file.
    """

    record: TaskRecord
    refreshes: bool = False
    document: Mapping[str, Any] | None = None
    image_settings: ImageSettings = UNSET

    answer_tokens = ANSWER_TOKENS

    @property
    def name(self) -> str:  # type: ignore[override]  # of the record, and not of the class
        """Return the task's name."""
        return self.record.name

    @property
    def label(self) -> str:
        """Return the name with the version that was declared."""
        return f"{self.record.name}@{self.record.version}"

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Return the fingerprint of the declaration that items are asked with."""
        return self.record.fingerprint

    @property
    def model(self) -> str | None:  # type: ignore[override]
        """Return the model that the declaration names, if it does."""
        return self.record.words.get("model")

    @property
    def words(self) -> Words:  # type: ignore[override]
        """Return how rows of the task are called."""
        named = f" TASK={self.record.name}"
        return Words(
            one="row",
            many="rows",
            done="answered",
            all_done="every row that holds something is answered, claimed or parked",
            input="row",
            inputs=f"the rows of {self.record.name}" + (" and their images" if self._images else ""),
            after=f"make export{named} TO={self.record.name}-answers.csv",
            again=f"make tag{named}",
            named=named,
        )

    @property
    def how_to_fill(self) -> str:  # type: ignore[override]
        """Return where rows would come from."""
        source = "its query gives none" if self.record.is_query else f"{self.record.items} holds none"
        return f"{source}; `{self.words.make('try')}` shows what is asked"

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file.

        Raises:
            InputError: the file is gone or broken.
        """
        return self.image_settings.over(load_declaration(Path(self.record.path)))

    @cached_property
    def items_spec(self) -> ItemsSpec:
        """Return what the table of the items is."""
        key = tuple(name for name, _ in self.record.key)
        return ItemsSpec(f"{self.record.prefix}_items", key, self.record.columns, tuple(self._images))

    @cached_property
    def answers_spec(self) -> AnswersSpec:
        """Return what the table of the answers is."""
        return AnswersSpec(self.record.prefix, self.record.key, self.record.fields, self.items_spec.table)

    @cached_property
    def table(self) -> Any:
        """Return the table of the items."""
        return items.items_table(self.items_spec)

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model by which an answer is judged."""
        return self.judge.answer

    def total(self, tx: "Connection") -> int:
        """Return how many rows there are, those that are gone from their source too."""
        return tx.execute(select(func.count(self.table.c.findable_key))).scalar_one()

    def pending(self, *, after: str | None = None) -> "Select[Any]":
        """Return the SELECT of the rows to ask about, in the order in which they were first seen."""
        mine = self.table.c
        query = select(mine.findable_key.label("item_id")).where(self._is_open()).order_by(mine.findable_row)
        if after is not None:
            other = self.table.alias().c
            row = select(other.findable_row).where(other.findable_key == after).scalar_subquery()
            query = query.where(mine.findable_row > row)
        return query

    def pending_among(self, tx: "Connection", ids: Sequence[str]) -> set[str]:
        """Return which of these rows are to be asked about."""
        key = self.table.c.findable_key
        return {row[0] for row in rows_among(tx, key, ids, [key], self._is_open())}

    def items(self, tx: "Connection", ids: Sequence[str]) -> Iterator[Item]:
        """Yield what to ask about these rows, in the order of `ids`.

        Raises:
            ConfigurationError: the file was changed after the command had begun, so that it is not what was recorded.
        """
        if self._declared_fingerprint != self.fingerprint:
            raise ConfigurationError(
                f"{self.record.path} was changed while it was used; nothing more is asked", hint="run the command again"
            )
        rows = self._rows(tx, ids)
        for one in ids:
            if one in rows:
                context = rows[one] if self.judge.needs_row else None
                asked = self.asked_of(rows[one])
                if asked is not None:
                    yield Item(one, *asked, context)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return what the declaration sets of a request's `generationConfig` beside the room for the answer."""
        declared = self.declaration
        told: dict[str, Any] = {"thinkingConfig": declared.thinking, "temperature": declared.temperature}
        if declared.images and declared.media_resolution:
            told["mediaResolution"] = f"MEDIA_RESOLUTION_{declared.media_resolution.upper()}"
        return {name: value for name, value in told.items() if value is not None}

    @property
    def gates(self) -> str:
        """Return the bounds of gates that the declaration sets."""
        return str(self.record.words.get("gates") or "")

    def asked_of(self, row: Mapping[str, Any]) -> tuple[Prompt, str] | None:
        """Return what is asked about a row, and its hash; None where an image of it cannot be opened any more."""
        prompt = self._question.about(row)
        return self.row_images.put_into(prompt, row) if self._images else (prompt, str(row["findable_hash"]))

    @cached_property
    def row_images(self) -> RowImages:
        """Return what looks at the images of rows."""
        source = self.image_settings.source(self.record, self.declaration)
        return RowImages(self._images, self.record.words["asked"], source)

    @property
    def _images(self) -> Sequence[str]:
        """Return the columns that name an image."""
        found: Sequence[str] = self.record.words.get("images", ())
        return found

    @cached_property
    def _question(self) -> Question:
        places = dict(zip(self.declaration.asked, self.record.words["asked"], strict=True))
        return Question(self.declaration, places)

    def judging(
        self, tx: "Connection", fingerprint: str | None, what: str, *, accepted: bool, as_asked: bool
    ) -> "DeclaredTask":
        """Return this task where the file declares what was asked under a fingerprint, or a change is accepted.

        With `as_asked` the task that judges by the schema that was asked with; for that the file is not loaded.

        Raises:
            ConfigurationError: the file declares another thing now, or what was asked cannot be told any more.
        """
        if fingerprint is None or (not as_asked and (accepted or fingerprint == self._declared_fingerprint)):
            return self
        return replace(self, document=asked_document(tx, fingerprint, what, self.record.path, as_asked=as_asked))

    @cached_property
    def _declared_fingerprint(self) -> str:
        """Return the fingerprint of what the file declares."""
        return digest(fingerprint_of(self.declaration))

    def contexts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, Any]:
        """Return the rows, in which quotations are looked for and which `check` is given."""
        return self._rows(tx, ids) if self.judge.needs_row else {}

    @cached_property
    def judge(self) -> Judge:
        """Return what tells whether an answer is valid."""
        record = self.record
        if self.document is not None:
            return judge_as_asked(self.document, record.columns)
        declared = self.declaration
        return Judge(declared.answer, record.words.get("quotes_in"), declared.check, Path(record.path), record.columns)

    def judged(self, answer: "BaseModel", context: Any, *, input_hash: str) -> "tuple[BaseModel | None, str]":
        """Return the answer with its quotations located and checked by the file, or None and what is wrong.

        Raises:
            ConfigurationError: `check` itself failed, which is the file's fault and not the item's.
        """
        return self.judge.judged(answer, context, input_hash=input_hash)

    def write(self, tx: "Connection", answers: Sequence[Answered], *, extractor: str, at: datetime) -> WriteResult:
        """Write answers where this version has none yet, or to a row as it was before.

        An answer to a row that has changed is not applied where only the row could tell whether it is valid.
        """
        asked = {one.item_id: one for one in answers}
        columns = [self.table.c.findable_key, self.table.c.findable_hash]
        rows = rows_among(tx, columns[0], list(asked), columns, locked=tx.dialect.name != "sqlite")
        hashes: dict[str, str] = {row[0]: row[1] for row in rows}
        outdated = {key for key, hash_ in hashes.items() if hash_ != asked[key].input_hash}
        unproven = outdated if self.judge.needs_row else set()
        is_asked_again = bool(self.record.words.get("refresh"))
        done = self._answered_among(tx, list(hashes), of_input=is_asked_again)
        applied = {key for key in hashes if key not in unproven} - done
        ready = [
            ProjectedRow(key, extractor, asked[key].answer.model_dump_json(), at) for key in asked if key in applied
        ]
        answers_rows.write_rows(tx, self.answers_spec, ready)
        if where := self.record.words.get("write_to"):
            write_to.write_column(tx, self.answers_spec, write_to.column_target(tx, self.answers_spec, where), ready)
        return WriteResult(applied=applied, outdated=outdated)

    def counts(self, tx: "Connection", *, now: datetime) -> dict[str, int]:
        """Return {total, answered, open, empty, claimed, parked, gone}."""
        return count_item_states(tx, self.table.c.findable_key, self.name, self._states(), now=now)

    def stale(self, tx: "Connection") -> StaleItems:
        """Return how many rows changed since they were answered, and since when the first of them."""
        mine = self.table.c
        told = (func.count(mine.findable_key), func.min(mine.findable_changed_at))
        old = self._is_answered(of_input=False) & ~self._is_answered(of_input=True)
        return StaleItems(*tx.execute(select(*told).where(mine.findable_gone_at.is_(None), old)).one())

    def list_items(self, tx: "Connection", wanted: ItemsWanted) -> list[ListedItem]:
        """Return rows, looked for in all their columns."""
        return list_rows(tx, self.record, self.table, self._states(), wanted)

    def clear(self, tx: "Connection", ids: Sequence[str]) -> None:
        """Take the answers about these rows out of their table."""
        answers_rows.remove_rows(tx, self.answers_spec, item_ids=ids)

    def versions(self, tx: "Connection") -> list[VersionCounts]:
        """Return every extractor whose answers were applied."""
        return answers.version_counts(tx, self.name)

    def roll_back(self, tx: "Connection", label: str, *, model: str, after: Any | None) -> RolledBackPage:
        """Take the next answers of a version out of their table."""
        extractor = f"{label}/{model}"
        page = versions.page_of_answers(tx, self.name, extractor, after=after or 0, applied=True)
        if not page:
            return RolledBackPage(0, None)
        ids = list(dict.fromkeys(one for _, one in page))
        gone = answers_rows.remove_rows(tx, self.answers_spec, item_ids=ids, extractor=extractor)
        return RolledBackPage(gone, page[-1][0])

    def texts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are asked about, a line each."""
        asked = [*self.record.words.get("asked", ()), *self._images]
        return {one: "\n".join(value_text(row[name]) for name in asked) for one, row in self._rows(tx, ids).items()}

    def names(self, tx: "Connection", ids: Sequence[str]) -> dict[str, str]:
        """Return the labels, or the keys where the declaration has none."""
        key = self.table.c.findable_key
        template = self.record.words.get("label")
        if not template:
            return {row[0]: row[0] for row in rows_among(tx, key, ids, [key])}
        return {one: self.label_of(row) for one, row in self._rows(tx, ids).items()}

    def label_of(self, row: Mapping[str, Any]) -> str:
        """Return the name by which a person knows a row."""
        template = self.record.words.get("label") or ""
        named = fill_template(template, lambda name: value_text(row.get(column_named(name, row) or name)))
        return " ".join(named.split())[:NAMED] or str(row["findable_key"])

    def id_of(self, tx: "Connection", name: str) -> str:
        """Return the id of the row of that key.

        Raises:
            InputError: there is none.
        """
        key = self.table.c.findable_key
        if not any(rows_among(tx, key, [name], [key])):
            raise InputError(f"there is no row {name!r} in {self.name}", hint=f"make items TASK={self.name} lists them")
        return name

    def _rows(self, tx: "Connection", ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return these rows that are there, with every column by name, by their ids."""
        columns = list(self.table.c)
        names = [column.name for column in columns]
        found = rows_among(tx, self.table.c.findable_key, ids, columns)
        return {row[0]: dict(zip(names, row, strict=True)) for row in found}

    def _is_open(self) -> ColumnElement[bool]:
        mine = self.table.c
        usable = [mine.findable_unusable.is_(None)] * bool(self._images)
        answered = self._is_answered(of_input=self.refreshes)
        return and_(mine.findable_gone_at.is_(None), ~mine.findable_empty, *usable, ~answered)

    def _is_answered(self, *, of_input: bool) -> ColumnElement[bool]:
        """Return the condition that a row has an answer of this version; `of_input` to what it holds now."""
        mine = self.table.c
        query = select(given.c.id).where(given.c.item_id == mine.findable_key, self._is_mine())
        if of_input:
            query = query.where(given.c.input_hash == mine.findable_hash)
        return query.correlate(self.table).exists()

    def _is_mine(self) -> ColumnElement[bool]:
        """Return the condition that an answer counts for this version."""
        return and_(
            given.c.task == self.name,
            given.c.applied,
            given.c.answer != answers.FORGOTTEN,
            or_(given.c.extractor == self.label, given.c.extractor.startswith(f"{self.label}/", autoescape=True)),
        )

    def _answered_among(self, tx: "Connection", ids: Sequence[str], *, of_input: bool) -> set[str]:
        """Return which of these rows have such an answer already."""
        key = self.table.c.findable_key
        found: set[str] = set()
        for some in pages(ids):
            found |= set(
                tx.execute(select(key).where(among(tx, key, some), self._is_answered(of_input=of_input))).scalars()
            )
        return found

    def _states(self) -> ItemStates:
        mine = self.table.c
        return ItemStates(
            ("answered", self._is_answered(of_input=self.refreshes)),
            ("open", ~mine.findable_empty),
            "empty",
            others=(
                ("gone", mine.findable_gone_at.is_not(None)),
                *([(UNUSABLE, mine.findable_unusable.is_not(None))] if self._images else []),
            ),
        )
