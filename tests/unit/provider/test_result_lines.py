"""Split result files without lines into their objects, at any chunk boundary."""

import json
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.core.errors import IncompleteError
from askrows.pipeline.provider.result_lines import (
    CHUNK_BYTES,
    iterate_json_objects,
    rewrite_result_as_lines,
)

TRICKY = 'a "quoted" } ] \\ text'


@pytest.mark.parametrize(("indent", "is_list"), [(None, True), (1, False)])
def test_objects_are_split_wherever_a_piece_ends(
    tmp_path: Path, indent: int | None, *, is_list: bool
) -> None:
    """Brackets, quotation marks and backslashes in texts may be at a chunk boundary."""
    path = tmp_path / "result.jsonl"
    start = len(json.dumps([{"pad": ""}], indent=indent))
    for offset in range(start + len(TRICKY) + 8):
        documents: list[Any] = [
            {"pad": "x" * (CHUNK_BYTES - offset)},
            {"text": TRICKY, "in": [{}, [1]]},
            {"last": 1},
        ]
        text = json.dumps(documents, indent=indent)
        if not is_list:
            text = "\n".join(json.dumps(document, indent=indent) for document in documents)
        path.write_text(text, encoding="utf-8")
        assert [json.loads(read_object) for read_object in iterate_json_objects(path)] == documents


def test_result_in_lines_keeps_its_bytes_and_a_cut_list_is_incomplete(tmp_path: Path) -> None:
    """Lines with texts as keys are not changed; a cut list raises an IncompleteError."""
    path = tmp_path / "result.jsonl"
    data = b'\xef\xbb\xbf{"key": "task/1", "response": {}}\r\n%%% garbage [ {\n\n{"key": "task/2"}'
    path.write_bytes(data)
    rewrite_result_as_lines(path, task_name="task")
    assert path.read_bytes() == data
    path.write_bytes(b'[{"key": "task/1"}, {"key": "task/2"}')
    with pytest.raises(IncompleteError):
        rewrite_result_as_lines(path, task_name="task")
    path.write_bytes(
        b'{"key": true}\n{"key": 2}\n{"metadata": {"key": 3}}\n{"key": null, "metadata": 1}\n'
    )
    rewrite_result_as_lines(path, task_name="task")
    keys = [json.loads(line)["key"] for line in path.read_bytes().splitlines()]
    assert keys == [True, "task/2", "task/3", None]
