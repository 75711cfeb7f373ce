"""Ask about people, write their tags with the score that follows, and say how people are indexed and exported."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from itertools import starmap
from operator import call
from typing import Any, cast

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Connection, Table, delete, exc, select

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Progress
from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.core.states import SUPPORTS_NONE
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
from pipeline.experts import how_to_begin, table
from pipeline.experts.declaration import MAX_TAGS, PLACES, Tags, task
from pipeline.store import answers, claims, edits
from pipeline.store import rows as kept
from pipeline.store.database import SlowError, describe_error, is_one_of, pages, streamed
from pipeline.store.edits import AnswerEdit
from pipeline.tables.adopt import is_refusal, is_sqlite
from pipeline.tables.cells import cell_words, compact_json, list_of, number_of, text_hash, text_of
from pipeline.tables.lists import Grid, RowTable

NOTHING = "nothing was changed"
_PERSON = (
    16  # hex digits of an input hash that say whom it is about, before those of what was asked
)
_BIOGRAPHY = 16  # and behind these, of the biography alone
_KEPT = "it was answered, but a trigger or a rule of the database keeps its row from being written"
_SILENT = f"{SUPPORTS_NONE} tag"


_READERS: dict[
    str, Callable[[Any], Any]
] = {  # of the columns that are indexed, in the order of `metadata.json`
    "id": lambda key: key,
    **{
        name: number_of if name == "hourly_rate" else text_of
        for name in table.HEADERS
        if name != "category"
    },
    "tags": lambda tags: list_of(tags) or [],
    "findability_score": number_of,
    "category": text_of,
}
INDEXED = tuple(_READERS)
_NAMES = tuple(
    {**table.HEADERS, table.USERNAME: table.USERNAME}.get(name, name) for name in INDEXED
)  # others read them


def index_entry(*cells: Any) -> Entry:
    """Return a person as indexed, of the cells of `INDEXED`."""
    told = dict(zip(_NAMES, map(call, _READERS.values(), cells), strict=True))
    words = {  # in which questions are looked for
        "title": told["Job Title"],
        "company": told["Company"],
        "bio": told["Bio"],
        "name": f"{told['First Name']} {told['Last Name']}",
        "tags": ", ".join(told["tags"]),
    }
    return Entry(str(cells[0]), _index_text(told), told, told["tags"], words)


def _index_text(metadata: Mapping[str, Any]) -> str:
    """Return `First Last. Title at Company. bio Domains: tag1, tag2.` of an entry, what is missing left out."""
    first = metadata["First Name"]
    last = metadata["Last Name"]
    tags = metadata["tags"]
    title = metadata["Job Title"]
    company = metadata["Company"]
    name = f"{first} {last}" if first and last else first or last
    work = (
        f"{title} at {company}"
        if title and company
        else title or (f"Works at {company}" if company else "")
    )
    parts = [f"{name}." if name else "", f"{work}." if work else "", metadata["Bio"]]
    if tags:
        parts.append(f"Domains: {', '.join(tags)}.")
    return " ".join(filter(None, parts)) or metadata["username"]


def _entries(
    which: ColumnElement[bool], tx: Connection, among: Sequence[str] | None = None
) -> Iterator[Entry]:
    return starmap(index_entry, table.people(tx).cells(tx, INDEXED, which, among=among))


def _hit(metadata: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{metadata['First Name']} {metadata['Last Name']}".strip()
    told = {"username": metadata["username"], "name": name, "job_title": metadata["Job Title"]}
    return {**told, **{one: metadata[one] for one in ("tags", "findability_score")}}


TAGGED = IndexedTask(  # every tagged expert
    task=table.TASK,
    word="expert",
    question="who knows …",
    columns={
        **{name: name for name in ("rank", "username", "name")},
        "title": "job_title",
        "tags": "tags",
        "score": "findability_score",
    },
    ranking=Ranking(
        (FieldGroup(("title", "company", "bio", "name", "tags")),),
        asking="expert experte experten expertin experto experts specialist specialists",
    ),
    count=lambda tx: table.people(tx).total(tx, table.tagged),
    entries=partial(_entries, table.tagged),
    left_out=table.untagged_texts,
    key="username",
    text_in=("Job Title", "Company", "Bio"),
    tags=lambda metadata: [str(tag) for tag in metadata["tags"] or ()],
    told=_hit,
)
WITH_TEXT = replace(  # and everyone with a text
    TAGGED,
    count=lambda tx: table.people(tx).total(tx, table.indexable),
    entries=partial(_entries, table.indexable),
    left_out=IndexedTask.left_out,
)


class ExpertsTask(Task):
    """Tags for experts, in the table `experts`."""

    name = table.TASK
    subject = "experts"
    label = f"{table.TASK}@2"  # what a version says is never changed: another wording is another version
    answer_tokens = 11  # the mean of the local engine's answers
    words = TaskLabels(
        one="person",
        many="people",
        done="tagged",
        all_done="everyone with a bio is tagged, claimed or parked",
        input="biography",
        inputs="biographies",
        after=CommandHint("index"),
    )
    how_to_fill = how_to_begin
    measured_by = "pipeline.experts.quality"
    derives = True
    export_word = "expert"
    columns = table.ASKED

    def __init__(self, index: IndexedTask, *, refreshes: bool = False) -> None:
        """Make the task, of which so many are indexed.

        With `refreshes`, tagged people whose biography changed are open, too.
        """
        self.index = index
        self.refreshes = refreshes
        # The ids of people to refresh, and the newest answer at that moment; found once, at the first look.
        self._to_refresh: tuple[list[str], int] | None = None

    @cached_property
    def question(self) -> PromptBuilder:
        """Return the question."""
        return PromptBuilder(task, PLACES, told="", text_of=_told)

    def table(self, tx: Connection) -> RowTable:
        """Return the table of people."""
        people = table.people(tx)
        if not self.refreshes:
            return people

        if self._to_refresh is None:
            self._to_refresh = list(self._changed(tx)), answers.newest_id(tx)
        changed_ids, newest_answer = self._to_refresh
        # Whoever was answered since is not asked again by the same command, whatever became of the answer.
        is_changed = is_one_of(tx, people.item_id, changed_ids)
        is_answered = answers.has_answer_after(table.TASK, people.item_id, newest_answer)
        return replace(people, is_open=people.is_open | (is_changed & ~is_answered))

    def stale(
        self, tx: Connection, *, within_s: float | None = None
    ) -> tuple[int, datetime | None] | None:
        """Return how many people have tags about another biography than theirs is now; not since when."""
        try:
            return sum(1 for _ in self._changed(tx, within_s=within_s)), None
        except SlowError:
            return None

    def _changed(
        self, tx: Connection, ids: Sequence[str] | None = None, *, within_s: float | None = None
    ) -> Iterator[str]:
        """Yield the ids of people whose tags are a model's, as it gave them, about another biography; all, or of some.

        Tags of a person or of another program are not among them, nor are people who are parked. SlowError if it takes
        longer than `within_s`.
        """
        began = time.monotonic()
        people = table.people(tx)
        asked = answers.last_asked(table.TASK, people.item_id)
        columns = [people.item_id, asked, *(table.experts.c[name] for name in table.ASKED)]
        is_changeable = (
            table.tagged & table.has_bio & people.item_id.not_in(claims.parked(table.TASK))
        )
        rows: Iterable[Sequence[Any]]
        if ids is None:
            rows = streamed(tx, select(*columns).where(is_changeable), page=table.PAGE)
        else:
            rows = people.among(tx, ids, columns, is_changeable)

        for page in pages(rows, table.PAGE):
            changed_ids = [
                item_id
                for item_id, last_asked, *cells in page
                if last_asked
                and self._is_biography_new(dict(zip(table.ASKED, cells, strict=True)), last_asked)
            ]
            yield from self._with_own_tags(tx, changed_ids)
            if within_s is not None and time.monotonic() - began > within_s:
                raise SlowError

    def _is_biography_new(self, row: Mapping[str, Any], last_asked: str) -> bool:
        """Return whether a row has another biography than its person was asked with; see `answers.last_asked`."""
        extractor, _, asked_hash = last_asked.rpartition(" ")
        _, text, biography = (*asked_hash.split(":"), "", "")[:3]
        # The biography comes first: this is looked at of every person, and nearly all have the same.
        if extractor == answers.PERSON or biography == text_hash(text_of(row["bio"]))[:_BIOGRAPHY]:
            return False
        now = self.input_hash(row)
        # A hash of before had no part of the biography, and tells only the question.
        is_other = bool(biography) or now.split(":")[1] != (text or asked_hash)
        return is_other and not _is_of_another(now, asked_hash)

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the person of that username."""
        return str(table.by_username(tx, name)["id"])

    @property
    def name_columns(self) -> Sequence[str]:
        """Return the names of the column that identifies people in a file: only `username`."""
        return (table.USERNAME,)

    def grid(self, tx: Connection) -> Grid:
        """Return what lists people."""
        from pipeline.experts.show import people_grid

        return people_grid(tx)

    def input_hash(self, row: Mapping[str, Any], said: str | None = None) -> str:
        """Return the hash of a question: of whom it is about, of what it says, and of the biography in it."""
        whose = text_hash(text_of(row["username"]))
        text = self.text(row) if said is None else said
        biography = text_hash(text_of(row["bio"]))
        return f"{whose[:_PERSON]}:{text_hash(text)}:{biography[:_BIOGRAPHY]}"

    def bounded(self, answer: BaseModel) -> tuple[BaseModel, int]:
        """Return the first eight tags, which are the most characteristic, and how many follow them."""
        tags = cast("Tags", answer).tags
        if len(tags) <= MAX_TAGS:
            return answer, 0
        return Tags(tags=tags[:MAX_TAGS]), len(tags) - MAX_TAGS

    def write(
        self,
        tx: Connection,
        answers: Sequence[ValidAnswer],
        *,
        extractor: str,  # noqa: ARG002 - a row of tags does not tell whose they are
        at: datetime,  # noqa: ARG002 - nor since when
    ) -> WriteResult:
        """Write tags and the scores they give, where the row is still the same person's and has none, or outdated ones.

        Outdated are tags as a model gave them about another biography. They stay if the new answer names none, or is
        about an older text itself. A person whose row did not take them, though the database said nothing, is blocked;
        so is one whose text, as it still is, supports none.
        """
        asked = {one.item_id: one for one in answers}
        rules = edits.rules_in_force(tx, table.TASK)
        rows = table.people(tx).rows(tx, list(asked), table.WRITTEN, locked=True)
        hashes = {key: self.input_hash(row) for key, row in rows.items()}
        # A hash of before had no part of the biography.
        outdated = {key for key, now in hashes.items() if not now.startswith(asked[key].input_hash)}
        strangers = {key for key in outdated if _is_of_another(hashes[key], asked[key].input_hash)}
        said = {key: cast("Tags", asked[key].answer).tags for key in rows.keys() - strangers}
        tags = {
            key: compact_json(edits.merged(one, rules) if rules else one)
            for key, one in said.items()
            if one
        }

        tagged_ids = [
            key for key, row in rows.items() if row["tags"] is not None and key not in outdated
        ]
        changed_ids = set(self._changed(tx, tagged_ids))
        new_tags = {key: one for key, one in tags.items() if key in changed_ids}
        written = table.write_tags(tx, tags, rows=rows) | table.write_tags(
            tx, new_tags, rows=rows, over=True
        )

        left = table.people(tx).ids_among(
            tx, list(asked.keys() - strangers - written), table.untagged
        )
        left |= changed_ids - written
        blocked = {
            key: _KEPT if key in tags else _SILENT
            for key in left
            if key in tags or key not in outdated
        }
        return WriteResult(applied=written, outdated=outdated, blocked=blocked)

    def take_back(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take tags back where they are still those of the last applied answer, with the score that follows.

        Also where a person merged some of them; those of a person who was edited by hand stay.
        """
        ours = self._with_own_tags(tx, ids, extractor=extractor)
        table.write_tags(tx, dict.fromkeys(ours), over=True)
        return len(ours)

    def _with_own_tags(
        self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None
    ) -> list[str]:
        """Return those of some people whose tags are the last applied answer, merged, of one extractor or any model."""
        given = answers.last_applied(tx, table.TASK, ids)
        of_models = {key: one for key, one in given.items() if one[0] != answers.PERSON}
        mine = {
            key: answer for key, (whose, answer) in of_models.items() if extractor in {None, whose}
        }
        rules = edits.rules_in_force(tx, table.TASK)
        tags = table.people(tx).rows(tx, list(mine), ("tags",))
        said = {key: edits.merged(json.loads(mine[key]).get("tags") or [], rules) for key in tags}
        return [key for key, row in tags.items() if list_of(row["tags"]) == said[key]]

    def standing(self, tx: Connection, item_id: str) -> dict[str, Any]:
        """Return the tags that a row of a person holds, whoever wrote them."""
        row = table.people(tx).rows(tx, [item_id], ("tags",)).get(item_id, {"tags": None})
        return {"tags": list_of(row["tags"]) or []}

    def show_corrected(
        self, tx: Connection, item_id: str, edit: AnswerEdit, *, stands: bool
    ) -> None:
        """Write the tags that a person said, merged, and the score that follows."""
        rows = table.people(tx).rows(tx, [item_id], table.COLUMNS, locked=True)
        who = text_of(rows[item_id][table.USERNAME])
        before = list_of(rows[item_id]["tags"])
        if before is None:
            raise InputError(
                f"the tags of {who!r} are text of another program, no JSON list; {NOTHING}"
            )
        wanted = edits.merged(edit.after["tags"], edits.rules_in_force(tx, table.TASK))
        if not wanted and before and stands and edit.undoes is None:
            raise InputError(
                f"{who!r} would be left without tags, and be asked about again; {NOTHING}",
                hint="add or rename one in the same edit",
            )
        new = {item_id: compact_json(wanted) if wanted else None}
        if not table.write_tags(tx, new, rows=rows, over=True):
            raise ConfigurationError(
                f"a trigger or a rule of the database keeps {who!r} as it is; {NOTHING}"
            )

    def remove_row(
        self, tx: Connection, item_id: str, *, so_far: str = "nothing more was changed"
    ) -> None:
        """Delete a person's row, and what is kept beside it.

        ConfigurationError where another program's rows hold on to it, or its trigger or rule does.
        """
        people = table.people(tx)
        kept.remove_row(tx, table.TASK, item_id)
        if (name := people.names(tx, [item_id]).get(item_id)) is None:
            return
        try:
            tx.execute(delete(table.experts).where(people.is_among([item_id])))
            if not is_sqlite(tx):
                tx.exec_driver_sql(
                    "SET CONSTRAINTS ALL IMMEDIATE"
                )  # else those that wait speak at the commit
            if not people.ids_among(tx, [item_id]):
                return
            why = "by a trigger or a rule"
        except exc.DBAPIError as error:
            if not is_refusal(error):
                raise
            why = describe_error(error)
        said = (
            f"the database keeps the row of {name!r}, who cannot be forgotten so: {why}; {so_far}"
        )
        raise ConfigurationError(
            said, hint="remove what holds on to the row first, then run it again"
        )

    def check_derived(self, tx: Connection, display: Progress) -> list[RowFault]:
        """Compare scores with their rows, and tags with the answers that were applied."""
        from pipeline.experts.show import check_people

        return check_people(tx, display)

    def refresh_derived(self, tx: Connection) -> int:
        """Bring scores up to date."""
        return table.refresh_scores(tx)

    def export_rows(self, tx: Connection, wanted: ExportOptions) -> ExportRows:  # noqa: ARG002 - all there are
        """Return every row with what came beside it and its state; tags are what the table holds, of any version."""
        from pipeline.experts.show import beside_names, encode_experts, exported_people

        encode = partial(encode_experts, beside=beside_names(tx))
        total = table.people(tx).counts(tx)["total"]
        return ExportRows(exported_people(tx), encode, total, versions=table.tagged_by(tx))

    def tables(self, tx: Connection) -> Sequence[Table]:  # noqa: ARG002 - it is the same everywhere
        """Return the table."""
        return (table.experts,)

    def make_tables(self, tx: Connection, there: Connection) -> None:  # noqa: ARG002 - it is the same everywhere
        """Make the table."""
        table.adopt(there)


def _told(column: str, cell: Any) -> str:
    return text_of(cell) if column == "bio" else " ".join(cell_words(cell).split())


def _is_of_another(now: str, asked: str) -> bool:
    """Return whether two input hashes are of two people: a table that gives ids again had one deleted meanwhile."""
    return ":" in asked and now.partition(":")[0] != asked.partition(":")[0]
