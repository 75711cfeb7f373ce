"""Files whose header is not ours: what is taken, what is asked about, what is kept, and usernames that are made."""

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main
from pipeline.passages.read import Passage, Passages
from tests.cli.terminal import typed

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
    return {one["Username"]: one for one in json.loads(run("export", "-", "--format", "json").stdout)}


def write(name: str, *lines: str, encoding: str = "utf-8") -> str:
    """Write a file of these lines, and return its name."""
    Path(name).write_bytes("\r\n".join((*lines, "")).encode(encoding))
    return name


def test_a_guess_is_not_taken_unasked_and_its_line_can_be_typed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with YES=1 either. What MAP= says is kept: the next file with this header needs none, in whatever order."""
    file = write("people.csv", "User,Kurzportrait", f'ines,"{LONG}"', f'olaf,"{LONG}"')
    refused = run("import", file)
    assert refused.exit_code == 2
    assert "'Kurzportrait' may be Bio" in refused.stderr
    monkeypatch.setenv("FINDABLE_YES", "1")
    assert run("import", file).exit_code == 2
    line = re.search(r'^next: findable import people.csv --map ("[^"]*")', refused.stderr, re.MULTILINE)
    assert line is not None
    taken = run("import", file, "--map", shlex.split(line[1])[0])
    assert "columns as MAP= says: Kurzportrait → Bio" in taken.stderr
    again = run("import", write("more.csv", "Kurzportrait,User", f"{LONG},ines", "Other.,rosa"))
    assert "columns as at the last import of such a file: " in again.stderr
    assert (again.exit_code, people(run)["rosa"]["Bio"], people(run)["ines"]["Bio"]) == (0, "Other.", LONG)


def test_what_was_settled_is_in_a_backup(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in the workspace that is restored from it."""
    file = write("people.csv", "User,Kurzportrait", f'ines,"{LONG}"')
    assert run("import", file, "--map", "bio=").exit_code == 0
    assert run("backup", "copy").exit_code == 0
    monkeypatch.setenv("FINDABLE_DATA", "restored")
    assert run("restore", "copy").exit_code == 0
    again = run("import", file)
    assert (again.exit_code, "not read: Kurzportrait" in again.stderr) == (0, True)


@pytest.mark.full
@pytest.mark.parametrize(("keys", "bio"), [("y\n", LONG), ("\n", LONG), ("n\n", None)])
def test_a_guess_is_asked_about_at_a_terminal(run: Run, tmp_path: Path, keys: str, bio: str | None) -> None:
    """Once: the answer is kept, a no as well."""
    file = write("people.csv", "User,Kurzportrait", f'ines,"{LONG}"')
    code, seen = typed(tmp_path, "import", file, keys=keys, environ=os.environ)
    assert (code, "Read it as Bio? [Y/n]: " in seen) == (0, True), seen
    assert run("import", file).exit_code == 0
    assert people(run)["ines"]["Bio"] == bio


def test_two_columns_with_names_of_one_are_asked_about(run: Run) -> None:
    """Neither is better known."""
    refused = run("import", write("people.csv", "User,Biografie,About me", "ines,x,y"))
    assert (refused.exit_code, "both mean it" in refused.stderr) == (2, True)


def test_a_whole_name_is_split_and_name_beside_a_first_name_is_the_last(run: Run) -> None:
    """Particles belong to the last name; a comma says which part is which; one word is a first name."""
    run("import", write("a.csv", "User,Full name", "a,Ana Maria van der Berg", 'b,"Silva, Rui"', "c,Teller"))
    said = run("import", write("b.csv", "User;Name;Vorname", "d;Berg;Anna")).stderr
    names = {key: (one["First Name"], one["Last Name"]) for key, one in people(run).items()}
    split = {"a": ("Ana Maria", "van der Berg"), "b": ("Rui", "Silva"), "c": ("Teller", None)}
    assert names == {**split, "d": ("Anna", "Berg")}
    assert "Name → Last Name" in said


def test_reasons_are_counted_and_three_examples_shown(run: Run) -> None:
    """A line for each reason; programs, and the report, get every row."""
    rows = [f"u{number},-,{number} hours" for number in range(5)]
    file = write("people.csv", "Username,Bio,Hourly Rate", *rows, "v,x,80 EUR")
    shown = run("import", file).stderr
    assert "changed: 5 times in Bio: placeholder '-' read as empty: line 2 (-), line 3 (-), line 4 (-), …\n" in shown
    assert "changed: 6 times in Hourly Rate: read as …: line 2 (0 hours), line 3 (1 hours), " in shown
    assert "changed: line 7, Currency: empty; EUR taken from the rate [v]\n" in shown
    assert len(shown.splitlines()) < 10
    document = json.loads(run("import", file, "--json", "--report", "rejects.csv").stdout)
    assert sum("placeholder" in one["reason"] for one in document["findings"]) == 5
    assert Path("rejects.csv").read_text(encoding="utf-8").count("placeholder") == 5


@pytest.mark.parametrize("header", ["ID,Content", "kennung,Inhalt", "doc_id,TEXT"])
def test_passages_are_mapped_by_the_same_rules(run: Run, header: str) -> None:
    """What is not a column of theirs stays in the metadata."""
    file = write("texts.csv", f"{header},Topic", "one,Wells are dug.,water")
    assert run("import-passages", file).exit_code == 0
    (found,) = Passages(Path(file)).passages()
    assert isinstance(found, Passage)
    assert (found.id, found.text, found.metadata) == ("one", "Wells are dug.", {"Topic": "water"})
