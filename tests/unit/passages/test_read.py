"""Passages from files: which rows hold one, what is told of the others, and texts that stay what they are."""

import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.passages.import_ import PassagesFile
from pipeline.tables.row_findings import Finding, FindingKind, SoundRow


def _read(path: Path, data: bytes) -> list[SoundRow | Finding]:
    """Return what is read from a file with these bytes."""
    path.write_bytes(data)
    return list(PassagesFile(path))


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        (b"nonsense", "", "no JSON: "),
        (b'{"id": "a", "text": "x"} {"id": "b"}', "", "no JSON: "),
        (b"[" * 5000, "", "no JSON: "),
        (b'{"id": "a", "text": "x", "m": ' + b"[" * 5000 + b"]" * 5000 + b"}", "", "no JSON: "),
        (b'["a", "x"]', "", "not an object"),
        (b'{"id": "a", "text": "\xff"}', "", "not UTF-8, from byte 22 on"),
        (b'{"id": "a", "text": "x", "n": {"m": ["\\udc00"]}}', "", "no JSON: "),
        (b'{"text": "x"}', "id", "missing"),
        (b'{"id": " \\u3000", "text": "x"}', "id", "empty"),
        (b'{"id": true, "text": "x"}', "id", "neither text nor a whole number"),
        (b'{"id": "a\\nb", "text": "x"}', "id", "holds control characters"),
        (b'{"id": "a\\u2028", "text": "x"}', "id", "holds control characters"),
        (json.dumps({"id": "x" * 501, "text": "x"}).encode(), "id", "longer than 500 characters"),
        (b'{"id": "a"}', "text", "missing"),
        (b'{"id": "a", "text": 5}', "text", "no text"),
    ],
)
def test_a_line_without_a_passage_is_told(
    tmp_path: Path, line: bytes, field: str, reason: str
) -> None:
    """With its number, the field and the reason; the lines around it are read."""
    good = b'{"id": "good", "text": "x"}\n'
    before, found, after = _read(
        tmp_path / "p.jsonl", good + line + b"\n" + good.replace(b"good", b"fine")
    )
    assert isinstance(found, Finding)
    assert (found.line, found.column, found.kind) == (2, field, FindingKind.REJECTED)
    assert reason in found.reason
    assert [one.key for one in (before, after) if isinstance(one, SoundRow)] == ["good", "fine"]


def test_a_table_of_passages_is_read_as_json_lines_are(tmp_path: Path) -> None:
    """CSV, a JSON list and Parquet give the same passages: texts to the letter, metadata and other columns together."""
    text = ' Two lines,\r\nwith "quotes"\nHowever, no record \u2028'
    rows = [{"id": "a", "text": text, "source": "s", "metadata": '{"n": 1}', "more": "x"}]
    with (tmp_path / "p.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "p.json").write_text(json.dumps([{**rows[0], "metadata": {"n": 1}}]))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    for name in ("p.csv", "p.json", "p.parquet"):
        (found,) = passages = PassagesFile(tmp_path / name)
        assert isinstance(found, SoundRow), found
        assert (found.key, *found.values.values()) == ("a", text, "s", {"more": "x", "n": 1})
        assert passages.notes == ["taken into the metadata: more"]


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_parquet_that_cannot_be_read_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A damaged file is said to be one; where pyarrow is missing, the extra is named."""
    path = tmp_path / name
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list(PassagesFile(path))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match="needs pyarrow") as caught:
        list(PassagesFile(path))
    assert ".[parquet]" in str(caught.value.hint)
