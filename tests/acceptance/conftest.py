"""Fixtures of the acceptance tests: servers and workspaces, which are checked after every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgresql, scratch
from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.engine import Engine
from tests.acceptance.process import MAX_PROCESSOR_S, PROCESSOR_TIME, end_sessions
from tests.acceptance.product import PROVIDER, Workspace
from tests.acceptance.sweep import SEED
from tests.outside.server import Outside, serving

LONGEST_FILES = (
    "test_sweep",
    "test_trails",
    "test_canary",
    "test_workers",
    "test_outside",
    "test_faults",
)


def pytest_configure() -> None:
    """Begin a test run, unless this process is a worker of it."""
    scratch.begin_run()


def pytest_unconfigure() -> None:
    """Remove the shared folder of this run."""
    scratch.end_run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that all workers end at about the same time."""
    items.sort(key=lambda item: item.path.stem not in LONGEST_FILES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sums of the crash sweep over all processes, and the seed that repeats it."""
    summaries = []
    reports = [
        *terminalreporter.getreports("passed"),
        *terminalreporter.getreports("failed"),
    ]
    for report in reports:
        summaries += [value for name, value in report.user_properties if name == "crash sweep"]
    if not summaries:
        return

    step_counts = {summary[0]: summary[1] for summary in summaries}
    repetition_count = sum(summary[2] for summary in summaries)
    disturbed_count = sum(summary[3] for summary in summaries)
    differing_count = sum(summary[4] for summary in summaries)
    days = ", ".join(step_counts) if len(step_counts) < 3 else f"{len(step_counts)} days"
    terminalreporter.write_line(
        f"crash sweep: SEED={SEED}: {days}: "
        f"N = {sum(step_counts.values())} durable steps, {repetition_count} lives, "
        f"{disturbed_count} struck, {differing_count} with differences"
    )


@pytest.fixture(autouse=True)
def _isolated_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Remove the user's settings before each test, limit its time, and remove its databases."""
    marker = request.node.get_closest_marker("timeout")
    PROCESSOR_TIME.begin(marker.args[0] if marker else MAX_PROCESSOR_S)
    for name in list(os.environ):
        if name.startswith(("ASKROWS_", "GEMINI_", "GOOGLE_", "OPENAI_")) or name.lower().endswith(
            "_proxy"
        ):
            monkeypatch.delenv(name)
    yield
    end_sessions()
    postgresql.drop_below(tmp_path)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Engine]:
    """Start a local engine with a new state."""
    with Engine(tmp_path / "api") as engine:
        yield engine


@pytest.fixture
def outside_server(tmp_path: Path) -> Iterator[Outside]:
    """Start a second server of the API, which shares no code with the engine.

    See `tests.outside.server`.
    """
    if PROVIDER != "gemini":
        pytest.skip("the outside server speaks Gemini's form only")
    with serving(tmp_path / "outside") as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path, api: Engine, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """Return an empty workspace on the local engine, and check it after its test."""
    tested_workspace = Workspace(tmp_path / "here", api.url)
    yield tested_workspace

    inspection = Inspection(tested_workspace, api.batches(), api.creates(), is_single=True)
    check_invariants(inspection, excused=_excused_invariants(request))


@pytest.fixture
def served_workspace(
    tmp_path: Path, outside_server: Outside, request: pytest.FixtureRequest
) -> Iterator[Workspace]:
    """Return an empty workspace on the outside server, and check it after its test."""
    tested_workspace = Workspace(tmp_path / "elsewhere", outside_server.url)
    yield tested_workspace

    batches = outside_server.batches()
    inspection = Inspection(tested_workspace, batches, outside_server.creates(), is_single=True)
    check_invariants(inspection, excused=_excused_invariants(request))


def _excused_invariants(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the names of the invariants that a test breaks on purpose."""
    marker = request.node.get_closest_marker("excused")
    return marker.args if marker else ()
