"""A second subject, known to the tests alone: poems in a table of their own, asked for their languages.

The engine runs it through the same steps as people. Nothing in `pipeline` knows of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Column, Connection, MetaData, Table, Text, func, select, true, update

from pipeline.core.hooks import Hooks
from pipeline.core.ranking import Ranking
from pipeline.core.task import Answered, Entry, Item, Prompt, Rows, Task, Words, WriteResult
from pipeline.tables.item_table import ItemStates, ItemTable

if TYPE_CHECKING:
    from pipeline.quality.figures import Quality

poems = Table(
    "toy_poems",
    MetaData(),
    Column("code", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("languages", Text),
)


class Languages(BaseModel):
    """The answer: the languages a poem could be in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: list[str] = Field(min_length=1)


class PoemsRows:
    """Languages for poems; see `pipeline.core.task.TaskRows`."""

    answer: type[BaseModel] = Languages
    parameters: Mapping[str, Any] = MappingProxyType({})
    columns = ("text",)

    def table(self, tx: Connection) -> ItemTable:  # noqa: ARG002
        """Return the table of poems, which are known as "poem" and their code."""
        is_read = poems.c.languages.is_not(None)
        states = ItemStates(("read", is_read), ("unread", true()), "odd")
        return ItemTable(
            *("toy-languages", poems, states, ~is_read),
            key="code",
            order="code",
            named=("code",),
            name_of=lambda row: f"poem {row['code']}",
        )

    def items(self, tx: Connection, rows: Rows) -> Iterator[Item]:  # noqa: ARG002
        """Yield what to ask about these poems."""
        for one, row in rows.items():
            prompt = Prompt(system="Name the languages.", parts=[{"text": row["text"]}], max_output_tokens=256)
            yield Item(one, prompt, hashlib.sha256(row["text"].encode()).hexdigest())

    def contexts(self, tx: Connection, ids: Sequence[str]) -> Mapping[str, Any]:  # noqa: ARG002
        """Return nothing."""
        return {}

    def judged(self, answer: BaseModel, context: Any, *, input_hash: str) -> tuple[BaseModel | None, str]:  # noqa: ARG002
        """Return the answer."""
        return answer, ""

    def write(self, tx: Connection, answers: Sequence[Answered], *, extractor: str, at: datetime) -> WriteResult:  # noqa: ARG002
        """Write languages where there are none."""
        written = WriteResult()
        for one in answers:
            value = json.dumps(one.answer.model_dump()["languages"])
            here = (poems.c.code == one.item_id) & poems.c.languages.is_(None)
            if tx.execute(update(poems).where(here).values(languages=value)).rowcount:
                written.applied.add(one.item_id)
        return written

    def remove(self, tx: Connection, ids: Sequence[str], *, extractor: str | None = None) -> int:  # noqa: ARG002
        """Take languages back."""
        return tx.execute(update(poems).where(poems.c.code.in_(ids)).values(languages=None)).rowcount


class PoemsHooks(Hooks):
    """What poems have beside."""

    def quality(self, tx: Connection, extractor: str | None) -> "Quality":  # noqa: ARG002
        """Return nothing to judge: poems are not judged."""
        from pipeline.quality.figures import Quality

        return Quality("Poems", extractor or "all", 0, (), ())


POEMS_TASK = Task(
    name="toy-languages",
    label="toy-languages@3",
    words=Words("poem", "poems", "read", "every poem is read", "text", "texts", "make index"),
    how_to_fill="write a poem",
    answer_tokens=8,
    rows=PoemsRows(),
    hooks=PoemsHooks(),
)


class PoemsCollection:
    """Every poem with languages; see `pipeline.core.task.Collection`."""

    task = POEMS_TASK.name
    folder = "tasks/poems"
    word = "poem"
    question = "…"
    columns: Mapping[str, str] = MappingProxyType({"code": "id"})
    ranking = Ranking()

    def count(self, tx: Connection, among: Sequence[str] | None = None) -> int:
        """Return how many poems have languages."""
        here = true() if among is None else poems.c.code.in_(among)
        return tx.execute(select(func.count()).where(poems.c.languages.is_not(None), here)).scalar() or 0

    recipe = ""

    def sources(self, tx: Connection, among: Sequence[str] | None = None) -> Iterator[Sequence[Any]]:
        """Yield code, text and languages of the poems with languages, by code."""
        here = true() if among is None else poems.c.code.in_(among)
        columns = (poems.c.code, poems.c.text, poems.c.languages)
        yield from tx.execute(select(*columns).where(poems.c.languages.is_not(None), here).order_by(poems.c.code))

    def entry(self, cells: Sequence[Any]) -> Entry:
        """Return a poem as it is indexed."""
        code, text, languages = cells
        metadata: Mapping[str, Any] = {"id": code, "tags": json.loads(languages)}
        return Entry(code, text, metadata, metadata["tags"])

    def entries(self, tx: Connection, among: Sequence[str] | None = None) -> Iterator[Entry]:
        """Yield the poems with languages, by code."""
        return map(self.entry, self.sources(tx, among))

    def name_of(self, metadata: Mapping[str, Any]) -> str:
        """Return the code."""
        return str(metadata["id"])

    def plain_text(self, metadata: Mapping[str, Any]) -> str:
        """Return the languages."""
        return " ".join(metadata["tags"])

    def texts(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the languages."""
        return list(metadata["tags"])

    def tags(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the languages."""
        return list(metadata["tags"])

    def shown(self, rank: int, similarity: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return a poem that was found."""
        return {"rank": rank, "similarity": similarity, **metadata}
