"""Examples of the lines of a result that belong to no request, kept with the account of their batch."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Column, Connection, ForeignKey, Integer, Table, Text, delete, func, insert, or_, select

from pipeline.store.table_base import METADATA

odd_lines = Table(
    "findable_odd_lines",
    METADATA,
    Column("batch", ForeignKey("findable_batches.number"), primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),  # in the result file, from 1
    Column("kind", Text, nullable=False),  # unknown, duplicate, unreadable
    Column("excerpt", Text, nullable=False),  # the key, or of a line without one how it begins
)

Examples = Mapping[str, Sequence[tuple[int, str]]]  # by kind: (line, excerpt)


def keep_examples(tx: Connection, batch: int, examples: Examples) -> None:
    """Keep the examples of a batch, in the place of those that are there where its state was set back by hand."""
    tx.execute(delete(odd_lines).where(odd_lines.c.batch == batch))
    rows = [{"kind": kind, "line": line, "excerpt": said} for kind, some in examples.items() for line, said in some]
    if rows:
        tx.execute(insert(odd_lines).values(batch=batch), rows)


def examples_of(tx: Connection, batch: int) -> Examples:
    """Return the examples of a batch by kind, in the order of the file."""
    found: dict[str, list[tuple[int, str]]] = {}
    query = select(odd_lines.c.kind, odd_lines.c.line, odd_lines.c.excerpt).where(odd_lines.c.batch == batch)
    for kind, line, said in tx.execute(query.order_by(odd_lines.c.line)):
        found.setdefault(kind, []).append((line, said))
    return found


def drop_examples(tx: Connection, batches: Collection[int], *, holding: Collection[str]) -> None:
    """Delete the examples of these batches, and of any batch those that hold one of some texts."""
    place = func.instr if tx.dialect.name == "sqlite" else func.strpos
    held = (place(odd_lines.c.excerpt, text) > 0 for text in holding)
    tx.execute(delete(odd_lines).where(or_(odd_lines.c.batch.in_(batches), *held)))
