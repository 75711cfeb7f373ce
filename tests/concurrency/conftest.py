"""What the tests of several processes at once share: the programs that run commands, and a workspace in mid-life."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.hands import Hand
from tests.lab import KEY, Api, Workspace, copy_tree

BIOS = (
    "I keep bees and teach water law.",
    "Soil scientist who restores old orchards.",
    "I repair church organs and write about acoustics.",
    "Nurse and statistician for clinical trials.",
    "I drive night trains and study railway signals.",
    "Baker; I teach sourdough and food chemistry.",
    "Marine biologist with a passion for plankton.",
    "I build bridges out of timber.",
    "Lawyer for tenants and a chess coach.",
    "I translate old Icelandic law.",
)
WAITS = {
    "FINDABLE_LIST_LAG": "0",
    "FINDABLE_CREATE_TIMEOUT": "0.4",
    "FINDABLE_CALL_TIMEOUT": "20",
    "FINDABLE_RETRY_FOR": "5",
    "FINDABLE_RETRY_WAIT": "0.01",
    "FINDABLE_POLL_FIRST": "0.02",
    "FINDABLE_POLL_MOST": "0.1",
    "FINDABLE_LEASE": "0.6",
    "FINDABLE_BATCH_ROWS": "2",
}
PEOPLE = "Username,First Name,Last Name,Job Title,Company,Bio\n"


@dataclass(frozen=True)
class Life:
    """A workspace in mid-life, the server it is on, and the files that its commands are given."""

    workspace: Workspace
    api: Api
    files: Path


@pytest.fixture(scope="session")
def hands() -> Iterator[tuple[Hand, Hand]]:
    """Two programs that run commands at the same time."""
    both = (Hand(), Hand())
    yield both
    for hand in both:
        hand.close()


@pytest.fixture(scope="session")
def mid_life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace whose batches are in every state, and the server's state beside it.

    Two people are in the index; batch 2 is downloaded, 3 is over at the API, 4 is prepared; two were never asked.
    """
    folder = tmp_path_factory.mktemp("mid-life")
    _write_files(folder)
    with Api(folder / "api") as api:
        workspace = workspace_at(folder, api.url)
        _run(workspace, "import", str(folder / "first.csv"))
        for commands in (("batch-poll", "batch-ingest", "index", "index"), ("batch-poll",), ()):
            _run(workspace, "batch-submit", "--limit", "2")
            for command in commands:
                _run(workspace, command)
        api.fault("quota_batch")
        assert workspace.run("batch-submit", "--limit", "2").exit_code == 4
    states = [row[0] for row in workspace.query("SELECT state FROM findable_batches ORDER BY number")]
    assert states == ["ingested", "downloaded", "submitted", "prepared"]
    return folder


@pytest.fixture
def live(mid_life: Path, tmp_path: Path) -> Iterator[Callable[[str], Life]]:
    """A function that returns a copy of the workspace in mid-life by name, on a server of its own."""
    with ExitStack() as stack:

        def copy(name: str) -> Life:
            folder = tmp_path / name
            copy_tree(mid_life, folder)
            api = stack.enter_context(Api(folder / "api"))
            return Life(workspace_at(folder, api.url), api, folder)

        yield copy


def workspace_at(folder: Path, url: str) -> Workspace:
    """Return the workspace in a folder, on the server at a URL, with short waits and leases."""
    own = {"FINDABLE_DATA": str(folder / "data"), "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url}
    return Workspace(folder / "data", WAITS | own)


def _run(workspace: Workspace, *args: str) -> None:
    result = workspace.run(*args)
    assert result.exit_code == 0, (args, result.output)


def _write_files(folder: Path) -> None:
    """Write the people who are imported first, those who come and change later, and one who is added alone."""
    rows = [f"person-{number},P,{number},,,{bio}\n" for number, bio in enumerate(BIOS)]
    (folder / "first.csv").write_text(PEOPLE + "".join(rows))
    late = ["person-0,P,0,Beekeeper,,I keep bees and teach water law.\n", "late-1,L,1,,,I carve spoons and teach it.\n"]
    (folder / "later.csv").write_text(PEOPLE + "".join(late) + "late-2,L,2,,,Geologist of salt mines.\n")
    added = {"username": "added", "first_name": "A", "bio": "I mend clocks and teach horology."}
    (folder / "added.json").write_text(json.dumps(added))
