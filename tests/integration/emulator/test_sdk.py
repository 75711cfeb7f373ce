"""The official SDK runs unmodified against the engine, sync and async over both HTTP libraries."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

from tests.integration.emulator.caller import MODEL, TAGS_SCHEMA, Caller, index_by_key, request_file

# `Any`, because the SDK accepts contents of many types.
TEXTS: list[Any] = ["a", "b"]
GENERATE = types.GenerateContentConfig(
    response_mime_type="application/json", response_schema=TAGS_SCHEMA
)


def test_the_sdk_asks_closed_questions(caller: Caller) -> None:
    """The SDK parses every type of answer, under the version that it uses by itself."""
    criteria = {"shipping": "parcels", "billing": ""}
    questions: Any = {
        "is_late": {"type": "noul", "instructions": "Was the parcel late?"},
        "team": {"type": "choice", "instructions": "Which team?", "criteria": criteria},
        "anger": {"type": "score", "instructions": "How angry?", "criteria": ["calm", "angry"]},
    }
    with genai.Client(api_key="any", http_options=types.HttpOptions(base_url=caller.url)) as sdk:
        decision = sdk.decisions.create(
            model="models/gemini-decision-1",
            input="The parcel never arrived.",
            questions=questions,
        )
    assert decision.answers
    assert {question: answer.type for question, answer in decision.answers.items()} == {
        "is_late": "noul",
        "team": "choice",
        "anger": "score",
    }
    assert decision.usage
    assert decision.usage.total_input_tokens


# The SDK subclasses aiohttp's session, and aiohttp warns about it.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize("library", ["httpx2", "aiohttp"])
def test_the_async_sdk_runs_the_whole_round(caller: Caller, tmp_path: Path, library: str) -> None:
    """Either async library uploads, creates, polls, downloads, generates and embeds."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(request_file(5))

    async def round_trip() -> bytes:
        options = types.HttpOptions(base_url=caller.url)
        if library == "httpx2":
            options.httpx_async_client = httpx2.AsyncClient(timeout=20)
        async with genai.Client(api_key=library, http_options=options).aio as client:
            file = await client.files.upload(file=path, config={"mime_type": "jsonl"})
            batch = await client.batches.create(model=MODEL, src=str(file.name))
            while not batch.done:
                batch = await client.batches.get(name=str(batch.name))
            assert batch.dest
            answer = await client.models.generate_content(
                model=MODEL, contents="water law", config=GENERATE
            )
            assert answer.text
            token_count = await client.models.count_tokens(model=MODEL, contents="water law")
            assert answer.usage_metadata
            assert token_count.total_tokens == answer.usage_metadata.prompt_token_count
            embeddings = await client.models.embed_content(
                model="gemini-embedding-001", contents=TEXTS
            )
            assert len(embeddings.embeddings or []) == 2
            result_bytes: bytes = await client.files.download(file=str(batch.dest.file_name))
        if options.httpx_async_client:
            await options.httpx_async_client.aclose()
        return result_bytes

    assert len(index_by_key(asyncio.run(round_trip()).split(b"\n"))) == 5
