"""Files that survive: all of it under its name or none, held against its hash, lines split on the line feed alone."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import files


def test_what_is_not_sealed_leaves_the_old_file(tmp_path: Path) -> None:
    """Leaving the block without sealing removes the part; of two writers the one that seals last wins, whole."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with files.SealedWriter(path) as one, files.SealedWriter(path) as two, files.SealedWriter(path) as three:
        one.write(b"1" * 100)
        two.write(b"2" * 100)
        three.write(b"3" * 100)
        assert path.read_bytes() == b"old"
        one.seal()
        assert path.read_bytes() == b"1" * 100
        two.seal()
    assert path.read_bytes() == b"2" * 100
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["file"]


def test_only_the_parts_of_the_dead_are_abandoned(tmp_path: Path) -> None:
    """A part's name says who wrote it: this process is alive, one that is over is not; other names say nothing."""
    if not (dead := os.fork()):
        os._exit(0)
    os.waitpid(dead, 0)
    mine = files.part_of(tmp_path / "export.csv")
    assert not files.is_abandoned(mine)
    assert files.is_abandoned(mine.with_name(mine.name.replace(f".{os.getpid():x}-", f".{dead:x}-")))
    assert not files.is_abandoned(tmp_path / "export.csv.part")
    assert not files.is_abandoned(mine.with_suffix(""))


@given(
    st.lists(st.binary().map(lambda line: line.replace(b"\n", b" ").rstrip(b"\r")).filter(lambda line: line.strip())),
    st.booleans(),
)
def test_every_line_is_read_where_it_begins(lines: list[bytes], windows: bool) -> None:  # noqa: FBT001 - hypothesis
    """Any bytes without a line end come back as lines, with the offset at which each one begins."""
    ends = b"\r\n" if windows else b"\n"
    lines = [line for line in lines if not line.startswith(b"\xef\xbb\xbf")]
    content = b"".join(line + ends for line in lines)
    path = Path("lines.bin")
    path.write_bytes(content)
    found = list(files.read_lines(path))
    assert [line for _, line in found] == lines
    assert all(content[offset:].startswith(line) for offset, line in found)
