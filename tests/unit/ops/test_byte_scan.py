"""Looking for words in every byte."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ops import byte_scan


def found(root: Path, *texts: str) -> list[str]:
    """Return the names of the files that hold one of some texts."""
    return [path.name for path in byte_scan.holding(root, byte_scan.needles(texts))]


@pytest.mark.parametrize("written", ["plain", "json", "ascii", "request"])
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=6, max_size=40).filter(lambda t: t.strip())
)
def test_a_short_text_is_found_however_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: str, text: str
) -> None:
    """As it is, as JSON with and without its own letters, and inside a question."""
    text = text.strip() + "!"
    if written != "plain" and any(sign in text for sign in '"\\'):
        return  # what JSON writes otherwise is found as ASCII alone
    root = tmp_path_factory.mktemp("root")
    forms = {
        "plain": text,
        "json": json.dumps({"a": text}, ensure_ascii=False),
        "ascii": json.dumps({"a": text}),
        "request": json.dumps({"a": f"<username>{text}</username>"}),
    }
    (root / "file").write_bytes(forms[written].encode())
    assert found(root, text) == ["file"]


def test_a_long_text_is_found_by_its_pieces(tmp_path: Path) -> None:
    """A biography with quotes and line ends is found in JSON, in CSV and as it is."""
    bio = 'He said: "I mend the old harpsichords",\nand he has done so for thirty-two years.\r\nNobody knows why.'
    (tmp_path / "json").write_text(json.dumps(bio))
    (tmp_path / "csv").write_text(bio.replace('"', '""'))
    (tmp_path / "plain").write_text(bio)
    (tmp_path / "other").write_text("He said that he mends harpsichords.")
    assert found(tmp_path, bio) == ["csv", "json", "plain"]


def test_words_across_pieces_are_found(tmp_path: Path) -> None:
    """A word that begins in one piece that is read and ends in the next is seen."""
    for before in range(byte_scan.PIECE - 10, byte_scan.PIECE + 2):
        (tmp_path / "file").write_bytes(b"x" * before + b"somebody" + b"x" * 100)
        assert found(tmp_path, "somebody") == ["file"], before


def test_very_short_texts_are_found_as_words_alone(tmp_path: Path) -> None:
    """A username of three letters is looked for between quotes or tags, for any file may hold three bytes by chance."""
    (tmp_path / "chance").write_bytes(b"\x00xyz\xff")
    (tmp_path / "json").write_text('{"username": "xyz"}')
    (tmp_path / "request").write_text("<username>xyz</username>")
    assert found(tmp_path, "xyz") == ["json", "request"]


def test_links_are_not_followed_and_blanks_are_no_words(tmp_path: Path) -> None:
    """What a link leads to is looked at where it lies, and not elsewhere; nothing is found of nothing."""
    (tmp_path / "outside").write_text("somebody")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    assert found(tmp_path / "root", "somebody") == []
    assert found(tmp_path, "", "  ") == []
