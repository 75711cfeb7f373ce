"""`findable import`, `export` and `show` at the terminal: exit codes, standard output, standard error."""

import json
from pathlib import Path

import pytest

from tests.lab import Workspace

HEADER = (
    "Username,First Name,Last Name,Job Title,Company,Bio,Hourly Rate,Currency,Profile URL,Profile URL with UTM,category"
)


@pytest.fixture(name="local")
def _local(tmp_path: Path) -> Workspace:
    """A workspace without a key, and a file of one sound row, one whose rate is dropped, and one that is rejected."""
    rows = ("ann,Ann,Lee,CTO,Acme,Water.,100,USD,,,", "bob,Bob,Ray,,,Soil.,negotiable,,,,", "short,row")
    Path("people.csv").write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


def test_import_tells_findings_and_one_line(local: Workspace) -> None:
    """Findings go to standard error by line, column and reason; the summary, or JSON, to standard output."""
    result = local.ran("import", "people.csv", "--strict", "--report", "rejects.csv", code=2)
    assert "--strict imported nothing" in result.stderr
    assert Path("rejects.csv").exists()
    result = local.ran("import", "people.csv")
    assert result.stdout == "2 people in: 2 added, 0 updated, 0 unchanged; 1 rejected, 1 changed\n"
    assert "changed: line 3, Hourly Rate: not a number; stored without a rate (negotiable) [bob]" in result.stderr
    assert "rejected: line 4, Last Name: wrong number of fields: found 2, expected 11" in result.stderr
    document = json.loads(local.ran("import", "people.csv", "--json").stdout)
    counts = {"added": 0, "rejected": 1, "changed": 1, "refused": False}
    assert {name: document[name] for name in counts} == counts
    assert [finding["line"] for finding in document["findings"]] == [3, 4]


def test_import_of_nothing_exits_with_2_and_no_traceback(local: Workspace) -> None:
    """A file that is missing or without a sound row is an error of the input, named."""
    Path("bad.csv").write_text(f"{HEADER}\nshort\n", encoding="utf-8")
    for name in ("bad.csv", "none.csv"):
        result = local.ran("import", name, code=2)
        assert name in result.stderr
        assert "next:" in result.stderr
        assert "Traceback" not in result.stderr


def test_export_and_show_write_to_a_file_or_to_standard_output(local: Workspace) -> None:
    """`TO` names the file and by its ending the format; `-` is standard output, with nothing else there."""
    local.ran("import", "people.csv")
    assert local.ran("export", "out.jsonl").stdout == "2 experts written to out.jsonl\n"
    assert len(Path("out.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    printed = local.ran("export", "-", "--format", "json").stdout
    assert [row["Username"] for row in json.loads(printed)] == ["ann", "bob"]
    assert local.ran("export", "-", "--json").stdout == printed
    refused = local.ran("export", "-", "--json", "--format", "csv", code=2)
    assert json.loads(refused.stdout)["exit_code"] == 2
    assert "JSON=1" in refused.stderr
    local.ran("export", "out.doc", code=2)
    assert "findability_score" in local.ran("show", "ann").stdout
    assert json.loads(local.ran("show", "ann", "--json").stdout)["state"] == "untagged"
    local.ran("show", "nobody", code=2)
