"""The commands of the README run, and the recordings are current."""

import re
from pathlib import Path

import pytest

from askrows.jobs.commands import COMMANDS
from tests.docs import recordings
from tests.lab import ROOT


@pytest.mark.full
def test_every_recording_is_the_output_of_its_commands() -> None:
    """Each page is recorded in a folder with the files of the page."""
    for page, current_text in recordings.record().items():
        assert recordings.steady(current_text) == recordings.steady(
            page.read_text(encoding="utf-8")
        ), "run make docs"


def test_every_command_line_is_in_a_block_that_runs() -> None:
    """README.md and the tutorial have blocks of known kinds, and no command outside of them."""
    for page in recordings.WHOLE_PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w*)", text, re.MULTILINE)) == {"sh", "text", ""}
        outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert re.findall(r"^(?:\$ |    )make ", outside, re.MULTILINE) == []


@pytest.mark.full
def test_demo_prints_the_expected_hits() -> None:
    """The demo ignores a key in the environment, and its commands are complete."""
    demo = recordings.demo()
    typed = [line for line in demo.splitlines() if line.startswith("$ ")]
    assert [
        line
        for line in typed
        if not (line.startswith("$ make ") and line.endswith(" DATA=data/demo"))
    ] == []
    assert [line.split()[2] for line in typed].count("search") == 3
    hits = [line for line in demo.splitlines() if re.match(r" +1\s{2,}", line)]
    assert all(
        name in hit for name, hit in zip(["Morrowdale", "boats-1", "Hallibrook"], hits, strict=True)
    )


def test_every_link_has_a_target() -> None:
    """Links lead to existing files, headings or anchors."""
    broken_links = []
    for page in recordings.PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not link.startswith("https://") and not (
                target.exists() and (not anchor or anchor in anchors(target))
            ):
                broken_links.append((page.name, link))
    assert broken_links == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(
        r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    heading_anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
    }
    return heading_anchors | set(re.findall(r'<a id="([^"]+)"', text))


def test_every_target_has_help_and_is_documented() -> None:
    """Every target of make has help, and docs/commands.md has every command."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):(?! export)", makefile, re.MULTILINE)
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert targets == ["help", "help-dev", *helped]
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(COMMANDS) <= set(re.findall(r"^\| \*\*([a-z-]+)\*\* \|", page, re.MULTILINE))
