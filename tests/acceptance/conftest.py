"""What the acceptance tests share: engines, a workspace, a page, and the checker that looks after every test."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgresql, scratch
from tests.acceptance.checker import Look, check
from tests.acceptance.engine import Engine
from tests.acceptance.process import RUN, end_sessions, run_folder
from tests.acceptance.product import Workspace
from tests.acceptance.sweep import SEED
from tests.outside.server import Outside, serving

LONGEST = (
    "test_sweep",
    "test_trails",
    "test_canary",
    "test_workers",
    "test_outside",
    "test_faults",
)


def pytest_configure() -> None:
    """Say where what all processes of a run share will be; workers are told by the process that starts them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if postgresql.SHARED not in os.environ:
        postgresql.announce()
    if RUN not in os.environ:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", scratch.quick_folder())
        run_folder()


def pytest_unconfigure() -> None:
    """Remove what the processes of this run shared."""
    if os.environ.get(f"{RUN}_OWNER") == str(os.getpid()):
        shutil.rmtree(os.environ[RUN], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the crash sweep came to, summed over all processes that took a part of it, and how to repeat it."""
    reports = [
        one for outcome in ("passed", "failed") for one in terminalreporter.getreports(outcome)
    ]
    if told := [
        value for one in reports for name, value in one.user_properties if name == "crash sweep"
    ]:
        steps = {row[0]: row[1] for row in told}
        lives, struck, differing = (sum(row[at] for row in told) for at in (2, 3, 4))
        terminalreporter.write_line(
            f"crash sweep: SEED={SEED}: {', '.join(steps) if len(steps) < 3 else f'{len(steps)} days'}: "
            f"N = {sum(steps.values())} durable steps, {lives} lives, {struck} struck, {differing} with differences"
        )


@pytest.fixture(autouse=True)
def _nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Give each test none of the user's settings, and remove its databases."""
    for name in list(os.environ):
        if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield
    end_sessions()
    postgresql.drop_below(tmp_path)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Engine]:
    """The local engine, with a state of its own."""
    with Engine(tmp_path / "api") as engine:
        yield engine


@pytest.fixture
def outside_server(tmp_path: Path) -> Iterator[Outside]:
    """A second server of the API, which has nothing of the engine; see `tests.outside.server`."""
    with serving(tmp_path / "outside") as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path, api: Engine, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """An empty workspace on the local engine, with short waits; checked when its test is over."""
    one = Workspace(tmp_path / "here", api.url)
    yield one
    marker = request.node.get_closest_marker("excused")
    check(
        Look(one, api.batches(), api.creates(), is_only=True), excused=marker.args if marker else ()
    )


@pytest.fixture
def served_workspace(
    tmp_path: Path, outside_server: Outside, request: pytest.FixtureRequest
) -> Iterator[Workspace]:
    """Return an empty workspace on the outside server, with short waits; checked when its test is over."""
    one = Workspace(tmp_path / "elsewhere", outside_server.url)
    yield one
    marker = request.node.get_closest_marker("excused")
    check(
        Look(one, outside_server.batches(), outside_server.creates(), is_only=True),
        excused=marker.args if marker else (),
    )
