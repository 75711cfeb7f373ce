"""Import files with foreign headers: accepted columns, and hints with MAP= for other columns."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `findable` on the local backend in a workspace of the test."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"FINDABLE_DATA": "data", "FINDABLE_BACKEND": "local"}.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def people(run: Run) -> dict[str, dict[str, str]]:
    """Return all people in the workspace by username."""
    records = json.loads(run("export", "-", "--format", "json").stdout)
    return {record["Username"]: record for record in records}


def write(name: str, *lines: str, encoding: str = "utf-8") -> str:
    """Write a file of lines, and return its name."""
    Path(name).write_bytes("\r\n".join((*lines, "")).encode(encoding))
    return name


def test_full_name_is_split_and_name_next_to_a_first_name_is_the_last_name(run: Run) -> None:
    """A comma separates last and first name; otherwise particles belong to the last name."""
    run(
        "import",
        write("a.csv", "User,Full name", "a,Ana Maria van der Berg", 'b,"Silva, Rui"', "c,Teller"),
    )
    stderr = run("import", write("b.csv", "User;Name;Vorname", "d;Berg;Anna")).stderr
    run(
        "import",
        write("c.csv", "User,Last Name,Full name", 'e,Berg,"Berg, Anna"', "f,Berg,Anna Berg"),
    )

    names = {
        key: (person["First Name"], person["Last Name"]) for key, person in people(run).items()
    }
    split = {"a": ("Ana Maria", "van der Berg"), "b": ("Rui", "Silva"), "c": ("Teller", None)}
    assert names == {**split, **dict.fromkeys("def", ("Anna", "Berg"))}
    assert "Name → Full name" in stderr


def test_known_name_is_removed_from_the_full_name_without_case(run: Run) -> None:
    """No name is doubled."""
    rows = ["a,Madonna,Madonna", "b,john smith,John", 'd,"Li, WEI",Wei']
    run("import", write("a.csv", "User,Full name,First Name", *rows))
    run("import", write("b.csv", "User,Full name,Last Name", "e,Smith,Smith", "f,Bob SMITH,Smith"))
    names = {
        key: (person["First Name"], person["Last Name"]) for key, person in people(run).items()
    }
    assert names == {
        "a": ("Madonna", None),
        "b": ("John", "smith"),
        "d": ("Wei", "Li"),
        "e": (None, "Smith"),
        "f": ("Bob", "Smith"),
    }
