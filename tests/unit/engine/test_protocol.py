"""How much the engine may ask of a task."""

from pipeline.core.task import TaskRows

MOST = 10


def test_the_engine_asks_few_things_of_a_task() -> None:
    """What every task must do is a protocol of at most ten members; all else is a fact, or a hook that has a body."""
    members = {name for name in vars(TaskRows) if not name.startswith("_")}
    assert {"answer", "items", "write"} <= members
    assert len(members) <= MOST
