"""What is listed of changes since a build: all of them, or it is said that this is not known."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.store import schema, workspace
from pipeline.store.database import Connection, Store
from tests import postgresql

NOW = datetime(2026, 11, 20, tzinfo=UTC)
TASK = "some-task"


@pytest.fixture(name="tx", params=["sqlite", "postgresql"])
def _tx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A transaction on a new workspace of either kind."""
    is_file = request.param == "sqlite"
    store = Store(f"sqlite:///{tmp_path / 'findable.db'}" if is_file else postgresql.database_of(tmp_path))
    schema.ensure_schema(store, [])
    with store.write() as tx:
        yield tx
    store.close()


def _build(tx: Connection, number: int, *, ahead: int = 0, oldest: int | None = None, task: str = TASK) -> int:
    """Record a build of this moment, or of a later position, and return its position."""
    position = workspace.get_workspace(tx).position + ahead
    oldest = position if oldest is None else oldest
    workspace.add_build(tx, task, number=number, count=1, model="m", dim=8, position=position, oldest=oldest, at=NOW)
    return position


def _since(tx: Connection, build: int, position: int) -> list[str] | None:
    """Return what is listed since a build, in order."""
    found = workspace.changed_since(tx, TASK, build=build, position=position)
    return None if found is None else sorted(found)


def test_changes_are_listed_from_the_first_build_on(tx: Connection) -> None:
    """Before it nothing is, after it each item once; what is of another task, or changes nothing, is not."""
    workspace.touch_revision(tx, TASK, ["0"])
    workspace.begin_list(tx, TASK)
    workspace.touch_revision(tx, TASK, ["1"])  # while the build is made
    first = _build(tx, 1) - 1
    assert _since(tx, 1, first) is None  # this is not the position that it was recorded with
    assert _since(tx, 1, first + 1) == []
    for changed in (["2", "3"], ["3"], []):
        workspace.touch_revision(tx, TASK, changed)
    workspace.touch_revision(tx, "another-task", ["4"])
    assert _since(tx, 1, first + 1) == ["2", "3"]
    assert workspace.get_workspace(tx).position == first + 5


def test_a_list_that_began_after_the_build_tells_nothing(tx: Connection) -> None:
    """As in a workspace of an older version: nothing is known once something changed, until the next build."""
    position = _build(tx, 1)
    assert _since(tx, 1, position) == []
    workspace.touch_revision(tx, TASK, ["1"])
    assert _since(tx, 1, position) is None
    workspace.begin_list(tx, TASK)
    assert _since(tx, 1, position) is None
    position = _build(tx, 2)
    workspace.touch_revision(tx, TASK, ["2"])
    assert _since(tx, 2, position) == ["2"]


def test_a_change_that_is_not_told_breaks_the_list(tx: Connection) -> None:
    """What came before and after is compared with everything; a change of another task that is not told breaks none."""
    workspace.begin_list(tx, TASK)
    position = _build(tx, 1)
    workspace.touch_revision(tx, "another-task")
    workspace.touch_revision(tx, TASK, ["1"])
    assert _since(tx, 1, position) == ["1"]
    for task in (TASK, None):
        workspace.touch_revision(tx, task)
        workspace.touch_revision(tx, TASK, ["2"])
        assert _since(tx, 1, position) is None
        assert tx.exec_driver_sql("SELECT item_id FROM findable_changes").scalars().all() == ["2"]
        position = _build(tx, 1)


def test_the_list_reaches_back_to_the_oldest_build(tx: Connection) -> None:
    """Which a rollback puts back; what is older is forgotten, and builds of another task forget nothing."""
    workspace.begin_list(tx, TASK)
    positions: list[int] = []
    for number in (1, 2, 3):
        positions.append(_build(tx, number, oldest=positions[-1] if positions else None))
        workspace.touch_revision(tx, TASK, [f"after {number}"])
    _build(tx, 4, task="another-task")
    assert _since(tx, 1, positions[0]) is None
    assert _since(tx, 2, positions[1]) == ["after 2", "after 3"]
    assert _since(tx, 3, positions[2]) == ["after 3"]


def test_a_build_of_another_copy_of_the_database_is_compared_with_everything(tx: Connection) -> None:
    """It is unknown, or was read at a position that this copy has not reached; also when it reaches that later."""
    workspace.begin_list(tx, TASK)
    assert _since(tx, 7, 0) is None
    ahead = _build(tx, 7, ahead=2)
    for number in range(4):
        assert _since(tx, 7, ahead) is None
        workspace.touch_revision(tx, TASK, [str(number)])
    assert _since(tx, 7, ahead) is None
    assert _since(tx, 8, _build(tx, 8)) == []
