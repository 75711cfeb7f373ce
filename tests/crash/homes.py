"""Workspaces for commands that die: made on an emulator of their own, copied for each life, run in their folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.experts import table
from tests.acceptance.steps import Fate
from tests.crash.program import LIVES, Ended, Mortal
from tests.lab import KEY, Api, Workspace

QUICK = {"LIST_LAG": "0", "POLL_FIRST": "0.02", "RETRY_FOR": "1", "CREATE_TIMEOUT": "1"}


def workspace_at(data: Path, url: str, **settings: str) -> Workspace:
    """Return the workspace in a folder, on the server at a URL, with short waits and `settings` by their bare names."""
    named = {f"FINDABLE_{name}": value for name, value in {**QUICK, **settings, "DATA": str(data)}.items()}
    return Workspace(data, {**named, "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url})


@contextmanager
def at_home(root: Path, **settings: str) -> Iterator[tuple[Api, Workspace]]:
    """Start a server under `root` and give it with an empty workspace on it, in whose folder commands run."""
    with Api(root / "api") as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield server, workspace_at(root / "data", server.url, **settings)


def copied(source: Workspace, where: Path) -> Workspace:
    """Return a copy of the workspace in a folder."""
    source.copy_to(where / "data")
    return Workspace(where / "data", source.environ | {"FINDABLE_DATA": str(where / "data")})


def run(
    mortal: Mortal,
    workspace: Workspace,
    *args: str,
    fate: Fate = LIVES,
    environ: Mapping[str, str] | None = None,
    below: Path | None = None,
) -> Ended:
    """Run one command with `environ` beside the workspace's own; it dies where its fate says so (see `Mortal.run`)."""
    ours = {**workspace.environ, **(environ or {})}
    return mortal.run(ours, *args, cwd=workspace.data.parent, fate=fate, below=below)


def put_people(workspace: Workspace, count: int, *, first: int = 0, name: str = "person") -> None:
    """Put people with a biography into a workspace."""
    with workspace.open() as ws, ws.store.write() as tx:
        for number in range(first, first + count):
            bio = f"I keep bees and teach water law, {number}."
            table.insert_person(tx, f"{name}-{number:02d}", {"bio": bio})
