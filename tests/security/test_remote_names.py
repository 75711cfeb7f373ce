"""Names that a server makes up never become a path here, nor part of another URL than one of its own resources."""

from typing import Any

import pytest

from pipeline.gemini.remote import UnreadableError, file_in, read_operation

TAILS = (
    "../../../etc/passwd",
    "..",
    ".",
    "a/../../b",
    "a/b",
    "a\\..\\b",
    "%2e%2e/%2e%2e",
    "a%00",
    "a\0b",
    "a\nb",
    "a?key=x",
    "a#b",
    "a:download",
    "a b",
    "\u2025",
    "",
    "a" * 5_000,
    "x@h.example/",
)
WHOLE: tuple[Any, ...] = (
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
    "\\\\host\\share",
    "C:\\x",
    None,
    7,
    ["files/a"],
    {},
)


def test_a_batch_or_a_file_with_such_a_name_is_not_believed() -> None:
    """The whole answer is unreadable, as one without a name; a result of that name is none."""
    for name in [*(f"batches/{tail}" for tail in TAILS), *WHOLE, "files/a"]:
        with pytest.raises(UnreadableError):
            read_operation({"name": name, "metadata": {"state": "BATCH_STATE_SUCCEEDED"}})
    for name in [*(f"files/{tail}" for tail in TAILS), *WHOLE, "batches/a"]:
        with pytest.raises(UnreadableError):
            file_in({"file": {"name": name}})
        inside = {"output": {"responsesFile": name}, "inputConfig": {"fileName": name}}
        metadata = {"state": "BATCH_STATE_SUCCEEDED", **inside}
        batch = read_operation({"name": "batches/a", "metadata": metadata, "response": {"responsesFile": name}})
        assert batch.result_file is None
