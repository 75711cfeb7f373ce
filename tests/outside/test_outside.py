"""The second server refuses bad files, serves the SDK, and shares code with nobody."""

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
    ("second_line", "message"),
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
            (
                '{"key": "b", "request": {"contents": [], '
                '"generationConfig": {"responseSchema": {"type": "ARRAY"}}}}'
            ),
            "response_schema.items: missing field",
        ),
    ],
)
def test_server_refuses_a_file_with_a_bad_line(
    outside_server: Outside, second_line: str, message: str
) -> None:
    """The error names the first bad line, and no batch is created."""
    first_line = '{"key": "a", "request": {"contents": [{"parts": [{"text": "t"}]}]}}\n'
    key_header = {"x-goog-api-key": KEY}
    content = f"{first_line}{second_line}".encode()
    start_headers = {
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": str(len(content)),
    }
    session = httpx2.post(
        f"{outside_server.url}/upload/v1/files",
        headers={**key_header, **start_headers},
        json={"file": {}},
    )
    finalize_headers = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    upload_url = session.headers["x-goog-upload-url"]
    upload = httpx2.post(upload_url, headers=finalize_headers, content=content)
    uploaded_file = upload.json()["file"]

    batch = {"batch": {"input_config": {"file_name": uploaded_file["name"]}, "display_name": "d"}}
    url = f"{outside_server.url}/v1/models/gemini-3.5-flash-lite:batchGenerateContent"
    refusal = httpx2.post(url, headers=key_header, json=batch)
    assert (refusal.status_code, outside_server.kept.created()) == (400, [])
    assert message in refusal.json()["error"]["message"]


@pytest.mark.full
def test_sdk_finds_every_route(tmp_path: Path, outside_server: Outside) -> None:
    """The SDK uploads a file in two pieces, lists pages, embeds texts, and cancels a batch."""
    from google import genai

    # The pager of the SDK stops at an empty page.
    outside_server.manner.empty_page = False
    outside_server.manner.running_s = 600
    sdk = genai.Client(
        api_key=KEY,
        vertexai=False,
        http_options={"base_url": outside_server.url, "api_version": "v1beta"},
    )

    # The SDK sends the last file in two pieces.
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
    embeddings = sdk.models.embed_content(
        model="gemini-embedding-001", contents=texts, config={"output_dimensionality": 5}
    )
    assert [len(embedding.values or ()) for embedding in embeddings.embeddings or ()] == [5, 5]
    assert sdk.models.generate_content(model="gemini-3.5-flash", contents="bees and law").text


def test_server_imports_only_the_standard_library_and_itself() -> None:
    """A server that shared code with the emulator or the product would share its errors."""
    folder = Path(__file__).parent
    for file in {*folder.glob("*.py")} - {Path(__file__)}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                is_standard = name.split(".")[0] in sys.stdlib_module_names
                assert is_standard or name.startswith("tests.outside."), (file, name)
