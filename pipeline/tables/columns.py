"""Which name in a file means which column: what MAP= says, exact names, then known names in a dozen languages.

Names are compared by their letters. What only looks like a known name is never taken by itself: a note says the MAP= to
type.
"""

import csv
import io
import sqlite3
import tomllib
import unicodedata
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import AS_IT_IS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.tables.read import MAX_LINE, SourceFile, SourceRow
from pipeline.tables.row_import import (
    Finding,
    ImportOptions,
    R,
    SoundRow,
    all_or_nothing,
    excerpt,
    rejected,
    unsound,
)

_NEAR = 80  # percent of letters in common from which a name looks like another
_SHOWN = 12  # names in a message
_NAMES = Path(__file__).with_name("column_names.toml").read_text(encoding="utf-8")
COLUMN_NAMES: Mapping[str, Sequence[str]] = tomllib.loads(_NAMES)
# letters that do not decompose into one of ASCII with an accent; the last is a dotless i
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}
)


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Return the letters and digits of a name in lower case, without accents: `E-Mail` is `email`."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS)).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


@dataclass(frozen=True)
class ColumnLayout:
    """The columns that a subject reads: by their names, what messages call them; `key` is the one that every row has.

    `hint` says what a file should be, of a `default` format where its name does not say it; `command` imports
    the one that its option `to_import` names. Other columns are kept under their own names, and so are those in `too`,
    which are read as another thing than they say.
    """

    key: str
    columns: Mapping[str, str]
    hint: str
    command: str
    to_import: str
    default: str = "csv"
    max_line: int = MAX_LINE
    too: frozenset[str] = frozenset()

    @cached_property
    def own(self) -> dict[str, str]:
        """Return the columns by their own names, folded."""
        return {fold(one): name for name, label in self.columns.items() for one in (name, label)}

    @cached_property
    def known(self) -> dict[str, str]:
        """Return the columns by every name by which they are known, folded."""
        return {
            fold(one): name for name in self.columns for one in COLUMN_NAMES.get(name, ())
        } | self.own


class ColumnMapping:
    """Which names of a file mean which columns of a layout.

    `notes` say what was taken, and what looks like a column, which is in `near` by that column; `not_read` are names
    that were met and mean nothing, `others` those whose cells are kept.
    """

    def __init__(
        self, names: Sequence[str], given: Mapping[str, str], *, layout: ColumnLayout, path: Path
    ) -> None:
        """Find out what the names of a file mean, where `given` is what MAP= says."""
        self.layout = layout
        self.notes = list[str]()
        self.not_read = dict[str, None]()
        self.others = dict[str, None]()
        self._there = there = list(dict.fromkeys(filter(None, names)))
        said = _said(there, given, layout=layout, path=path)
        self._named = {name: column for column, name in said.items() if name}
        self._own = {
            name: column for name, column in layout.own.items() if column not in said
        }  # of later rows, too
        self._note(f"as {OptionHint('map')} says", self._named)
        known: dict[str, str] = {}
        free = [
            column for column in layout.columns if column not in said and not self.name_of(column)
        ]
        for column in free:
            alike = [
                name
                for name in there
                if layout.known.get(fold(name)) == column and name not in self._named
            ]
            if len(alike) == 1:
                known[alike[0]] = column
            elif alike:
                both = " and ".join(repr(excerpt(name)) for name in alike)
                use = _map_option({column: alike[0]})
                self.notes.append(
                    f"{both} both mean {layout.columns[column]}: add {use} to use the first"
                )
        self._named |= known
        self._note("by other names", known)
        near = {
            name: column
            for name, column in layout.known.items()
            if column in free and not self.name_of(column)
        }
        self.near: dict[str, str] = {}
        for name in (name for name in there if self.column_of(name) is None):
            found = _most_like(fold(name), list(near), least=_NEAR)
            if found and self.near.setdefault(near[found], name) == name:
                looks = f"column {excerpt(name)!r} looks like {layout.columns[near[found]]}"
                self.notes.append(f"{looks}: add {_map_option({near[found]: name})} to use it")

    def _note(self, how: str, taken: Mapping[str, str]) -> None:
        pairs = ", ".join(
            f"{excerpt(name)} → {self.layout.columns[column]}" for name, column in taken.items()
        )
        self.notes += [f"columns {how}: {pairs}"] if pairs else []

    def column_of(self, name: str) -> str | None:
        """Return the column of the subject that a name means; None where it means none."""
        return self._named.get(name) or self._own.get(fold(name))

    def read_as(self, name: str) -> str | None:
        """Return under what a value of this name is read; None where it is not."""
        column = self.column_of(name)
        return name if column is None and fold(name) not in self.layout.own else column

    def name_of(self, column: str) -> str:
        """Return the first name in the file that means a column; empty where none does."""
        return next((name for name in self._there if self.column_of(name) == column), "")

    @property
    def listed(self) -> list[dict[str, str]]:
        """Return of every column its name, the one in messages, and the one in the file (empty: none)."""
        columns = self.layout.columns.items()
        return [
            {"column": name, "label": label, "name": self.name_of(name)} for name, label in columns
        ]

    def row(self, row: SourceRow) -> SourceRow | Finding:
        """Return a row by columns; or why it is none."""
        values: dict[str, Any] = {}
        for name, cell in row.values.items():
            column = self.read_as(name)
            if column is None:
                self.not_read[name] = None
            elif column in values:
                said = self.layout.columns.get(column, column)
                return rejected(row.line, "given twice, in two spellings", cell, column=said)
            else:
                values[column] = cell
                if column not in self.layout.columns:
                    self.others[name] = None
            if column in self.layout.too and fold(name) not in self.layout.own:
                values[name] = cell
        key = values.get(self.layout.key)
        return unsound(row.line, values, self.layout.columns, key=key) or SourceRow(
            row.line, values
        )


# keys that came before, and on which line: on disk, at flat memory, about 60 bytes a key
_REJECTED = "\0"  # before the key of a row that did not go in: no key has it
_SEEN = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID; BEGIN
"""


class MappedFile(SourceFile):
    """What a subject makes of the rows of one file, by the columns of its `layout`; each `iter` reads it anew."""

    layout: ClassVar[ColumnLayout]

    def __init__(
        self, path: Path, given: Mapping[str, str] | None = None, options: ReadOptions = AS_IT_IS
    ) -> None:
        """Find out what the file is, and which names in it mean which columns; `given` is what MAP= says.

        It is an InputError, too, where MAP= does not fit, or a table lacks the key or has a column twice.
        """
        layout = self.layout
        given = given or {}
        super().__init__(
            path,
            layout.hint,
            layout.default,
            max_line=layout.max_line,
            options=options,
            is_known=lambda name: fold(name) in layout.known,
        )
        self.mapping = mapping = ColumnMapping(self.names, given, layout=layout, path=path)
        self.notes += mapping.notes
        if self.format in {"json", "jsonl"}:
            return
        if not mapping.name_of(layout.key):
            which = OptionHint(map=f"{layout.key}=…")
            ask = CommandHint("ask", from_=path, q="…")
            hint = f"say which one it is: {which}; of any other table `{ask}` asks"
            if near := mapping.near.get(layout.key):
                given = {**given, layout.key: near}
                hint = str(
                    CommandHint(
                        layout.command, **{layout.to_import: path, "map": _map_option(given).value}
                    )
                )
            found = excerpt(_listed(self.names))
            said = f"{path} has no {layout.columns[layout.key]} column; nothing was imported. Found: {found}"
            raise InputError(said, hint=hint)
        columns = [column for name in self.names if name and (column := mapping.read_as(name))]
        if twice := next((column for column in columns if columns.count(column) > 1), ""):
            said = f"{path} has the column {layout.columns.get(twice, twice)} more than once; nothing was imported"
            raise InputError(said, hint="remove one, or give it another name")

    @classmethod
    def check(cls, path: Path, options: ImportOptions) -> None:
        """Pass where a file can be read, and has a row, good or bad; InputError where it cannot, or has none."""
        with all_or_nothing():
            if next(iter(cls(path, parse_map(options.mapping), options.reading)), None) is None:
                said = f"{path}: no row could be imported; nothing was changed"
                raise InputError(said, hint="the file holds a header, or nothing, and no rows")

    @classmethod
    def begun(cls, path: Path, options: ImportOptions, kind: type[R]) -> tuple[Self, R]:
        """Return a file that is to be imported, and the report of that, with the notes on it, also those to come."""
        with all_or_nothing():
            file = cls(path, parse_map(options.mapping), options.reading)
        report = str(options.report) if options.report else None
        done = kind(str(path), report, options.dry, options.strict, file.mapping.listed)
        done.format, done.encoding, done.notes = file.format, file.encoding, file.notes
        return file, done

    def judged(self, row: SourceRow) -> SoundRow | Finding:
        """Return a row as it goes in, or why it does not."""
        raise NotImplementedError

    def identity(self, key: str) -> str:
        """Return what no two rows of a file have in common, of a row's key."""
        return key

    def last_notes(self) -> Iterator[str]:
        """Yield what is known of the file once all of it was read."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[SoundRow | Finding]:
        """Yield each row as it goes in, and a finding for each that does not, in their order; raises as `SourceFile`.

        Of rows that are the same one the first goes in.
        """
        key = self.layout.key
        first = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING"
        self._seen = seen = sqlite3.connect("", isolation_level=None)
        weakref.finalize(self, seen.close)
        seen.executescript(_SEEN)
        for row in self.rows():
            found = row if isinstance(row, Finding) else self.mapping.row(row)
            one = found if isinstance(found, Finding) else self.judged(found)
            if (
                isinstance(one, SoundRow)
                and not seen.execute(first, (self.identity(one.key), one.line)).rowcount
            ):
                (line,) = seen.execute(
                    "SELECT line FROM seen WHERE key = ?", (self.identity(one.key),)
                ).fetchone()
                said = f"duplicate {key}: already on line {line}"
                one = rejected(
                    one.line, said, one.key, column=self.layout.columns[key], key=one.key
                )
            elif isinstance(one, Finding) and one.key:
                seen.execute(first, (_REJECTED + self.identity(one.key), one.line))
            if isinstance(one, Finding) and isinstance(row, SourceRow):
                one = one._replace(cells=(found if isinstance(found, SourceRow) else row).values)
            yield one
        self.notes += self.last_notes()

    def has_key(self, key: str) -> bool:
        """Return whether a row with this key was read, whether imported or rejected."""
        keys = (self.identity(key), _REJECTED + self.identity(key))
        return (
            self._seen.execute("SELECT 1 FROM seen WHERE key IN (?, ?)", keys).fetchone()
            is not None
        )


def parse_map(text: str) -> dict[str, str]:
    """Return the pairs of MAP="bio=Kurzbiografie,username=Mail"; a pair with a comma in it stands in quotes."""
    found: dict[str, str] = {}
    for pair in filter(str.strip, next(csv.reader(io.StringIO(text), skipinitialspace=True), [])):
        column, sign, name = pair.partition("=")
        if not sign or not column.strip():
            said = f"{OptionHint('map')} has {excerpt(pair)!r}, which is not column=name; nothing was imported"
            like = OptionHint(map="bio=Kurzbiografie,username=Mail")
            raise InputError(said, hint=f"write {like}; a name after the = stands as in the file")
        found[column.strip()] = name.strip()
    return found


def _map_option(pairs: Mapping[str, str]) -> OptionHint:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        [f"{column}={name}" for column, name in pairs.items()]
    )
    return OptionHint(map=text.getvalue())


def _said(
    there: Sequence[str], given: Mapping[str, str], *, layout: ColumnLayout, path: Path
) -> dict[str, str]:
    found: dict[str, str] = {}
    for said, wanted in given.items():
        column = layout.known.get(fold(said))
        if column is None:
            raise InputError(
                f"{OptionHint('map')} names {excerpt(said)!r}, which is no column; nothing was imported",
                hint=f"the columns are {', '.join(layout.columns)}",
            )
        alike = (
            [wanted]
            if wanted in there
            else [one for one in there if wanted and fold(one) == fold(wanted)]
        )
        if wanted and len(alike) != 1:
            near = _most_like(wanted, there, least=0)
            which = f"which {OptionHint('map')} gives for {said}"
            raise InputError(
                f"{path} has no column {excerpt(wanted)!r}, {which}; nothing was imported. Found: {_listed(there)}",
                hint=f"did you mean {_map_option({said: near})}?" if near else "",
            )
        name = alike[0] if wanted else ""
        if column in found or (name and name in found.values()):
            which = layout.columns[column] if column in found else repr(excerpt(name))
            raise InputError(
                f"{OptionHint('map')} names {which} twice; nothing was imported",
                hint="leave one of them out",
            )
        found[column] = name
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(excerpt(one) for one in names[:_SHOWN])


def _most_like(name: str, known: Sequence[str], *, least: float) -> str | None:
    from rapidfuzz import fuzz, process

    found = process.extractOne(name, known, scorer=fuzz.ratio, score_cutoff=least)
    return found[0] if found else None
