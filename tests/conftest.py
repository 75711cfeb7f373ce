"""Provide a clean environment, a workspace and the emulator for all tests.

Tests cannot reach other machines.
"""

import gc
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import postgresql, scratch
from tests.lab import HERE, KEY, ON_POSTGRESQL, Api, Workspace, copy_into, put_people

# The examples are the same each time, so that a failure comes from the change. They have no
# deadline, because it would measure the machine.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("steady")

# Acceptance tests have their own configuration and import nothing of the product.
ACCEPTANCE_FOLDER = "acceptance"
collect_ignore = [ACCEPTANCE_FOLDER]

# Collecting tests creates no garbage.
gc.disable()


def pytest_configure() -> None:
    """Begin a test run, unless this process is a worker of it."""
    scratch.begin_run()


def pytest_unconfigure() -> None:
    """Remove the shared folder of this run."""
    scratch.end_run()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of SQLite's files on PostgreSQL."""
    if ON_POSTGRESQL:
        deselected_items = [item for item in items if item.get_closest_marker("sqlite_only")]
        config.hook.pytest_deselected(items=deselected_items)
        items[:] = [item for item in items if item not in deselected_items]


def pytest_collection_finish() -> None:
    """Enable garbage collection, less often than usual, and never for imported modules."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 10, 50)


@pytest.fixture(scope="session", autouse=True)
def _last_garbage() -> Iterator[None]:
    """Collect garbage before the last test ends, so that a warning belongs to a test."""
    yield
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _no_way_out() -> Iterator[None]:
    """Refuse every address that is not loopback, and skip reading the roots of TLS."""
    connect_socket = socket.socket.connect
    load_roots = ssl.SSLContext.load_verify_locations

    def connect(self: socket.socket, address: Any) -> None:
        """Connect only to this machine."""
        if (
            self.family != socket.AF_UNIX
            and not ipaddress.ip_address(socket.gethostbyname(address[0])).is_loopback
        ):
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect_socket(self, address)

    def load_named_roots(
        self: ssl.SSLContext, cafile: Any = None, *paths: Any, **options: Any
    ) -> None:
        """Read certificates only if a test set their file."""
        if cafile is not None and cafile == os.environ.get("SSL_CERT_FILE"):
            load_roots(self, cafile, *paths, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(ssl.SSLContext, "load_verify_locations", load_named_roots)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test an empty working directory, without settings and keys of the user."""
    for name in list(os.environ):
        if name.startswith(("ASKROWS_", "GEMINI_", "GOOGLE_")):
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

    # Reading certificates takes as long as many commands.
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / HERE).mkdir()
    monkeypatch.chdir(tmp_path / HERE)


@pytest.fixture(autouse=True)
def _databases_of_this_test(tmp_path: Path) -> Iterator[None]:
    """Remove the PostgreSQL databases of the workspaces in a test's folder."""
    yield
    postgresql.drop_below(tmp_path)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An engine with its own state for each test."""
    with Api(tmp_path / "api") as engine:
        yield engine


# The prepared folders of tests, by the name of the function that prepared them.
_PREPARED_FOLDERS: dict[str, Path] = {}


@pytest.fixture
def begun(
    tmp_path: Path, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable[[], None]], None]:
    """A function that prepares a test's folder and emulator by calling another function.

    That function is called once in a process, and later tests get copies of its folder. The
    journal, settings and faults of the emulator are not copied.
    """

    def begin(prepare: Callable[[], None]) -> None:
        """Prepare the folder, or copy the prepared folder."""
        name = f"{prepare.__module__}.{prepare.__qualname__}"
        if name not in _PREPARED_FOLDERS:
            prepare()
        api.kill()
        if name in _PREPARED_FOLDERS:
            copy_into(_PREPARED_FOLDERS[name], tmp_path)
        else:
            _PREPARED_FOLDERS[name] = tmp_path_factory.mktemp("prepared")
            copy_into(tmp_path, _PREPARED_FOLDERS[name])
        api.start()

    return begin


@pytest.fixture
def workspace(tmp_path: Path, api: Api) -> Workspace:
    """An empty workspace on the emulator, with short waits."""
    return Workspace(
        tmp_path / "data",
        {
            "ASKROWS_DATA": str(tmp_path / "data"),
            "GEMINI_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": api.url,
            "ASKROWS_LIST_LAG": "0",
            "ASKROWS_CREATE_TIMEOUT": "1",
            "ASKROWS_CALL_TIMEOUT": "5",
            "ASKROWS_RETRY_FOR": "2",
            "ASKROWS_RETRY_WAIT": "0.01",
            "ASKROWS_POLL_FIRST": "0.02",
            "ASKROWS_POLL_MOST": "0.1",
            "ASKROWS_POLL_PATIENCE": "3",
        },
    )


@pytest.fixture
def people(workspace: Workspace) -> Callable[..., list[str]]:
    """A function that adds people to the workspace; see `put_people`."""
    return partial(put_people, workspace)
