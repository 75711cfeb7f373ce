"""Measure the processor time of tests and files, as a plugin of pytest for `make test`.

The time of a test is that of its worker while the test runs, of the processes that this worker
waits for, and of the commands that a loaded process (`tests.acceptance.loaded`) forks for it. The
PostgreSQL server is not measured.
"""

import json
import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.process import COMMAND_TIMES, RUN

# Names the file to which each run of the tests appends its measurements.
TIMES_FILE = "TESTS_TIMES_FILE"
PROPERTY = "processor time"
MAX_FILES = 10
MAX_TESTS = 15
STARTED_AT_S = pytest.StashKey[float]()

# The folder and the processor time of each test by its name.
_measured: dict[str, Any] = {}


def _processor_time_s() -> float:
    """Return the processor time of this process and of the children that it waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Remember the processor time at the start of a test."""
    item.stash[STARTED_AT_S] = _processor_time_s()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a test's folder and processor time to its last report, which goes to the main process."""
    report = yield
    if call.when == "teardown":
        folder = str(getattr(item, "funcargs", {}).get("tmp_path", ""))
        report.user_properties.append(
            (PROPERTY, [folder, _processor_time_s() - item.stash[STARTED_AT_S]])
        )
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the folder and the time of each test; workers collect theirs in vain."""
    for name, value in report.user_properties:
        if name == PROPERTY:
            _measured[report.nodeid] = value


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Append the time of each test to the file, with that of its commands."""
    if hasattr(session.config, "workerinput"):
        return

    command_times = read_command_times()
    database = os.environ.get("FINDABLE_TEST_DATABASE", "sqlite")
    tests_folder = Path(__file__).resolve().parent
    with Path(os.environ[TIMES_FILE]).open("a", encoding="utf-8") as file:
        for test, (folder, seconds) in _measured.items():
            # Acceptance tests are named relative to their own folder.
            path, separator, function = test.partition("::")
            path = str((session.config.rootpath / path).relative_to(tests_folder))
            name = f"{path}{separator}{function} ({database})"
            file.write(json.dumps([name, seconds + command_times[folder]]) + "\n")


def read_command_times() -> Counter[str]:
    """Return the processor time of all commands by the folder of their test, in seconds.

    A command's own folder is any folder below that of its test, so its time is counted for all its
    parents.
    """
    command_times: Counter[str] = Counter()
    path = Path(os.environ[RUN]) / COMMAND_TIMES
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        folder, seconds = json.loads(line)
        for parent in (folder, *map(str, Path(folder).parents)):
            command_times[parent] += seconds
    return command_times


def describe_slowest(times_file: Path) -> Iterator[str]:
    """Yield the lines of a table of the files and the tests that took longest."""
    test_times = Counter[str]()
    file_times = Counter[str]()
    for line in times_file.read_text(encoding="utf-8").splitlines():
        test, seconds = json.loads(line)
        test_times[test] += seconds
        file_times[_file_of(test)] += seconds

    total = f"{test_times.total():.0f} s, without the PostgreSQL server"
    yield f"processor time of the tests: {total}; the longest took:"
    for times, count in ((file_times, MAX_FILES), (test_times, MAX_TESTS)):
        for name, seconds in times.most_common(count):
            yield f"  {seconds:6.1f} s  {name}"


def _file_of(test: str) -> str:
    """Return the file of a test, with the database."""
    path, _, name = test.partition("::")
    return f"{path} {name[name.rindex('(') :]}"
