"""Files of passages give rows and findings, and texts do not change."""

import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.passages.import_ import PassagesFile
from askrows.pipeline.rows.row_findings import Finding, FindingKind, SoundRow


def _read(path: Path, data: bytes) -> list[SoundRow | Finding]:
    """Return the rows and findings of a file with these bytes."""
    path.write_bytes(data)
    return list(PassagesFile(path))


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        (b"nonsense", "", "not JSON: "),
        ('{"id": "ä", "m": -Infinity}'.encode(), "", "not JSON: NaN and Infinity are not"),
        (b'{"id": "a", "text": "x"} {"id": "b"}', "", "not JSON: "),
        (b"[" * 5000, "", "not JSON: "),
        (b'{"id": "a", "text": "x", "m": ' + b"[" * 5000 + b"]" * 5000 + b"}", "", "not JSON: "),
        (b'{"id": "a", "text": "x", "text": "y"}', "", "the member 'text' occurs twice"),
        (b'{"id": "a", "text": "x", "m": [{"n": 1, "\\u006e": 1}]}', "", "'n' occurs twice"),
        (b'["a", "x"]', "", "not an object"),
        (b'{"id": "a", "text": "\xff"}', "", "not JSON: str is not valid UTF-8"),
        (b'{"id": "a", "text": "x", "n": {"m": ["\\udc00"]}}', "", "not JSON: "),
        (b'{"text": "x"}', "id", "missing"),
        (b'{"id": " \\u3000", "text": "x"}', "id", "empty"),
        (b'{"id": true, "text": "x"}', "id", "neither text nor a whole number"),
        (b'{"id": "a\\nb", "text": "x"}', "id", "contains control characters"),
        (b'{"id": "a\\u2028", "text": "x"}', "id", "contains control characters"),
        (json.dumps({"id": "x" * 501, "text": "x"}).encode(), "id", "longer than 500 characters"),
        (b'{"id": "a"}', "text", "missing"),
        (b'{"id": "a", "text": 5}', "text", "not text"),
    ],
)
def test_line_without_a_passage_is_a_finding(
    tmp_path: Path, line: bytes, field: str, reason: str
) -> None:
    """The finding has line, field and reason; the lines around it are read."""
    good_line = b'{"id": "good", "text": "x"}\n'
    first_row, finding, last_row = _read(
        tmp_path / "p.jsonl", good_line + line + b"\n" + good_line.replace(b"good", b"fine")
    )
    assert isinstance(finding, Finding)
    assert (finding.line, finding.column, finding.kind) == (2, field, FindingKind.REJECTED)
    assert reason in finding.reason
    assert [row.key for row in (first_row, last_row) if isinstance(row, SoundRow)] == [
        "good",
        "fine",
    ]


def test_table_of_passages_is_read_like_json_lines(tmp_path: Path) -> None:
    """CSV, JSON and Parquet give the same texts; other columns become metadata."""
    text = ' Two lines,\r\nwith "quotes"\nHowever, no record \u2028'
    rows = [{"id": "a", "text": text, "source": "s", "metadata": '{"n": 1}', "more": "x"}]
    with (tmp_path / "p.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "p.json").write_text(json.dumps([{**rows[0], "metadata": {"n": 1}}]))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    for name in ("p.csv", "p.json", "p.parquet"):
        (row,) = PassagesFile(tmp_path / name)
        assert isinstance(row, SoundRow), row
        assert (row.key, *row.values.values()) == ("a", text, "s", {"more": "x", "n": 1})


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_unreadable_parquet_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The error names the damaged file, or the extra if pyarrow is missing."""
    path = tmp_path / name
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list(PassagesFile(path))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match="needs pyarrow") as caught:
        list(PassagesFile(path))
    assert "make setup EXTRAS=parquet" in str(caught.value.hint)
