"""Any bytes as a result file: the database stays consistent, every request is accounted for."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import ledger
from tests.delivery import TAGS, deliver, error, line, prepare, put_people, response, workspace_at
from tests.lab import Workspace, copy_tree

pytestmark = pytest.mark.sqlite_only("checks the pages of an SQLite file")

COUNT = 5
KEYS = tuple(f"expert-tags/{number}" for number in range(1, COUNT + 1))
LINES = tuple(line(key, response(TAGS.replace("water", f"water {key[-1]}"))) for key in KEYS)
TRIALS = settings(max_examples=settings().max_examples // 6, suppress_health_check=list(HealthCheck))
_BYTES = b'\0 \xff\xfe \xef\xbb\xbf \xe2\x80\xa8 " \\ { } , null \x1b[2J NaN 1e999 "response":{} "error":{} "key":'
BYTES = st.binary(max_size=12) | st.sampled_from(
    [
        *(b"\n", b"\r\n", b"\n\n\n", b"[" * 2000, LINES[0] + b"\n", b"\n" + LINES[1], error(KEYS[2], 3) + b"\n"),
        *(b'"key":"expert-tags/1"', b"expert-tags/2", b'"key":"expert-tags/99"', *_BYTES.split()),
    ]
)


@pytest.fixture(name="ready", scope="module")
def _ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of five people who all stand in one prepared batch."""
    data = tmp_path_factory.mktemp("ready") / "data"
    workspace = workspace_at(data)
    put_people(workspace, COUNT)
    assert tuple(prepare(workspace)) == KEYS
    return data


@contextmanager
def _copy_of(ready: Path) -> Iterator[Workspace]:
    """Give a copy of a workspace, for the length of a block."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        copy_tree(ready, data)
        yield workspace_at(data)


def _ingested(ready: Path, data: bytes, word: str = "BATCH_STATE_SUCCEEDED") -> dict[str, Any]:
    """Ingest a result file, twice, hold the accounts against one another, and return what the database holds."""
    with _copy_of(ready) as workspace:
        deliver(workspace, data, word=word)
        ran = workspace.run("batch-ingest")
        assert ran.exit_code == 0, ran.output
        ledger.check(workspace)
        assert ledger.batches(workspace) == ["ingested"]
        held = ledger.snapshot(workspace)
        assert sum(held["findable_batch_accounts"][0][name] for name in ledger.OUTCOMES) == COUNT
        assert workspace.query("PRAGMA integrity_check") == [("ok",)]
        assert workspace.query("PRAGMA foreign_key_check") == []
        assert workspace.run("batch-ingest").exit_code == 0
        assert ledger.snapshot(workspace) == held
        return held


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a result file whose lines are in any order, with bytes put in, cut out, and moved about anywhere."""
    lines = list(draw(st.permutations(LINES)))
    data = b"\n".join(lines[: draw(st.integers(0, COUNT))]) + draw(st.sampled_from([b"", b"\n"]))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 0, 1, 3, 40, 400])))
        data = data[:start] + draw(BYTES) + data[stop:]
    return data


@TRIALS
@given(data=damaged() | st.binary(max_size=200), word=st.sampled_from(["BATCH_STATE_SUCCEEDED", "JOB_STATE_EXPIRED"]))
def test_any_bytes_are_accounted_for(ready: Path, data: bytes, word: str) -> None:
    """Whatever the bytes, ingest ends well, each request has one outcome, and tags are those of a line of that key."""
    held = _ingested(ready, data, word)
    assert [row["outcome"] for row in held["findable_requests"] if row["outcome"] not in ledger.OUTCOMES] == []
    said = _said(data)
    for row in held["experts"]:
        for tag in json.loads(row["tags"] or "[]"):
            assert any(_bare(tag) in text for text in said.get(f"expert-tags/{row['id']}", []))


def _said(data: bytes) -> dict[str, list[str]]:
    """Return the letters and digits of the lines that are JSON, by the key they show, in lower case."""
    said: dict[str, list[str]] = {}
    for raw in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(raw.strip(b"\r").decode())
            if isinstance(document, dict):
                said.setdefault(str(document.get("key")), []).append(_bare(json.dumps(document, ensure_ascii=False)))
    return said


def _bare(text: str) -> str:
    """Return the letters and digits of a text in lower case: what else there is may be cleaned off a tag."""
    return "".join(filter(str.isalnum, text.lower()))
