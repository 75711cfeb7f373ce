"""The second server by itself: what it refuses, that the SDK finds its routes, and that it shares code with nobody."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.lab import KEY
from tests.outside.server import Outside


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('["a"]', "line 2: invalid JSON, near column 1: unexpected character: '['"),
        (
            '{"key": "b", "request": {"cachedContents": "c"}}',
            "column 26: no such field: 'cachedContents'",
        ),
        (
            '{"key": "a", "request": {"contents": [{"parts": [{"text": "t"}]}]}}',
            "'a' is on another line, too",
        ),
        (
            '{"key": "b", "request": {"contents": [], "generationConfig": {"responseSchema": {"type": "ARRAY"}}}}',
            "response_schema.items: missing field",
        ),
    ],
)
def test_the_server_refuses_a_file_for_one_bad_line(
    outside_server: Outside, second: str, said: str
) -> None:
    """The first bad line is named, and no batch is made; a client of no SDK sees it."""
    first = '{"key": "a", "request": {"contents": [{"parts": [{"text": "t"}]}]}}\n'
    key = {"x-goog-api-key": KEY}
    data = f"{first}{second}".encode()
    start = {
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": str(len(data)),
    }
    session = httpx2.post(
        f"{outside_server.url}/upload/v1/files", headers={**key, **start}, json={"file": {}}
    )
    finalize = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    sent = httpx2.post(session.headers["x-goog-upload-url"], headers=finalize, content=data).json()[
        "file"
    ]
    batch = {"batch": {"input_config": {"file_name": sent["name"]}, "display_name": "d"}}
    url = f"{outside_server.url}/v1/models/gemini-3.5-flash-lite:batchGenerateContent"
    refusal = httpx2.post(url, headers=key, json=batch)
    assert (refusal.status_code, outside_server.kept.created()) == (400, [])
    assert said in refusal.json()["error"]["message"]


@pytest.mark.full
def test_the_sdk_as_it_is_finds_every_route(tmp_path: Path, outside_server: Outside) -> None:
    """A file in two pieces, pages of batches, vectors, and a batch that is cancelled and deleted."""
    from google import genai

    outside_server.manner.empty_page = False  # which the pager of the SDK cannot pass
    outside_server.manner.running_s = 600
    sdk = genai.Client(
        api_key=KEY,
        vertexai=False,
        http_options={"base_url": outside_server.url, "api_version": "v1beta"},
    )
    path = tmp_path / "lines.jsonl"
    names = []
    for size in (1, 1, 1, 8 * 1024 * 1024):
        line = {"key": "a", "request": {"contents": [{"parts": [{"text": "x" * size}]}]}}
        path.write_text(json.dumps(line), encoding="utf-8")
        names.append(sdk.files.upload(file=path, config={"mime_type": "jsonl"}).name)
    assert sdk.files.get(name=names[3] or "").size_bytes == path.stat().st_size
    batches = [
        sdk.batches.create(model="gemini-3.5-flash", src=name).name or "" for name in names if name
    ]
    assert [batch.name for batch in sdk.batches.list(config={"page_size": 50})] == batches
    sdk.batches.cancel(name=batches[0])
    assert sdk.batches.get(name=batches[0]).done
    sdk.batches.delete(name=batches[0])
    sdk.files.delete(name=names[0] or "")
    assert len(list(sdk.batches.list(config={"page_size": 50}))) == 3
    texts: list[Any] = ["one", "two"]
    wide = sdk.models.embed_content(
        model="gemini-embedding-001", contents=texts, config={"output_dimensionality": 5}
    )
    assert [len(one.values or ()) for one in wide.embeddings or ()] == [5, 5]
    assert sdk.models.generate_content(model="gemini-3.5-flash", contents="bees and law").text


def test_the_server_imports_the_standard_library_and_itself_alone() -> None:
    """What shares code with the emulator or the product would agree with it by itself."""
    here = Path(__file__).parent
    for file in {*here.glob("*.py")} - {Path(__file__)}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names or name.startswith(
                    "tests.outside."
                ), (file, name)
