"""The commands in README.md and docs/ run, and their recorded outputs are current.

A recording is a block of `$ make …` with the output of its commands. `make docs` writes new
outputs. Times and remote names are ignored. Each page runs on the local engine in its own folder,
which has the sample and the files of blocks `cat > file`. A shell runs the lines of other programs.

All other commands of README.md and the tutorial run as well, without a recording.
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
import pytest

from askrows.jobs import output
from askrows.jobs.cli import main
from askrows.jobs.variables import MAKE_COMMAND_LINE_VARIABLE
from tests.lab import ROOT
from tests.progress import NullProgress

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# `make docs` sets it: changed outputs are written to the pages, instead of a failure.
IS_RECORDING = bool(os.environ.get("RECORD"))
DEMO = "make demo"
_BLOCK = re.compile(r"(?<=```sh\n)cat >>? .*?(?=```)|(?<=```text\n)\$ .*?(?=```)", re.DOTALL)
# Pages whose every command line runs, except those in NOT_RUN.
WHOLE_PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")
# The demo has its own test, the tests run this module, the page's server does not end, the
# packages are installed, and no test has a key.
NOT_RUN = frozenset(
    {
        DEMO,
        "make setup",
        "make test",
        "make web",
        "make web DATA=work",
        "export GEMINI_API_KEY=…",
    }
)
# A block of commands, or a command within a sentence.
_UNRECORDED = re.compile(r"(?<=```sh\n)(?!cat ).*?(?=```)|(?<=`)make [^`]+(?=`)", re.DOTALL)
_SAMPLE = ROOT / "askrows" / "sample"
# People in the file people.csv, which the pages presume.
_PEOPLE_COUNT = 12
# The pages contain this path instead of the folder.
HOME = "/home/me"
_OWN_PREFIXES = ("ASKROWS_", "GEMINI_", "GOOGLE_")
_TERMINAL = {"COLUMNS": "120", "TERM": "xterm"}
# Patterns of texts that vary from run to run.
_VARYING_PATTERNS = {
    r"batches/\w+": "batches/…",
    r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?": "(time)",
    r"\b\d\d:\d\d:\d\d\b": "(time)",
    r"-\d{8}T\d{6}Z-\w+": "-(time)",
    r"\d{4}-\d\d-\d\dT[\d:.+]+": "(time)",
    r"\b(in|took|about|for) (\d+(\.\d+)? (ms|s)|a second|an unknown time)(?!\w)": "(duration)",
    r"\d[\d,.]*/s\b": "(rate)",
}


class _Terminal(io.TextIOWrapper):
    """A terminal that stores the printed text."""

    def __init__(self) -> None:
        """Start without text."""
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """Return True."""
        return True

    def printed(self) -> str:
        """Return the printed text without colours and trailing spaces."""
        text = click.unstyle(self._bytes.getvalue().decode())
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.full
def test_every_recording_is_the_output_of_its_commands() -> None:
    """Each page is recorded in a folder with the files of the page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if not _BLOCK.search(text):
            continue

        current_text = _record_page(page)
        if not IS_RECORDING:
            assert steady(current_text) == steady(text), "run make docs"
        elif steady(current_text) != steady(text):
            page.write_text(current_text, encoding="utf-8")


def test_every_command_line_is_in_a_block_that_runs() -> None:
    """README.md and the tutorial have blocks of known kinds, and no command outside of them."""
    for page in WHOLE_PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w*)", text, re.MULTILINE)) == {"sh", "text", ""}
        outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert re.findall(r"^(?:\$ |    )make ", outside, re.MULTILINE) == []


@pytest.mark.full
def test_demo_prints_the_expected_hits() -> None:
    """The demo ignores a key in the environment, and its commands are complete."""
    demo = run_demo()
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


def unrecorded_lines(block: str) -> list[str]:
    """Return the lines of commands, without comments and empty lines."""
    lines = [re.sub(r"\s+# .*", "", line).strip() for line in block.splitlines()]
    return [line for line in lines if line]


def run_demo() -> str:
    """Run the demo with an unused key in the environment; return its output."""
    with _folder():
        return _run_make(DEMO, GEMINI_API_KEY="not-to-be-used")


def steady(text: str) -> str:
    """Replace the parts of a text that vary from run to run."""
    for pattern, word in _VARYING_PATTERNS.items():
        text = re.sub(pattern, word, text)
    return text


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """Work in a folder with the sample, without settings in the environment."""
    other_variables = {
        name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIXES)
    }
    environ = mock.patch.dict(os.environ, other_variables, clear=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), environ:
        Path("data").mkdir()
        Path("data/sample").symlink_to(_SAMPLE)
        shutil.copytree(_SAMPLE / "photos", "photos")
        shutil.copy(_SAMPLE / "new_expert.json", "new.json")
        records = re.split(r"\n(?=[a-z0-9-]+,)", (_SAMPLE / "experts.csv").read_text("utf-8"))
        Path("people.csv").write_text("\n".join(records[: _PEOPLE_COUNT + 1]) + "\n", "utf-8")
        yield


def _record_page(page: Path) -> str:
    """Return a page with the current output of its commands."""
    patterns = [_BLOCK.pattern]
    if page in WHOLE_PAGES:
        patterns.append(_UNRECORDED.pattern)

    with _folder():
        return re.sub("|".join(patterns), _record_block, page.read_text("utf-8"), flags=re.DOTALL)


def _record_block(block: re.Match[str]) -> str:
    """Return a block with the present output of its commands; a block without outputs only runs."""
    if block[0].startswith("cat "):
        _shell(block[0])
        return block[0]

    if not block[0].startswith("$ "):
        for line in unrecorded_lines(block[0]):
            if line not in NOT_RUN:
                _run_make(line)
        return block[0]

    commands = re.findall(r"^\$ (.*)", block[0], re.MULTILINE)
    return "\n".join(
        f"$ {line}\n{_run_make(line) if line.startswith('make ') else _shell(line)}"
        for line in commands
    )


def _shell(text: str) -> str:
    """Run lines in the shell; return their output."""
    return subprocess.run(["sh", "-ec", text], check=True, capture_output=True, text=True).stdout


def _run_make(line: str, **environ: str) -> str:
    """Run a line such as `make search Q="old clocks" K=3` in this process; return its output.

    Raises:
        AssertionError: The command failed.
    """
    _, target, *assignments = shlex.split(line)
    values = dict(word.split("=", 1) for word in assignments)

    terminal = _Terminal()
    with (
        mock.patch.dict(os.environ, environ | _environment(target, values)),
        # Progress bars leave no text.
        mock.patch.object(output.Terminal, "bar", staticmethod(NullProgress().bar)),
        contextlib.redirect_stdout(terminal),
        contextlib.redirect_stderr(terminal),
    ):
        try:
            main(args=[target], standalone_mode=False)
        except SystemExit as exit_error:
            raise AssertionError(
                f"{line} ended with {exit_error.code}: {terminal.printed()}"
            ) from None
    return terminal.printed().replace(os.getcwd(), HOME)  # noqa: PTH109 - as the commands say it


def _environment(target: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the Makefile gives to a target."""
    variables = {f"ASKROWS_{name}": value for name, value in values.items()}
    return {**_TERMINAL, **variables, MAKE_COMMAND_LINE_VARIABLE: f"{target} : {' '.join(values)}"}
