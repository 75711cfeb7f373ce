"""The task of a declaration: its rows as they were last read, asked about and judged by the file that declares it.

It is made of a record, so that rows are listed, named and exported without the file. What is indexed of it is each row
that is in its source and answered, by any version. Its text is a template, which names columns of the row, and fields
of the newest answer to it. When a row was looked at or changed is no part of it.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Subquery, and_, func, literal, or_, select

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.core.declaration import Declaration, column_named, columns_in, fill_template
from pipeline.core.errors import ConfigurationError
from pipeline.core.progress import Progress
from pipeline.core.quotes import is_quotation, leaves, located
from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.core.settings import Settings
from pipeline.core.where_parser import parse_where
from pipeline.engine import task_file
from pipeline.engine.pictures import RowImages
from pipeline.engine.record import PromptBuilder
from pipeline.engine.task import (
    ExportOptions,
    ExportRows,
    IndexedTask,
    RowFault,
    Rows,
    Task,
    TaskLabels,
    TaskRow,
    ValidAnswer,
    WriteResult,
)
from pipeline.engine.task_file import ROWS, name_in_python
from pipeline.store import answers
from pipeline.store.answers import answers_to_other_inputs, spoken_for_among
from pipeline.store.database import PAGE, Store, pages
from pipeline.store.edits import AnswerEdit
from pipeline.store.rows import NO_HASH, remove_row
from pipeline.store.schema import answers as record_of_answers
from pipeline.store.workspace import TaskRecord
from pipeline.tables.answer_views import (
    EXTRACTOR,
    JSON,
    beside,
    make_views,
    row_cell,
    why_unstorable,
)
from pipeline.tables.cells import compact_json, value_text
from pipeline.tables.export import answers_rows, encoded
from pipeline.tables.lists import (
    CHANGED,
    REFUSED,
    Grid,
    RowStates,
    RowTable,
    mentions,
    tag_facet,
    version_facet,
)
from pipeline.tables.row_sync import (
    HASH,
    KEY,
    SEEN,
    VALUES,
    changed_in_source,
    items_table,
    values_in,
)
from pipeline.tables.row_sync import UNUSABLE as REASON
from pipeline.tables.where_sql import JsonCell, compile_where
from pipeline.tables.write_to import RowTarget, TargetValue, rows_written_to, write_column

if TYPE_CHECKING:
    from pydantic import BaseModel

ANSWER_TOKENS = 150  # where the record is older than estimates by the schema
NAMED = 1_000  # characters of a label that are kept
EXAMPLES = 3  # rows that a fault names
UNUSABLE = "unusable"  # the state of a row that has an image which cannot be asked about
SHOWN = 1_000  # characters of the text that a hit shows
LONGEST_TAG = (
    60  # characters of a text that stands in the place of a tag; longer ones are sentences
)
RANKING = Ranking((FieldGroup(("text", "label")), FieldGroup(("answer",), 0.5)))
NO_NUMBER = 9e307  # stands, with a minus, for a number that is not there
WHY = "why unusable"  # under which a reason is shown
DEFAULTS = Settings()


class UserTask(Task):
    """A task that a file declares, or that ships as one does.

    With `refreshes` rows are asked about again whose input changed since they were answered.
    """

    how_to_index = 'index="{column}" in the task\'s file says by what text its rows are found'
    brings_items = True
    export_word = "row"
    export_choices = frozenset({"extractor", "rows", "cost", "gone"})
    columns = (KEY, HASH, VALUES)

    def __init__(
        self, record: TaskRecord, settings: Settings = DEFAULTS, provider: str = ""
    ) -> None:
        """Make the task of a record; no file is loaded. `provider` is the backend that answers now."""
        told = record.words
        self.record = record
        self.settings = settings
        self.provider = provider
        self.refreshes = settings.refresh and bool(told.get("refresh"))
        self.preferred = (
            record.preferred if settings.prefer_versions is None else settings.prefer_versions
        )
        self.name = self.subject = record.name
        self.label = f"{self.name}@{record.version}"
        self.fingerprint = record.fingerprint
        self.model = told.get("model")
        place = Path(record.path)
        self.declared_in = None if name_in_python(place) else place
        self.images: Sequence[str] = told.get("images", ())
        self.sends_images = bool(self.images)
        self.gates = str(told.get("gates") or "")
        self.words = TaskLabels(
            one="row",
            many="rows",
            done="answered",
            all_done="every row that holds something is answered, claimed or parked",
            input="row",
            inputs=f"the rows of {record.name}" + (" and their images" if self.images else ""),
            after=CommandHint("export", task=record.name, to=f"{record.name}-answers.csv"),
            again=CommandHint("tag", task=record.name),
            named=record.name,
        )
        source = (
            "its query gives none"
            if record.is_query
            else f"{record.items} holds none that can be asked about"
        )
        self.how_to_fill = HintTemplate(
            "{}; `{}` shows what is asked", source, self.words.step("try")
        )
        self.items_from = f"they stand in `{record.items}`; change that file, and it is read again"
        if record.items == ROWS:
            self.items_from = "they are given in Python, which may give others"
        elif record.is_query:
            self.items_from = (
                f"they are what the query in `{record.path}` gives; change that, or what it reads"
            )
        self.answer_tokens = told.get("answer_tokens", ANSWER_TOKENS)
        self.index = _indexed_by(self, template) if (template := told.get("index")) else None

    # ---- its file

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file."""
        return task_file.load_declaration(Path(self.record.path), self.settings, is_recorded=True)

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of what the file declares."""
        return task_file.digest(task_file.fingerprint_of(self.declaration))

    @cached_property
    def question(self) -> PromptBuilder:
        """Return how the file's declaration puts rows to the model."""
        return PromptBuilder(
            self.declaration,
            dict(zip(self.declaration.asked, self.record.words["asked"], strict=True)),
        )

    @cached_property
    def needs_row(self) -> bool:
        """Return whether quotations are looked for in the row, or `check` is given it."""
        return self.declaration.check is not None or self.record.words.get("quotes_in") is not None

    def fault_of(
        self,
        error: BaseException,
        item_id: str,
        *,
        code: str = "a validator",
        line: int | None = None,
    ) -> ConfigurationError:
        """Return what to say where some code of the file failed on an item; `line` is where that code begins."""
        said = f"{code} failed on {item_id!r}: {type(error).__name__}: {error}"
        return self._fault(task_file.line_in(error, Path(self.record.path)) or line, said)

    def _fault(self, line: int | None, said: str) -> ConfigurationError:
        where = task_file.at_line(Path(self.record.path), line)
        return ConfigurationError(
            f"{where}: {said}; nothing was charged, and the reply is kept",
            hint="mend it, then run the same command again",
        )

    # ---- its rows

    @cached_property
    def items_table(self) -> Subquery:
        """Return the rows as they are kept, with their values as JSON."""
        return items_table(self.record.name)

    def row_images(self) -> RowImages:
        """Return the images of rows: below the folder that is set, else beside the items' file, else the task's."""
        record = self.record
        side = self.declaration.image_side
        # The declaration names the items' file: the path in the database may have been changed.
        items = self.declaration.items
        beside = Path(record.path)
        if not (self.declaration.is_query or items == ROWS):
            beside = (beside.parent / items).resolve()
        is_ours = task_file.built_in(record.name) is not None  # whose rows have whole paths
        folder = self.settings.folder or (Path("/") if is_ours else beside.parent)
        return RowImages(self.images, record.words["asked"], folder, side, self.settings.refresh)

    def table(self, tx: Connection) -> RowTable:  # noqa: ARG002 - the record tells
        """Return the table of the items, in the order of their source."""
        mine = self.items_table.c
        is_answered = self._is_answered(of_input=self.refreshes)
        is_gone = mine.findable_gone_at.is_not(None)
        is_refused = mine.findable_hash == NO_HASH
        others = list[tuple[str, ColumnElement[bool]]]()
        is_open = and_(~is_gone, ~mine.findable_empty, ~is_answered)
        if self.images:
            others.append((UNUSABLE, mine.findable_unusable.is_not(None)))
            is_open &= mine.findable_unusable.is_(None)
        states = RowStates(
            ("answered", is_answered),
            ("open", ~mine.findable_empty),
            "empty",
            tuple(others),
            is_refused,
            is_gone,
        )
        return RowTable(
            self.name,
            self.items_table,
            states,
            is_open,
            key=KEY,
            order="findable_row",
            named=self.columns if self.record.words.get("label") else (),
            own=self.label,
            name_of=lambda row: self.label_of(self.read(row)),
        )

    def first_rows(self, tx: Connection, count: int) -> tuple[list[str], int]:
        """Return the ids of the first rows that can be asked about, whatever was asked, and how many rows can be."""
        mine = self.items_table.c
        conditions = (
            mine.findable_gone_at.is_(None),
            ~mine.findable_empty,
            mine.findable_unusable.is_(None),
        )
        first = (
            select(mine.findable_key).where(*conditions).order_by(mine.findable_row).limit(count)
        )
        return list(tx.execute(first).scalars()), self.table(tx).total(tx, *conditions)

    def read(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row with its values by column beside their JSON; those that are none are None."""
        return {**dict.fromkeys(self.record.columns), **row, **values_in(row[VALUES])}

    def input_hash(self, row: Mapping[str, Any], said: str | None = None) -> str:  # noqa: ARG002 - it was kept
        """Return the hash that was kept with the row."""
        return str(row[HASH])

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the row of a key; of several columns it is their values, with commas between them."""
        kinds = [kind for _, kind in self.record.key]
        parts = [one.strip() for one in name.split(",")]
        if len(parts) == len(kinds) > 1 and not name.startswith("["):
            pairs = zip(parts, kinds, strict=True)
            name = compact_json(
                [int(one) if kind == "integer" and one.isdecimal() else one for one, kind in pairs]
            )
        return super().id_of(tx, name)

    def label_of(self, row: Mapping[str, Any]) -> str:
        """Return the name by which a person knows a row."""
        template = self.record.words.get("label") or ""
        named = fill_template(
            template, lambda name: value_text(row.get(column_named(name, row) or name))
        )
        return " ".join(named.split())[:NAMED] or str(row[KEY])

    @property
    def name_columns(self) -> Sequence[str]:
        """Return the key column; the values of several are in no one column."""
        return [name for name, _ in self.record.key] if len(self.record.key) == 1 else ()

    def grid(self, tx: Connection) -> "Grid":
        """Return what lists rows, looked for in all their columns."""
        return _rows_grid(tx, self)

    def asked_texts(self, tx: Connection, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are asked about, a line each."""
        asked = [*self.record.words.get("asked", ()), *self.images]
        found = self.rows(tx, ids).items()
        return {one: "\n".join(value_text(row[name]) for name in asked) for one, row in found}

    def stale(
        self,
        tx: Connection,
        *,
        within_s: float | None = None,  # noqa: ARG002 - one query
    ) -> tuple[int, datetime | None]:
        """Return how many rows changed since they were answered, and since when the first of them."""
        mine = self.items_table.c
        told = (func.count(mine.findable_key), func.min(mine.findable_changed_at))
        old = self._is_answered(of_input=False) & ~self._is_answered(of_input=True)
        if not self.images:
            # An image is read again when it is asked about; all other inputs are those that the row had.
            old = mine.findable_changed_at.is_not(None) & old
        rows, since = tx.execute(
            select(*told).where(mine.findable_gone_at.is_(None), ~mine.findable_empty, old)
        ).one()
        return rows, since

    @property
    def how_to_refresh(self) -> HintTemplate:
        """Return what asks about those again; a task must permit it."""
        if self.record.words.get("refresh"):
            return super().how_to_refresh
        step = self.words.step("tag", refresh=True)
        return HintTemplate(
            "with refresh=True in the task's file, `{}` asks about them again", step
        )

    def remove_row(self, tx: Connection, item_id: str, *, so_far: str = "") -> None:  # noqa: ARG002 - it goes
        """Delete a row, and what other programs were given of its answers."""
        self.take_back(tx, [item_id])
        remove_row(tx, self.name, item_id)

    # ---- what is asked

    def items(self, rows: Rows) -> Iterator[TaskRow]:
        """Yield what to ask about these rows; those whose images cannot be opened any more are left out."""
        if self.declared_fingerprint != self.record.fingerprint:
            said = f"{self.record.path} was changed while it was used; nothing more is asked"
            raise ConfigurationError(said, hint="run the command again")
        images = self.row_images() if self.images else None
        for item in super().items(rows):
            if images is None:
                yield item
            elif (asked := images.put_into(item.prompt, rows[item.id])) is not None:
                yield item._replace(prompt=asked[0], input_hash=asked[1])

    def equals(self, tx: Connection, hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the open rows of some hashes, by these."""
        mine = self.items_table.c
        found = dict[str, list[str]]()
        query = (
            select(mine.findable_hash, mine.findable_key)
            .where(self.table(tx).is_open)
            .order_by(mine.findable_row)
        )
        for some in pages(hashes):
            for hashed, key in tx.execute(query.where(mine.findable_hash.in_(some))):
                found.setdefault(hashed, []).append(key)
        return found

    # ---- the answers

    @cached_property
    def row_target(self) -> RowTarget | None:
        """Return the table of another program that gets a row of each answer; None where `write_to=` names none."""
        target = rows_written_to(self.record.words.get("write_to"))
        if target is None:
            return None
        return RowTarget(
            self.record,
            target.table,
            target.column,
            self.provider,
            self.preferred,
            schema=target.schema,
        )

    def judged(
        self, answer: "BaseModel", context: Any, *, input_hash: str
    ) -> "tuple[BaseModel | None, str]":
        """Return what `Task.judged` does, and None of an answer that no database keeps."""
        why = why_unstorable(answer)
        return (None, why) if why else super().judged(answer, context, input_hash=input_hash)

    def proven(self, answer: "BaseModel", row: Mapping[str, Any]) -> "tuple[BaseModel | None, str]":
        """Return the answer with its quotations located and checked by the file, or None and what is wrong."""
        if (column := self.record.words.get("quotes_in")) is not None:
            found, why = located(answer, value_text(row[column]))
            if found is None:
                return None, why
            answer = found
        if (check := self.declaration.check) is None:
            return answer, ""
        line = getattr(getattr(check, "__code__", None), "co_firstlineno", None)
        try:
            said = check(answer, {name: row[name] for name in self.record.columns})
        except (Exception, SystemExit) as error:
            raise self.fault_of(error, row[KEY], code="check()", line=line) from error
        if said is not None and not isinstance(said, str):
            raise self._fault(
                line,
                f"check() must say in a text what is wrong, or return None, and returned {said!r}",
            )
        return (None, f"check: {said}") if said else (answer, "")

    def write(
        self, tx: Connection, answers: Sequence[ValidAnswer], *, extractor: str, at: datetime
    ) -> WriteResult:
        """Write answers where this version has none yet, or to a row as it was before.

        An answer to a row that has changed is not applied where only the row could tell whether it is valid, and not
        written into a table of another program. There a new answer replaces one about an older text of the row.
        """
        asked = {one.item_id: one for one in answers}
        table = self.table(tx)
        kept_rows = table.rows(tx, list(asked), [HASH, VALUES], locked=True)
        outdated = {key for key, row in kept_rows.items() if row[HASH] != asked[key].input_hash}
        is_done = self._is_answered(
            of_input=bool(self.record.words.get("refresh")), of_few=True, of_models=True
        )
        done = table.ids_among(tx, list(kept_rows), is_done) | (
            outdated if self.needs_row else set()
        )
        applied = kept_rows.keys() - done
        if self.record.words.get("write_to"):
            outdated |= self._changed_in_source(
                {key: kept_rows[key][VALUES] for key in applied - outdated}
            )
        ready = [
            TargetValue(key, extractor, asked[key].answer.model_dump_json(), at)
            for key in asked
            if key in applied
        ]
        current = [one for one in ready if one.item_id not in outdated]
        if self.row_target is not None:
            self.row_target.bring(tx, [one.item_id for one in current], more=current)
        elif self.record.words.get("write_to"):
            spoken_for = spoken_for_among(tx, self.name, [one.item_id for one in current])
            hashes = {one.item_id: asked[one.item_id].input_hash for one in current}
            former_answers = answers_to_other_inputs(tx, self.name, hashes)
            written = [one for one in current if one.item_id not in spoken_for]
            write_column(tx, self.record, written, former_answers=former_answers)
        return WriteResult(applied=applied, outdated=outdated)

    def _changed_in_source(self, kept_rows: Mapping[str, str]) -> set[str]:
        """Return which of some rows the task's query gives otherwise by now; only in the workspace's own database.

        The rows are read beside the transaction that writes, for a user's query may never write.
        """
        if not (kept_rows and self.record.is_query) or self.declaration.source:
            return set()
        kept_values = {key: values_in(row) for key, row in kept_rows.items()}
        with contextlib.closing(Store(self.settings.url.reveal())) as store:
            record = replace(self.record, items=self.declaration.items)
            return changed_in_source(store, record, kept_values)

    def show_corrected(
        self,
        tx: Connection,
        item_id: str,
        edit: AnswerEdit,
        *,
        stands: bool,  # noqa: ARG002
    ) -> None:
        """Bring the row or the column of another program's table to what counts now, whatever stands there."""
        if self.row_target is not None:
            self.row_target.bring(tx, [item_id], over=True)
        elif self.record.words.get("write_to"):
            now = TargetValue(item_id, "", json.dumps(self.standing(tx, item_id)), edit.at)
            write_column(tx, self.record, [now], over=True)

    def take_back(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take what other programs were given of the answers about these rows back; return how many rows those are."""
        if self.row_target is not None:
            self.row_target.bring(tx, ids, without=extractor or "")
        return len(ids)

    def _is_answered(
        self, *, of_input: bool, of_few: bool = False, of_models: bool = False
    ) -> ColumnElement[bool]:
        """Return the condition that a row has an answer of this version or a person; `of_input` to what it holds now.

        Of those `of_models` a person's is none. Where each answer is a row of another program's table, one of this
        provider and model counts, too; with `of_input` where another program wrote it, or the answer is to the row as
        it is now.
        """
        mine = self.items_table.c
        told = record_of_answers.c
        is_own = answers.is_by(told.extractor, self.label)
        is_own = is_own if of_models else or_(is_own, told.extractor == answers.PERSON)
        query = select(told.id).where(
            told.task == self.name, told.applied, told.answer != answers.FORGOTTEN, is_own
        )
        query = query.where(told.item_id == mine.findable_key).correlate(self.items_table)
        now = query.where(told.input_hash == mine.findable_hash) if of_input else query
        # of few rows each is looked up: PostgreSQL would begin with all answers, which it takes for one
        answered = now.limit(1).scalar_subquery().is_not(None) if of_few else now.exists()
        if self.row_target is None:
            return answered
        model = self.model or self.settings.for_backend(self.provider).model
        row = self.row_target.has_row(mine.findable_key, model)
        return answered | (row & ~query.exists() if of_input else row)

    # ---- the commands that keep a workspace

    def make_tables(self, tx: Connection, there: Connection) -> None:
        """Make the views."""
        super().make_tables(tx, there)
        make_views(there, self.record)

    def check_derived(self, tx: Connection, display: Progress) -> list[RowFault]:  # noqa: ARG002
        """Tell images that cannot be asked about."""
        mine = self.items_table.c
        told = (
            mine.findable_unusable.is_not(None),
            mine.findable_gone_at.is_(None),
            mine.findable_hash != NO_HASH,
        )
        first = (
            select(mine.findable_key, mine.findable_unusable)
            .where(*told)
            .order_by(mine.findable_row)
            .limit(1)
        )
        if not self.images or (found := tx.execute(first).first()) is None:
            return []
        count = self.table(tx).total(tx, *told)
        listed = CommandHint("items", task=self.name, state="unusable")
        said = f"{count:,} rows of {self.name} have an image that cannot be asked about ({found[0]}: {found[1]})"
        return [
            RowFault(
                said,
                "they are not asked until their images are others",
                contradiction=False,
                next=listed,
            )
        ]

    def export_rows(self, tx: Connection, wanted: ExportOptions) -> ExportRows:
        """Return each row with its state and its answer of one extractor, or the members of a list of the answers."""
        counts = {one.extractor: one.items for one in answers.version_counts(tx, self.name)}
        chosen = self.exported(tx, list(counts), wanted)
        is_free = wanted.extractor is None
        mine = self.items_table.c
        is_here = list[ColumnElement[bool]]()
        if not wanted.gone:
            of_source = select(mine.findable_key).where(mine.findable_gone_at.is_(None))
            is_here.append(record_of_answers.c.item_id.in_(of_source))
            counts = {
                one.extractor: one.items for one in answers.version_counts(tx, self.name, *is_here)
            }
        is_answer = answers.is_effective(
            answers.VersionPreference(self.name), of=chosen or self.label, corrected=is_free
        )
        if self.preferred and is_free:
            is_answer = answers.is_effective(self.preference(tx))
            written = answers.version_counts(tx, self.name, is_answer, *is_here)
            if {one.extractor for one in written} - {chosen, answers.PERSON}:
                chosen = None
                counts = {one.extractor: one.items for one in written}
        rows, kinds = answers_rows(
            tx,
            self.record,
            self.table(tx),
            is_answer=is_answer,
            field=wanted.rows,
            cost=wanted.cost,
            gone=wanted.gone,
            own=self.own,
        )
        shares = {one: items for one, items in counts.items() if one != answers.PERSON}
        return ExportRows(rows, partial(encoded, kinds=kinds), extractor=chosen, versions=shares)


# ---- what of its rows is indexed, and listed


def _indexed_by(task: UserTask, template: str) -> IndexedTask:
    return IndexedTask(
        task=task.name,
        folder=f"tasks/{task.name}",
        word="row",
        columns={name: name for name in ("rank", "key", "label", "text")},
        ranking=RANKING,
        count=lambda tx: task.table(tx).total(tx, _is_in(task)),
        entries=partial(_entries, task, template),
        tags=lambda metadata: [
            text for text in _words(metadata["answer"]) if len(text) <= LONGEST_TAG
        ],
        told=lambda told: {
            "key": told["id"],
            "label": told["label"],
            "text": told["text"][:SHOWN],
            "answer": told["answer"],
        },
    )


def _is_in(task: UserTask) -> ColumnElement[bool]:
    mine = task.items_table.c
    return and_(mine.findable_gone_at.is_(None), answers.is_answered(task.name, mine.findable_key))


def _entries(
    task: UserTask, template: str, tx: Connection, among: Sequence[str] | None = None
) -> Iterator[Entry]:
    places = {name: column_named(name, task.record.columns) for name in columns_in(template)}
    preference = task.preference(tx)
    for rows in pages(task.table(tx).cells(tx, (KEY, VALUES), _is_in(task), among=among), PAGE):
        given = answers.last_applied(tx, task.name, [row[0] for row in rows], preference=preference)
        for key, values in rows:
            answer = json.loads(given[key][1])
            row = task.read({KEY: key, VALUES: values})
            label = task.label_of(row)
            told = {name: answer.get(name) for name, _ in task.record.fields}
            by_place = {
                name: value_text(row[place])
                if place is not None
                else ", ".join(_words(answer.get(name)))
                for name, place in places.items()
            }
            text = (
                fill_template(template, by_place.__getitem__).strip() or label
            )  # one that says nothing
            cells = {
                name: row[name] for name in task.record.columns
            }  # which WHERE= of a search may name
            metadata = {"id": key, "label": label, "text": text, "answer": told, "row": cells}
            words = {"text": text, "label": label, "answer": "\n".join(_words(told))}
            yield Entry(key, text, metadata, [label, told, cells], words)


def _words(answer: Any) -> Iterator[str]:
    """Yield the texts, numbers and truths of an answer; of a quotation its text."""
    for _, value in leaves(answer):
        if is_quotation(value):
            yield str(value["quote"])
        elif value not in (None, "", [], {}):
            yield value_text(value)


def _refused_line(row: Mapping[str, Any]) -> int | None:
    return int(row[SEEN]) if row[HASH] == NO_HASH else None


def _refused_reason(row: Mapping[str, Any]) -> str | None:
    return row[REASON] if row[HASH] == NO_HASH else None


def _rows_grid(tx: Connection, task: UserTask) -> Grid:
    record = task.record
    items = task.table(tx)
    mine = record_of_answers.c
    kinds = dict(task.record.fields)
    keys = [name for name, _ in record.key]
    values = items.table.c[VALUES]
    preference = task.preference(tx)

    def value_of(name: str, row: Mapping[str, Any]) -> Any:
        return values_in(row[VALUES]).get(name)

    columns: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        name: partial(value_of, name) for name in record.columns
    }
    columns |= {
        name: lambda row: row[KEY] for name in keys if name not in columns
    }  # one that is made
    columns |= {WHY: lambda row: row[REASON]} if task.images else {}
    fields = {f"answer_{name}" if name in columns else name: name for name in kinds}
    whose = f"answer_{EXTRACTOR}" if EXTRACTOR in columns else EXTRACTOR
    refused = beside([*columns, *fields, whose], ("line", "reason"), "row_")
    columns |= {refused["line"]: _refused_line, refused["reason"]: _refused_reason}

    def more_of(tx: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        found = answers.last_applied(tx, task.name, ids, preference=preference)
        told = ((key, by, json.loads(text)) for key, (by, text) in found.items())
        return {
            key: {whose: by, **{name: one.get(field) for name, field in fields.items()}}
            for key, by, one in told
        }

    def sorting(
        column: ColumnElement[Any], name: str, kind: str, *, is_field: bool
    ) -> ColumnElement[Any]:
        is_number = kind in {"integer", "real"}
        cell = row_cell(tx, column, name, "real" if is_number else "text")
        found = answers.effective_of_item(preference, items.item_id, cell) if is_field else cell
        return func.coalesce(found, literal(-NO_NUMBER) if is_number else "")

    def where(text: str) -> ColumnElement[bool]:
        answer = answers.effective_of_item(preference, items.item_id, "answer")
        of_source = {name: JsonCell(values, (name,)) for name in record.columns}
        of_answer = {name: JsonCell(answer, (name,)) for name in kinds}
        dotted = {f"answer.{name}": cell for name, cell in of_answer.items()}
        return compile_where(parse_where(text), (of_source, dotted, of_answer), tx=tx)

    def mentioned(word: str) -> list[ColumnElement[bool]]:
        cells = (row_cell(tx, mine.answer, of, "text") for of in kinds)
        return [
            mentions(tx, [answers.effective_of_item(preference, items.item_id, cell)], word)
            for cell in cells
        ]

    plain = {name: field for name, field in fields.items() if kinds[field] != JSON}
    sorts = {
        name: sorting(values, name, kind, is_field=False) for name, kind in record.columns.items()
    }
    return Grid(
        table=items,
        cells=(KEY, VALUES, REASON, SEEN, HASH, CHANGED),
        columns=columns,
        usual=list(dict.fromkeys([*keys, *task.images, *record.words.get("asked", ())])),
        in_state={REFUSED: list(refused.values())} | ({UNUSABLE: [WHY]} if task.images else {}),
        searched=(
            items.item_id,
            *(row_cell(tx, values, name, kind) for name, kind in record.columns.items()),
        ),
        mentioned=mentioned,
        where=where,
        slow_sorts=sorts
        | {one: sorting(mine.answer, of, kinds[of], is_field=True) for one, of in plain.items()},
        fields=fields,
        tags=tag_facet(tx, preference, items.item_id),
        versions=version_facet(preference, items.item_id),
        more=(*fields, whose),
        more_of=more_of,
    )
