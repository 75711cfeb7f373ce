"""The index of a result file: lines by key, whatever the order, whatever else stands in the file."""

from pathlib import Path

import pytest

from pipeline.gemini.result_file import ResultFile, key_of_line


def written(tmp_path: Path, data: bytes) -> Path:
    """Write a result file."""
    path = tmp_path / "result.jsonl"
    path.write_bytes(data)
    return path


def test_lines_come_by_key_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Keys at the start and at the end, shuffled and repeated, are found; duplicates are counted once."""
    data = b'{"response":{"a":1},"key":"t/2"}\n{"key":"t/1","error":{"code":13}}\n{"response":{"a":2},"key":"t/1"}\n'
    with ResultFile(written(tmp_path, data)) as results:
        assert results.lines_of(["t/1"])[0] == [
            b'{"key":"t/1","error":{"code":13}}',
            b'{"response":{"a":2},"key":"t/1"}',
        ]
        assert results.lines_of(["t/1"])[0][0] == b'{"key":"t/1","error":{"code":13}}'
        assert results.lines_of(["t/3"])[0] == []
        assert (results.total, results.duplicates, results.unknown) == (3, 1, 1)
        assert results.examples() == {"unknown": [(1, "t/2")], "duplicate": [(3, "t/1")], "unreadable": []}
        assert results.lines_of(["t/2"])[0] == [b'{"response":{"a":1},"key":"t/2"}']
        assert results.unknown == 0


@pytest.mark.parametrize("more", [0, 2_019, 2_020, 2_021, 2_022, 100_000])
def test_a_line_of_any_length_is_whole(tmp_path: Path, more: int) -> None:
    """Whatever stands behind it, and at the end of a file without a line end."""
    lines = [b'{"response":"%b","key":"t/%d"}' % (b"x" * more, number) for number in range(3)]
    with ResultFile(written(tmp_path, b"\r\n \n".join(lines))) as results:
        assert results.lines_of(["t/2", "t/0", "t/1"]) == [[lines[2]], [lines[0]], [lines[1]]]


def test_unreadable_lines_are_counted_and_shown(tmp_path: Path) -> None:
    """Lines that show no key are counted, and at most three are shown with their numbers; blank lines count there."""
    data = b'\ngarbage\x1b[0m\n{"key":"t/1"}\n\xff\xfe\n{"response":{"te\n{"response"\n'
    with ResultFile(written(tmp_path, data)) as results:
        assert results.unreadable_count == 4
        shown = results.examples()["unreadable"]
        assert [number for number, _ in shown] == [2, 4, 5]
        assert shown[0][1] == "garbage [0m"
        assert results.lines_of(["t/1"])[0] == [b'{"key":"t/1"}']


@pytest.mark.parametrize("key", [b"7", b"null", b'["t/1"]', b"true", b'{"key":"t/1"}'])
def test_key_that_is_no_text_is_unknown(tmp_path: Path, key: bytes) -> None:
    """A number, null, or a nested key is a readable line of no item."""
    with ResultFile(written(tmp_path, b'{"response":{},"key":' + key + b"}\n")) as results:
        assert results.lines_of(["t/1"])[0] == []
        assert results.lines_of(["7"])[0] == []
        assert (results.unknown, results.unreadable_count) == (1, 0)
        assert results.examples()["unknown"][0][1].startswith('{"response":{}')


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"key":"t/1","response":{"text":"', "t/1"),
        (b'{"key":"t/1"', None),
        (b'nse":{"text":"x"}},"key":"t/1"}', "t/1"),
        (b'{"key":"t/1","response":"\xff"}', "t/1"),
        (b'{"key":"t/1","response":"x","key":"t/2"', "t/1"),
        (b'{"key":"t/1","response":"x,"key":"t/2"}', None),
        (b'{"key":"t/1","response":"x","key":"t/2"}', "t/2"),
        (b'{"key":"t/1","response":{},"key":"t/2","error":{}}', "t/2"),
        (b'{"key":"a\\u0062","response":{}}', "ab"),
        (b'{"key":"a\\"b","response":{}}', 'a"b'),
        (b'{ "key" : "t/1" , "response" : {} }', "t/1"),
        (b'{"response":{"text":"\\"key\\":\\"t/9\\""},"key":"t/1"}', "t/1"),
        (b'{"response":{"key":"t/9"},"key":"t/1"}', "t/1"),
        (b'{"response":{"key":"t/9"}}', ""),
        (b'{"response":{"text":"x,\\"key\\":\\"t/9\\"}"}}', ""),
        (b'{"\\u006bey":"t/1"}', "t/1"),
        (b'{"key":"\xff"}', None),
        (b"[]", ""),
    ],
)
def test_key_a_line_shows(line: bytes, key: str | None) -> None:
    """The key is the top-level member; a cut line shows it at its very start or end, and ambiguity is no key."""
    assert key_of_line(line) == key


def key_of(line: bytes) -> str:
    """Return the key at the end of a line."""
    return line.rpartition(b'"key":"')[2][:-2].decode()
