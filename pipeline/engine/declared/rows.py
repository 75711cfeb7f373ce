"""Ask about, judge and write the rows of a declared task, by a record of it and, to ask and judge, its file."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Subquery, and_, func, or_, select

from pipeline.core.declaration import Declaration, column_named, fill_template
from pipeline.core.errors import ConfigurationError
from pipeline.core.quotes import located
from pipeline.core.settings import Settings
from pipeline.core.task import Answered, Item, Rows, StaleItems, WriteResult
from pipeline.engine.declared.asked import AskedRows
from pipeline.engine.declared.question import Question
from pipeline.engine.declared.row_images import UNSET, ImageSettings, RowImages
from pipeline.engine.declared.task_file import at_line, line_in, load_declaration
from pipeline.store import answers
from pipeline.store.database import pages
from pipeline.store.tables import answers as given
from pipeline.store.tasks import TaskRecord
from pipeline.tables import answer_fields, items, write_to
from pipeline.tables.item_table import ItemStates, ItemTable
from pipeline.tables.item_values import value_text
from pipeline.tables.items import HASH, KEY, VALUES, ItemsSpec
from pipeline.tables.rows import rows_among
from pipeline.tables.view import AnswersSpec
from pipeline.tables.write_to import GivenAnswer, RowTarget, rows_written_to

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.store.database import Connection


PARAMETERS = ("model", "max_output_tokens", "temperature", "thinking", "quotes_in")
OF_IMAGES = ("images", "image_side", "media_resolution")  # of declarations that have some
LONG = 60  # characters of a value that are shown of a difference


def fingerprint_of(declaration: Declaration) -> dict[str, Any]:
    """Return the document that tells what a declaration asks: system, prompt, schema, examples and parameters."""
    examples = [[dict(row), _plain(answer)] for row, answer in declaration.examples]
    return {
        "system": declaration.system,
        "prompt": declaration.prompt,
        "schema": declaration.answer.model_json_schema(),
        "examples": examples,
        **{name: _plain(getattr(declaration, name)) for name in PARAMETERS},
        **{name: _plain(getattr(declaration, name)) for name in (OF_IMAGES if declaration.images else ())},
    }


def digest(document: Mapping[str, Any]) -> str:
    """Return the fingerprint of a document: the SHA-256 of its canonical JSON."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each part in which two declarations differ; within a schema, for the place."""
    return [line for name in new if old.get(name) != new[name] for line in _compared(name, old.get(name), new[name])]


def _compared(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        return [
            line
            for one in names
            if old.get(one) != new.get(one)
            for line in _compared(f"{name}.{one}", old.get(one), new.get(one))
        ]
    return [f"{name}: {_shown(old)} → {_shown(new)}"]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONG else f"{text[: LONG // 2]} … {text[-LONG // 2 :]}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


MEND = "mend it, then run the same command again"


@dataclass(frozen=True)
class Judge:
    """What tells whether an answer is valid: its model, the column of its quotations, and the file's check.

    `check` is given the row's values of `columns`; it stands in the file `path`.
    """

    answer: "type[BaseModel]"
    quotes_in: str | None
    check: "Callable[[Any, Mapping[str, Any]], str | None] | None"
    path: Path
    columns: Mapping[str, str]

    @property
    def needs_row(self) -> bool:
        """Return whether it takes the row to tell whether an answer is valid."""
        return self.check is not None or self.quotes_in is not None

    def judged(self, answer: "BaseModel", row: Any, *, input_hash: str) -> "tuple[BaseModel | None, str]":
        """Return a valid answer with its quotations located, or None and what is wrong; see `Task.judged`.

        Raises:
            ConfigurationError: `check` itself failed, which is the file's fault and not the item's.
        """
        if why := answer_fields.why_unstorable(answer):
            return None, why
        if row is None or (input_hash and row["findable_hash"] != input_hash):
            return answer, ""
        if self.quotes_in is not None:
            found, why = located(answer, value_text(row[self.quotes_in]))
            if found is None:
                return None, why
            answer = found
        if self.check is not None and (why := self._checked(self.check, answer, row)):
            return None, f"check: {why}"
        return answer, ""

    def _checked(self, check: Any, answer: "BaseModel", row: Mapping[str, Any]) -> str:
        told = {name: value for name, value in row.items() if name in self.columns}
        line = getattr(getattr(check, "__code__", None), "co_firstlineno", None)
        try:
            why = check(answer, told)
        except (Exception, SystemExit) as error:
            raise self.fault_of(error, "check()", row["findable_key"], line=line) from error
        if why is not None and not isinstance(why, str):
            raise self._fault(line, f"check() must say in a text what is wrong, or return None, and returned {why!r}")
        return why or ""

    def fault_of(self, error: BaseException, what: str, item_id: str, *, line: int | None = None) -> ConfigurationError:
        """Return what to say where some code of the file failed on an item; `line` is where that code begins."""
        said = f"{what} failed on {item_id!r}: {type(error).__name__}: {error}"
        return self._fault(line_in(error, self.path) or line, said)

    def _fault(self, line: int | None, said: str) -> ConfigurationError:
        where = at_line(self.path, line)
        return ConfigurationError(f"{where}: {said}; nothing was charged, and the reply is kept", hint=MEND)


def texts_among(asked: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Return those of the columns that are asked about in which quotations may stand: `text`, or else all of text."""
    texts = [name for name in asked if columns.get(name) == "text"]
    return ["text"] if "text" in texts else texts


class RowWriter(NamedTuple):
    """What answers now, as other programs' tables name it: provider and model, and the versions that come first."""

    provider: str
    model: str
    preferred: Sequence[str] = ()

    @classmethod
    def of(cls, settings: Settings, backend: str, record: TaskRecord) -> "RowWriter":
        """Return what would answer about the rows of a task now."""
        model = record.words.get("model") or settings.for_backend(backend).model
        return cls(backend, model, settings.prefer_versions or ())


NO_WRITER = RowWriter("", "")
UNUSABLE = "unusable"  # the state of a row that has an image which cannot be asked about
NAMED = 1_000  # characters of a label that are kept


@dataclass(frozen=True)
class DeclaredRows(AskedRows):
    """The rows of a task that a file declares; see `pipeline.core.task.TaskRows` for what each member promises.

    `refreshes` asks again about items whose input changed since they were answered.
    """

    record: TaskRecord
    refreshes: bool = False
    image_settings: ImageSettings = UNSET
    writer: RowWriter = NO_WRITER

    @property
    def label(self) -> str:
        """Return the name with the version that was declared."""
        return f"{self.record.name}@{self.record.version}"

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file.

        Raises:
            InputError: the file is gone or broken.
        """
        return load_declaration(Path(self.record.path))

    @cached_property
    def items_spec(self) -> ItemsSpec:
        """Return what the rows are."""
        key = tuple(name for name, _ in self.record.key)
        return ItemsSpec(self.record.name, key, self.record.columns, tuple(self.images))

    @property
    def images(self) -> Sequence[str]:
        """Return the columns that name an image."""
        found: Sequence[str] = self.record.words.get("images", ())
        return found

    def row_images(self) -> RowImages:
        """Return what looks at the images of rows."""
        source = self.image_settings.source(self.record, self.declaration)
        return RowImages(self.images, self.record.words["asked"], source)

    @cached_property
    def answers_spec(self) -> AnswersSpec:
        """Return what the answers are shown as."""
        return AnswersSpec(self.record.name, self.record.prefix, self.record.key, self.record.fields)

    @cached_property
    def row_target(self) -> RowTarget | None:
        """Return the table of another program that gets a row of each answer; None where `write_to=` names none."""
        where = rows_written_to(self.record.words.get("write_to"))
        return None if where is None else RowTarget(self.answers_spec, *where, *self._whose)

    @property
    def _whose(self) -> tuple[str, Sequence[str]]:
        return self.writer.provider, self.writer.preferred

    @cached_property
    def items_table(self) -> Subquery:
        """Return the rows as they are kept, with their values as JSON."""
        return items.items_table(self.record.name)

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model by which an answer is judged."""
        return self.judge.answer

    def table(self, tx: "Connection") -> ItemTable:  # noqa: ARG002 - the record tells
        """Return the table of the items, in the order in which they were first seen."""
        mine, is_answered = self.items_table.c, self._is_answered(of_input=self.refreshes)
        is_gone = mine.findable_gone_at.is_not(None)
        others, is_open = [("gone", is_gone)], and_(~is_gone, ~mine.findable_empty, ~is_answered)
        if self.images:
            others.append((UNUSABLE, mine.findable_unusable.is_not(None)))
            is_open &= mine.findable_unusable.is_(None)
        label = self.record.words.get("label")
        return ItemTable(
            self.record.name,
            self.items_table,
            ItemStates(("answered", is_answered), ("open", ~mine.findable_empty), "empty", others=tuple(others)),
            is_open,
            key=KEY,
            order="findable_row",
            named=self.columns if label else (),
            own=self.label,
            name_of=lambda row: self.label_of(self.read(row)),
        )

    def items(self, tx: "Connection", rows: Rows) -> Iterator[Item]:  # noqa: ARG002 - other tasks need it
        """Yield what to ask about these rows.

        Raises:
            ConfigurationError: the file was changed after the command had begun, so that it is not what was recorded.
        """
        if self.declared_fingerprint != self.record.fingerprint:
            raise ConfigurationError(
                f"{self.record.path} was changed while it was used; nothing more is asked", hint="run the command again"
            )
        read = {key: self.read(row) for key, row in rows.items()}
        return self._with_images(read) if self.images else self.about(read)

    def rows(self, tx: "Connection", ids: Sequence[str], *, locked: bool = False) -> dict[str, dict[str, Any]]:
        """Return these rows that are there, by their ids, each with its values by column."""
        return {key: self.read(row) for key, row in super().rows(tx, ids, locked=locked).items()}

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with its values by column beside their JSON; those that are none are None."""
        return {**self._no_values, **row, **items.values_in(row[VALUES])}

    @cached_property
    def _no_values(self) -> Mapping[str, None]:
        return dict.fromkeys(self.record.columns)

    def _with_images(self, rows: Rows) -> Iterator[Item]:
        """Yield what to ask with the images of the rows; those whose images cannot be opened any more are left out."""
        images = self.row_images()
        for item in self.about(rows):
            asked = images.put_into(item.prompt, rows[item.id])
            if asked is not None:
                yield item._replace(prompt=asked[0], input_hash=asked[1])

    @cached_property
    def question(self) -> Question:
        """Return how the file's declaration puts rows to the model."""
        places = dict(zip(self.declaration.asked, self.record.words["asked"], strict=True))
        return Question(self.declaration, places)

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of what the file declares."""
        return digest(fingerprint_of(self.declaration))

    @property
    def needs_row(self) -> bool:  # type: ignore[override]
        """Return whether quotations are looked for in the row, or `check` is given it."""
        return self.judge.needs_row

    @cached_property
    def judge(self) -> Judge:
        """Return what tells whether an answer is valid."""
        record = self.record
        declared = self.declaration
        return Judge(declared.answer, record.words.get("quotes_in"), declared.check, Path(record.path), record.columns)

    def equals(self, tx: "Connection", hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the open rows of some hashes, by these."""
        mine, found = self.items_table.c, dict[str, list[str]]()
        query = select(mine.findable_hash, mine.findable_key).where(self.table(tx).is_open).order_by(mine.findable_row)
        for some in pages(hashes):
            for row in tx.execute(query.where(mine.findable_hash.in_(some))):
                found.setdefault(row[0], []).append(row[1])
        return found

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

    def remove(self, tx: "Connection", ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take what other programs were given of the answers about these rows back; return how many rows those are."""
        if self.row_target is not None:
            self.row_target.remove(tx, ids, extractor=extractor)
        return len(ids)

    def stale(self, tx: "Connection") -> StaleItems:
        """Return how many rows changed since they were answered, and since when the first of them."""
        mine = self.items_table.c
        told = (func.count(mine.findable_key), func.min(mine.findable_changed_at))
        old = self._is_answered(of_input=False) & ~self._is_answered(of_input=True)
        return StaleItems(*tx.execute(select(*told).where(mine.findable_gone_at.is_(None), old)).one())

    def label_of(self, row: Mapping[str, Any]) -> str:
        """Return the name by which a person knows a row."""
        template = self.record.words.get("label") or ""
        named = fill_template(template, lambda name: value_text(row.get(column_named(name, row) or name)))
        return " ".join(named.split())[:NAMED] or str(row["findable_key"])

    @property
    def columns(self) -> Sequence[str]:
        """Return what is read of a row."""
        return (KEY, HASH, VALUES)

    def input_hash(self, row: Mapping[str, Any]) -> str:
        """Return the hash that was kept with the row."""
        return str(row["findable_hash"])

    def _is_answered(self, *, of_input: bool) -> ColumnElement[bool]:
        """Return the condition that a row has an answer of this version; `of_input` to what it holds now.

        Where each answer is a row of another program's table, one of this provider and model counts, too; with
        `of_input` where another program wrote it, or the answer is to the row as it is now.
        """
        answered = self._is_answered_here(of_input=of_input)
        if self.row_target is None:
            return answered
        row = self.row_target.has_row(self.items_table.c.findable_key, self.writer.model)
        return answered | (row & ~self._is_answered_here(of_input=False) if of_input else row)

    def _is_answered_here(self, *, of_input: bool) -> ColumnElement[bool]:
        mine = self.items_table.c
        query = select(given.c.id).where(given.c.item_id == mine.findable_key, self._is_mine())
        if of_input:
            query = query.where(given.c.input_hash == mine.findable_hash)
        return query.correlate(self.items_table).exists()

    def _is_mine(self) -> ColumnElement[bool]:
        return and_(
            given.c.task == self.record.name,
            given.c.applied,
            given.c.answer != answers.FORGOTTEN,
            or_(given.c.extractor == self.label, given.c.extractor.startswith(f"{self.label}/", autoescape=True)),
        )

    def _answered_among(self, tx: "Connection", ids: Sequence[str], *, of_input: bool) -> set[str]:
        key = self.items_table.c.findable_key
        found: set[str] = set()
        for some in pages(ids):
            found |= set(tx.execute(select(key).where(key.in_(some), self._is_answered(of_input=of_input))).scalars())
        return found
