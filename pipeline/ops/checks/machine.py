"""Is there room on the disk, and are the programs that this one stands on those that it was made with?"""

import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pipeline.core import __version__
from pipeline.ops.checks.finding import CheckFinding, notice

ROOM = 256 * 1024 * 1024  # ours: bytes beside what the next build and a compaction take
PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that this was tested with
DISTRIBUTION = "findable-batch"  # what pyproject.toml calls the package
SQLITE = (3, 37)  # the oldest with pragma_table_list, which adoption reads


def versions() -> dict[str, str]:
    """Return the versions of findable, Python, SQLite and the libraries it stands on, by name."""
    found = {"findable": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    found["sqlite"] = sqlite3.sqlite_version
    return found | {name: _installed(name) for name, _ in _required()}


def check_versions() -> Iterator[CheckFinding]:
    """Are Python, SQLite and the libraries of versions that this was tested with?"""
    why = "it was not tested with this one"
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        said = f"Python {sys.version_info[0]}.{sys.version_info[1]} runs this, which is made for 3.11 to 3.13"
        yield notice("versions", said, why, next="make setup PYTHON=python3.12")
    if sqlite3.sqlite_version_info < SQLITE:
        said = f"SQLite {sqlite3.sqlite_version} is older than {'.'.join(map(str, SQLITE))}"
        yield notice("versions", said, why, next="a newer Python brings a newer SQLite")
    for name, wanted in _required():
        installed = _installed(name)
        if not _satisfies(installed, wanted):
            said = f"{name} {installed or 'is not installed'} where {wanted} is wanted"
            yield notice("versions", said, why, next="make setup")


def check_disk(data: Path, database: Path | None) -> Iterator[CheckFinding]:
    """Is there room for the next build, and for the compaction after an item is forgotten?"""
    free = shutil.disk_usage(data).free
    served = (path for top in ("current", "tasks/*/current") for path in (data / "index").glob(f"{top}/*"))
    need = 2 * (_size(database) if database else 0) + sum(map(_size, served)) + ROOM
    if free < need:
        said = f"the disk has {free:,} bytes left, and the next build may need {need:,}"
        why = "a full disk stops every command; nothing is lost by it, and nothing goes on"
        yield notice("disk", said, why, next="make clean, or make room")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _required() -> Iterator[tuple[str, str]]:
    """Yield (name, versions) of each library that this package asks for on every machine."""
    for line in metadata.requires(DISTRIBUTION) or ():
        found = re.fullmatch(r"([A-Za-z0-9._-]+)\s*([^;]*)", line)
        if found and found[2]:
            yield found[1], found[2].strip(" ()")


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _satisfies(installed: str, wanted: str) -> bool:
    """Return whether a version meets all of `>=1.2,<2`; of other comparisons nothing is said."""
    if not installed:
        return False
    here = _numbers(installed)
    for one in wanted.split(","):
        sign, number = re.match(r"\s*([<>=!~]*)\s*(\S*)", one).groups()  # type: ignore[union-attr]  # it always matches
        if (sign == ">=" and here < _numbers(number)) or (sign == "<" and here >= _numbers(number)):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
