"""What all tests share: no way out of this machine, a clean environment, a workspace, and the emulator."""

import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from emulator.server import start
from pipeline.experts import table
from tests import postgresql
from tests.lab import KEY, ON_POSTGRESQL, Api, Workspace

# the same examples each time, so that a run says something of the change and not of its luck; `make test-full` searches
settings.register_profile("steady", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, and say where a PostgreSQL server will be, once it is needed.

    Whoever was started in the background ignores SIGINT, and so would all processes below. Workers are told of the
    server by the process that starts them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if postgresql.SHARED not in os.environ or "PYTEST_XDIST_WORKER" not in os.environ:
        postgresql.announce()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about SQLite's own files where the workspaces are on PostgreSQL."""
    if ON_POSTGRESQL:
        left_out = [one for one in items if one.get_closest_marker("sqlite_only")]
        items[:] = [one for one in items if not one.get_closest_marker("sqlite_only")]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the crash sweep came to, summed over all processes that took a part of it."""
    reports = [one for outcome in ("passed", "failed") for one in terminalreporter.getreports(outcome)]
    told = [value for one in reports for name, value in one.user_properties if name == "crash sweep"]
    if told:
        steps, (lives, struck, differing) = max(row[0] for row in told), map(sum, list(zip(*told, strict=True))[1:])
        terminalreporter.write_line(
            f"crash sweep: N = {steps} durable steps, {lives} lives, {struck} killed, {differing} with differences"
        )


@pytest.fixture(scope="session", autouse=True)
def _no_way_out() -> Iterator[None]:
    """Refuse every address that is not loopback, even with a real key set."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        """Connect to this machine alone."""
        if self.family != socket.AF_UNIX and not ipaddress.ip_address(socket.gethostbyname(address[0])).is_loopback:
            raise AssertionError(f"a test tried to reach {address[0]}")
        real(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test an empty directory to stand in and none of the user's settings or keys."""
    for name in list(os.environ):
        if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_")):
            monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(autouse=True)
def _databases_of_this_test(tmp_path: Path) -> Iterator[None]:
    """Remove what a test made on the PostgreSQL server for the workspaces in its folder."""
    yield
    postgresql.drop_below(tmp_path)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An emulator of its own for each test."""
    with start(tmp_path / "api") as server:
        yield Api(server)


@pytest.fixture
def workspace(tmp_path: Path, api: Api) -> Workspace:
    """An empty workspace on the emulator, with short waits."""
    return Workspace(
        tmp_path / "data",
        {
            "FINDABLE_DATA": str(tmp_path / "data"),
            "GEMINI_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": api.url,
            "FINDABLE_LIST_LAG": "0",
            "FINDABLE_CREATE_TIMEOUT": "1",
            "FINDABLE_CALL_TIMEOUT": "5",
            "FINDABLE_RETRY_FOR": "2",
            "FINDABLE_RETRY_WAIT": "0.01",
            "FINDABLE_POLL_FIRST": "0.02",
            "FINDABLE_POLL_MOST": "0.1",
            "FINDABLE_POLL_PATIENCE": "3",
        },
    )


@pytest.fixture
def people(workspace: Workspace) -> Callable[..., list[str]]:
    """A function that puts `count` people with a bio into the workspace and returns their usernames."""

    def put(count: int, *, without_bio: int = 0) -> list[str]:
        """Insert people through the experts' table."""
        names = [f"person-{number:04d}" for number in range(count + without_bio)]
        with workspace.open() as rt, rt.store.write() as tx:
            for number, name in enumerate(names):
                bio = f"I keep bees and teach water law, number {number}." if number < count else None
                table.insert_person(tx, name, {"first_name": "Person", "last_name": str(number), "bio": bio})
        return names

    return put
