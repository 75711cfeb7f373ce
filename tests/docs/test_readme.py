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


def block(start: str) -> list[list[str]]:
    """Return the commands of the README's shell block that begins so, as words, comments left out."""
    (found,) = re.findall(rf"```sh\n({start}.*?)```", README, re.DOTALL)
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
    """In all pages, each from a folder that has what the page says is there."""
    for page, now in recordings.record().items():
        assert recordings.steady(now) == recordings.steady(page.read_text(encoding="utf-8")), (
            "run make docs"
        )


def test_the_lines_that_do_not_run_are_these() -> None:
    """Every other command line of README.md and of the tutorial runs with the recordings."""
    assert recordings.lines_not_run() == recordings.NOT_RUN
    for page in recordings.WHOLE_PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w*)", text, re.MULTILINE)) == {"sh", "text", ""}
        outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert re.findall(r"^(?:\$ |    )make ", outside, re.MULTILINE) == []


def test_the_demo_finds_who_it_should() -> None:
    """With a key in the environment, too; each line that it shows can be typed."""
    demo = recordings.demo()
    typed = [line for line in demo.splitlines() if line.startswith("$ ")]
    assert [
        line
        for line in typed
        if not (line.startswith("$ make ") and line.endswith(" DATA=data/demo"))
    ] == []
    assert [line.split()[2] for line in typed].count("search") == 3
    hits = [line for line in demo.splitlines() if re.match(r" *1\s{2,}", line)]
    assert all(
        name in hit for name, hit in zip(["Morrowdale", "boats-1", "Hallibrook"], hits, strict=True)
    )


@pytest.mark.full
def test_the_everyday_loop_runs(local: Workspace) -> None:
    """Each command of the everyday loop ends well on sample people, in the order of the README."""
    for words in block("export GEMINI_API_KEY"):
        if words[0] == "make" and words[1] != "web":  # which goes on until it is interrupted
            make(local, *words[1:])
    experts = json.loads(make(local, "status", "JSON=1"))["experts"]
    assert experts["tagged"] + experts["no_bio"] == experts["total"] == PEOPLE + 1
    document = json.loads(make(local, "search", "Q=who knows water law", "JSON=1"))
    assert {
        "rank",
        "username",
        "score",
        "similarity",
        "name",
        "job_title",
        "tags",
        "snippet",
    } <= set(document[0])


def test_every_link_leads_somewhere() -> None:
    """To a file that is there and, of a page, to a heading or an anchor in it."""
    lost = []
    for page in recordings.PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            name, _, anchor = link.partition("#")
            there = (page.parent / name).resolve() if name else page
            if not link.startswith("https://") and not (
                there.exists() and (not anchor or anchor in anchors(there))
            ):
                lost.append((page.name, link))
    assert lost == []


def anchors(page: Path) -> set[str]:
    """Return what can stand behind the # of a page's address."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(
        r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


def test_every_target_has_help_and_is_documented() -> None:
    """Every target says what it does; the README shows those of every day, and docs/commands.md has every command."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):(?! export)", makefile, re.MULTILINE)
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert targets == ["help", "help-dev", *helped]
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(COMMANDS) <= set(re.findall(r"^- \*\*([a-z-]+)\*\*:", page, re.MULTILINE))
