"""`init` dies at its steps and is run again: it goes on, and ends as one that was not killed."""

import random
from pathlib import Path

import pytest

from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash.program import LIVES, Ended, Mortal
from tests.lab import KEY, Workspace

SAMPLE = 1  # steps in `make test`, beside that of `.env` and the last one, the import
SEED = 20261122
PEOPLE = "Benutzername;Vorname;Nachname;Über mich\nines;Inês;Moura;Baut Gitarren.\nolaf;Olaf;Brandt;Gräbt Brunnen.\n"
INIT = ("init", "--file", "leute.csv", "--backend", "gemini", "--budget", "3")


def begin(mortal: Mortal, home: Path, fate: Fate = LIVES) -> tuple[Workspace, Ended]:
    """Run `init` in a folder with a file of people; whatever it does below the folder is a step at which it may die."""
    home.mkdir(exist_ok=True)
    (home / "leute.csv").write_text(PEOPLE, encoding="utf-8")
    workspace = Workspace(home / "data", {"FINDABLE_DATA": str(home / "data"), "GEMINI_API_KEY": KEY})
    return workspace, mortal.run(workspace.environ, *INIT, cwd=home, fate=fate, below=home)


def what_is_there(workspace: Workspace) -> tuple[str, list[str], object]:
    """Return what stands in `.env`, but for the folder's name, the files, and what the database holds."""
    home = workspace.data.parent
    files = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    settings = (home / ".env").read_text(encoding="utf-8").replace(str(home), "")
    rows = ledger.snapshot(workspace, without=ledger.TIMES | {"id"})  # numbers that a server gave are gone
    return settings, [name for name in files if "findable.db" not in name], rows


@pytest.mark.full
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.full)], ids=["some", "every"])
def test_init_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before and after each step: of `.env`, of the workspace, of the import; no word is different in the end."""
    peace, ended = begin(mortal, tmp_path / "peace")
    assert ended.code == 0, ended
    named = [at for at, step in enumerate(ended.trail, start=1) if step.endswith("/.env")]
    steps = range(1, len(ended.trail) + 1)
    assert len(named) == 1, ended.trail
    assert {"open", "write", "commit"} <= {step.partition(" ")[0] for step in ended.trail}
    some = {*named, len(steps), *random.Random(SEED).sample(steps, SAMPLE)}  # noqa: S311 - always the same
    fates = [Fate(at, "before") for at in (steps if every else sorted(some))]
    for fate in (*fates, *(Fate(at, "after") for at in (steps if every else named))):
        home = tmp_path / f"{fate.at}-{fate.side}"
        _, died = begin(mortal, home, fate)
        assert died.code == -9, (fate, died)
        dead, again = begin(mortal, home)
        assert again.code == 0, (fate, died.last, again)
        assert what_is_there(dead) == what_is_there(peace), (fate, died.last)
        assert again.out.splitlines()[1:] == ended.out.splitlines()[1:], (fate, died.last)
