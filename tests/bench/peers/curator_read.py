"""bespokelabs-curator: its reading of a Gemini batch, each response parsed, validated and appended to its file.

Curator knows the lines of Vertex AI alone, so the same answers are given to it in that form, with its own file of
requests; both are made before the time counts. The cloud's clients, which reading does not use, are left out.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from bespokelabs.curator.llm.prompt_formatter import PromptFormatter
from bespokelabs.curator.request_processor.batch.gemini_batch_request_processor import GeminiBatchRequestProcessor
from bespokelabs.curator.request_processor.config import BatchRequestProcessorConfig
from bespokelabs.curator.types.generic_batch import GenericBatch, GenericBatchRequestCounts
from bespokelabs.curator.types.generic_request import GenericRequest

from tests.bench.measure import Said, Timed
from tests.bench.peers import lines

MODEL = "gemini-2.0-flash"  # of the newest that it knows
AT = datetime(2026, 11, 20, tzinfo=UTC)


class _Reader(GeminiBatchRequestProcessor):  # type: ignore[misc]
    def _initialize_cloud(self) -> None:
        """Open no client of the cloud: nothing here is sent."""


class _Page:
    """Its page, which is another program and not there."""

    async def stream_response(self, _response: str, _number: int) -> None:
        """Show nothing."""

    async def session_completed(self) -> None:
        """End nothing."""


def read(data: Path) -> Timed:
    """Read by `generic_response_file_from_responses`, which writes what is valid to a file."""
    logging.getLogger("bespokelabs.curator").setLevel(
        logging.CRITICAL
    )  # a line of log for each bad line is not its reading
    try:
        _work(data, "some", _vertex(lines.some(data)))()
        refused: int | str = 0
    except TypeError as error:  # of a line that failed it validates None
        refused = type(error).__name__
    _, torn = _work(data, "torn", [one for one in _vertex(lines.torn(data)) if _is_good(one) or one == lines.TORN])()
    found = _vertex(lines.result(data))
    work = _work(data, "all", [one for one in found if _is_good(one)])

    def run() -> Said:
        _, kept = work()
        return lines.told(len(found), kept, refused, torn)

    return run


def _vertex(path: Path) -> list[bytes]:
    """Return the lines as Vertex AI would write them, a failure with its words as `status`."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            found.append(line)
            continue
        number = said["key"].partition("/")[2]
        status = said.get("error", {}).get("message", "")
        made = {
            "custom_id": number,
            "status": status,
            "response": said.get("response", {}),
            "processed_time": AT.isoformat(),
        }
        found.append(json.dumps(made).encode())
    return found


def _is_good(line: bytes) -> bool:
    """Return whether a line has an answer that is JSON: what else one has ends its reading."""
    if line == lines.TORN:
        return False
    said = json.loads(line)
    try:
        json.loads(said["response"]["candidates"][0]["content"]["parts"][0]["text"])
    except (KeyError, json.JSONDecodeError):
        return False
    return True


def _work(data: Path, name: str, found: list[bytes]) -> Callable[[], tuple[int, int]]:
    """Write its file of requests, and return what reads the lines and says how many there were and were kept."""
    requests = data / f"requests_{name}.jsonl"
    keys = sorted({int(json.loads(line)["custom_id"]) for line in found if line != lines.TORN})
    requests.write_text("".join(_request(key) for key in keys), encoding="utf-8")
    return lambda: _read(requests, found)


def _request(key: int) -> str:
    asked = GenericRequest(model=MODEL, messages=[], original_row={}, original_row_idx=key)
    return f"{asked.model_dump_json()}\n"


async def _parsed(found: list[bytes]) -> AsyncIterator[Any]:
    """Yield what its own `download_batch` makes of the lines: what is no JSON is skipped."""
    for line in found:
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def _read(requests: Path, found: list[bytes]) -> tuple[int, int]:
    reader = _Reader(BatchRequestProcessorConfig(model=MODEL, require_all_responses=False))
    reader.prompt_formatter = PromptFormatter(model_name=MODEL, prompt_func=str, response_format=lines.Tags)
    reader.tracker = Mock(num_parsed_responses=0)
    reader._viewer_client = _Page()
    asyncio.run(reader.generic_response_file_from_responses(_parsed(found), _batch(requests)))
    return len(found), int(reader.tracker.num_parsed_responses)


def _batch(requests: Path) -> GenericBatch:
    counts = GenericBatchRequestCounts(total=0, failed=0, succeeded=0, raw_request_counts_object={})
    return GenericBatch(
        request_file=str(requests),
        id="1",
        created_at=AT,
        finished_at=AT,
        status="finished",
        api_key_suffix="",
        request_counts=counts,
        raw_status="",
        raw_batch={},
    )
