"""Forget, clean, backup and restore die at their steps and are run again: nothing half, nothing lost, nothing left.

`KEEPING=all` has them die before and after every step; otherwise a sample by a fixed seed.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.experts import table
from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash import homes
from tests.crash.program import Ended, Mortal
from tests.integration import many_passages as passages
from tests.lab import Workspace

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
SAMPLE = 1  # fates of each command in `make test`
SEED = 20261120
TRACES = (b"zq-77", b"Zanthippa", b"harpsichords of Quillmouth")
PERSON = {"first_name": "Zanthippa", "last_name": "Quorn", "bio": "Mends the harpsichords of Quillmouth, all of them."}


@dataclass(frozen=True)
class Template:
    """A workspace that has gone through the chain twice, kept to be copied, and the program that runs commands."""

    made: Workspace
    mortal: Mortal

    def copy(self, where: Path) -> Workspace:
        """Return a copy of the workspace in a folder."""
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        return homes.copied(self.made, where)

    def run(self, workspace: Workspace, *args: str, fate: Fate | None = None) -> Ended:
        """Run one command, which dies where its fate says so."""
        return homes.run(self.mortal, workspace, *args, fate=fate or Fate())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, mortal: Mortal) -> Iterator[Template]:
    """Two people, one of them to be forgotten, in two batches that are over, indexed twice; and passages."""
    with homes.at_home(tmp_path_factory.mktemp("keeping"), KEEP_DAYS="0") as (_, made):
        for some in ([("a-1", {"bio": "I keep bees."}), ("zq-77", PERSON)], [("b-1", {"bio": "I teach water law."})]):
            with made.open() as ws, ws.store.write() as tx:
                for name, values in some:
                    table.insert_person(tx, name, values)
            for command in CHAIN:
                assert made.run(command).exit_code == 0
        passages.put(made, 2)
        for command in CHAIN[:3]:
            assert made.run(command, TASK="passages").exit_code in {0, 6}  # so few are no reason to trust them
        yield Template(made, mortal)


def fates(template: Template, workspace: Workspace, *args: str) -> list[Fate]:
    """Return the fates to try: before and after each step of a command, or a sample of them."""
    peaceful = template.run(workspace, *args)
    assert peaceful.code == 0, peaceful
    steps = len(peaceful.trail)
    every = [Fate(at=number, side=side) for number in range(1, steps + 1) for side in ("before", "after")]
    if os.environ.get("KEEPING") == "all":
        return every
    into_place = [
        number
        for number, step in enumerate(peaceful.trail, start=1)
        if step.startswith("os.rename") and ".staging" not in step and not step.endswith(".part")
    ]
    sample = [Fate(at=number) for at in into_place for number in (at - 1, at)]  # right before, and what comes before
    most = max(0, SAMPLE - len(sample))
    return sample[-SAMPLE:] + random.Random(SEED).sample(every, min(most, len(every)))  # noqa: S311 - always the same


def holding(root: Path) -> list[str]:
    """Return every file below a folder that holds a trace of the person."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and any(trace in path.read_bytes() for trace in TRACES)
    )


def kept(workspace: Workspace) -> dict[str, list[dict[str, object]]]:
    """Return what the database holds, without the journal, the builds' numbers, and what `status` once counted."""
    found = ledger.snapshot(workspace, without=ledger.TIMES | {"position"})
    without = {"findable_events", "findable_builds", "findable_counts"}
    return {name: rows for name, rows in found.items() if name not in without}


def is_healthy(template: Template, workspace: Workspace) -> None:
    """Hold that doctor finds nothing but litter, and that the index is of all people."""
    looked = template.run(workspace, "doctor", "--json")
    assert looked.code == 0, looked
    found = {one["check"] for one in json.loads(looked.out)["findings"]}
    assert found <= {"litter", "leases"}, looked.out


def each(template: Template, tmp_path: Path, *args: str) -> Iterator[tuple[Workspace, Ended, Fate]]:
    """Yield a copy of the workspace in which the command has died, for each fate; the words may name `{here}`."""
    here = template.copy(tmp_path / "peace")
    told = [word.format(here=here.data.parent) for word in args]
    for number, fate in enumerate(fates(template, here, *told)):
        dying = template.copy(tmp_path / f"life-{number}")
        told = [word.format(here=dying.data.parent) for word in args]
        died = template.run(dying, *told, fate=fate)
        assert died.code in {-9, 0}, died
        yield dying, died, fate
        shutil.rmtree(dying.data.parent)


def test_forget_dies(template: Template, tmp_path: Path) -> None:
    """Killed anywhere, the workspace works; run again, nothing is left of the person and all else is the same."""
    peace = template.copy(tmp_path / "model")
    assert template.run(peace, "forget", "zq-77", "--yes").code == 0
    for dead, died, fate in each(template, tmp_path, "forget", "zq-77", "--yes"):
        assert template.run(dead, "status", "--json").code == 0
        assert template.run(dead, "doctor").code == 0, (fate, died.last)
        again = template.run(dead, "forget", "zq-77", "--yes")
        assert again.code in {0, 2}, (fate, died.last, again)
        assert holding(dead.data) == [], (fate, died.last)
        assert kept(dead) == kept(peace), (fate, died.last)
        assert ledger.status(dead)["index"]["behind"] == 0
        assert {path.name.partition("-2")[0] for path in (dead.data / "reports").glob("*.json")} == {"passage-concepts"}
        is_healthy(template, dead)


@pytest.mark.full
def test_clean_dies(template: Template, tmp_path: Path) -> None:
    """Killed anywhere, no file is missed; run again, the files and the older build are gone, the rows are not."""
    before = kept(template.copy(tmp_path / "model"))
    for dead, died, fate in each(template, tmp_path, "clean"):
        is_healthy(template, dead)
        assert template.run(dead, "clean").code == 0, (fate, died.last)
        assert list((dead.data / "batches").iterdir()) == []
        assert [path.name for path in (dead.data / "index" / "builds").iterdir()] == ["2"]
        assert kept(dead) == before
        is_healthy(template, dead)


def test_backup_dies(template: Template, tmp_path: Path) -> None:
    """Killed anywhere there is the whole copy or none under its name; run again there is one, and nothing half."""
    model = kept(template.copy(tmp_path / "model"))
    for dead, died, fate in each(template, tmp_path, "backup", "{here}/data-copy"):
        target = dead.data.parent / "data-copy"
        if not target.exists():
            assert template.run(dead, "backup", str(target)).code == 0, (fate, died.last)
        other = Workspace(dead.data.parent / "other", dead.environ | {"FINDABLE_DATA": str(target.parent / "other")})
        assert template.run(other, "restore", str(target)).code == 0, (fate, died.last)
        assert kept(other) == model
        is_healthy(template, other)
        assert sorted(path.name for path in target.parent.iterdir()) == ["data", "data-copy", "other"]


@pytest.mark.sqlite_only("the deaths of a restore into a server's database stand in test_restore_postgresql.py")
@pytest.mark.parametrize("stands", [pytest.param("nothing", marks=pytest.mark.full), "others"])
def test_restore_dies(template: Template, tmp_path: Path, stands: str) -> None:
    """Killed anywhere, every command refuses the folder, or the workspace is whole; run again, it is.

    What else lies in the folder stays as it is, and nothing of the restore is left.
    """
    source = template.copy(tmp_path / "source")
    assert template.run(source, "backup", str(tmp_path / "copy")).code == 0
    model, words = kept(source), ("restore", str(tmp_path / "copy"))
    sample = ("sample/experts.csv", "demo/findable.db", "mine.txt")

    def ready(name: str) -> Workspace:
        where = template.copy(tmp_path / name)
        shutil.rmtree(where.data)
        for one in sample if stands == "others" else ():
            (where.data / one).parent.mkdir(parents=True, exist_ok=True)
            (where.data / one).write_text(one)
        return where

    refused = 0
    for number, fate in enumerate(fates(template, ready("peace"), *words)):
        here = ready(f"life-{number}")
        died = template.run(here, *words, fate=fate)
        is_whole = (here.data / "findable.db").exists()
        if not is_whole and any(here.data.glob("restore.*")):
            refused += 1
            for command in ("status", "score"):
                said = template.run(here, command)
                assert said.code == 3, (fate, died.last, said)
                assert "is not finished" in said.err, (fate, died.last, said)
        again = template.run(here, *words)
        assert again.code == (2 if is_whole else 0), (fate, died.last, again)
        assert kept(here) == model, (fate, died.last)
        is_healthy(template, here)
        if is_whole:
            assert template.run(here, "clean").code == 0
        assert not [*here.data.glob("restore.*")], (fate, died.last)
        assert {one: (here.data / one).read_text() for one in sample if stands == "others"} == {
            one: one for one in sample if stands == "others"
        }
        assert [path.name for path in here.data.parent.iterdir()] == ["data"], (fate, died.last)
        shutil.rmtree(here.data.parent)
    assert refused
