"""Ask about people, judge what is said of them, and write their tags with the score that follows."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipeline.core.task import Answered, WriteResult
from pipeline.engine.declared.asked import AskedRows
from pipeline.experts import table
from pipeline.experts.prompts import CURRENT, TagsPrompt
from pipeline.store import answers, by_hand
from pipeline.tables.cells import cell_words, list_of, text_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.engine.declared.question import Question
    from pipeline.store.database import Connection
    from pipeline.tables.item_table import ItemTable


PROMPT = "{username}\n{job_title}\n{biography}"
PLACES = {"username": "username", "job_title": "job_title", "biography": "bio"}
PERSON = 16  # hex digits of an input hash that say whom it is about, before those of what was asked
MAX_OUTPUT_TOKENS = 1024  # eight tags need about sixty; the rest is room for thoughts

KEPT = "it was answered, but a trigger or a rule of the database keeps its row from being written"
SILENT = "the text supports no tag"


@dataclass(frozen=True, eq=False)
class TagsRows(AskedRows):
    """Tags for experts under one version; see `pipeline.core.task.TaskRows` for what each member promises."""

    asked: TagsPrompt = CURRENT

    columns = table.ASKED

    @cached_property
    def question(self) -> "Question":
        """Return the question."""
        from pipeline.core.declaration import Declaration
        from pipeline.engine.declared.question import Question

        declared = Declaration(
            answer=self.asked.answer,
            items="experts",
            prompt=PROMPT,
            system=self.asked.system,
            max_output_tokens=MAX_OUTPUT_TOKENS,
        )
        return Question(declared, PLACES, told="", texts_of=_told)

    def table(self, tx: "Connection") -> "ItemTable":
        """Return the table of people."""
        return table.people(tx)

    def hashes(self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Iterable[str]:
        """Return whom each question is about and what it says, as hashes."""
        return map(_hash, [row["username"] for row in rows], texts)

    def input_hash(self, row: Mapping[str, Any]) -> str:
        """Return the hash of a question."""
        return _hash(row["username"], self.question.filled(row))

    def write(
        self,
        tx: "Connection",
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
        rules = by_hand.rules_in_force(tx, table.TASK, held=True)
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

    def remove(self, tx: "Connection", ids: Sequence[str], *, extractor: str | None = None) -> int:
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


def _told(column: str, cells: Sequence[Any]) -> Iterable[str]:
    """Return what cells say; names and titles on one line."""
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
    """Return the tags of answers about some people, where there are any, as merged and as JSON text."""
    found = ((key, _tags(one.answer)) for key, one in asked.items() if key in keys)
    return {key: table.as_json(by_hand.merged(tags, rules) if rules else tags) for key, tags in found if tags}


def _tags(answer: "BaseModel") -> list[str]:
    """Return the tags of an answer."""
    return answer.tags  # type: ignore[attr-defined,no-any-return]  # of either version, which load with pydantic
