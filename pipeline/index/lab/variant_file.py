"""Read a variant of the search from a file, TOML or JSON; what it does not say is as the collection has it.

`docs/lab.md` shows one: `text`, `tags` or `without`, `model`, `dim`, `share`, and `[[groups]]`.
"""

import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core import files
from pipeline.core.declaration import columns_in, fill_template
from pipeline.core.errors import InputError
from pipeline.core.ranking import FieldGroup, Ranking
from pipeline.core.task import Entry

MOST_GROUPS = 8
_MEMBERS: Mapping[str, Any] = {
    "text": str,
    "tags": bool,
    "without": list,
    "model": str,
    "dim": int,
    "share": (int, float),
    "groups": list,
    "asking": str,
}
TAGS = "tags"  # the field that `tags = false` leaves out


@dataclass(frozen=True)
class Variant:
    """A variant as its file has it; None is as the collection has it."""

    name: str
    text: str | None = None
    without: frozenset[str] = frozenset()
    model: str | None = None
    dim: int | None = None
    share: float | None = None
    groups: tuple[FieldGroup, ...] | None = None
    asking: str | None = None

    def ranking(self, usual: Ranking) -> Ranking:
        """Return how its entries are ranked, where the collection's are ranked by `usual`."""
        return Ranking(
            usual.groups if self.groups is None else self.groups,
            usual.share if self.share is None else self.share,
            usual.asking if self.asking is None else self.asking,
        )

    def entry(self, entry: Entry) -> Entry:
        """Return an entry of the collection as the variant has it."""
        fields = {name: text for name, text in (entry.fields or {}).items() if name not in self.without}
        text = entry.text
        if self.text is not None:
            text = " ".join(fill_template(self.text, lambda name: fields.get(name, "")).split())
        elif self.without:
            text = ". ".join(filter(None, (one.strip() for one in fields.values())))
        return entry._replace(text=text or entry.text, fields=fields or None)

    def check_fields(self, known: Collection[str]) -> None:
        """Pass when every field it names is one of the collection.

        Raises:
            InputError: one is not, or its text names none.
        """
        named = [*columns_in(self.text), *self.without, *(one for group in self.groups or () for one in group.fields)]
        strange = next((one for one in named if one not in known), None)
        if strange is None and (self.text is None or columns_in(self.text)):
            return
        what = "its text names no field" if strange is None else f"there is no field {strange!r}"
        hint = f"its entries have {', '.join(known)}" if known else "its entries have no fields, but text alone"
        raise InputError(f"variant {self.name!r}: {what}; nothing was measured", hint=hint)


def read_variant(path: Path) -> Variant:
    """Return the variant of a file, named as the file is.

    Raises:
        InputError: the file is missing, is neither TOML nor JSON, or says what no variant says.
    """
    if why := files.why_not_readable(path):
        raise InputError(f"{path} {why}; nothing was measured", hint="check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
        given = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not what its name says: {error}", hint="a variant is TOML, or .json") from error
    if not isinstance(given, dict):
        raise _wrong(path, "it must be an object")
    for name, value in given.items():
        _check(path, name, value)
    without = frozenset(map(str, given.pop("without", ()))) | ({TAGS} if given.pop("tags", True) is False else set())
    groups = given.pop("groups", None)
    made = None if groups is None else tuple(_groups(path, groups, without))
    return Variant(path.stem, groups=made, without=without, **given)


def _check(path: Path, name: str, value: Any) -> None:
    """Pass when a member is one of a variant's, of its kind and in its range."""
    if name not in _MEMBERS:
        raise _wrong(path, f"there is no member {name!r}")
    if not isinstance(value, _MEMBERS[name]) or (isinstance(value, bool) and name != "tags"):
        raise _wrong(path, f"{name!r} has another type")
    if name == "share" and not 0 <= value <= 1:
        raise _wrong(path, "'share' must be from 0 to 1")
    if name == "dim" and value < 1:
        raise _wrong(path, "'dim' must be 1 or more")


def _groups(path: Path, given: Sequence[Any], without: Collection[str]) -> list[FieldGroup]:
    """Return the groups of fields, or say what is wrong with them; fields that are left out are in none."""
    if not 1 <= len(given) <= MOST_GROUPS:
        raise _wrong(path, f"'groups' must hold 1 to {MOST_GROUPS}")
    found = []
    for number, one in enumerate(given, start=1):
        fields, weight = (one.get("fields"), one.get("weight", 1.0)) if isinstance(one, dict) else (None, 1.0)
        if not isinstance(fields, list) or not fields or not all(isinstance(name, str) for name in fields):
            raise _wrong(path, f"group {number} names no field")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1000:  # noqa: PLR2004
            raise _wrong(path, f"the weight of group {number} must be a number from 0 to 1000")
        found.append(FieldGroup(tuple(name for name in fields if name not in without), float(weight)))
    return found


def _wrong(path: Path, why: str) -> InputError:
    return InputError(f"{path}: {why}; nothing was measured", hint=f"a variant has {', '.join(_MEMBERS)}")
