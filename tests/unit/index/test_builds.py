"""A link names the build in service and only ever changes to a complete build."""

from pathlib import Path

import pytest

from askrows.pipeline.core.errors import InconsistentError
from askrows.pipeline.index.builds import Builds
from askrows.pipeline.index.write import verify_and_mark_build
from tests.unit.index.conftest import Make, Stage
from tests.unit.index.toy import entry

PEOPLE = [entry(number) for number in range(6)]


def in_service(builds: Builds) -> int | None:
    """Return the number of the build in service."""
    manifest = builds.read_current_manifest()
    return manifest.number if manifest else None


def test_lost_lock_puts_no_build_in_service(
    tmp_path: Path, stage: Stage, builds: Builds, make: Make
) -> None:
    """A failed promotion or rollback changes nothing, and the next promotion works."""
    make(PEOPLE)
    staged = stage(PEOPLE[:3])
    verify_and_mark_build(staged, count=3)

    def raise_lost_lock(_: object) -> None:
        raise InconsistentError("the lock is lost")

    with pytest.raises(InconsistentError, match="lock is lost"):
        builds.promote_and_list_moved_files(staged, record_promotion=raise_lost_lock)
    assert (in_service(builds), builds.find_leftovers()) == (1, [])
    assert make(PEOPLE).number == 3
    paths = sorted(tmp_path.rglob("*"))
    with pytest.raises(InconsistentError, match="lock is lost"):
        builds.roll_back(record_promotion=raise_lost_lock)
    assert sorted(tmp_path.rglob("*")) == paths
    assert in_service(builds) == 3
