"""The recordings in README.md and docs/: each block of `$ make …` holds what these commands print on a terminal.

`python -m tests.docs.recordings` (of `make docs`) runs them again and writes the blocks in which more than times and
remote names differ. The commands are those in the blocks, run in the order of the pages, in one empty folder on the
local engine; there are the sample people, the demo, the sample under a German header, and what is in examples/.
"""

import contextlib
import csv
import io
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import click

from jobs import output
from jobs.cli import main
from jobs.variables import GIVEN
from tests.lab import ROOT
from tests.progress import NullProgress

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
DEMO = "make demo"
_BLOCK = re.compile(r"(?<=```text\n)\$ .*?(?=```)", re.DOTALL)
_SAMPLE = ROOT / "data" / "sample"
_REVIEWS = ROOT / "examples" / "reviews" / "reviews.csv"
_GERMAN = (
    *("Benutzername", "Vorname", "Nachname", "Berufsbezeichnung", "Firma", "Über mich", "Stundensatz", "Währung"),
    *("Profil-URL", "Profil-URL mit UTM", "Kategorie"),
)
HOME = "/home/me"  # what the pages say in the place of the folder
_OURS = ("FINDABLE_", "GEMINI_", "GOOGLE_")
_TERMINAL = {"COLUMNS": "120", "TERM": "xterm"}
_DIFFERING = {  # from run to run
    r"batches/\w+": "batches/…",
    r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?": "(time)",
    r"\b\d\d:\d\d:\d\d\b": "(time)",
    r"-\d{8}T\d{6}Z-\w+": "-(time)",
    r"\b(in|took) (\d+(\.\d+)? (ms|s)|a second)\b": "(duration)",
    r"\d[\d,.]*/s\b": "(rate)",
}


class _Terminal(io.TextIOWrapper):
    """A terminal that keeps what is printed."""

    def __init__(self) -> None:
        """Begin empty."""
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """Say that it is one."""
        return True

    def printed(self) -> str:
        """Return what was printed, without colours and without spaces at the ends of lines."""
        text = click.unstyle(self._bytes.getvalue().decode())
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def record() -> tuple[str, dict[Path, str]]:
    """Run what the pages show; return what the demo printed, and each page as it should be.

    Raises:
        AssertionError: a command failed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environ = mock.patch.dict(os.environ, kept, clear=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), environ:
        _put_sample()
        demo = _ran(DEMO, GEMINI_API_KEY="not-to-be-used")
        return demo, {page: _BLOCK.sub(_recorded, page.read_text(encoding="utf-8")) for page in PAGES}


def steady(text: str) -> str:
    """Return a text without what differs from run to run."""
    for pattern, word in _DIFFERING.items():
        text = re.sub(pattern, word, text)
    return text


def _put_sample() -> None:
    """Put the sample people into this folder, as they stand in the repository and as `leute.csv`; reviews; photos."""
    Path("data").mkdir()
    Path("data/sample").symlink_to(_SAMPLE)
    shutil.copy(_REVIEWS, "reviews.csv")
    shutil.copytree(_SAMPLE / "photos", "photos")
    with (_SAMPLE / "experts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    with Path("leute.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([_GERMAN, *rows])


def _recorded(block: re.Match[str]) -> str:
    """Return a block with what its commands print now."""
    typed = re.findall(r"^\$ (.*)", block[0], re.MULTILINE)
    return "\n".join(f"$ {line}\n{_ran(line)}" for line in typed)


def _ran(line: str, **environ: str) -> str:
    """Run a line such as `make search Q="old clocks" K=3` in this process; return what it printed.

    Raises:
        AssertionError: it failed.
    """
    _, target, *words = shlex.split(line)
    values = dict(word.split("=", 1) for word in words)
    shown = _Terminal()
    with (
        mock.patch.dict(os.environ, environ | _environment(target, values)),
        mock.patch.object(output.Terminal, "bar", staticmethod(NullProgress().bar)),  # which leave nothing behind
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(shown),
    ):
        try:
            main(args=[target], standalone_mode=False)
        except SystemExit as ended:
            raise AssertionError(f"{line} ended with {ended.code}: {shown.printed()}") from None
    return shown.printed().replace(os.getcwd(), HOME)  # noqa: PTH109 - as the commands say it


def _environment(target: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the Makefile gives to a target."""
    given = {f"FINDABLE_{name}": value for name, value in values.items()}
    return {**_TERMINAL, **given, GIVEN: f"{target} : {' '.join(values)}"}


if __name__ == "__main__":
    for page, text in record()[1].items():
        if steady(text) != steady(page.read_text(encoding="utf-8")):
            page.write_text(text, encoding="utf-8")
            click.echo(f"recorded {page.relative_to(ROOT)}", err=True)
