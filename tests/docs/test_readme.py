"""The README's commands run, and the recordings in it and in docs/ are what a newcomer sees."""

import json
import re
import shlex
from pathlib import Path

import pytest

from jobs.commands import COMMANDS
from tests.docs import recordings
from tests.lab import ROOT, Workspace

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "data" / "sample"
PEOPLE = 12


def block(number: int) -> list[list[str]]:
    """Return the commands of the README's n-th shell block, as words, comments left out."""
    found = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[number]
    return [words for line in found.splitlines() if (words := shlex.split(line, comments=True))]


def make(workspace: Workspace, *words: str) -> str:
    """Run the command behind `make` with its values; return what it printed on standard output."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    return str(workspace.ran(*(word for word in words if "=" not in word), **values).stdout)


@pytest.fixture(name="local")
def _local(tmp_path: Path) -> Workspace:
    """An empty workspace without a key, and beside it some of the sample people and one more."""
    text = (SAMPLE / "experts.csv").read_text(encoding="utf-8")
    records = re.split(r"\n(?=[a-z0-9-]+,)", text)
    Path("people.csv").write_text("\n".join(records[: PEOPLE + 1]) + "\n", encoding="utf-8")
    Path("new.json").write_bytes((SAMPLE / "new_expert.json").read_bytes())
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


def test_every_recording_is_what_its_commands_print() -> None:
    """In all pages; the first are of the demo, which finds who it should, with a key in the environment, too."""
    demo, recorded_pages = recordings.record()
    for page, now in recorded_pages.items():
        assert recordings.steady(now) == recordings.steady(page.read_text(encoding="utf-8")), "run make docs"
    recorded = re.findall(r"^\$ make ([a-z-]+)", README, re.MULTILINE)
    of_people = ["search", "import", "tag", "index", "search"]
    assert recorded == [*of_people, "ask", "tag", "export", "import-images", "tag"]
    (first, second), shown = block(1), re.findall(r"^\$ (make .*)", README, re.MULTILINE)
    assert (" ".join(first), second) == (recordings.DEMO, shlex.split(shown[0]))
    typed = [line for line in demo.splitlines() if line.startswith("$ ")]
    assert [line for line in typed if not (line.startswith("$ make ") and line.endswith(" DATA=data/demo"))] == []
    assert [line.split()[2] for line in typed].count("search") == 3
    hits = [line for line in demo.splitlines() if re.match(r" *1\s{2,}", line)]
    assert all(name in hit for name, hit in zip(["Templeford", "boats-1", "Hallibrook"], hits, strict=True))


def test_the_first_two_lines_run(local: Workspace) -> None:
    """A table that is there is asked about, and the task that is kept is asked by the commands of tasks."""
    Path("reviews.csv").write_bytes((ROOT / "examples" / "reviews" / "reviews.csv").read_bytes())
    for words in block(0):
        assert "5 of 20 rows asked" in make(local, *words[1:])
    assert "1 row tried" in make(local, "try", "TASK=reviews", "N=1")


@pytest.mark.full
def test_the_everyday_loop_runs(local: Workspace) -> None:
    """An import, then each command of the everyday loop, ends well on sample people, in the order of the README."""
    for words in (*block(2), *block(3)):
        if words[0] == "make" and words[1] != "web":  # which goes on until it is interrupted
            make(local, *words[1:])
    experts = json.loads(make(local, "status", "JSON=1"))["experts"]
    assert experts["tagged"] + experts["no_bio"] == experts["total"] == PEOPLE + 1
    found = json.loads(make(local, "search", "Q=who knows water law", "JSON=1"))
    assert {"rank", "username", "score", "similarity", "name", "job_title", "tags", "snippet"} <= set(found[0])


@pytest.mark.full
def test_asking_now_runs(local: Workspace) -> None:
    """Each command of the part on calls and batches ends well on sample people, and everyone is tagged."""
    make(local, "import", "EXPERTS=people.csv")
    for words in block(4):
        make(local, *words[1:], *(["WAIT=1"] if words[1] == "tag" else []))
    experts = json.loads(make(local, "status", "JSON=1"))["experts"]
    assert experts["tagged"] + experts["no_bio"] == experts["total"] == PEOPLE


def test_every_target_has_help_and_is_documented() -> None:
    """Every target says what it does; the README shows those of every day, and docs/commands.md has every command."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):(?! export)", makefile, re.MULTILINE)
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert targets == ["help", "help-dev", *helped]
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(COMMANDS) <= set(re.findall(r"^- \*\*([a-z-]+)\*\*:", page, re.MULTILINE))
