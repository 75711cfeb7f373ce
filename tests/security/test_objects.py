"""No reachable object shows a key or a password: printed, copied, listed, as JSON or pickled.

The walk starts at `askrows`, at an open workspace and at the results of its calls.
"""

import copy
import json
import pickle
import pprint
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path

import pytest

import askrows
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.redact import Secret
from askrows.pipeline.core.settings import load_settings
from askrows.pipeline.provider.gemini.client import Client
from askrows.pipeline.store.database import Store
from tests.lab import KEY, Workspace
from tests.page import Page

OWN_PACKAGES = {"askrows"}
PASSWORD = "canary-password-of-a-database"  # noqa: S105 - looked for below
# A leak shows at least this number of characters of a secret.
MIN_SECRET_PART_CHARS = 12
URL = (
    f"postgresql+psycopg://ada:{PASSWORD}@127.0.0.1:9/none"
    f"?sslpassword={PASSWORD}&password={PASSWORD}"
)
BASE_URL = f"https://ada:{PASSWORD}@gemini.invalid/"


def _iterate_forms(shown_object: object) -> Iterator[str]:
    """Yield the forms of an object in a console, a log, a debugger or a file."""
    yield from (
        repr(shown_object),
        str(shown_object),
        format(shown_object),
        pprint.pformat(shown_object),
    )
    if is_dataclass(shown_object) and not isinstance(shown_object, type):
        # Locks and other members cannot be copied.
        with suppress(TypeError):
            yield json.dumps(asdict(shown_object), default=str)
            yield repr(asdict(shown_object))
    if hasattr(shown_object, "__dict__"):
        yield repr(vars(shown_object))
    if _is_own_object(shown_object):
        for copy_function in (copy.copy, copy.deepcopy):
            with suppress(TypeError, AttributeError, RecursionError):
                yield repr(copy_function(shown_object))
    with suppress(TypeError, AttributeError, RecursionError, pickle.PicklingError):
        yield pickle.dumps(shown_object).decode("latin-1")


def _is_own_object(inspected: object) -> bool:
    return type(inspected).__module__.partition(".")[0] in OWN_PACKAGES


def _iterate_members(container: object) -> Iterator[object]:
    """Yield the members of an object."""
    if isinstance(container, Mapping):
        yield from container.values()
    elif isinstance(container, list | tuple | set | frozenset):
        yield from container
    elif _is_own_object(container) and hasattr(container, "__dict__"):
        yield from vars(container).values()


def collect_forms(*roots: object) -> dict[int, tuple[object, list[str]]]:
    """Return every reachable object with its forms, by identity."""
    forms_by_id: dict[int, tuple[object, list[str]]] = {}
    pending_objects = [*roots]
    while pending_objects:
        reached_object = pending_objects.pop()
        if id(reached_object) not in forms_by_id:
            forms_by_id[id(reached_object)] = (reached_object, list(_iterate_forms(reached_object)))
            pending_objects += _iterate_members(reached_object)
    return forms_by_id


def _check_secrets(*roots: object) -> set[type]:
    """Search all reachable objects for the secrets; return their types."""
    forms_by_id = collect_forms(*roots)
    parts = (KEY[:MIN_SECRET_PART_CHARS], PASSWORD[:MIN_SECRET_PART_CHARS])
    leaks: list[tuple[type, str]] = []
    for reached_object, forms in forms_by_id.values():
        leaks += [
            (type(reached_object), form[:300])
            for form in forms
            if any(part in form for part in parts)
        ]
    assert leaks == []
    return {type(reached_object) for reached_object, _ in forms_by_id.values()}


@pytest.mark.full
def test_python_objects_of_askrows_show_no_key(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names of `askrows`, an open workspace, its results and its errors are searched."""
    for name, value in workspace.environ.items():
        monkeypatch.setenv(name, value)
    ws = askrows.open(quiet=True)
    assert ws.settings.api_key == Secret(KEY)
    add_report = ws.add([{"username": "ada", "bio": "I keep bees and teach water law."}])
    reports = [
        add_report,
        ws.preflight("experts"),
        ws.tag("experts", budget=1),
        ws.answers("experts"),
        *ws.answers("experts"),
    ]
    reports += [ws.index(), ws.search("bees"), ws.batches()]
    with pytest.raises(askrows.AskrowsError) as error_info:
        askrows.open(api_kei=KEY)
    reached_types = _check_secrets(
        [getattr(askrows, name) for name in askrows.__all__], ws, reports, error_info.value
    )
    assert {type(ws), type(ws.settings), askrows.TagReport, askrows.Preflight} <= reached_types


def test_objects_of_an_open_workspace_show_no_key(workspace: Workspace) -> None:
    """Settings, database, client and the state of the page are searched."""
    with workspace.open() as ws:
        _check_secrets(ws)
        assert ws.client.list_batches() is not None
        assert {Run, Client, Store} <= _check_secrets(ws)
    with Page(workspace) as page:
        _check_secrets(page.desk)


def test_no_settings_show_a_password(tmp_path: Path) -> None:
    """Addresses from the environment or from Python show no password and cannot be pickled."""
    environ = {
        "ASKROWS_DATA": str(tmp_path),
        "ASKROWS_DATABASE_URL": URL,
        "GOOGLE_GEMINI_BASE_URL": BASE_URL,
    }
    settings = load_settings({**environ, "GEMINI_API_KEY": KEY})
    session = askrows.open(tmp_path, quiet=True, database_url=URL, base_url=BASE_URL, api_key=KEY)
    for settings_holder in (settings, session):
        _check_secrets(settings_holder)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(settings_holder)
    assert (
        settings.confirm_and_get_database_url().reveal()
        == session.settings.confirm_and_get_database_url().reveal()
        == URL
    )
    assert (
        repr(settings.database_url)
        == "'postgresql+psycopg://ada:…@127.0.0.1:9/none?sslpassword=…&password=…'"
    )
    assert str(session.settings.api_key) == f"…{KEY[-4:]}"
