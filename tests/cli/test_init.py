"""`findable init`: an empty directory, questions or flags, an `.env` without a key, the people, and what is next."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main
from tests.cli.terminal import typed

Run = Callable[..., Result]
HEADER = "Benutzername;Vorname;Nachname;Über mich"
GIVEN = ("--file", "leute.csv", "--backend", "local", "--budget", "3")
COST = "it costs nothing"
KEY = "AIza" + "0123456789" * 3


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `findable` in a directory with one German file, where nothing is set but a key."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FINDABLE_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    Path("leute.csv").write_text(
        f"{HEADER}\nines;Inês;Moura;Baut Gitarren.\nolaf;Olaf;Brandt;Gräbt Brunnen.\n", "cp1252"
    )
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def lines(path: str = ".env") -> list[str]:
    """Return the lines of a file that are no comments."""
    return [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def test_flags_make_settings_import_and_end_with_what_is_next(run: Run) -> None:
    """The key is nowhere in what was written; every setting has a comment; the file is only its owner's."""
    done = run("init", *GIVEN)
    assert done.exit_code == 0, done.output
    assert lines() == ["FINDABLE_BACKEND=local", "FINDABLE_BUDGET_PER_DAY=3"]
    text = Path(".env").read_text(encoding="utf-8")
    assert (KEY in text, text.count("\n# "), Path(".env").stat().st_mode & 0o777) == (False, 3, 0o600)
    assert done.stdout.splitlines() == [
        "2 people in: 2 added, 0 updated, 0 unchanged",
        f"asking findable-local-1 about 2 people first: {COST}; all commands together spend at most $3.00 a day",
    ]
    assert done.stderr.splitlines()[-1] == "next: findable tag --limit 10"


def test_with_gemini_the_first_answers_have_a_price_and_the_key_stays_in_the_shell(run: Run) -> None:
    """No call is made for it, and a key that is not there is asked for in words."""
    os.environ.pop("GEMINI_API_KEY")
    done = run("init", "--file", "leute.csv", "--backend", "gemini", "--yes")
    assert (done.exit_code, lines()) == (0, ["FINDABLE_BACKEND=gemini", "FINDABLE_BUDGET_PER_DAY=5"])
    assert "export GEMINI_API_KEY=" in done.stderr
    assert "asking gemini-3.5-flash-lite about 2 people first: about $0.000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ((), "--file and --backend and --budget"),
        (("--file", "leute.csv"), "--backend and --budget"),
        (("--yes",), "--file"),
    ],
)
def test_without_a_terminal_it_says_which_flags_it_needs(run: Run, arguments: tuple[str, ...], missing: str) -> None:
    """And writes nothing."""
    refused = run("init", *arguments)
    assert (refused.exit_code, f", and {missing} not given; nothing was written" in refused.stderr) == (2, True)
    assert not Path(".env").exists()
    assert not Path("data").exists()


def test_an_env_that_is_there_is_changed_by_yes_alone_and_keeps_its_other_lines(run: Run) -> None:
    """What it says already is not written again; who may read it stays."""
    theirs = "OTHER=1\nexport FINDABLE_BACKEND=gemini  \n# mine\n"
    Path(".env").write_text(theirs, encoding="utf-8")
    Path(".env").chmod(0o640)
    refused = run("init", *GIVEN)
    assert (refused.exit_code, Path(".env").read_text(encoding="utf-8")) == (3, theirs)
    assert not Path("data").exists()
    assert run("init", *GIVEN, "--yes").exit_code == 0
    assert lines() == ["OTHER=1", "FINDABLE_BACKEND=local", "FINDABLE_BUDGET_PER_DAY=3"]
    assert ("# mine" in Path(".env").read_text(encoding="utf-8"), Path(".env").stat().st_mode & 0o777) == (True, 0o640)
    written = Path(".env").stat().st_mtime_ns
    again = run("init", *GIVEN)
    assert (again.exit_code, Path(".env").stat().st_mtime_ns) == (0, written)
    assert ".env is there and stays as it is" in again.stderr


def test_stopped_between_its_steps_it_goes_on(run: Run) -> None:
    """`.env` is there and the import was refused; the next time only the import is left, and no flag but the file."""
    Path("leute.csv").write_text(f"User,Text\nines,{'builds guitars and lutes ' * 4}\n", encoding="utf-8")
    assert run("init", *GIVEN).exit_code == 2
    done = run("init", "--file", "leute.csv", "--map", "bio=Text")
    assert (done.exit_code, done.stdout.startswith("1 person in: 1 added")) == (0, True)
    assert "findable tag --limit 10" in done.stderr


@pytest.mark.full
def test_enter_takes_the_defaults_at_a_terminal(run: Run, tmp_path: Path) -> None:
    """The table that is here, Gemini where there is a key, five dollars a day; a name that is wrong is asked again."""
    code, seen = typed(tmp_path, "init", keys="nobody.csv\n\nlocal\n\n", environ=os.environ)
    assert (code, lines()) == (0, ["FINDABLE_BACKEND=local", "FINDABLE_BUDGET_PER_DAY=5"]), seen
    assert "Parquet) [leute.csv]: " in seen
    assert "nobody.csv is not there" in seen
    assert "[gemini]: " in seen
    assert "2 people in: 2 added" in seen
    assert run("status").exit_code == 0
