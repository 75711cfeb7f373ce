"""The recordings in README.md and docs/: each block of `$ make …` holds what these commands print on a terminal.

`python -m tests.docs.recordings` (of `make docs`) runs them again and writes the blocks in which more than times and
remote names differ. Each page has an empty folder of its own, and runs on the local engine; there is the sample, and
what the page's blocks of `cat > file` make. A line that is not of make is run by a shell.

In README.md and the tutorial all other commands run too, in their order; their output is not recorded.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import click

from jobs import output
from jobs.cli import main
from jobs.variables import MAKE_COMMAND_LINE_VARIABLE
from pipeline.engine.task_file import forget_loaded_files
from tests.lab import ROOT
from tests.progress import NullProgress

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
DEMO = "make demo"
_BLOCK = re.compile(r"(?<=```sh\n)cat >>? .*?(?=```)|(?<=```text\n)\$ .*?(?=```)", re.DOTALL)
# Pages whose every command line runs, except those in NOT_RUN.
WHOLE_PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")
# The demo has a test of its own, the tests run this module, the page's server does not end, the
# packages are installed, and no test has a key.
NOT_RUN = frozenset(
    {
        DEMO,
        "make setup",
        "make test",
        "make web",
        "export GEMINI_API_KEY=…",
        "export GEMINI_API_KEY=… DATA=work",
    }
)
# A block of commands, or a command within a sentence.
_UNRECORDED = re.compile(r"(?<=```sh\n)(?!cat ).*?(?=```)|(?<=`)make [^`]+(?=`)", re.DOTALL)
_SAMPLE = ROOT / "data" / "sample"
# People in the file people.csv, which the pages presume.
_PEOPLE_COUNT = 12
HOME = "/home/me"  # what the pages say in the place of the folder
_OURS = ("FINDABLE_", "GEMINI_", "GOOGLE_")
_TERMINAL = {"COLUMNS": "120", "TERM": "xterm"}
_DIFFERING = {  # from run to run
    r"batches/\w+": "batches/…",
    r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?": "(time)",
    r"\b\d\d:\d\d:\d\d\b": "(time)",
    r"-\d{8}T\d{6}Z-\w+": "-(time)",
    r"\d{4}-\d\d-\d\dT[\d:.+]+": "(time)",
    r"\b(in|took|about) (\d+(\.\d+)? (ms|s)|a second|an unknown time)(?!\w)": "(duration)",
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


def record() -> dict[Path, str]:
    """Run what the pages show; return each page as it should be.

    Raises:
        AssertionError: a command of make failed.
        subprocess.CalledProcessError: another one did.
    """
    return {page: _page(page) for page in PAGES if _BLOCK.search(page.read_text(encoding="utf-8"))}


def unrecorded_lines(block: str) -> list[str]:
    """Return the lines of commands, without comments and empty lines."""
    lines = [re.sub(r"\s+# .*", "", line).strip() for line in block.splitlines()]
    return [line for line in lines if line]


def lines_not_run() -> set[str]:
    """Return the command lines of the whole pages that are in NOT_RUN."""
    lines = set[str]()
    for page in WHOLE_PAGES:
        for block in _UNRECORDED.findall(page.read_text(encoding="utf-8")):
            lines.update(unrecorded_lines(block))
    return lines & NOT_RUN


def demo() -> str:
    """Run the demo with a key in the environment, which it does not use; return what it printed."""
    with _folder():
        return _ran(DEMO, GEMINI_API_KEY="not-to-be-used")


def steady(text: str) -> str:
    """Return a text without what differs from run to run."""
    for pattern, word in _DIFFERING.items():
        text = re.sub(pattern, word, text)
    return text


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """Work in an empty folder that has the sample, without settings in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environ = mock.patch.dict(os.environ, kept, clear=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), environ:
        Path("data").mkdir()
        Path("data/sample").symlink_to(_SAMPLE)
        shutil.copytree(_SAMPLE / "photos", "photos")
        shutil.copy(_SAMPLE / "new_expert.json", "new.json")
        records = re.split(r"\n(?=[a-z0-9-]+,)", (_SAMPLE / "experts.csv").read_text("utf-8"))
        Path("people.csv").write_text("\n".join(records[: _PEOPLE_COUNT + 1]) + "\n", "utf-8")
        yield


def _page(page: Path) -> str:
    """Return a page with what its commands print now."""
    patterns = [_BLOCK.pattern]
    if page in WHOLE_PAGES:
        patterns.append(_UNRECORDED.pattern)

    with _folder():
        return re.sub("|".join(patterns), _recorded, page.read_text("utf-8"), flags=re.DOTALL)


def _recorded(block: re.Match[str]) -> str:
    """Return a block with the present output of its commands; a block without outputs only runs."""
    if block[0].startswith("cat "):
        _shell(block[0])
        return block[0]

    if not block[0].startswith("$ "):
        for line in unrecorded_lines(block[0]):
            if line not in NOT_RUN:
                _ran(line)
        return block[0]

    typed = re.findall(r"^\$ (.*)", block[0], re.MULTILINE)
    return "\n".join(
        f"$ {line}\n{_ran(line) if line.startswith('make ') else _shell(line)}" for line in typed
    )


def _shell(text: str) -> str:
    """Run lines by the shell; return what they print."""
    return subprocess.run(["sh", "-ec", text], check=True, capture_output=True, text=True).stdout


def _ran(line: str, **environ: str) -> str:
    """Run a line such as `make search Q="old clocks" K=3` in this process; return what it printed.

    Raises:
        AssertionError: it failed.
    """
    _, target, *words = shlex.split(line)
    values = dict(word.split("=", 1) for word in words)
    forget_loaded_files()  # at files that the lines before may have changed
    shown = _Terminal()
    with (
        mock.patch.dict(os.environ, environ | _environment(target, values)),
        mock.patch.object(
            output.Terminal, "bar", staticmethod(NullProgress().bar)
        ),  # which leave nothing behind
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
    return {**_TERMINAL, **given, MAKE_COMMAND_LINE_VARIABLE: f"{target} : {' '.join(values)}"}


if __name__ == "__main__":
    for page, text in record().items():
        if steady(text) != steady(page.read_text(encoding="utf-8")):
            page.write_text(text, encoding="utf-8")
            click.echo(f"recorded {page.relative_to(ROOT)}", err=True)
