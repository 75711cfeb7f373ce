"""People in JSON and JSON lines."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.experts.import_ import People, Person
from pipeline.tables.findings import Finding


def test_json_that_cannot_be_read_is_told_and_never_raised(tmp_path: Path) -> None:
    """Deep nesting, endless numbers, NUL, half characters and a key in two spellings are findings like any other."""
    path = tmp_path / "people.jsonl"
    lines = [
        '{"username": "a"}',
        "[" * 100_000,
        "9" * 10_000,
        '{"username": "c", "company": "\\ud83d"}',
        '{"username": "d", "bio": "\\u0000"}',
        '{"username": "e", "Bio": "x", "bio": "y"}',
        '{"username": "b"}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = list(People(path).people())
    findings = [row for row in rows if isinstance(row, Finding)]
    assert [row.username for row in rows if isinstance(row, Person)] == ["a", "b"]
    assert [(one.line, one.column) for one in findings] == [(2, ""), (3, ""), (4, ""), (5, "Bio"), (6, "Bio")]
    assert findings[-1].reason == "given twice, in two spellings"
    (tmp_path / "people.json").write_text("Username,Bio\n", encoding="utf-8")
    with pytest.raises(InputError, match="is no JSON"):
        People(tmp_path / "people.json")
