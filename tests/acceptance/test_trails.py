"""Every command of every day takes its durable steps in an order that keeps a workspace safe.

Each rule is a function of the steps of an undisturbed command (see `steps` and `watching`), and
yields a sentence for each violation. A name is final if the same command renames or removes neither
it nor a folder above it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

import pytest

from tests.acceptance.days import DAY_OF, Day, run_day_alone
from tests.acceptance.engine import CREATE_CALL
from tests.acceptance.stage import Stage
from tests.acceptance.sweep import DAY_NAMES

Rule = Callable[[Sequence[str]], Iterator[str]]
# Files that may be written under their final name, with the reason.
IN_PLACE = {
    "*.db": "SQLite keeps a database whole by its own log",
    "*.lock": "a lock is held, and never read",
    "vectors.sqlite*": "SQLite keeps a database whole by its own journal",
    "entries.sqlite*": "SQLite syncs it before the manifest of its build is written",
    "local-engine*": "the state of the engine inside the product, in the place of another machine",
}
# Beginnings of messages that the engine inside the product sends.
SERVER_MESSAGES = ("send HTTP/", "send {}")
NAME_CHANGES = ("os.rename", "os.remove", "os.rmdir")
DAYS = [DAY_OF[name] for name in DAY_NAMES]


def opened_under_another_name(trail: Sequence[str]) -> Iterator[str]:
    """No file is opened for writing under its final name."""
    for index, (call, *paths) in _file_steps(trail):
        path = paths[0]
        if call == "open" and not _may_be_in_place(path) and _is_final(trail, index, path):
            yield f"{path} is opened under its final name"


def synced_before_renamed(trail: Sequence[str]) -> Iterator[str]:
    """No file gets its final name before all its written bytes are on disk."""
    unsynced: set[str] = set()
    for index, (call, *paths) in _file_steps(trail):
        source = paths[0]
        target = paths[-1]
        if call in {"open", "write"} and not _may_be_in_place(source):
            unsynced.add(source)
        elif call in {"fsync", "os.remove"}:
            unsynced.discard(source)
        elif call in {"os.rename", "os.link"}:
            moved = {path for path in unsynced if PurePath(path).is_relative_to(source)}
            if moved and _is_final(trail, index, target):
                yield f"{target} gets its name before {sorted(moved)} is synced"
            unsynced |= {target + path[len(source) :] for path in moved}
            if call == "os.rename":
                unsynced -= moved
    yield from (f"{path} is written and never synced" for path in sorted(unsynced))


def folder_synced_before_named(trail: Sequence[str]) -> Iterator[str]:
    """A final name is on disk before the next commit, or before the end."""
    for index, (call, *paths) in _file_steps(trail):
        if call != "os.rename":
            continue
        target = paths[1]
        if not _is_final(trail, index, target) or _may_be_in_place(target):
            continue

        sync_step = f"fsync {PurePath(target).parent}"
        next_steps = (
            step for step in trail[index + 1 :] if step == sync_step or step.startswith("commit")
        )
        if not next(next_steps, "").startswith("fsync"):
            yield f"{target} has its name, and its folder is not synced before the next commit"


def named_after_renamed(trail: Sequence[str]) -> Iterator[str]:
    """No commit contains the name of a file before the file has that name."""
    rename_indexes: dict[str, int] = {}
    for index, (call, *paths) in _file_steps(trail):
        if call == "os.rename" and _is_final(trail, index, paths[1]):
            rename_indexes.setdefault(PurePath(paths[1]).name, index)

    for index, step in enumerate(trail):
        if not step.startswith("commit"):
            continue
        for name in step.partition(" naming ")[2].split():
            if rename_indexes.get(name, -1) > index:
                yield f"a commit names {name}, which is not there yet"


def created_after_committed(trail: Sequence[str]) -> Iterator[str]:
    """No batch is created before its intent is committed; nothing is received in between."""
    last_call = ""
    for step in _client_steps(trail):
        if step.startswith("send POST") and CREATE_CALL in step and last_call != "commit":
            yield f"a batch is created right after '{last_call}'"
        if step.startswith(("commit", "recv", "send POST")):
            last_call = step.partition(" ")[0]


RULES: tuple[Rule, ...] = (
    opened_under_another_name,
    synced_before_renamed,
    folder_synced_before_named,
    named_after_renamed,
    created_after_committed,
)


def find_broken_rules(trail: Sequence[str]) -> list[str]:
    """Return a sentence for each violation in the steps of a command."""
    sentences = []
    for rule in RULES:
        sentences += [f"{rule.__name__}: {violation}" for violation in rule(trail)]
    return sentences


def _file_steps(trail: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the index and the words of each file step: the call and its paths."""
    for index, step in enumerate(trail):
        if step.startswith(("open ", "write ", "fsync ", "os.")):
            yield index, step.split(" ")


def _is_final(trail: Sequence[str], step_index: int, path: str) -> bool:
    """Return whether the command keeps the name of a path after a step."""
    for _, (call, source, *targets) in _file_steps(trail[step_index + 1 :]):
        is_change = call in NAME_CHANGES and targets != [source]
        if is_change and PurePath(path).is_relative_to(source):
            return False
    return True


def _may_be_in_place(path: str) -> bool:
    paths = (PurePath(path), *PurePath(path).parents)
    return any(parent.match(pattern) for parent in paths for pattern in IN_PLACE)


def _client_steps(trail: Sequence[str]) -> Sequence[str]:
    """Return the steps, or nothing if an engine in the same process adds its own steps."""
    has_server_steps = any(step.startswith(SERVER_MESSAGES) for step in trail)
    return () if has_server_steps else trail


def find_violations(day: Day, stage: Stage) -> Iterator[str]:
    """Run a day and all days that begin after it; yield the violations of each command."""
    processes = run_day_alone(day, stage.home, stage.engine)
    for command, process in zip(day.commands, processes, strict=True):
        for sentence in find_broken_rules(process.trail):
            yield f"{day.name}: {command.verb}: {sentence}"

    next_days = [next_day for next_day in DAYS if next_day.after == day.name]
    if next_days:
        stage.save_copy(day.name)
    for number, next_day in enumerate(next_days):
        if number:
            stage.restore_copy(day.name)
        yield from find_violations(next_day, stage)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("own-equal", marks=pytest.mark.promise("steps")),
        *(day.name for day in DAYS if not day.after and day.name != "own-equal"),
    ],
)
def test_every_command_takes_its_steps_in_a_safe_order(tmp_path: Path, name: str) -> None:
    """No command of a day, or of the days after it, breaks a rule."""
    with Stage(tmp_path) as stage:
        assert list(find_violations(DAY_OF[name], stage)) == []
