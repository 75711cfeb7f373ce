"""Twin days: each day is lived by the product as it was when the yardstick was set, and by this one, and compared.

Both speak to the frozen engine. All that a user sees must be the same: what the server was asked, byte for byte; the
user's own tables; views of answers; exports; what `status` and `batches` say; the index. What differs on purpose is one
line of differences.tsv: day, member, why; a line that licenses nothing is a fault. `make twin-days` runs this alone.
"""

import csv
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.days import DAYS, Day, begin, finish, type_in
from tests.acceptance.engine import Engine
from tests.acceptance.product import ON_POSTGRESQL, YARDSTICK, product, yardstick
from tests.acceptance.state import differences, seen

FROZEN = Path(__file__).with_name("yardstick.zip")
FROZEN_SHA256 = "d9541967e676836011053ddfa738b25937d419e6695cfeafb8c5193730f2e1ba"
NEW = "overwrite"  # an option that the product of then had not, and did not need
HERE = "postgresql" if ON_POSTGRESQL else "sqlite"
TWINS = [day for day in DAYS if not day.alone and HERE in day.databases]  # alone: on the engine inside each version
LAST = [day for day in TWINS if day.name not in {other.after for other in TWINS}]
LOOKED_AT = {day.name: last.name for last in reversed(LAST) for day in (*last.before, last)}
# a byte of these that changes is asked again and paid again, or is another program's: no pattern licenses them
NEVER_BY_PATTERN = ("creates", "calls", "tables", "exports", "index", "batches", "asked")


class Licence(NamedTuple):
    """One difference on purpose: the day and the member, as patterns, and why."""

    day: str
    member: str
    why: str


def licences() -> list[Licence]:
    """Return every licensed difference; one of a day `@postgresql` or `@sqlite` is of that database alone."""
    with FROZEN.with_name("differences.tsv").open(encoding="utf-8", newline="") as file:
        rows = [(*row[0].partition("@")[::2], *row[1:]) for row in csv.reader(file, delimiter="\t")]
    return [Licence(day, *told) for day, database, *told in rows if database in {"", HERE}]


def lived(last: Day, home: Path, version: Callable[[], Path]) -> dict[str, dict[str, Any]]:
    """Live a day, and those before it, with a version of the product; return what a user sees after each by its name.

    After a day that another test looks at nothing is looked at.
    """
    found = {}
    with Engine(home / "engine") as engine:
        for day in (*last.before, last):
            here = begin(day, home / "here", engine)
            here.version = version
            for command in day.commands:
                known = {name: value for name, value in command.options.items() if version is product or name != NEW}
                type_in(here, day, engine, replace(command, options=known))
            finish(here, day, engine)
            if LOOKED_AT[day.name] == last.name:
                found[day.name] = seen(here, engine)
    return found


@pytest.mark.parametrize("last", LAST, ids=[day.name for day in LAST])
def test_days_end_as_they_did(last: Day, tmp_path: Path) -> None:
    """Whatever a user can see after a day is what it was."""
    before, now = (lived(last, tmp_path / name, version) for name, version in (("one", yardstick), ("two", product)))
    wrong = []
    for day in now:
        mine = [one for one in licences() if fnmatchcase(day, one.day)]
        found = {one.partition(": ")[0]: one for one in differences(before[day], now[day])}
        wrong += [
            f"{day}: {said}" for at, said in found.items() if not any(fnmatchcase(at, one.member) for one in mine)
        ]
        idle = [one for one in mine if one.day == day and not any(fnmatchcase(at, one.member) for at in found)]
        wrong += [f"licensed, and the same: {one}" for one in idle]
    assert now
    assert not wrong, "\n".join(wrong[:20])


def test_what_would_be_paid_again_is_licensed_by_name_alone() -> None:
    """A change of what is asked, or of what other programs read, is named day by day and says why."""
    for one in licences():
        assert one.why.strip()
        assert re.match(r"\w+(\.|$)", one.member), f"{one}: a part of what is seen is named, not meant by a pattern"
        assert one.day in {day.name for day in DAYS} or not one.member.startswith(NEVER_BY_PATTERN), one


def test_the_yardstick_is_the_frozen_one() -> None:
    """Its bytes are those of the day it was set, and what runs is what they hold."""
    assert hashlib.sha256(FROZEN.read_bytes()).hexdigest() == FROZEN_SHA256
    assert (YARDSTICK / "product" / "findable.py").is_file()
