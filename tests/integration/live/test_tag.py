"""`tag-live`: everyone who can be asked is asked now, once; what fails for its own sake is asked again, then parked."""

import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from pipeline.gemini.rate_limiter import Limiter
from tests import ledger
from tests.lab import Api, Workspace
from tests.ledger import COUNTED

LIVE = ":generateContent"
ONE_BY_ONE = {"CONCURRENCY": "1"}  # which stays: calls go out in the order of rows

People = Callable[..., list[str]]


def tagged(workspace: Workspace, **values: str) -> dict[str, Any]:
    """Run `tag-live --json`, which must succeed, and return its document."""
    result = workspace.ran("tag-live", "--json", **values)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def ends(workspace: Workspace) -> list[tuple[str, str | None]]:
    """Return (item, how it ended) of every call that was marked, in the order of the marks."""
    return [(row[0], row[1]) for row in workspace.query("SELECT item_id, outcome FROM findable_calls ORDER BY id")]


def attempts(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Return (item, charged, reason) of every attempt that gave no answer, oldest first."""
    rows = workspace.query("SELECT item_id, charged, reason FROM findable_attempts ORDER BY id")
    return [(item, bool(charged), reason) for item, charged, reason in rows]


def asked(api: Api) -> Counter[str]:
    """Return how often each text was asked about and served."""
    return Counter(entry["text_sha256"] for entry in api.seen("POST", LIVE) if entry["status"] == 200)


def says(result: Result) -> str:
    """Return all that a command printed."""
    return result.stdout + result.stderr


def test_everyone_with_a_bio_is_asked_once_and_tagged(workspace: Workspace, api: Api, people: People) -> None:
    """The others are scored and not asked about; each call has its mark, its answer its provenance.

    Tokens and cost of marks, answers and the run agree; the day's requests are counted; a second run asks nothing.
    """
    people(12, without_bio=2)
    document = tagged(workspace)
    assert ledger.people(workspace) == {"total": 14, "tagged": 12, "no_bio": 2}
    assert (document["everyone"], document["skipped"], document["answered"], document["left"]) == (14, 2, 12, 0)
    assert (document["failed"], document["stopped"], document["calls"]) == ({}, None, 12)
    assert sorted(asked(api).values()) == [1] * 12
    assert {how for _, how in ends(workspace)} == {"answered"}
    assert workspace.scalar("SELECT count(*) FROM experts WHERE findability_score IS NULL") == 0
    assert workspace.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0
    kept = workspace.query("SELECT DISTINCT batch, applied FROM findable_answers")
    assert [(batch, bool(applied)) for batch, applied in kept] == [(None, True)]
    marks = workspace.query("SELECT tokens_in, tokens_out, cost FROM findable_calls ORDER BY item_id")
    assert marks == workspace.query("SELECT tokens_in, tokens_out, cost FROM findable_answers ORDER BY item_id")
    assert document["cost"] == pytest.approx(sum(row[2] for row in marks))
    assert document["cost"] > 0
    assert workspace.scalar(COUNTED) == 12
    assert workspace.query("SELECT items, why FROM findable_runs") == [(12, "nobody is left")]
    ledger.check(workspace)
    again = workspace.run("tag-live")
    assert (again.exit_code, again.stdout) == (0, "nothing to ask: everyone with a bio is tagged, claimed or parked\n")
    assert len(api.seen("POST", LIVE)) == 12


@pytest.mark.full
def test_a_run_can_be_limited(workspace: Workspace, api: Api, people: People) -> None:
    """LIMIT asks about the first so many, in the order of rows; a line tells of those skipped, where there are any."""
    people(6, without_bio=1)
    document = tagged(workspace, LIMIT="4", **ONE_BY_ONE)
    assert (document["answered"], document["skipped"], document["left"]) == (4, 3, 0)
    assert ends(workspace) == [(str(number), "answered") for number in range(1, 5)]
    assert "1 tagged, 6 skipped; 1 call, $" in workspace.ran("tag-live", LIMIT="1").stdout
    workspace.change("DELETE FROM experts WHERE tags IS NOT NULL OR bio IS NULL")
    assert workspace.ran("tag-live").stdout.startswith("1 tagged; 1 call, $")
    assert sorted(asked(api).values()) == [1] * 6


def test_who_fails_twice_is_parked(workspace: Workspace, api: Api, people: People) -> None:
    """Asked once more in the same run, charged both times, summed up by name and reason; the next leaves them be."""
    people(5)
    for nth, word in enumerate(("prompt_blocked", "no_candidates", "schema_mismatch", "unknown_finish")):
        api.fault(word, nth=2 * nth + 1, times=2, path=LIVE)
    result = workspace.ran("tag-live", LIMIT="4", **ONE_BY_ONE)
    assert "0 tagged, 1 skipped, 2 failed (does-not-validate), 2 failed (bad-finish); 8 calls" in result.stdout
    assert "Next:" not in result.stdout  # nothing new is to be indexed
    assert result.stderr.count("person-000") == 3
    items = [str(number) for number in (1, 2, 3, 4)]
    assert sorted(item for item, _ in ends(workspace)) == sorted(items * 2)
    assert sorted(str(how) for _, how in ends(workspace)) == ["invalid"] * 2 + ["refused"] * 6
    assert sorted((item, charged) for item, charged, _ in attempts(workspace)) == sorted(
        (one, True) for one in items * 2
    )
    assert ledger.people(workspace) == {"total": 5, "untagged": 1, "parked": 4}
    assert tagged(workspace)["calls"] == 1
    assert workspace.run("unpark", "--all", "--yes").exit_code == 0
    assert tagged(workspace)["answered"] == 4
    ledger.check(workspace)


def test_who_fails_once_is_asked_again_in_the_same_run(workspace: Workspace, api: Api, people: People) -> None:
    """One blocked prompt, one answer cut by MAX_TOKENS, which gets more room: both charged once and tagged.

    With one call at once to begin with, there is never a second under way.
    """
    people(3)
    api.configure(latencies={LIVE: {"kind": "constant", "seconds": 0.02}})
    api.fault("safety", path=LIVE)
    api.fault("max_tokens", nth=2, path=LIVE)
    said = workspace.run("tag-live", **ONE_BY_ONE).stdout
    assert re.fullmatch(r"3 tagged; 5 calls, \$0\.\d+\. Next: make index\n", said)
    hows = ["refused", "invalid", "answered", "answered", "answered"]
    assert ends(workspace) == [*zip(("1", "2", "3", "1", "2"), hows, strict=True)]
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}
    calls = api.seen("POST", LIVE)
    assert all(after["at_ns"] - before["at_ns"] >= 0.02e9 for before, after in itertools.pairwise(calls))
    room = [entry["json"]["generationConfig"]["maxOutputTokens"] for entry in calls]
    assert (room[0] == room[1] == room[2] == room[3], room[4] > room[0]) == (True, True)


def test_one_thread_alone_changes_the_limiter(
    workspace: Workspace, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others asked is read beside the loop, and counted in it: two at once would lose answers that were paid."""
    people(6)
    names = ("prime", "wait", "start", "settle", "succeeded")
    threads: dict[str, set[str]] = {name: set() for name in names}

    def noted(name: str) -> Callable[..., Any]:
        """Return the limiter's method, which notes the thread that it is called in."""
        do = getattr(Limiter, name)

        def call(*args: Any, **more: Any) -> Any:
            threads[name].add(threading.current_thread().name)
            return do(*args, **more)

        return call

    for name in names:
        monkeypatch.setattr(Limiter, name, noted(name))
    assert tagged(workspace, RPM="1000", TPM="1000000")["answered"] == 6
    assert threads == {name: {"MainThread"} for name in names}
