"""Quotas over the wire: what a client is told, what the journal keeps, and what is left alone."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from emulator.server import start
from tests.integration.emulator.caller import MODEL, Caller, request_file, request_for

GENERATE = f"/v1beta/models/{MODEL}:generateContent"
OTHER = "/v1beta/models/gemini-2.5-flash:generateContent"
EMBED = "/v1beta/models/gemini-embedding-2:batchEmbedContents"
CONFIG = types.GenerateContentConfig(
    response_mime_type="application/json", response_schema={"type": "ARRAY", "items": {"type": "STRING"}}
)


@pytest.fixture
def limited(caller: Caller) -> Caller:
    """Return a caller whose key may ask three times a minute and four times a day."""
    caller.settings(quotas={"*": {"requests_per_minute": 3}, "gemini-2.5-flash": {"requests_per_day": 4}})
    return caller


def statuses(caller: Caller, count: int, *, path: str = GENERATE) -> list[int]:
    """Return the statuses of so many calls, one after the other."""
    return [caller.http.post(path, json=request_for(f"law {number}")).status_code for number in range(count)]


def test_the_journal_tells_what_was_served_and_why_not(limited: Caller) -> None:
    """Times, model, tokens and the digest of the text of every call; the reason and the quota of a refused one."""
    statuses(limited, 4)
    journal = limited.journal()
    assert [entry["model"] for entry in journal] == [MODEL] * 4
    assert [entry["quota_ids"] for entry in journal[:3]] == [[]] * 3
    assert journal[3]["quota_ids"] == ["GenerateRequestsPerMinutePerProjectPerModel-FreeTier"]
    assert "Quota exceeded for metric" in journal[3]["reason"]
    times = [entry["at_ns"] for entry in journal]
    assert 0 < times[0] < times[1] < times[2]
    said = request_for("law 2")["contents"][0]["parts"][0]["text"]
    assert journal[2]["text_sha256"] == hashlib.sha256(said.encode()).hexdigest()
    answered = limited.post("/_emu/settings", {"quotas": {}}) and limited.post(GENERATE, request_for("law 2"))
    assert journal[2]["tokens"] == answered["usageMetadata"]["promptTokenCount"]
    assert limited.journal()[-1]["text_sha256"] == journal[2]["text_sha256"]


def test_a_request_that_is_wrong_counts_against_nothing(limited: Caller) -> None:
    """A 400 takes nothing from the quota, whether its body, its schema or its key is at fault."""
    wrong: list[dict[str, Any]] = [{"nonsense": 1}, {"contents": []}, {"contents": [{"parts": [{"text": "a"}]}]}]
    for document in wrong:
        assert limited.refused(GENERATE, document)["code"] == 400
    assert limited.http.post(GENERATE, json=request_for("law"), headers={"x-goog-api-key": ""}).status_code == 403
    assert statuses(limited, 4) == [200, 200, 200, 429]


def test_a_fault_that_strikes_before_counts_against_nothing_and_one_after_does(limited: Caller) -> None:
    """A 503 in front of the engine takes nothing; a call whose reply was lost was served."""
    limited.script("status", times=2)
    assert statuses(limited, 3) == [503, 503, 200]
    limited.script("lost_reply")
    with pytest.raises(httpx2.RemoteProtocolError):
        statuses(limited, 1)
    assert statuses(limited, 2) == [200, 429]


def test_streams_count_and_tokens_models_and_batches_do_not(limited: Caller) -> None:
    """Streams take from the same quota; countTokens, models and batches are free of it."""
    stream = f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"
    assert statuses(limited, 2, path=stream) == [200, 200]
    for _ in range(5):
        limited.post(f"/v1/models/{MODEL}:countTokens", {"contents": [{"parts": [{"text": "x"}]}]})
        limited.get("/v1/models")
    assert len(limited.run(request_file(5))) == 6
    assert statuses(limited, 2, path=stream) == [200, 429]


@pytest.mark.full
def test_a_crowd_on_two_hosts_gets_exactly_what_there_is(tmp_path: Path) -> None:
    """Sixty calls at once on two hosts, with room for twenty: twenty are served, no more and no fewer."""
    settings: dict[str, Any] = {"quotas": {"*": {"requests_per_minute": 20}}}
    with start(tmp_path, settings=settings) as first, start(tmp_path, settings=settings) as second:

        def ask(number: int) -> int:
            with Caller((first, second)[number % 2].url) as caller:
                return statuses(caller, 1)[0]

        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(ask, range(60)))
        journal = first.world.journal.document()["requests"] + second.world.journal.document()["requests"]
    assert (answers.count(200), answers.count(429)) == (20, 40)
    assert sum(not entry["quota_ids"] for entry in journal) == 20


def test_the_sdk_is_told_which_quota_and_how_long(limited: Caller) -> None:
    """The unmodified SDK raises a 429 with the details in it."""
    assert statuses(limited, 3) == [200] * 3
    options = types.HttpOptions(base_url=limited.url)
    with genai.Client(api_key=limited.key, http_options=options) as sdk, pytest.raises(errors.ClientError) as refusal:
        sdk.models.generate_content(model=MODEL, contents="law", config=CONFIG)
    assert (refusal.value.code, refusal.value.status) == (429, "RESOURCE_EXHAUSTED")
    kinds = [detail["@type"].rpartition(".")[2] for detail in refusal.value.details["error"]["details"]]
    assert kinds == ["Help", "QuotaFailure", "RetryInfo"]
