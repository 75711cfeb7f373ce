"""The unmodified official SDK against the engine: sync, and async over both of its HTTP libraries."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

from emulator.server import Server
from tests.integration.emulator.caller import MODEL, TAGS_SCHEMA, Caller, by_key, request_file

MIB = 1024 * 1024
TEXTS: list[Any] = ["a", "b"]  # of the many kinds of contents that the library knows
GENERATE = types.GenerateContentConfig(response_mime_type="application/json", response_schema=TAGS_SCHEMA)


@pytest.fixture
def sdk(guest: Caller) -> Iterator[genai.Client]:
    """Return the SDK's client, pointed at the shared engine with the guest's key and nothing else changed."""
    client = genai.Client(api_key=guest.key, http_options=types.HttpOptions(base_url=guest.url))
    yield client
    client.close()


def finished(client: genai.Client, name: str) -> types.BatchJob:
    """Return a batch once it is over."""
    while not (batch := client.batches.get(name=name)).done:
        pass
    return batch


def name_of(batch: types.BatchJob | types.File) -> str:
    """Return the name that the API gave."""
    assert batch.name
    return batch.name


def results_of(batch: types.BatchJob) -> str:
    """Return the name of a batch's result file."""
    assert batch.dest
    assert batch.dest.file_name
    return batch.dest.file_name


def test_the_sdk_runs_an_inlined_batch(sdk: genai.Client) -> None:
    """Requests given as a list come back in the batch, each with its metadata."""
    source = [
        types.InlinedRequest(contents=f"water law {n}", config=GENERATE, metadata={"key": f"k{n}"}) for n in range(3)
    ]
    batch = finished(sdk, name_of(sdk.batches.create(model=MODEL, src=source)))
    assert batch.dest
    answers = batch.dest.inlined_responses or []
    assert sorted((answer.metadata or {})["key"] for answer in answers) == ["k0", "k1", "k2"]
    assert all(answer.response and answer.response.text for answer in answers)


def test_the_sdk_runs_an_embeddings_batch(sdk: genai.Client, tmp_path: Path) -> None:
    """An embeddings batch from a file and one inline, with the widths asked for."""
    path = tmp_path / "embed.jsonl"
    line = {"key": "a", "request": {"output_dimensionality": 3, "content": {"parts": [{"text": "water"}]}}}
    blank = {"key": "b", "request": {"content": {"parts": [{"text": " "}]}}}
    path.write_text(f"{json.dumps(line)}\n{json.dumps(blank)}")
    file = sdk.files.upload(file=path, config={"mime_type": "jsonl"})
    with pytest.warns(match="experimental"):
        created = sdk.batches.create_embeddings(model="gemini-embedding-001", src={"file_name": name_of(file)})
    answers = by_key(sdk.files.download(file=results_of(finished(sdk, name_of(created)))).split(b"\n"))
    assert len(answers["a"]["response"]["embedding"]["values"]) == 3
    assert (answers["a"]["response"]["tokenCount"], answers["b"]["error"]["code"]) == ("2", 3)
    inlined = types.EmbedContentBatchDict(contents=TEXTS)
    with pytest.warns(match="experimental"):
        created = sdk.batches.create_embeddings(model="gemini-embedding-001", src={"inlined_requests": inlined})
    batch = finished(sdk, name_of(created))
    assert batch.dest
    assert len(batch.dest.inlined_embed_content_responses or []) == 2


def test_the_sdk_generates_counts_and_finds_models(sdk: genai.Client) -> None:
    """Text with a parsed answer, a stream, a token count and a model."""
    answer = sdk.models.generate_content(model=MODEL, contents="Lawyer for water law", config=GENERATE)
    assert isinstance(answer.parsed, dict)
    assert answer.parsed["tags"]
    [streamed] = list(sdk.models.generate_content_stream(model=MODEL, contents="Lawyer for water law", config=GENERATE))
    assert streamed.text == answer.text
    assert sdk.models.count_tokens(model=MODEL, contents="abcdefgh").total_tokens == 2
    assert "batchGenerateContent" in (sdk.models.get(model=MODEL).supported_actions or [])
    assert f"models/{MODEL}" in {model.name for model in sdk.models.list(config={"query_base": True})}


def test_the_sdk_returns_a_silently_cut_download(sdk: genai.Client, guest: Caller) -> None:
    """A body cut without a length comes back as a whole one."""
    batch = finished(sdk, name_of(sdk.batches.create(model=MODEL, src=guest.upload(request_file(9)))))
    guest.script("cut_without_length")
    guest.script("cut_with_length", nth=1)
    assert sdk.files.download(file=results_of(batch)).count(b"\n") < 9
    with pytest.raises(httpx2.RemoteProtocolError):
        sdk.files.download(file=results_of(batch))


# the SDK subclasses aiohttp's session, which aiohttp discourages; goes when the SDK stops doing so
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize("library", ["httpx2", "aiohttp"])
def test_the_async_sdk_runs_the_whole_round(shared_engine: Server, tmp_path: Path, library: str) -> None:
    """Upload, create, poll, download, generate and embed over either async library."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(request_file(5))

    async def round_trip() -> bytes:
        options = types.HttpOptions(base_url=shared_engine.url)
        if library == "httpx2":
            options.httpx_async_client = httpx2.AsyncClient(timeout=20)
        async with genai.Client(api_key=library, http_options=options).aio as client:
            file = await client.files.upload(file=path, config={"mime_type": "jsonl"})
            batch = await client.batches.create(model=MODEL, src=name_of(file))
            while not batch.done:
                batch = await client.batches.get(name=name_of(batch))
            answer = await client.models.generate_content(model=MODEL, contents="water law", config=GENERATE)
            assert answer.text
            counted = await client.models.count_tokens(model=MODEL, contents="water law")
            assert answer.usage_metadata
            assert counted.total_tokens == answer.usage_metadata.prompt_token_count
            embedded = await client.models.embed_content(model="gemini-embedding-001", contents=TEXTS)
            assert len(embedded.embeddings or []) == 2
            data: bytes = await client.files.download(file=results_of(batch))
        if options.httpx_async_client:
            await options.httpx_async_client.aclose()
        return data

    assert len(by_key(asyncio.run(round_trip()).split(b"\n"))) == 5
