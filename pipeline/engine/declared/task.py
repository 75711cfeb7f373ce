"""The task of a declaration: its rows as they were last read, asked about and judged by the file that declares it.

It is made of a record, so that rows are listed, named and exported without the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Subquery, and_, func, or_, select

from pipeline.core.declaration import Declaration, column_named, fill_template
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.engine.declared.question import Judge, Question, digest, fingerprint_of
from pipeline.engine.declared.shown import UNUSABLE, indexed_by
from pipeline.engine.declared.task_file import ROWS, built_in, load_declaration, name_in_python
from pipeline.engine.row_images import RowImages
from pipeline.engine.task import (
    Answered,
    ExportRows,
    ExportWanted,
    Item,
    RowFault,
    Rows,
    Task,
    VersionShare,
    Words,
    WriteResult,
)
from pipeline.store import answers
from pipeline.store.database import pages
from pipeline.store.rows import remove_row
from pipeline.store.schema import answers as record_of_answers
from pipeline.store.workspace import TaskRecord
from pipeline.tables import write_to
from pipeline.tables.cells import value_text
from pipeline.tables.export import answers_rows, encoded
from pipeline.tables.fill import HASH, KEY, VALUES, ItemsSpec, items_table, values_in
from pipeline.tables.lists import ItemStates, ItemTable, rows_among
from pipeline.tables.view import AnswersSpec, make_views
from pipeline.tables.write_to import GivenAnswer, RowTarget, rows_written_to

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.tables.lists import Grid

ANSWER_TOKENS = 150  # where the record is older than estimates by the schema
NAMED = 1_000  # characters of a label that are kept
EXAMPLES = 3  # rows that a fault names


DEFAULTS = Settings()


class DeclaredTask(Task):
    """A task that a file declares, or that ships as one does.

    With `refreshes` rows are asked about again whose input changed since they were answered.
    """

    how_to_index = 'index="{column}" in the task\'s file says by what text its rows are found'
    brings_items = True
    export_word = "answer"
    export_choices = frozenset({"extractor", "rows", "cost"})
    columns = (KEY, HASH, VALUES)

    def __init__(self, record: TaskRecord, settings: Settings = DEFAULTS, provider: str = "") -> None:
        """Make the task of a record; no file is loaded. `provider` is the backend that answers now."""
        named, told = f" TASK={record.name}", record.words
        self.record, self.settings, self.provider = record, settings, provider
        self.refreshes = settings.refresh and bool(told.get("refresh"))
        self.preferred: Sequence[str] = settings.prefer_versions or ()
        self.name = self.subject = record.name
        self.label, self.fingerprint, self.model = (
            f"{self.name}@{record.version}",
            record.fingerprint,
            told.get("model"),
        )
        self.images: Sequence[str] = told.get("images", ())
        self.sends_images, self.gates = bool(self.images), str(told.get("gates") or "")
        self.words = Words(
            one="row",
            many="rows",
            done="answered",
            all_done="every row that holds something is answered, claimed or parked",
            input="row",
            inputs=f"the rows of {record.name}" + (" and their images" if self.images else ""),
            after=f"make export{named} TO={record.name}-answers.csv",
            again=f"make tag{named}",
            named=named,
        )
        source = "its query gives none" if record.is_query else f"{record.items} holds none that can be asked about"
        self.how_to_fill = f"{source}; `{self.words.make('try')}` shows what is asked"
        self.items_from = _items_from(record)
        self.answer_tokens = told.get("answer_tokens", ANSWER_TOKENS)
        self.index = indexed_by(self, template) if (template := told.get("index")) else None

    # ---- its file

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file.

        Raises:
            InputError: the file is gone or broken.
        """
        return load_declaration(Path(self.record.path))

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of what the file declares."""
        return digest(fingerprint_of(self.declaration))

    @cached_property
    def question(self) -> Question:
        """Return how the file's declaration puts rows to the model."""
        return Question(self.declaration, dict(zip(self.declaration.asked, self.record.words["asked"], strict=True)))

    @cached_property
    def judge(self) -> Judge:
        """Return what tells whether an answer is valid."""
        record, declared = self.record, self.declaration
        return Judge(declared.answer, record.words.get("quotes_in"), declared.check, Path(record.path), record.columns)

    @property
    def needs_row(self) -> bool:
        """Return whether quotations are looked for in the row, or `check` is given it."""
        return self.judge.needs_row

    @property
    def declared_in(self) -> Path | None:
        """Return the file, where there is one."""
        place = Path(self.record.path)
        return None if name_in_python(place) else place

    def fault_of(self, error: BaseException, item_id: str) -> ConfigurationError:
        """Return what a validator of the file's failed with, as what `check` fails with."""
        return self.judge.fault_of(error, "a validator", item_id)

    # ---- its rows

    @property
    def items_spec(self) -> ItemsSpec:
        """Return what the rows are."""
        key = tuple(name for name, _ in self.record.key)
        return ItemsSpec(self.record.name, key, self.record.columns, tuple(self.images))

    @cached_property
    def items_table(self) -> Subquery:
        """Return the rows as they are kept, with their values as JSON."""
        return items_table(self.record.name)

    def row_images(self) -> RowImages:
        """Return the images of rows: below the folder that is set, else beside the items' file, else the task's."""
        record, side = self.record, self.declaration.image_side
        beside = Path(record.path if record.is_query else record.items)
        is_ours = built_in(record.name) is not None  # whose rows have whole paths
        folder = Path("/") if is_ours else self.settings.folder or beside.parent
        return RowImages(self.images, record.words["asked"], folder, side, self.settings.refresh)

    def table(self, tx: Connection) -> ItemTable:  # noqa: ARG002 - the record tells
        """Return the table of the items, in the order in which they were first seen."""
        mine, is_answered = self.items_table.c, self._is_answered(of_input=self.refreshes)
        is_gone = mine.findable_gone_at.is_not(None)
        others, is_open = [("gone", is_gone)], and_(~is_gone, ~mine.findable_empty, ~is_answered)
        if self.images:
            others.append((UNUSABLE, mine.findable_unusable.is_not(None)))
            is_open &= mine.findable_unusable.is_(None)
        return ItemTable(
            self.name,
            self.items_table,
            ItemStates(("answered", is_answered), ("open", ~mine.findable_empty), "empty", others=tuple(others)),
            is_open,
            key=KEY,
            order="findable_row",
            named=self.columns if self.record.words.get("label") else (),
            own=self.label,
            name_of=lambda row: self.label_of(self.read(row)),
        )

    def read(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row with its values by column beside their JSON; those that are none are None."""
        return {**self._no_values, **row, **values_in(row[VALUES])}

    @cached_property
    def _no_values(self) -> Mapping[str, None]:
        return dict.fromkeys(self.record.columns)

    def input_hash(self, row: Mapping[str, Any]) -> str:
        """Return the hash that was kept with the row."""
        return str(row[HASH])

    def label_of(self, row: Mapping[str, Any]) -> str:
        """Return the name by which a person knows a row."""
        template = self.record.words.get("label") or ""
        named = fill_template(template, lambda name: value_text(row.get(column_named(name, row) or name)))
        return " ".join(named.split())[:NAMED] or str(row[KEY])

    def grid(self, tx: Connection) -> "Grid":
        """Return what lists rows, looked for in all their columns."""
        from pipeline.engine.declared.shown import rows_grid

        return rows_grid(tx, self)

    def asked_texts(self, tx: Connection, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are asked about, a line each."""
        asked = [*self.record.words.get("asked", ()), *self.images]
        found = self.rows(tx, ids).items()
        return {one: "\n".join(value_text(row[name]) for name in asked) for one, row in found}

    def stale(self, tx: Connection) -> tuple[int, datetime | None]:
        """Return how many rows changed since they were answered, and since when the first of them."""
        mine = self.items_table.c
        told = (func.count(mine.findable_key), func.min(mine.findable_changed_at))
        old = self._is_answered(of_input=False) & ~self._is_answered(of_input=True)
        rows, since = tx.execute(select(*told).where(mine.findable_gone_at.is_(None), old)).one()
        return rows, since

    def remove_row(self, tx: Connection, item_id: str, *, so_far: str = "") -> None:  # noqa: ARG002 - it goes
        """Delete a row, and what other programs were given of its answers."""
        self.take_back(tx, [item_id])
        remove_row(tx, self.name, item_id)

    # ---- what is asked

    def items(self, rows: Rows) -> Iterator[Item]:
        """Yield what to ask about these rows; those whose images cannot be opened any more are left out.

        Raises:
            ConfigurationError: the file was changed after the command had begun, so that it is not what was recorded.
        """
        if self.declared_fingerprint != self.record.fingerprint:
            raise ConfigurationError(
                f"{self.record.path} was changed while it was used; nothing more is asked", hint="run the command again"
            )
        return self._with_images(rows) if self.images else super().items(rows)

    def _with_images(self, rows: Rows) -> Iterator[Item]:
        images = self.row_images()
        for item in super().items(rows):
            asked = images.put_into(item.prompt, rows[item.id])
            if asked is not None:
                yield item._replace(prompt=asked[0], input_hash=asked[1])

    def equals(self, tx: Connection, hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the open rows of some hashes, by these."""
        mine, found = self.items_table.c, dict[str, list[str]]()
        query = select(mine.findable_hash, mine.findable_key).where(self.table(tx).is_open).order_by(mine.findable_row)
        for some in pages(hashes):
            for row in tx.execute(query.where(mine.findable_hash.in_(some))):
                found.setdefault(row[0], []).append(row[1])
        return found

    # ---- the answers

    @property
    def answers_spec(self) -> AnswersSpec:
        """Return what the answers are shown as."""
        return AnswersSpec(self.record.name, self.record.prefix, self.record.key, self.record.fields)

    @cached_property
    def row_target(self) -> RowTarget | None:
        """Return the table of another program that gets a row of each answer; None where `write_to=` names none."""
        where = rows_written_to(self.record.words.get("write_to"))
        return None if where is None else self.target_of(*where)

    def target_of(self, table: str, key: str) -> RowTarget:
        """Return a table that gets a row of each answer, by its column of the item."""
        return RowTarget(self.answers_spec, table, key, self.provider, self.preferred)

    def judged(self, answer: "BaseModel", context: Any, *, input_hash: str) -> "tuple[BaseModel | None, str]":
        """Return the answer with its quotations located and checked by the file, or None and what is wrong.

        Raises:
            ConfigurationError: `check` itself failed, which is the file's fault and not the item's.
        """
        return self.judge.judged(answer, context, input_hash=input_hash)

    def write(self, tx: Connection, answers: Sequence[Answered], *, extractor: str, at: datetime) -> WriteResult:
        """Write answers where this version has none yet, or to a row as it was before.

        An answer to a row that has changed is not applied where only the row could tell whether it is valid.
        """
        asked = {one.item_id: one for one in answers}
        columns = [self.items_table.c.findable_key, self.items_table.c.findable_hash]
        rows = rows_among(tx, columns[0], list(asked), columns, locked=tx.dialect.name != "sqlite")
        hashes: dict[str, str] = {row[0]: row[1] for row in rows}
        outdated = {key for key, hash_ in hashes.items() if hash_ != asked[key].input_hash}
        unproven = outdated if self.needs_row else set()
        is_asked_again = bool(self.record.words.get("refresh"))
        done = self._answered_among(tx, list(hashes), of_input=is_asked_again)
        applied = {key for key in hashes if key not in unproven} - done
        ready = [
            GivenAnswer(key, extractor, asked[key].answer.model_dump_json(), at) for key in asked if key in applied
        ]
        if self.row_target is not None:
            self.row_target.write(tx, ready)
        elif where := self.record.words.get("write_to"):
            write_to.write_column(tx, self.answers_spec, write_to.column_target(tx, self.answers_spec, where), ready)
        return WriteResult(applied=applied, outdated=outdated)

    def take_back(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take what other programs were given of the answers about these rows back; return how many rows those are."""
        if self.row_target is not None:
            self.row_target.remove(tx, ids, extractor=extractor)
        return len(ids)

    def _is_answered(self, *, of_input: bool) -> ColumnElement[bool]:
        """Return the condition that a row has an answer of this version; `of_input` to what it holds now.

        Where each answer is a row of another program's table, one of this provider and model counts, too; with
        `of_input` where another program wrote it, or the answer is to the row as it is now.
        """
        answered = self._is_answered_here(of_input=of_input)
        if self.row_target is None:
            return answered
        model = self.model or self.settings.for_backend(self.provider).model
        row = self.row_target.has_row(self.items_table.c.findable_key, model)
        return answered | (row & ~self._is_answered_here(of_input=False) if of_input else row)

    def _is_answered_here(self, *, of_input: bool) -> ColumnElement[bool]:
        mine, told = self.items_table.c, record_of_answers.c
        is_own = or_(told.extractor == self.label, told.extractor.startswith(f"{self.label}/", autoescape=True))
        query = select(told.id).where(told.task == self.name, told.applied, told.answer != answers.FORGOTTEN, is_own)
        query = query.where(told.item_id == mine.findable_key)
        if of_input:
            query = query.where(told.input_hash == mine.findable_hash)
        return query.correlate(self.items_table).exists()

    def _answered_among(self, tx: Connection, ids: Sequence[str], *, of_input: bool) -> set[str]:
        key = self.items_table.c.findable_key
        found: set[str] = set()
        for some in pages(ids):
            found |= set(tx.execute(select(key).where(key.in_(some), self._is_answered(of_input=of_input))).scalars())
        return found

    # ---- the commands that keep a workspace

    def make_tables(self, tx: Connection, there: Connection) -> None:
        """Make the views."""
        super().make_tables(tx, there)
        make_views(there, self.answers_spec, self.record.columns)

    def check_derived(self, tx: Connection, display: Progress) -> list[RowFault]:  # noqa: ARG002
        """Tell images that cannot be asked about, and answers that other programs lack."""
        return [*self._unusable(tx), *self._unwritten(tx)]

    def _unwritten(self, tx: Connection) -> list[RowFault]:
        target = self.row_target
        if target is None or not (lacking := target.lacking(tx)):
            return []
        shown = ", ".join(lacking[:EXAMPLES])
        said = f"{target.name} lacks the rows of {len(lacking):,} {self.name} that are answered ({shown})"
        return [RowFault(said, "other programs do not see what was answered", f"make score TASK={self.name}")]

    def _unusable(self, tx: Connection) -> list[RowFault]:
        mine = self.items_table.c
        if not self.images:
            return []
        told = (mine.findable_unusable.is_not(None), mine.findable_gone_at.is_(None))
        first = tx.execute(select(mine.findable_key, mine.findable_unusable).where(*told).order_by(mine.findable_row))
        key, why = next(iter(first), (None, ""))
        if key is None:
            return []
        count = tx.execute(select(func.count()).select_from(self.items_table).where(*told)).scalar_one()
        said = f"{count:,} rows of {self.name} have an image that cannot be asked about ({key}: {why})"
        listed = f"make items TASK={self.name} STATE=unusable"
        return [RowFault(said, "they are not asked until their images are others", contradiction=False, next=listed)]

    def refresh_derived(self, tx: Connection) -> int:
        """Write what other programs lack of the answers."""
        return self.row_target.restore(tx) if self.row_target else 0

    def export_rows(self, tx: Connection, wanted: ExportWanted) -> ExportRows:
        """Return each answer of one extractor beside its row, or the members of a list, by the key."""
        there = answers.standing_extractors(tx, self.name)
        among = [one for one in there if wanted.extractor is None or answers.is_of(one, wanted.extractor)]
        if wanted.extractor is not None and not among:
            raise InputError(
                f"there is no answer of {wanted.extractor!r}; nothing was written",
                hint=f"`make versions TASK={self.name}` lists whose answers there are",
            )
        ranks = answers.ranks(tx, self.name, prefer=wanted.prefer, label=self.label)
        chosen = min(among, key=ranks, default=None)
        rows, kinds = answers_rows(
            tx,
            self.answers_spec,
            self.record.columns,
            extractor=chosen or self.label,
            field=wanted.rows,
            cost=wanted.cost,
        )
        counts = ((f"{one.label}/{one.model}", one.items) for one in answers.version_counts(tx, self.name))
        shares = [VersionShare(*one) for one in counts if one[0] in there]
        shares.sort(key=lambda one: (one.extractor != chosen, one.extractor))
        return ExportRows(rows, partial(encoded, kinds=kinds), extractor=chosen, versions=shares)


def _items_from(record: TaskRecord) -> str:
    if record.items == ROWS:
        return "they are given in Python, which may give others"
    if record.is_query:
        return f"they are what the query in `{record.path}` gives; change that, or what it reads"
    return f"they stand in `{record.items}`, which `{record.path}` names; change that file, and it is read again"
