"""`findable import`, `export` and `show` at the terminal: exit codes, standard output, standard error."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main

HEADER = (
    "Username,First Name,Last Name,Job Title,Company,Bio,Hourly Rate,Currency,Profile URL,Profile URL with UTM,category"
)
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `findable` on the local backend in a workspace of the test."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"FINDABLE_DATA": "data", "FINDABLE_BACKEND": "local"}.items():
        monkeypatch.setenv(name, value)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return invoke


@pytest.fixture
def people(tmp_path: Path) -> str:
    """Return the name of a file with one sound row, one whose rate is dropped, and one that is rejected."""
    rows = ("ann,Ann,Lee,CTO,Acme,Water.,100,USD,,,", "bob,Bob,Ray,,,Soil.,negotiable,,,,", "short,row")
    (tmp_path / "people.csv").write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return "people.csv"


def test_import_tells_findings_and_one_line(run: Run, people: str) -> None:
    """Findings go to standard error by line, column and reason; the summary, or JSON, to standard output."""
    result = run("import", people)
    assert result.exit_code == 0
    assert result.stdout == "2 people in: 2 added, 0 updated, 0 unchanged; 1 rejected, 1 changed\n"
    assert "changed: line 3, Hourly Rate: not a number; stored without a rate (negotiable) [bob]" in result.stderr
    assert "rejected: line 4, Last Name: wrong number of fields: found 2, expected 11" in result.stderr
    document = json.loads(run("import", people, "--json").stdout)
    counts = {"added": 0, "rejected": 1, "changed": 1, "refused": False}
    assert {name: document[name] for name in counts} == counts
    assert [finding["line"] for finding in document["findings"]] == [3, 4]


def test_strict_import_exits_with_2_and_takes_nothing(run: Run, people: str, tmp_path: Path) -> None:
    """`--strict` refuses the file, says what to do, writes the list, and the next import finds nobody there."""
    result = run("import", people, "--strict", "--report", "rejects.csv")
    assert result.exit_code == 2
    assert "--strict imported nothing" in result.stderr
    assert (tmp_path / "rejects.csv").exists()
    assert run("import", people).stdout.startswith("2 people in: 2 added")


@pytest.mark.parametrize("content", [None, f"{HEADER}\nshort\n"])
def test_import_of_nothing_exits_with_2_and_no_traceback(run: Run, tmp_path: Path, content: str | None) -> None:
    """A file that is missing or without a sound row is an error of the input, named."""
    if content is not None:
        (tmp_path / "bad.csv").write_text(content, encoding="utf-8")
    result = run("import", "bad.csv")
    assert result.exit_code == 2
    assert "bad.csv" in result.stderr
    assert "next:" in result.stderr
    assert "Traceback" not in result.stderr


def test_export_to_a_file_and_to_standard_output(run: Run, people: str, tmp_path: Path) -> None:
    """`TO` names the file and by its ending the format; `-` is standard output, with nothing else there."""
    run("import", people)
    result = run("export", "out.jsonl")
    assert (result.exit_code, result.stdout) == (0, "2 experts written to out.jsonl\n")
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    printed = run("export", "-", "--format", "json")
    assert [row["Username"] for row in json.loads(printed.stdout)] == ["ann", "bob"]
    assert run("export", "-", "--json").stdout == printed.stdout
    refused = run("export", "-", "--json", "--format", "csv")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "JSON=1" in refused.stderr
    assert run("export", "out.doc").exit_code == 2


def test_show_prints_a_person_or_exits_with_2(run: Run, people: str) -> None:
    """One person in lines, or as one JSON document; an unknown name is an error of the input."""
    run("import", people)
    assert "findability_score" in run("show", "ann").stdout
    assert json.loads(run("show", "ann", "--json").stdout)["state"] == "untagged"
    assert run("show", "nobody").exit_code == 2
