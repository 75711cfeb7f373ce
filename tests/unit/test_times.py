"""`make test` prints the slowest files and tests, and a warning if a run is too long."""

import json
from pathlib import Path

import pytest

from tests import both, times
from tests.acceptance.process import COMMAND_TIMES, RUN

MEASURED = {
    "acceptance/test_ask.py::test_a (sqlite)": 2.0,
    "acceptance/test_ask.py::test_b[x (y)] (sqlite)": 3.0,
    "acceptance/test_ask.py::test_a (postgresql)": 4.5,
}


@pytest.mark.parametrize(("seconds", "is_warned"), [(360.0, False), (361.0, True)])
def test_slowest_come_first_and_a_long_run_gets_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float, *, is_warned: bool
) -> None:
    """Files and tests are sorted by time; a run over six minutes gets a warning."""
    file = tmp_path / "times"
    file.write_text("".join(json.dumps(row) + "\n" for row in MEASURED.items()), encoding="utf-8")
    both.print_times(file, seconds)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines[1:6]] == [
        "acceptance/test_ask.py (sqlite)",
        "acceptance/test_ask.py (postgresql)",
        "acceptance/test_ask.py::test_a (postgresql)",
        "acceptance/test_ask.py::test_b[x (y)] (sqlite)",
        "acceptance/test_ask.py::test_a (sqlite)",
    ]
    assert lines[6].startswith("all tests took 6 min")
    assert [line.startswith("warning: ") for line in lines[7:]] == [True] * is_warned


def test_commands_count_for_the_test_in_whose_folder_they_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a command counts for the test whose folder contains its folder."""
    monkeypatch.setenv(RUN, str(tmp_path))
    rows = [["/t/test_a0/here", 1.0], ["/t/test_a0", 0.5], ["/t/test_a01/here", 4.0]]
    (tmp_path / COMMAND_TIMES).write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    command_times = times.read_command_times()
    assert (command_times["/t/test_a0"], command_times["/t/test_a01"], command_times[""]) == (
        1.5,
        4.0,
        0,
    )
