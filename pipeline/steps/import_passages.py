"""Import passages from a JSON lines file of any length, block by block: what is in is in, and doing it again goes on.

A file whose lines are read twice (STRICT=1, or ids that must fit into a column that is no text) is looked through first
by the rules by which it is written, so that nothing is written where it is refused.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.listing import Listing, listing
from pipeline.passages import adopt, importing
from pipeline.passages.reading import Passage, Passages
from pipeline.passages.schema import Shape, look
from pipeline.passages.seen import Seen
from pipeline.records import Kind, Told
from pipeline.runtime import Runtime
from pipeline.store import events
from pipeline.tables.columns import Kind as IdKind

BLOCK = 2000  # passages in one transaction
MOST = 4 << 20  # characters of text in one, so that long texts do not fill the memory
SHOWN = 1000  # findings kept in memory to be shown; the list in a file has all of them
COLUMNS = ("line", "field", "reason", "value", "kind", "id")


@dataclass
class Report:
    """What an import did. `findings` are the first thousand, `told` counts all of them by kind.

    `lines` are those that hold anything. `added` are new; `updated` have another text, and no concepts yet; `described`
    another source or other metadata; `answered` were refused, because they have concepts and the file brings another
    text; `duplicates` came before in the file. The last two are among the rejected.
    """

    path: str
    lines: int = 0
    added: int = 0
    updated: int = 0
    described: int = 0
    unchanged: int = 0
    released: int = 0
    duplicates: int = 0
    answered: int = 0
    refused: bool = False
    told: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    findings: list[Told] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    report: str | None = None

    @property
    def rows_in(self) -> int:
        """Return how many passages of the file stand in the table as it has them, whether or not they did before."""
        return 0 if self.refused else self.added + self.updated + self.described + self.unchanged

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        names = ("path", "lines", "added", "updated", "described", "unchanged", "released", "duplicates", "answered",
                 "refused", "notes", "report")  # fmt: skip
        told = {kind.value: self.told[kind] for kind in (Kind.REJECTED, Kind.CHANGED, Kind.NOTED)}
        findings = [one._asdict() for one in self.findings]
        return {**{name: getattr(self, name) for name in names}, **told, "findings": findings}

    def check(self) -> None:
        """Raise where nothing went in.

        Raises:
            InputError: `--strict` refused the file, or it holds no passage that can go in. Nothing was changed.
        """
        rejected, changed = self.told[Kind.REJECTED], self.told[Kind.CHANGED]
        if self.refused:
            raise InputError(
                f"{self.path}: {rejected} rejected and {changed} changed, so --strict imported nothing",
                hint="mend the file, or import without --strict",
            )
        if not self.rows_in:
            raise InputError(
                f"{self.path}: no passage could be imported ({rejected} rejected); nothing was changed",
                hint="the findings say why",
            )


def run(rt: Runtime, path: Path, *, strict: bool = False, report: Path | None = None) -> Report:
    """Import the passages in a file; with `report`, list everything told in that CSV file.

    A report says what happened also where nothing went in; `Report.check` raises then.

    Raises:
        InputError: the file cannot be read, an id in it does not fit into the table, or the list cannot be written.
            Nothing was changed.
        ConfigurationError: the tables of this database cannot hold passages.
    """
    passages = Passages(path)
    shape = _shape(rt)
    done = _report(path, report)
    with listing(report, columns=COLUMNS, source=path) as told:
        if strict:
            look_through = _Import(rt, shape, passages, _report(path, report), told)
            look_through.run(writes=False)
            if any(look_through.done.told[kind] for kind in (Kind.REJECTED, Kind.CHANGED)):
                look_through.done.refused = True
                done = look_through.done
        elif shape.ids.kind is not IdKind.TEXT or shape.ids.length is not None:
            _check_ids(rt, shape, passages)
        if not done.refused:
            quiet = Listing(None, columns=COLUMNS) if strict else told  # a strict one has told everything by now
            _Import(rt, shape, passages, done, quiet).run(writes=True)
        told.seal()
    done.notes = [*passages.notes, *_left_out(shape)]
    if done.added or done.updated or done.described:
        new = f"{done.added} added, {done.updated} updated, {done.told[Kind.REJECTED]} rejected"
        with rt.store.write() as tx:
            events.record(tx, "import", path.name, old=None, new=new, why="import", at=rt.now())
    return done


class _Import:
    """One pass over a file."""

    def __init__(self, rt: Runtime, shape: Shape, passages: Passages, done: Report, listing: Listing) -> None:
        """Begin before the first line."""
        self.done = done
        self._rt, self._shape, self._passages, self._listing = rt, shape, passages, listing

    def run(self, *, writes: bool) -> None:
        """Take every block, each in a transaction of its own."""
        with (
            Seen() as seen,
            closing(_blocks(self._passages)) as blocks,
            self._rt.display.bar("importing" if writes else "reading", None) as bar,
        ):
            for block in blocks:
                self._take(block, seen, writes=writes)
                bar.show(self.done.lines, total=_expected(self._passages, self.done.lines))

    def _take(self, block: list[Passage | Told], seen: Seen, *, writes: bool) -> None:
        """Write a block, or see what would be written."""
        self.done.lines += len(block)
        wrong = [one for one in block if isinstance(one, Told)]
        sound = [one for one in block if isinstance(one, Passage)]
        passages, again = importing.firsts(seen, importing.fitted(self._shape, sound))
        with self._rt.store.write() if writes else self._rt.store.read() as tx:
            planned = importing.plan(tx, self._shape, passages)
            released = importing.carry_out(tx, self._shape, planned) if writes else 0
        done = self.done
        done.added += len(planned.new)
        done.updated += len(planned.texts)
        done.described += len(planned.described)
        done.unchanged += planned.unchanged
        done.released += released
        done.duplicates += len(again)
        done.answered += len(planned.answered)
        changes = [change for one in passages for change in one.changes]
        for one in sorted([*wrong, *changes, *again, *planned.answered], key=lambda one: one.line):
            self._tell(one)

    def _tell(self, one: Told) -> None:
        """Count a finding, list it, and keep it to be shown while there is room."""
        self.done.told[one.kind] += 1
        self._listing.add([str(cell) for cell in one])
        if len(self.done.findings) < SHOWN:
            self.done.findings.append(one)


def _shape(rt: Runtime) -> Shape:
    """Return how the tables are, which are made or adopted where they were not yet."""
    name = rt.settings.passages_table
    with rt.store.read() as tx:
        ready = adopt.is_adopted(tx, passages=name)
    if not ready:
        with rt.store.write() as tx:
            lines = adopt.adopt(tx, passages=name)
        for line in lines:
            rt.display.say(line)
    with rt.store.read() as tx:
        return look(tx, passages=name)


def _report(path: Path, report: Path | None) -> Report:
    return Report(str(path), report=str(report) if report else None)


def _check_ids(rt: Runtime, shape: Shape, passages: Passages) -> None:
    """See that every id fits into the table, before anything is written.

    Raises:
        InputError: one does not.
    """
    lines = 0
    with closing(_blocks(passages)) as blocks, rt.display.bar("reading", None) as bar:
        for block in blocks:
            lines += len(block)
            importing.fitted(shape, [one for one in block if isinstance(one, Passage)])
            bar.show(lines, total=_expected(passages, lines))


def _blocks(passages: Passages) -> Generator[list[Passage | Told]]:
    """Yield what stands on the lines of a file in blocks, in their order."""
    block: list[Passage | Told] = []
    size = 0
    for one in passages:
        block.append(one)
        size += len(one.text) if isinstance(one, Passage) else 0
        if len(block) == BLOCK or size > MOST:
            yield block
            block, size = [], 0
    if block:
        yield block


def _expected(passages: Passages, lines: int) -> int:
    """Return how many lines the file seems to have, by how far it was read."""
    return max(lines, round(passages.size * lines / max(1, passages.position)))


def _left_out(shape: Shape) -> list[str]:
    """Return a note where the table has no place for what a file may bring."""
    missing = [f"`{name}`" for name in ("source", "metadata") if not shape.has(name)]
    return [f"`{shape.passages.name}` has no column for {' and '.join(missing)}; not kept"] if missing else []
