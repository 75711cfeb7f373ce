"""`tag-live`: everyone who can be asked is asked now, once; what fails for its own sake is asked again, then parked."""

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

LIVE = ":generateContent"
ONE_BY_ONE = {"CONCURRENCY": "1"}  # then calls go out in the order of rows

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
    """The others are scored and not asked about; each call has its mark, its answer its provenance."""
    people(12, without_bio=2)
    document = tagged(workspace)
    assert ledger.people(workspace) == {"total": 14, "tagged": 12, "no_bio": 2}
    assert (document["everyone"], document["skipped"], document["answered"], document["left"]) == (14, 2, 12, 0)
    assert (document["failed"], document["stopped"], document["calls"]) == ({}, None, 12)
    assert sorted(asked(api).values()) == [1] * 12
    assert {how for _, how in ends(workspace)} == {"answered"}
    assert workspace.scalar("SELECT count(*) FROM experts WHERE findability_score IS NULL") == 0
    assert workspace.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0
    kept = workspace.query("SELECT DISTINCT batch, applied, extractor FROM findable_answers")
    assert [(batch, bool(applied)) for batch, applied, _ in kept] == [(None, True)]
    ledger.check(workspace)


def test_what_a_call_used_is_kept_and_paid_at_the_full_price(workspace: Workspace, people: People) -> None:
    """Tokens and cost of marks, answers and the run agree; the day's requests are counted."""
    people(4)
    document = tagged(workspace)
    marks = workspace.query("SELECT tokens_in, tokens_out, cost FROM findable_calls ORDER BY item_id")
    answers = workspace.query("SELECT tokens_in, tokens_out, cost FROM findable_answers ORDER BY item_id")
    assert marks == answers
    assert document["cost"] == pytest.approx(sum(row[2] for row in marks))
    assert document["cost"] > 0
    assert workspace.query("SELECT requests, tokens_in FROM findable_usage") == [(4, sum(row[0] for row in marks))]
    assert workspace.query("SELECT items, why FROM findable_runs") == [(4, "nobody is left")]


def test_a_run_in_which_all_went_well_says_nothing(workspace: Workspace, people: People) -> None:
    """With nobody skipped, standard output stays empty; who has nothing to ask is told so."""
    people(3)
    result = workspace.run("tag-live")
    assert (result.exit_code, result.stdout) == (0, "")
    again = workspace.run("tag-live")
    assert (again.exit_code, again.stdout) == (0, "nothing to ask: everyone with a bio is tagged, claimed or parked\n")


def test_who_was_skipped_is_summed_up(workspace: Workspace, people: People) -> None:
    """Where somebody has no bio, a line tells of everybody, the calls, and what to type next."""
    people(3, without_bio=1)
    assert "3 tagged, 1 skipped; 3 calls, $" in workspace.run("tag-live").stdout


def test_nobody_is_asked_again_who_is_tagged(workspace: Workspace, api: Api, people: People) -> None:
    """A second run asks those who came since."""
    people(3)
    tagged(workspace, LIMIT="2")
    assert ledger.people(workspace) == {"total": 3, "tagged": 2, "untagged": 1}
    document = tagged(workspace)
    assert (document["skipped"], document["answered"]) == (2, 1)
    assert sorted(asked(api).values()) == [1, 1, 1]
    assert tagged(workspace)["calls"] == 0
    assert len(api.seen("POST", LIVE)) == 3


def test_a_run_can_be_limited(workspace: Workspace, api: Api, people: People) -> None:
    """LIMIT asks about the first so many, in the order of rows."""
    people(9)
    document = tagged(workspace, LIMIT="4", **ONE_BY_ONE)
    assert (document["answered"], document["skipped"], document["left"]) == (4, 5, 0)
    assert ends(workspace) == [(str(number), "answered") for number in range(1, 5)]
    assert len(api.seen("POST", LIVE)) == 4


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("prompt_blocked", "refused"),
        ("safety", "refused"),
        ("no_candidates", "refused"),
        ("schema_mismatch", "invalid"),
        ("unknown_finish", "refused"),
    ],
)
def test_who_fails_twice_is_parked(workspace: Workspace, api: Api, people: People, word: str, outcome: str) -> None:
    """Asked once more in the same run, and charged both times; the next run leaves them be."""
    people(1)
    api.fault(word, times=2, path=LIVE)
    document = tagged(workspace)
    assert ends(workspace) == [("1", outcome), ("1", outcome)]
    assert [(item, charged) for item, charged, _ in attempts(workspace)] == [("1", True), ("1", True)]
    assert ledger.people(workspace) == {"total": 1, "parked": 1}
    assert (sum(document["failed"].values()), document["answered"], document["left"]) == (1, 0, 0)
    assert document["samples"][0]["username"] == "person-0000"
    assert tagged(workspace)["calls"] == 0
    ledger.check(workspace)


def test_who_fails_once_is_asked_again_in_the_same_run(workspace: Workspace, api: Api, people: People) -> None:
    """One blocked prompt, then an answer: charged once, tagged, and no failure is told."""
    people(2)
    api.fault("safety", path=LIVE)
    assert re.fullmatch(
        r"2 tagged; 3 calls, \$0\.\d+\. Next: make index\n", workspace.run("tag-live", **ONE_BY_ONE).stdout
    )
    assert ends(workspace) == [("1", "refused"), ("2", "answered"), ("1", "answered")]
    assert ledger.people(workspace) == {"total": 2, "tagged": 2}


def test_an_answer_that_was_cut_gets_more_room(workspace: Workspace, api: Api, people: People) -> None:
    """After MAX_TOKENS the second call asks for more output tokens than the first."""
    people(1)
    api.fault("max_tokens", path=LIVE)
    assert tagged(workspace)["answered"] == 1
    room = [entry["json"]["generationConfig"]["maxOutputTokens"] for entry in api.seen("POST", LIVE)]
    assert len(room) == 2
    assert room[1] > room[0]


def test_a_failure_is_summed_up_with_names_and_reasons(workspace: Workspace, api: Api, people: People) -> None:
    """How many failed and why, up to three of them by name, and where everybody else stands; exit code 0."""
    people(6)
    api.fault("prompt_blocked", times=10_000, path=LIVE)
    result = workspace.ran("tag-live")
    assert "0 tagged, 0 skipped, 6 failed (" in result.stdout
    assert result.stderr.count("person-000") == 3
    assert ledger.people(workspace) == {"total": 6, "parked": 6}


def test_who_was_unparked_is_asked_again(workspace: Workspace, api: Api, people: People) -> None:
    """Parked after two failures, and forgiven by a person: the next run takes them with the others."""
    people(2)
    api.fault("safety", times=2, path=LIVE)
    tagged(workspace, LIMIT="1", **ONE_BY_ONE)
    assert ledger.people(workspace) == {"total": 2, "untagged": 1, "parked": 1}
    assert workspace.run("unpark", "--all", "--yes").exit_code == 0
    tagged(workspace)
    assert ledger.people(workspace) == {"total": 2, "tagged": 2}


def test_more_people_than_a_page_holds_are_all_asked_once(workspace: Workspace, api: Api, people: People) -> None:
    """Pages follow one another without a gap and without anybody twice."""
    people(230)
    assert tagged(workspace, CONCURRENCY="16")["answered"] == 230
    assert set(asked(api).values()) == {1}
    assert ledger.people(workspace) == {"total": 230, "tagged": 230}


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
