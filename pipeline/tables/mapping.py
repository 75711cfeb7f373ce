"""Say which name in a file means which column of a subject: what MAP= says, exact names, then known aliases.

What only looks like a known name is never taken by itself: a note says the MAP= to type.
"""

import csv
import difflib
import io
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.tables.column_names import fold
from pipeline.tables.findings import excerpt
from pipeline.tables.layout import ColumnSpec, Layout, TextRow

NEAR = 0.82  # ratio of letters in common from which a name looks like another
_PART = 0.6  # of a name's letters that a known name within it must have
_SHORTEST = 4  # letters of a name that is compared with others
_SHOWN = 12  # names in a message
_PARTICLES = re.compile(
    r"af|al|av|ben|bin|d[aeiou]|das|dei|del|della|de[nr]|dos|el|ibn|l[ae]|te[nr]|va[nm]|vo[mn]|zu[mr]?"
)


class MappedColumn(NamedTuple):
    """A column as messages show it, and the name in the file that means it (empty: none)."""

    column: str
    label: str
    name: str


@dataclass(frozen=True)
class ColumnMapping:
    """Which names of a file mean which columns: `columns` by name, None for a name that is not read.

    `notes` say what was taken beside exact names, and what looks like a column, which is in `near` by that column.
    `names` are all of the file's as far as they are known, `listed` every column there is, `wholes` the columns there
    are that are split into others.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    names: Sequence[str] = ()
    listed: Sequence[MappedColumn] = ()
    wholes: Sequence[ColumnSpec] = ()
    near: Mapping[str, str] = field(default_factory=dict)

    def layout(self, layout: Layout) -> Layout:
        """Return the layout that reads a file by this mapping; names it does not have are read as without it."""
        columns, column_of = self.columns, layout.column_of
        return replace(layout, column_of=lambda name: columns[name] if name in columns else column_of(name))

    def whole(self, row: TextRow) -> TextRow:
        """Return a row with the parts of whole names."""
        values = dict(row.values)
        for spec in (one for one in self.wholes if one.name in values):
            whole = values.pop(spec.name)
            parts = split_name(whole) if isinstance(whole, str) else (whole, None)
            for part, text in zip(spec.parts, parts, strict=True):
                values.setdefault(part, text)
        return replace(row, values=values) if self.wholes else row


def parse_map(text: str) -> dict[str, str]:
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


def map_columns(names: Sequence[str], given: Mapping[str, str], *, layout: Layout, path: Path) -> ColumnMapping:
    """Return what the names of a file mean, where `given` is what MAP= says.

    Raises:
        InputError: MAP= does not fit the file.
    """
    there = [name for name in dict.fromkeys(names) if name]
    said = _said(there, given, layout=layout, path=path)
    found = {column: name for column, name in said.items() if name}
    exact, aliased, notes = set[str](), list[str](), list[str]()
    own = {fold(name): spec.name for spec in layout.specs for name in (spec.name, spec.label)}
    for name in sorted(there, key=lambda one: one not in layout.columns):  # one spelled to the letter comes first
        column = own.get(fold(name))
        if column is not None and column not in found.keys() | said.keys() and name not in found.values():
            found[column] = name
            exact.add(column)
    for spec in (one for one in layout.specs if one.name not in found.keys() | said.keys()):
        known = set(map(fold, (*spec.aliases, *spec.either)))
        named = [name for name in there if fold(name) in known and name not in found.values()]
        if len(named) > 1:
            both = " and ".join(repr(excerpt(name)) for name in named)
            notes.append(f"{both} both mean {spec.label}: add {map_line({spec.name: named[0]})} to use the first")
        elif named:
            found[spec.name] = named[0]
            aliased.append(spec.name)
    for spec in (one for one in layout.specs if one.parts and one.name in found):
        _settle_parts(spec, found, said, aliased)
    free = [name for name in there if name not in found.values()]
    near = _near(free, [one for one in layout.specs if one.name not in found.keys() | said.keys()])
    for column, name in near.items():
        said_so = f"column {excerpt(name)!r} looks like {layout.label(column)}"
        notes.append(f"{said_so}: add {map_line({column: name})} to use it")
    columns: dict[str, str | None] = {name: column for column, name in found.items()}
    for name in free:  # an exact name that gave way is not read; one that is there twice is found later
        column = layout.column_of(name)
        if column in found.keys() - exact or column in said:
            columns[name] = None
    taken = (("as MAP= says", [one for one in said if one in found]), ("by other names", aliased))
    told = [
        (how, [f"{excerpt(found[one])} → {layout.label(one)}" for one in some if one in found]) for how, some in taken
    ]
    return ColumnMapping(
        columns,
        [*(f"columns {how}: {', '.join(some)}" for how, some in told if some), *notes],
        there,
        [MappedColumn(one.name, one.label, found.get(one.name, "")) for one in layout.specs],
        [spec for spec in layout.specs if spec.parts and spec.name in found],
        near,
    )


def _said(there: Sequence[str], given: Mapping[str, str], *, layout: Layout, path: Path) -> dict[str, str]:
    """Return what MAP= says, in columns of the layout and names of the file; an empty name for none."""
    found: dict[str, str] = {}
    for said, wanted in given.items():
        column = next((spec.name for spec in layout.specs if fold(said) in map(fold, spec.names)), None)
        if column is None:
            raise InputError(
                f"MAP= names {excerpt(said)!r}, which is no column; nothing was imported",
                hint=f"the columns are {', '.join(spec.name for spec in layout.specs)}",
            )
        alike = [wanted] if wanted in there else [one for one in there if wanted and fold(one) == fold(wanted)]
        if wanted and len(alike) != 1:
            near = difflib.get_close_matches(wanted, there, n=1, cutoff=0)
            raise InputError(
                f"{path} has no column {excerpt(wanted)!r}, which MAP= gives for {said}; nothing was imported. "
                f"Found: {', '.join(excerpt(one) for one in there[:_SHOWN])}",
                hint=f"did you mean {map_line({said: near[0]})}?" if near else "",
            )
        name = alike[0] if wanted else ""
        if column in found or (name and name in found.values()):
            which = layout.label(column) if column in found else repr(excerpt(name))
            raise InputError(f"MAP= names {which} twice; nothing was imported", hint="leave one of them out")
        found[column] = name
    return found


def _settle_parts(spec: ColumnSpec, found: dict[str, str], said: Mapping[str, str], aliased: list[str]) -> None:
    left = [part for part in spec.parts if part not in found and part not in said]
    is_a_part = len(left) < len(spec.parts) and fold(found[spec.name]) in map(fold, spec.either)
    if not left or is_a_part:
        name = found.pop(spec.name)
        if left:
            found[left[0]] = name
            aliased.append(left[0])


def _near(free: Sequence[str], specs: Sequence[ColumnSpec]) -> dict[str, str]:
    known = {fold(name): spec.name for spec in reversed(specs) for name in reversed(spec.names)}
    found: dict[str, str] = {}
    for name, folded in ((name, fold(name)) for name in free if len(fold(name)) >= _SHORTEST):
        within = [one for one in known if one in folded and len(one) >= max(_SHORTEST, _PART * len(folded))]
        near = within or difflib.get_close_matches(folded, known, n=1, cutoff=NEAR)
        if near:
            found.setdefault(known[near[0]], name)
    return found


def split_name(name: str) -> tuple[str, str]:
    """Return first and last name: at a comma the last one stands first, else it is the last word with its particles.

    A name of one word is a first name.
    """
    last, comma, first = (part.strip() for part in name.partition(","))
    if comma and first and last:
        return first, last
    words = last.split()
    at = max(1, len(words) - 1)
    while at > 1 and _PARTICLES.fullmatch(words[at - 1].casefold()):
        at -= 1
    return " ".join(words[:at]), " ".join(words[at:])
