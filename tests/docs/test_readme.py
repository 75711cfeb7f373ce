"""Links of README.md and docs/ have targets, and every command is documented."""

import re
from pathlib import Path

from askrows.jobs.commands import COMMANDS
from tests.lab import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def test_every_link_has_a_target() -> None:
    """Links lead to existing files, headings or anchors."""
    broken_links = []
    for page in PAGES:
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
