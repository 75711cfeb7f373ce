"""What all tests share: no way out of this machine, a clean environment, a workspace, and the emulator."""

import gc
import ipaddress
import os
import random
import shutil
import signal
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipeline.experts import table
from tests import postgresql, scratch
from tests.acceptance.process import RUN, run_folder
from tests.lab import HERE, KEY, ON_POSTGRESQL, Api, Workspace, copy_into
from tests.outside.server import Outside, serving

# the same few examples each time, so that a run tells of the change and not of its luck; `make test-full` searches;
# how long one takes says something of the machine alone
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("searching", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

ACCEPTANCE = (
    "acceptance"  # tests that have a configuration of their own, and nothing of the product
)
collect_ignore = [ACCEPTANCE]

gc.disable()  # until all is collected: that makes no garbage


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, and say where a PostgreSQL server will be, once it is needed.

    What was started in the background ignores SIGINT, and so would all processes below. Workers are told of the
    server by the process that starts them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if postgresql.SHARED not in os.environ:
        postgresql.announce()
    run_folder()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        scratch.announce()


def pytest_unconfigure() -> None:
    """Remove what the processes of this run shared."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        scratch.remove()
        shutil.rmtree(os.environ[RUN], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for `make test-full` alone, and on PostgreSQL what is about SQLite's own files.

    Of a test that is `sampled` one case of so many is left, and one at least (but of every 0 none), drawn alike each
    time: every n-th might be one value of a parameter again and again. Where FAULTS=all everything is left that this
    database has.
    """
    out = {row for row in items if ON_POSTGRESQL and row.get_closest_marker("sqlite_only")}
    if os.environ.get("FAULTS") != "all":
        out |= {row for row in items if row.get_closest_marker("full")} | _not_drawn(items)
    kept = [row for row in items if row not in out]
    config.hook.pytest_deselected(items=[row for row in items if row in out])
    items[:] = kept


def _not_drawn(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the cases of sampled tests that are left out."""
    cases = defaultdict(list)
    for one in items:
        if sampled := one.get_closest_marker("sampled"):
            share = sampled.args[0] if ON_POSTGRESQL else sampled.kwargs.get("sqlite", 1)
            cases[one.nodeid.partition("[")[0], share].append(one)
    left: set[pytest.Item] = set()
    for (name, share), every in cases.items():
        most = -(-len(every) // share) if share else 0
        left |= {*random.Random(name).sample(every, most)}  # noqa: S311 - a sample, no secret
    return {one for every in cases.values() for one in every if one not in left}


def pytest_collection_finish() -> None:
    """Look for garbage from here on, far less often than usual, and never in what was imported."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 10, 50)


@pytest.fixture(scope="session", autouse=True)
def _last_garbage() -> Iterator[None]:
    """Look for garbage while there is still a test whose fault it can be."""
    yield
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _no_way_out() -> Iterator[None]:
    """Refuse every address that is not loopback, even with a real key set; roots of TLS, then, need not be read."""
    real = socket.socket.connect
    real_roots = ssl.SSLContext.load_verify_locations

    def connect(self: socket.socket, address: Any) -> None:
        """Connect to this machine alone."""
        if (
            self.family != socket.AF_UNIX
            and not ipaddress.ip_address(socket.gethostbyname(address[0])).is_loopback
        ):
            raise AssertionError(f"a test tried to reach {address[0]}")
        real(self, address)

    def roots(self: ssl.SSLContext, cafile: Any = None, *others: Any, **options: Any) -> None:
        """Read certificates only where a test named them."""
        if cafile is not None and cafile == os.environ.get("SSL_CERT_FILE"):
            real_roots(self, cafile, *others, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(ssl.SSLContext, "load_verify_locations", roots)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test an empty directory to stand in and none of the user's settings or keys."""
    for name in list(os.environ):
        if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_")):
            monkeypatch.delenv(name)
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # reading them takes as long as many a command
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / HERE).mkdir()
    monkeypatch.chdir(tmp_path / HERE)


@pytest.fixture(autouse=True)
def _databases_of_this_test(tmp_path: Path) -> Iterator[None]:
    """Remove what a test made on the PostgreSQL server for the workspaces in its folder."""
    yield
    postgresql.drop_below(tmp_path)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An engine with a state of its own for each test."""
    with Api(tmp_path / "api") as engine:
        yield engine


@pytest.fixture
def outside_server(tmp_path: Path) -> Iterator[Outside]:
    """A second server of the API, which has nothing of the emulator; see `tests.outside.server`."""
    with serving(tmp_path / "outside") as server:
        yield server


_PREPARED: dict[str, Path] = {}  # the folders of tests that prepared something, by what prepared it


@pytest.fixture
def begun(
    tmp_path: Path, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable[[], None]], None]:
    """A function that brings a test's folder and emulator to where another function brings them.

    The other one is called once a process, and what it made is copied from then on; it hands nothing back, and of the
    emulator's journal, settings and faults nothing is left.
    """

    def begin(prepare: Callable[[], None]) -> None:
        """Prepare, or copy what was prepared."""
        name = f"{prepare.__module__}.{prepare.__qualname__}"
        if name not in _PREPARED:
            prepare()
        api.kill()
        if name in _PREPARED:
            copy_into(_PREPARED[name], tmp_path)
        else:
            _PREPARED[name] = tmp_path_factory.mktemp("prepared")
            copy_into(tmp_path, _PREPARED[name])
        api.start()

    return begin


@pytest.fixture
def workspace(tmp_path: Path, api: Api) -> Workspace:
    """An empty workspace on the emulator, with short waits."""
    return Workspace(
        tmp_path / "data",
        {
            "FINDABLE_DATA": str(tmp_path / "data"),
            "GEMINI_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": api.url,
            "FINDABLE_TRUST": api.url,
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
        with workspace.open() as ws, ws.store.write() as tx:
            for number, name in enumerate(names):
                bio = (
                    f"I keep bees and teach water law, number {number}." if number < count else None
                )
                table.insert_person(
                    tx, name, {"first_name": "Person", "last_name": str(number), "bio": bio}
                )
        return names

    return put
