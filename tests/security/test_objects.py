"""No object that Python code can hold shows a key or a password: printed, copied, listed, as JSON, or in a pickle.

The walk goes from `findable`, an opened workspace and what its calls return to every object of ours that hangs there.
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

import findable
from pipeline.core.redact import Secret
from pipeline.core.settings import load_settings
from pipeline.engine.session import WorkspaceSession
from pipeline.gemini.client import Client
from pipeline.store.database import Store
from tests.lab import KEY, Workspace
from tests.page import Page

OURS = {"findable", "pipeline", "jobs", "web", "emulator"}
PASSWORD = "canary-password-of-a-database"  # noqa: S105 - looked for below
PART = 12  # characters of a secret that are too many already
URL = f"postgresql+psycopg://ada:{PASSWORD}@127.0.0.1:9/none?sslpassword={PASSWORD}&password={PASSWORD}"
BASE_URL = f"https://ada:{PASSWORD}@gemini.invalid/"


def _forms(one: object) -> Iterator[str]:
    """Yield whatever shows an object: as a console, a log, a debugger or a file would have it."""
    yield from (repr(one), str(one), format(one), pprint.pformat(one))
    if is_dataclass(one) and not isinstance(one, type):
        with suppress(TypeError):  # something in it cannot be copied, as a lock
            yield json.dumps(asdict(one), default=str)
            yield repr(asdict(one))
    if hasattr(one, "__dict__"):
        yield repr(vars(one))
    if _is_ours(one):
        for how in (copy.copy, copy.deepcopy):
            with suppress(TypeError, AttributeError, RecursionError):
                yield repr(how(one))
    with suppress(TypeError, AttributeError, RecursionError, pickle.PicklingError):
        yield pickle.dumps(one).decode("latin-1")


def _is_ours(one: object) -> bool:
    return type(one).__module__.partition(".")[0] in OURS


def _below(one: object) -> Iterator[object]:
    """Yield what an object holds."""
    if isinstance(one, Mapping):
        yield from one.values()
    elif isinstance(one, list | tuple | set | frozenset):
        yield from one
    elif _is_ours(one) and hasattr(one, "__dict__"):
        yield from vars(one).values()


def shown(*roots: object) -> dict[int, tuple[object, list[str]]]:
    """Return every object that can be reached, by its identity, with the forms that it is shown in."""
    found: dict[int, tuple[object, list[str]]] = {}
    waiting = [*roots]
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found[id(one)] = (one, list(_forms(one)))
            waiting += _below(one)
    return found


def _check(*roots: object) -> set[type]:
    """Look for the secrets in all that can be reached; return of what types that was."""
    found = shown(*roots)
    parts = (KEY[:PART], PASSWORD[:PART])
    told = [
        (type(one), form[:300])
        for one, forms in found.values()
        for form in forms
        if any(p in form for p in parts)
    ]
    assert told == []
    return {type(one) for one, _ in found.values()}


def test_nothing_that_hangs_from_findable_shows_a_key(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every name of `findable`, a workspace with a key, what each of its calls returns, and its errors."""
    for name, value in workspace.environ.items():
        monkeypatch.setenv(name, value)
    ws = findable.open(quiet=True)
    assert ws.settings.api_key == Secret(KEY)
    added = ws.add([{"username": "ada", "bio": "I keep bees and teach water law."}])
    told = [
        added,
        ws.preflight("experts"),
        ws.tag("experts", budget=1),
        ws.answers("experts"),
        *ws.answers("experts"),
    ]
    told += [ws.index(), ws.search("bees"), ws.batches(), ws.log()]
    with pytest.raises(findable.FindableError) as wrong:
        findable.open(api_kei=KEY)
    kinds = _check([getattr(findable, name) for name in findable.__all__], ws, told, wrong.value)
    assert {type(ws), type(ws.settings), findable.TagReport, findable.Preflight} <= kinds


def test_nothing_that_hangs_from_an_open_workspace_shows_a_key(workspace: Workspace) -> None:
    """Its settings, database and client, before and after a call, and the page's own desk."""
    with workspace.open() as ws:
        _check(ws)
        assert ws.client.list_batches() is not None
        assert {WorkspaceSession, Client, Store} <= _check(ws)
    with Page(workspace) as page:
        _check(page.desk)


def test_no_settings_show_a_password(tmp_path: Path) -> None:
    """The address of a database and of a server, given by the environment or in Python; none of it can be pickled."""
    environ = {
        "FINDABLE_DATA": str(tmp_path),
        "FINDABLE_DATABASE_URL": URL,
        "GOOGLE_GEMINI_BASE_URL": BASE_URL,
    }
    settings = load_settings({**environ, "GEMINI_API_KEY": KEY})
    given = findable.open(tmp_path, quiet=True, database_url=URL, base_url=BASE_URL, api_key=KEY)
    for one in (settings, given):
        _check(one)
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(one)
    assert (
        settings.confirmed_database_url.reveal()
        == given.settings.confirmed_database_url.reveal()
        == URL
    )
    assert (
        repr(settings.database_url)
        == "'postgresql+psycopg://ada:…@127.0.0.1:9/none?sslpassword=…&password=…'"
    )
    assert str(given.settings.api_key) == f"…{KEY[-4:]}"
