"""One link says which build is in service, follows the database, and moves from a whole build to a whole build."""

from pathlib import Path

import pytest

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.index import manifest
from pipeline.index.builds import Builds
from pipeline.index.write import verify_build
from tests.unit.index.conftest import Make, Stage
from tests.unit.index.toy import entry

PEOPLE = [entry(number) for number in range(6)]


def in_service(builds: Builds) -> int | None:
    """Return the number of the build in service."""
    found = builds.current()
    return found.number if found else None


def test_an_unverified_build_is_not_promoted(stage: Stage, builds: Builds) -> None:
    """Verification comes before promotion, whatever calls."""
    staged = stage(PEOPLE)
    with pytest.raises(InconsistentError, match="was not verified"):
        builds.promote(staged, decide=str)
    assert builds.current() is None


def test_who_lost_the_lock_puts_nothing_in_service(tmp_path: Path, stage: Stage, builds: Builds, make: Make) -> None:
    """Of a promotion nothing is left in service, of a rollback nothing changed; the next promotion works."""
    make(PEOPLE)
    staged = stage(PEOPLE[:3])
    verify_build(staged, count=3)

    def lost(_: object) -> None:
        raise InconsistentError("the lock is lost")

    with pytest.raises(InconsistentError, match="lock is lost"):
        builds.promote(staged, decide=lost)
    assert (in_service(builds), builds.stale()) == (1, [])
    assert make(PEOPLE).number == 3
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InconsistentError, match="lock is lost"):
        builds.rollback(decide=lost)
    assert sorted(tmp_path.rglob("*")) == before
    assert in_service(builds) == 3


def test_two_runs_with_one_number_write_apart(stage: Stage, builds: Builds) -> None:
    """One that was overtaken while it stood still writes nothing into its successor's build, and is not promoted."""
    overtaken = stage(PEOPLE[:2])
    builds.sweep()
    successor = stage(PEOPLE)
    assert overtaken.manifest.number == successor.manifest.number == 1
    verify_build(successor, count=6)
    files.seal_bytes(overtaken.directory / manifest.INDEX, b"late")
    builds.promote(successor, decide=str)
    assert (len(builds.open()), builds.damage(1)) == (6, [])
    overtaken.verified = True
    with pytest.raises(OSError, match="not empty"):
        builds.promote(overtaken, decide=str)
    assert in_service(builds) == 1
