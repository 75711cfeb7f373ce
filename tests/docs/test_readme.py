"""The README's commands run, and its recording is what a newcomer sees."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from jobs.commands import COMMANDS
from tests.lab import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "data" / "sample"


def make(data: Path, *words: str) -> str:
    """Run a make target in a workspace of its own and return what it printed on standard output."""
    environ = os.environ | {"FINDABLE_DATA": str(data)}
    done = subprocess.run(
        ["make", "--no-print-directory", *words], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"make {words}: {done.stdout}{done.stderr}"
    return done.stdout


def block(number: int) -> list[list[str]]:
    """Return the commands of the README's n-th shell block, as words, comments left out."""
    found = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[number]
    return [words for line in found.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the first of the two commands once, even though a key is set."""
    data = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMINI_API_KEY", "a-key-that-the-demo-must-not-use")
        return data, make(data, *block(0)[0][1:])


def test_the_recording_shows_the_demo(demo: tuple[Path, str]) -> None:
    """Every command of the recording is run by the demo, in that order, and no other."""
    recording = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert recording is not None
    typed = [line for line in recording[1].splitlines() if line.startswith("$ ")]
    assert [line for line in demo[1].splitlines() if line.startswith("$ ")] == typed


def test_the_demo_finds_who_it_should(demo: tuple[Path, str]) -> None:
    """The first hit of each of the demo's searches is the person whose trade was asked for."""
    first = [line for line in demo[1].splitlines() if line.startswith("1\t")]
    assert [name in line for name, line in zip(["Templeford", "Hallibrook", "Carrowden"], first, strict=True)] == [
        True
    ] * 3


def test_the_second_command_searches_the_demo(demo: tuple[Path, str]) -> None:
    """The search that the README shows works on what the demo left."""
    words = [word for word in block(0)[1][1:] if not word.startswith("DATA=")]
    hits = json.loads(make(demo[0] / "demo", *words, "JSON=1"))
    assert len(hits) == 10
    assert set(hits[0]) == {"rank", "username", "similarity", "name", "job_title", "tags", "findability_score"}


def test_the_everyday_loop_runs(tmp_path: Path) -> None:
    """Each command of the everyday loop ends well on the sample people, in the order of the README."""
    files = {"people.csv": str(SAMPLE / "experts.csv"), "new.json": str(SAMPLE / "new_expert.json")}
    for words in block(1):
        if words[0] == "make":
            make(
                tmp_path, *(re.sub(r"people\.csv|new\.json", lambda found: files[found[0]], word) for word in words[1:])
            )
    experts = json.loads(make(tmp_path, "status", "JSON=1"))["experts"]
    assert experts["total"] == 151
    assert experts["tagged"] + experts["no_bio"] == 151


def test_asking_now_runs(tmp_path: Path) -> None:
    """Each command of the part on calls and batches ends well on the sample people, and everyone is tagged."""
    make(tmp_path, "import", f"EXPERTS={SAMPLE / 'experts.csv'}")
    for words in block(2):
        make(tmp_path, *words[1:], *(["WAIT=1"] if words[1] == "tag" else []))
    experts = json.loads(make(tmp_path, "status", "JSON=1"))["experts"]
    assert experts["tagged"] + experts["no_bio"] == experts["total"] == 150


def test_every_target_has_help_and_is_documented() -> None:
    """Every target says what it does; the README has those of every day, and docs/commands.md every command."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert targets == helped
    everyday = re.search(r"^EVERYDAY := (.*)", makefile, re.MULTILINE)
    assert everyday is not None
    assert all(f"- `make {target}`: " in README for target in everyday[1].split())
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(COMMANDS) <= set(re.findall(r"^## ([a-z-]+)$", page, re.MULTILINE))
