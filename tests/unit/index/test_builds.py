"""One link says which build is in service, follows the database, and moves from a whole build to a whole build."""

from pathlib import Path

import pytest

from pipeline.core.errors import InconsistentError
from pipeline.index.builds import Builds
from pipeline.index.write import verify_build
from tests.unit.index.conftest import Make, Stage
from tests.unit.index.toy import entry

PEOPLE = [entry(number) for number in range(6)]


def in_service(builds: Builds) -> int | None:
    """Return the number of the build in service."""
    found = builds.read_current_manifest()
    return found.number if found else None


def test_who_lost_the_lock_puts_nothing_in_service(
    tmp_path: Path, stage: Stage, builds: Builds, make: Make
) -> None:
    """Of a promotion nothing is left in service, of a rollback nothing changed; the next promotion works."""
    make(PEOPLE)
    staged = stage(PEOPLE[:3])
    verify_build(staged, count=3)

    def lost(_: object) -> None:
        raise InconsistentError("the lock is lost")

    with pytest.raises(InconsistentError, match="lock is lost"):
        builds.promote(staged, record_promotion=lost)
    assert (in_service(builds), builds.find_leftovers()) == (1, [])
    assert make(PEOPLE).number == 3
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InconsistentError, match="lock is lost"):
        builds.rollback(record_promotion=lost)
    assert sorted(tmp_path.rglob("*")) == before
    assert in_service(builds) == 3
