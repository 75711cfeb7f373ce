"""Ask about people, judge what is said of them, and write their tags with the score that follows."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table

from pipeline.core.progress import Progress
from pipeline.engine.task import (
    Answered,
    ExportRows,
    ExportWanted,
    RowFault,
    Task,
    VersionShare,
    Words,
    WriteResult,
)
from pipeline.experts import adopt, table
from pipeline.experts.entries import INDEXED
from pipeline.experts.schema import experts
from pipeline.store import answers, by_hand
from pipeline.tables.cells import cell_words, list_of, text_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.engine.declared.question import Question
    from pipeline.tables.grid import Grid
    from pipeline.tables.item_table import ItemTable


LABEL = f"{table.TASK}@2"  # what a version says is never changed: another wording is another version
HOW_TO_FILL = "`make import EXPERTS=people.csv` brings people in"
PERSON = 16  # hex digits of an input hash that say whom it is about, before those of what was asked

KEPT = "it was answered, but a trigger or a rule of the database keeps its row from being written"
SILENT = "the text supports no tag"


class ExpertsTask(Task):
    """Tags for experts, in the table `experts`."""

    name, subject, label = table.TASK, "experts", LABEL
    answer_tokens = 11  # the mean of the local engine's answers
    words = Words(
        one="person",
        many="people",
        done="tagged",
        all_done="everyone with a bio is tagged, claimed or parked",
        input="biography",
        inputs="biographies",
        after="make index",
    )
    how_to_fill = HOW_TO_FILL
    measured_by = "pipeline.experts.quality"
    index = INDEXED
    derives = True
    export_word = "expert"
    columns = table.ASKED

    @cached_property
    def question(self) -> "Question":
        """Return the question."""
        from pipeline.engine.declared.question import Question
        from pipeline.experts.declaration import PLACES, task

        return Question(task, PLACES, told="", texts_of=_told)

    def table(self, tx: Connection) -> "ItemTable":
        """Return the table of people."""
        return table.people(tx)

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the person of that username."""
        return str(table.by_username(tx, name)["id"])

    def grid(self, tx: Connection) -> "Grid":
        """Return what lists people."""
        from pipeline.experts.show import people_grid

        return people_grid(tx)

    def hashes(self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Iterable[str]:
        """Return whom each question is about and what it says, as hashes."""
        return map(_hash, [row["username"] for row in rows], texts)

    def input_hash(self, row: Mapping[str, Any]) -> str:
        """Return the hash of a question."""
        return _hash(row["username"], self.question.filled(row))

    def equals(self, tx: Connection, hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:  # noqa: ARG002
        """Return nothing: what a person is asked begins with who they are."""
        return {}

    def write(
        self,
        tx: Connection,
        answers: Sequence[Answered],
        *,
        extractor: str,  # noqa: ARG002 - a row of tags does not tell whose they are
        at: datetime,  # noqa: ARG002 - nor since when
    ) -> WriteResult:
        """Write tags and the scores they give, where there are no tags yet and the row is still the same person's.

        A person whose row did not take them, though the database said nothing, is blocked; so is one whose text, as it
        still is, supports none.
        """
        asked = {one.item_id: one for one in answers}
        rules = by_hand.rules_in_force(tx, table.TASK)
        rows = table.people(tx).plain_rows(tx, list(asked), table.WRITTEN, locked=True)
        outdated, strangers = self._outdated(asked, rows)
        tags = _merged_tags(asked, rows.keys() - strangers, rules)
        written = table.write_tags(tx, tags, rows=rows)
        kept = table.untagged_among(tx, list(asked.keys() - strangers - written))
        blocked = {key: KEPT if key in tags else SILENT for key in kept if key in tags or key not in outdated}
        return WriteResult(applied=written, outdated=outdated, blocked=blocked)

    def _outdated(self, asked: Mapping[str, Answered], rows: Mapping[str, Sequence[Any]]) -> tuple[set[str], set[str]]:
        """Return whose rows say another thing than was asked, and who of these is another person."""
        _, *columns = zip(*rows.values(), strict=True) if rows else [()] * len(table.WRITTEN)
        told = self.question.texts_by(columns, len(rows))  # which begin with those that are asked about
        hashes = zip(rows, map(_hash, columns[0], told), strict=True)
        outdated = {key: now for key, now in hashes if now != asked[key].input_hash}
        return set(outdated), {key for key, now in outdated.items() if _is_of_another(now, asked[key].input_hash)}

    def take_back(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take tags back where they are still those of the last applied answer, with the score that follows.

        Also where a person merged some of them; those of a person who was edited by hand stay.
        """
        given = answers.last_applied(tx, table.TASK, ids)
        of_models = {key: one for key, one in given.items() if one[0] != answers.PERSON}
        mine = {key: answer for key, (whose, answer) in of_models.items() if extractor in {None, whose}}
        rules = by_hand.rules_in_force(tx, table.TASK)
        tags = table.by_ids(tx, list(mine), ("tags",))
        said = {key: by_hand.merged(json.loads(mine[key]).get("tags") or [], rules) for key in tags}
        ours = [key for key, row in tags.items() if list_of(row["tags"]) == said[key]]
        table.clear_tags(tx, ours)
        return len(ours)

    def remove_row(self, tx: Connection, item_id: str, *, so_far: str = "nothing more was changed") -> None:
        """Delete a person's row."""
        table.remove_person(tx, item_id, so_far=so_far)

    def check_derived(self, tx: Connection, display: Progress) -> list[RowFault]:
        """Compare scores with their rows, and tags with the answers that were applied."""
        from pipeline.experts.show import check_people

        return check_people(tx, display)

    def refresh_derived(self, tx: Connection) -> int:
        """Bring scores up to date."""
        adopt.settle_foreign(tx)
        return table.refresh_scores(tx)

    def settle_foreign(self, tx: Connection) -> int:
        """Park the rows whose tags are text that is no JSON list, and let those go whose tags were mended."""
        return adopt.settle_foreign(tx)

    def export_rows(self, tx: Connection, wanted: ExportWanted) -> ExportRows:  # noqa: ARG002 - all there are
        """Return every row, by id; there is nothing to choose from: tags are what the table holds, of any version."""
        from pipeline.experts.show import encode_experts

        told = [VersionShare(*row) for row in table.tagged_by(tx)]
        return ExportRows(table.all_experts(tx), encode_experts, table.people(tx).total(tx), versions=told)

    def tables(self, tx: Connection) -> Sequence[Table]:  # noqa: ARG002 - it is the same everywhere
        """Return the table."""
        return (experts,)

    def make_tables(self, tx: Connection, there: Connection) -> None:  # noqa: ARG002 - it is the same everywhere
        """Make the table."""
        adopt.adopt(there)


def _told(column: str, cells: Sequence[Any]) -> Iterable[str]:
    if column == "bio":
        return map(text_of, cells)
    return map(" ".join, map(str.split, [one if one.__class__ is str else cell_words(one) for one in cells]))


def _hash(username: Any, text: str) -> str:
    who = hashlib.sha256(text_of(username).encode("utf-8", "replace")).hexdigest()
    return f"{who[:PERSON]}:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def _is_of_another(now: str, asked: str) -> bool:
    """Return whether two input hashes are of two people: a table that gives ids again had one deleted meanwhile."""
    return ":" in asked and now.partition(":")[0] != asked.partition(":")[0]


def _merged_tags(asked: Mapping[str, Answered], keys: Collection[str], rules: Mapping[str, str]) -> dict[str, str]:
    found = ((key, _tags(one.answer)) for key, one in asked.items() if key in keys)
    return {key: table.as_json(by_hand.merged(tags, rules) if rules else tags) for key, tags in found if tags}


def _tags(answer: "BaseModel") -> list[str]:
    return answer.tags  # type: ignore[attr-defined,no-any-return]  # which loads with pydantic


TASK = ExpertsTask()
