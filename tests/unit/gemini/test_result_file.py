"""The index of a result file: lines by key, whatever the order, whatever else stands in the file."""

from pathlib import Path

import pytest

from pipeline.gemini.responses import key_of_line


def written(tmp_path: Path, data: bytes) -> Path:
    """Write a result file."""
    path = tmp_path / "result.jsonl"
    path.write_bytes(data)
    return path


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
