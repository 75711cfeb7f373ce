"""Say which name in a file means which column of a subject.

In this order: what MAP= says; what was settled at an earlier import of a file with the same names; exact names; the
subject's fixed aliases. What only looks alike is never taken by itself: it is asked about, or the import ends with the
MAP= line to type.
"""

import csv
import hashlib
import io
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.errors import InputError
from pipeline.store import workspace
from pipeline.tables import likeness
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.layout import ColumnSpec, Layout, TextRow
from pipeline.tables.names import fold

if TYPE_CHECKING:
    from pipeline.store.database import Store

GUESSED = "as answered"  # how a name came to its column where a person was asked
COMPARED = 200  # names without a column that are compared with the columns without a name
Kept = Mapping[str, str]  # column -> the name in the file, empty where no name means it


def _nothing_kept(_header: str) -> Kept | None:
    return None


@dataclass(frozen=True)
class MappingChoices:
    """What decides beside the names: `given` by MAP=, `recall` of an earlier import (by header), `confirm` a guess."""

    given: Kept = field(default_factory=dict)
    recall: Callable[[str], Kept | None] = _nothing_kept
    confirm: Callable[[str], bool] | None = None


def choices_of(
    store: "Store", subject: str, *, given: str = "", confirm: Callable[[str], bool] | None = None
) -> MappingChoices:
    """Return the choices of MAP= and of a person at the terminal, beside what is kept for a subject in this workspace.

    Raises:
        InputError: MAP= cannot be read.
    """

    def recall(header: str) -> Kept | None:
        with store.read() as tx:
            return workspace.kept_columns(tx, subject, header)

    return MappingChoices(parse_map(given), recall, confirm)


class Guess(NamedTuple):
    """A name that may mean a column, and why."""

    column: str
    name: str
    why: str


class MappedColumn(NamedTuple):
    """A column as messages show it, the name in the file that means it (empty: none), and whether that was a guess."""

    column: str
    label: str
    name: str
    is_guess: bool


@dataclass
class ColumnMapping:
    """Which names of a file mean which columns: `columns` by name, None for a name that is not read.

    `kept` is what an import of a file with the same names needs to know, `header` stands for these names. `notes` say
    what was taken beside exact names, a line for each reason. `names` are all of the file's as far as they are known,
    `listed` every column there is.
    """

    header: str
    columns: dict[str, str | None] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: Sequence[str] = ()
    listed: Sequence[MappedColumn] = ()

    def layout(self, layout: Layout) -> Layout:
        """Return the layout that reads a file by this mapping; names it does not have are read as without it."""
        columns, column_of = self.columns, layout.column_of
        return replace(layout, column_of=lambda name: columns[name] if name in columns else column_of(name))

    def name_of(self, column: str) -> str | None:
        """Return the name in the file that means a column."""
        return next((name for name, found in self.columns.items() if found == column), None)


class ColumnsError(InputError):
    """A file's names mean too few columns, or one twice; what they were taken for is kept, to be changed."""

    def __init__(self, error: InputError, mapping: ColumnMapping) -> None:
        """Say what the error says, beside the mapping."""
        super().__init__(error.message, hint=error.hint)
        self.mapping = mapping


def parse_map(text: str) -> Kept:
    """Return the pairs of MAP="bio=Kurzbiografie,username=Mail"; a pair with a comma in it stands in quotes.

    Raises:
        InputError: it is not such a list.
    """
    found: dict[str, str] = {}
    for pair in filter(str.strip, next(csv.reader(io.StringIO(text), skipinitialspace=True), [])):
        column, sign, name = pair.partition("=")
        if not sign or not column.strip():
            raise InputError(
                f"MAP= has {excerpt(pair)!r}, which is not column=name; nothing was imported",
                hint='write MAP="bio=Kurzbiografie,username=Mail"; a name after the = stands as in the file',
            )
        found[column.strip()] = name.strip()
    return found


def map_text(pairs: Mapping[str, str]) -> str:
    """Return the value of the MAP= that says these pairs."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([f"{column}={name}" for column, name in pairs.items()])
    return text.getvalue()


def map_line(pairs: Mapping[str, str]) -> str:
    """Return the MAP= that says these pairs, as a shell takes it."""
    written = map_text(pairs)
    return f'MAP="{written}"' if not set(written) & set('"$`\\!') else f"MAP={shlex.quote(written)}"


def header_of(names: Iterable[str]) -> str:
    """Return what stands for the names of a file, in whatever order."""
    return hashlib.sha256("\n".join(sorted(set(names))).encode("utf-8", "replace")).hexdigest()[:16]


class _Names:
    """The names of one file while they are given to columns."""

    def __init__(self, names: Sequence[str], layout: Layout, path: Path) -> None:
        """Start with no column settled."""
        self.names = [name for name in dict.fromkeys(names) if name]
        self.layout = layout
        self.path = path
        self.specs = {spec.name: spec for spec in layout.specs}
        self.folded = {name: fold(name) for name in self.names}
        self.own = {fold(name): spec.name for spec in layout.specs for name in (spec.name, spec.label)}
        self.found: dict[str, str] = {}  # by column
        self.none: set[str] = set()  # columns that no name means, because a person said so
        self.how: dict[str, list[str]] = {}  # columns by how they were found, in words
        self.unclear: list[Guess] = []

    @property
    def free(self) -> list[str]:
        """Return the names that are not given to a column."""
        given = set(self.found.values())
        return [name for name in self.names if name not in given]

    @property
    def command(self) -> str:
        """Return what imports this file."""
        return self.layout.command.format(shlex.quote(str(self.path)))

    def is_open(self, column: str) -> bool:
        """Return whether a column has no name yet, and may have one."""
        return column not in self.found and column not in self.none

    def give(self, column: str, name: str, how: str) -> None:
        """Give a name to a column."""
        self.found[column] = name
        self.how.setdefault(how, []).append(column)

    def take_said(self, pairs: Kept) -> None:
        """Give names to columns as MAP= says."""
        for said, wanted in pairs.items():
            column = self._column(said)
            if not wanted:
                self.none.add(column)
                continue
            name = self._name(wanted, said)
            if column in self.found or name in self.found.values():
                which = self.layout.label(column) if column in self.found else repr(excerpt(name))
                raise InputError(f"MAP= names {which} twice; nothing was imported", hint="leave one of them out")
            self.give(column, name, "as MAP= says")

    def take_kept(self, pairs: Kept) -> None:
        """Give names to columns as at an earlier import, but for what MAP= says otherwise."""
        for column, name in pairs.items():
            if not name and column not in self.found:
                self.none.add(column)
            elif column in self.specs and self.is_open(column) and name in self.free:
                self.give(column, name, "as at the last import of such a file")

    def _column(self, said: str) -> str:
        """Return the column that MAP= means, by its name, label or alias."""
        other = (spec.name for spec in self.specs.values() if fold(said) in _other_names(spec))
        column = self.own.get(fold(said)) or next(other, None)
        if column is None:
            raise InputError(
                f"MAP= names {excerpt(said)!r}, which is no column; nothing was imported",
                hint=f"the columns are {', '.join(self.specs)}",
            )
        return column

    def _name(self, name: str, said: str) -> str:
        """Return the file's own spelling of a name in MAP=."""
        alike = [name] if name in self.names else [one for one in self.names if self.folded[one] == fold(name)]
        if len(alike) == 1:
            return alike[0]
        shown = ", ".join(excerpt(one) for one in self.names[:12])
        raise InputError(
            f"{self.path} has no column {excerpt(name)!r}, which MAP= gives for {said}; nothing was imported. "
            f"Found: {shown}",
            hint=f"{self.command} {map_line({said: likeness.nearest(name, self.names)})}",
        )

    def take_exact(self) -> None:
        """Give names that are a column's own, whatever their case and signs; one spelled to the letter comes first."""
        for name in sorted(self.free, key=lambda one: one not in self.specs):
            column = self.own.get(self.folded[name])
            if column is not None and self.is_open(column):
                self.give(column, name, "by their names")

    def take_aliases(self) -> None:
        """Give names that are a column's aliases, where only one is."""
        for spec in self.specs.values():
            known = _other_names(spec)
            named = [name for name in self.free if self.folded[name] in known] if self.is_open(spec.name) else []
            if len(named) == 1:
                self.give(spec.name, named[0], "by other names")
            elif named:
                both = " and ".join(repr(excerpt(name)) for name in named)
                self.unclear += [Guess(spec.name, name, f"{both} both mean it") for name in named]

    def settle_parts(self) -> None:
        """Let a column with parts, such as a whole name, give way where its parts are there."""
        for spec in (one for one in self.specs.values() if one.parts and one.name in self.found):
            left = [part for part in spec.parts if self.is_open(part)]
            is_a_part = len(left) < len(spec.parts) and fold(self.found[spec.name]) in map(fold, spec.either)
            if not left or is_a_part:
                name = self.found.pop(spec.name)
                for columns in self.how.values():
                    columns[:] = [column for column in columns if column != spec.name]
                if left:
                    self.give(left[0], name, "by other names")

    def guesses(self, cells: Callable[[], Mapping[str, Sequence[str]]]) -> list[Guess]:
        """Return what the names that are left may mean, the likeliest of a column first."""
        wanted = [spec for spec in self.specs.values() if self._is_wanted(spec)]
        free = [name for name in self.free if self.folded[name] not in self.layout.unread][:COMPARED]
        if not wanted or not free:
            return []
        found, texts = list(self.unclear), cells()
        for spec in wanted:
            if not any(guess.column == spec.name for guess in found):
                alike = likeness.alike(spec, {name: texts.get(name, ()) for name in free})
                found += [Guess(spec.name, name, why) for name, why in alike]
        return found

    def _is_wanted(self, spec: ColumnSpec) -> bool:
        """Return whether a column without a name would be of use."""
        if not self.is_open(spec.name) or (spec.helps_key and self.layout.key in self.found):
            return False
        in_a_whole = any(spec.name in one.parts and one.name in self.found for one in self.specs.values())
        return not in_a_whole and all(self.is_open(part) for part in spec.parts)

    def ask(self, guesses: Sequence[Guess], confirm: Callable[[str], bool]) -> None:
        """Ask about each guess; where none of a column is right, no name means it."""
        for guess in guesses:
            if not self.is_open(guess.column) or guess.name not in self.free:
                continue
            label = self.layout.label(guess.column)
            if confirm(f"{excerpt(guess.name)!r} may be {label}: {guess.why}\nRead it as {label}?"):
                self.give(guess.column, guess.name, GUESSED)
        self.none |= {guess.column for guess in guesses if guess.column not in self.found}

    def refuse(self, guesses: Sequence[Guess]) -> InputError:
        """Return the error that says what is open, with the MAP= line to type."""
        best: dict[str, Guess] = {}
        for guess in guesses:
            if guess.name not in {one.name for one in best.values()}:
                best.setdefault(guess.column, guess)
        open_ = [f"{excerpt(one.name)!r} may be {self.layout.label(one.column)} ({one.why})" for one in best.values()]
        said = {column: self.found[column] for column in self.how.get("as MAP= says", ()) if column in self.found}
        line = map_line(said | dict.fromkeys(self.none, "") | {one.column: one.name for one in best.values()})
        return InputError(
            f"{self.path}: {'; '.join(open_)}; a guess is not taken unasked, and nothing was imported",
            hint=f"{self.command} {line}    (a column that is none of the file's: {next(iter(best))}=)",
        )

    @property
    def mapping(self) -> ColumnMapping:
        """Return what was settled."""
        columns: dict[str, str | None] = {name: column for column, name in self.found.items()}
        unused = {spec.name for spec in self.specs.values() if spec.helps_key and self.layout.key in self.found}
        columns |= {self.found[column]: None for column in unused if column in self.found}
        for name in self.free:  # an exact name that gave way is not read; one that is there twice is found later
            column = self.layout.column_of(name)
            if column in self.none or (column in self.found and column not in self.how.get("by their names", ())):
                columns[name] = None
        is_plain = not self.none and self.how.keys() <= {"by their names"}
        return ColumnMapping(
            header_of(self.names),
            columns,
            {} if is_plain else {**self.found, **dict.fromkeys(self.none, "")},
            [] if is_plain else [self._note(how, found) for how, found in self.how.items() if found],
            self.names,
            [
                MappedColumn(one, self.layout.label(one), self.found.get(one, ""), one in self.how.get(GUESSED, ()))
                for one in self.specs
            ],
        )

    def _note(self, how: str, columns: Sequence[str]) -> str:
        """Return the columns that were found one way, in a line."""
        pairs = [(excerpt(self.found[column]), self.layout.label(column)) for column in columns]
        shown = ", ".join(label if how == "by their names" else f"{name} → {label}" for name, label in pairs)
        return f"columns {how}: {shown}"


def _other_names(spec: ColumnSpec) -> set[str]:
    return set(map(fold, (*spec.aliases, *spec.either)))


def texts_by_name(rows: Iterable[TextRow | Finding]) -> dict[str, list[str]]:
    """Return the names in rows as they stand in their file, each with its texts."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        for name, cell in row.values.items() if isinstance(row, TextRow) else ():
            cells.setdefault(name, []).append(cell if isinstance(cell, str) else "" if cell is None else str(cell))
    return cells


def map_columns(
    names: Sequence[str],
    cells: Callable[[], Mapping[str, Sequence[str]]],
    choices: MappingChoices,
    *,
    layout: Layout,
    path: Path,
) -> ColumnMapping:
    """Return what the names of a file mean; `cells` gives some texts of each, for guesses.

    Raises:
        InputError: MAP= does not fit the file, or a guess is open and there is no terminal to ask at.
    """
    state = _Names(names, layout, path)
    kept = choices.recall(header_of(state.names))
    state.take_said(choices.given)
    state.take_kept(kept or {})
    state.take_exact()
    state.take_aliases()
    state.settle_parts()
    if guesses := state.guesses(cells):
        if choices.confirm is None:
            raise state.refuse(guesses)
        state.ask(guesses, choices.confirm)
        state.settle_parts()
    return state.mapping
