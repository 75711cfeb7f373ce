"""Files whose header is not ours: what is taken, and what is named with the MAP= that takes it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main

Run = Callable[..., Result]
LONG = "Repairs tower clocks and pocket watches; teaches how worn wheels are cut anew by hand."


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `findable` on the local backend in a workspace of the test."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"FINDABLE_DATA": "data", "FINDABLE_BACKEND": "local"}.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def people(run: Run) -> dict[str, dict[str, str]]:
    """Return everyone in the workspace by username."""
    return {
        load["Username"]: load for load in json.loads(run("export", "-", "--format", "json").stdout)
    }


def write(name: str, *lines: str, encoding: str = "utf-8") -> str:
    """Write a file of these lines, and return its name."""
    Path(name).write_bytes("\r\n".join((*lines, "")).encode(encoding))
    return name


def test_a_whole_name_is_split_and_name_beside_a_first_name_is_the_last(run: Run) -> None:
    """Particles belong to the last name; a comma says which part is which; one word is a first name."""
    run(
        "import",
        write("a.csv", "User,Full name", "a,Ana Maria van der Berg", 'b,"Silva, Rui"', "c,Teller"),
    )
    stderr = run("import", write("b.csv", "User;Name;Vorname", "d;Berg;Anna")).stderr
    run(
        "import",
        write("c.csv", "User,Last Name,Full name", 'e,Berg,"Berg, Anna"', "f,Berg,Anna Berg"),
    )
    names = {key: (one["First Name"], one["Last Name"]) for key, one in people(run).items()}
    split = {"a": ("Ana Maria", "van der Berg"), "b": ("Rui", "Silva"), "c": ("Teller", None)}
    assert names == {**split, **dict.fromkeys("def", ("Anna", "Berg"))}
    assert "Name → Full name" in stderr
