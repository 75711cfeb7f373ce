"""Import passages from a file of any length, block by block: what is in is in, and doing it again goes on.

A file whose rows are read twice (STRICT=1, or ids that must fit into a column that is no text) is looked through first
by the rules by which it is written, so that nothing is written where it is refused.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from pipeline.files import SealedWriter
from pipeline.passages import adopt, importing
from pipeline.passages.read import Passage, Passages
from pipeline.passages.schema import Shape, look
from pipeline.runtime import Runtime
from pipeline.store import events
from pipeline.tables.columns import Kind as IdKind
from pipeline.tables.duplicates import Seen
from pipeline.tables.findings import Finding, ImportReport, Kind, rejects_report

BLOCK = 2000  # passages in one transaction


@dataclass
class Report(ImportReport):
    """What an import of passages did.

    `lines` are those that hold anything. `added` are new; `updated` have another text, and no concepts yet; `described`
    another source or other metadata; `answered` were refused, because they have concepts and the file brings another
    text; `duplicates` came before in the file. The last two are among the rejected.
    """

    FIELDS: ClassVar = (
        "path", "lines", "added", "updated", "described", "unchanged", "released", "duplicates", "answered", "refused",
        "notes", "report",
    )  # fmt: skip
    KINDS: ClassVar = (Kind.REJECTED, Kind.CHANGED, Kind.NOTED)
    NAMES: ClassVar = ("line", "field", "reason", "value", "kind", "id")
    NO_KEY: ClassVar = ""
    WORD: ClassVar = "passage"

    lines: int = 0
    described: int = 0
    duplicates: int = 0
    answered: int = 0

    @property
    def rows_in(self) -> int:
        """Return how many passages of the file stand in the table as it has them, whether or not they did before."""
        return 0 if self.refused else super().rows_in + self.described


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
    new = partial(Report, str(path), str(report) if report else None)
    done = new()
    with rejects_report(report, columns=Report.NAMES, source=path) as rejects:
        if strict:
            done = _Import(rt, shape, passages, new(), rejects).run(writes=False)
            done.refused = done.is_flawed
        elif shape.ids.kind is not IdKind.TEXT or shape.ids.length is not None:
            _check_ids(rt, shape, passages)
        if not done.refused:  # a strict one has told everything by now
            done = _Import(rt, shape, passages, new(), None if strict else rejects).run(writes=True)
        if rejects is not None:
            rejects.seal()
    done.notes = [*passages.notes, *_left_out(shape)]
    if not done.refused and (done.added or done.updated or done.described):
        what = f"{done.added} added, {done.updated} updated, {done.told[Kind.REJECTED]} rejected"
        with rt.store.write() as tx:
            events.record(tx, "import", path.name, old=None, new=what, why="import", at=rt.now())
    return done


class _Import:
    """One pass over a file."""

    def __init__(
        self, rt: Runtime, shape: Shape, passages: Passages, done: Report, rejects: SealedWriter | None
    ) -> None:
        """Begin before the first row."""
        self._rt, self._shape, self._passages, self._done, self._rejects = rt, shape, passages, done, rejects

    def run(self, *, writes: bool) -> Report:
        """Take every block, each in a transaction of its own; return what was done."""
        with Seen() as seen, _blocks(self._rt, self._passages, "importing" if writes else "reading") as blocks:
            for passages, findings in blocks:
                self._take(passages, findings, seen, writes=writes)
        return self._done

    def _take(self, sound: list[Passage], findings: list[Finding], seen: Seen, *, writes: bool) -> None:
        """Write a block, or see what would be written."""
        passages, again = importing.firsts(seen, importing.fitted(self._shape, sound))
        with self._rt.store.write() if writes else self._rt.store.read() as tx:
            planned = importing.plan(tx, self._shape, passages)
            released = importing.carry_out(tx, self._shape, planned) if writes else 0
        done = self._done
        done.lines += len(sound) + len(findings)
        done.added += len(planned.new)
        done.updated += len(planned.texts)
        done.described += len(planned.described)
        done.unchanged += planned.unchanged
        done.released += released
        done.duplicates += len(again)
        done.answered += len(planned.answered)
        changes = [change for one in passages for change in one.changes]
        done.tell([*findings, *changes, *again, *planned.answered], self._rejects)


@contextmanager
def _blocks(rt: Runtime, passages: Passages, title: str) -> Iterator[Iterator[tuple[list[Passage], list[Finding]]]]:
    """Open a file's passages and findings in blocks, with a bar."""
    with (
        rt.display.bar(title, None) as bar,
        closing(passages.in_blocks(passages.passages(), bar, most=BLOCK, size=lambda one: len(one.text))) as blocks,
    ):
        yield blocks


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
    return Report(str(path), str(report) if report else None)


def _check_ids(rt: Runtime, shape: Shape, passages: Passages) -> None:
    """See that every id fits into the table, before anything is written.

    Raises:
        InputError: one does not.
    """
    with _blocks(rt, passages, "reading") as blocks:
        for some, _ in blocks:
            importing.fitted(shape, some)


def _left_out(shape: Shape) -> list[str]:
    """Return a note where the table has no place for what a file may bring."""
    missing = [f"`{name}`" for name in ("source", "metadata") if not shape.has(name)]
    return [f"`{shape.passages.name}` has no column for {' and '.join(missing)}; not kept"] if missing else []
