"""The lab's commands die at their steps and are run again: questions, judgements and builds are as without it."""

import json
import random
from pathlib import Path

import pytest

from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash import homes
from tests.crash.days import SOME_OR_EVERY
from tests.crash.program import KILLED, Mortal
from tests.lab import Workspace

COUNT, ASKED = 3, 10
SEED = 20261122
SAMPLE = 2  # steps of each command in `make test`
LAB = ("findable_lab_questions", "findable_lab_judgements", "findable_lab_pool")
COMMANDS = (
    ("lab-import", "--queries", "q.jsonl", "--qrels", "q.tsv", "--judge", "eve"),
    ("lab-judge", "--variants", "words,chance"),
    ("lab-run", "--variants", "words,v.toml", "--to", "report"),
    ("lab-tune", "--variant", "v.toml", "--to", "best.toml"),
    ("lab-export", "--queries", "q-out.jsonl", "--qrels", "q-out.tsv"),
)
WRITTEN = ("report/lab.md", "best.toml", "q-out.jsonl", "q-out.tsv")


def begin(root: Path, url: str) -> Workspace:
    """Make an indexed workspace, and the files that the commands read."""
    workspace = homes.workspace_at(root / "data", url)
    homes.put_people(workspace, COUNT)
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", "index")
    return workspace


def write_files(home: Path) -> None:
    """Write questions, judgements and a variant, which leaves out what stands in front of the rest."""
    home.mkdir()
    (home / "q.jsonl").write_text(
        "".join(f"{json.dumps({'qid': f'q{at}', 'text': f'bees {at}'})}\n" for at in range(ASKED + 1))
    )
    (home / "q.tsv").write_text("".join(f"q{at} 0 person-{at % COUNT:02d} 1\n" for at in range(ASKED)))
    (home / "v.toml").write_text("tags = false\nshare = 0.5\n")


def what_is_there(workspace: Workspace) -> tuple[object, object, object]:
    """Return the rows of the lab, what was written but the plots, and the builds, once the next one is built."""
    rows = {name: sorted(map(str, workspace.query(f"SELECT * FROM {name}"))) for name in LAB}  # noqa: S608 - our names
    timeless = {
        name: [row.partition(", datetime")[0].partition(", '2026")[0] for row in some] for name, some in rows.items()
    }
    home = workspace.data.parent
    written = {name: (home / name).read_text() for name in WRITTEN}
    assert not [path for path in home.rglob("*.part") if not path.is_relative_to(workspace.data)]
    workspace.ran("index")
    builds = workspace.data / "index" / "builds"
    return timeless, written, sorted(path.suffix for path in builds.iterdir())


@pytest.mark.full
@pytest.mark.timeout(3600)
@SOME_OR_EVERY
def test_the_lab_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before its steps: nothing is half stored, and what a variant staged is gone with the next index."""
    with homes.at_home(tmp_path) as (server, _):
        source = begin(tmp_path / "source", server.url)

        def lived(home: Path, death: int = -1, at: int = 0) -> tuple[Workspace, list[int]]:
            """Run the commands, one of which dies before a step and is run again; return how many steps each took."""
            write_files(home)
            workspace, steps = homes.copied(source, home), []
            for number, words in enumerate(COMMANDS):
                if number == death:
                    assert homes.run(mortal, workspace, *words, fate=Fate(at), below=home).code == KILLED, (words, at)
                ended = homes.run(mortal, workspace, *words, below=home)
                assert ended.code == 0, (words, at, ended)
                steps.append(len(ended.trail))
            return workspace, steps

        peace, counted = lived(tmp_path / "peace")
        wanted = what_is_there(peace)
        dice = random.Random(SEED)  # noqa: S311 - always the same
        for number, count in enumerate(counted):
            steps = range(1, count + 1)
            for at in steps if every else sorted(dice.sample(steps, min(SAMPLE, count))):
                workspace, _ = lived(tmp_path / f"{number}-{at}", number, at)
                assert what_is_there(workspace) == wanted, (COMMANDS[number], at)
                assert ledger.findings(workspace) == [], (COMMANDS[number], at)
