"""Pilots, backfills and versions: a few are asked and judged before the rest, which is gone on with, and taken back."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import MODEL, PASSAGES, Workspace
from tests.acceptance.steps import Fate

LABEL = "passage-concepts@1"
STRICT = "concepts=12..14"  # which no answer of the engine keeps
TOPICS = (
    "groundwater recharge in arid river basins",
    "queen rearing by selective honey bee breeding",
    "graph neural networks for protein folding",
    "timber frame joints under cyclic loading",
    "customary water law in mountain valleys",
)
CONCEPT = {"type": "method", "aliases": [], "confidence": 0.9}
INVENTED = json.dumps(
    {
        "concepts": [
            {"name": name, "quotes": [f"words of {name} found nowhere"], **CONCEPT}
            for name in ("zeppelin docking", "quasar farming", "xylophone repair", "jade milling")
        ]
    }
)


def text_of(number: int) -> str:
    """Return the text of one passage, another one for each number."""
    one = TOPICS[number % len(TOPICS)]
    other = TOPICS[(number // len(TOPICS) + number + 1) % len(TOPICS)]
    return (
        f"Study {number} examines {one} with field measurements. We compare it with {other} and report the mean "
        f"absolute error over {number + 3} sites. Naïve baselines such as linear regression fall behind\u2009🐝. "
        f"The benchmark dataset and the evaluation protocol of {one} are released."
    )


@pytest.fixture(name="texts")
def _texts(workspace: Workspace) -> Workspace:
    """A workspace of thirty passages, which its commands are about."""
    workspace.task = PASSAGES
    put(workspace, 30)
    return workspace


def put(workspace: Workspace, count: int) -> None:
    """Import so many passages, which are called p-0000, p-0001 and so on."""
    lines = (
        {"id": f"p-{number:04d}", "text": text_of(number), "source": "field"}
        for number in range(count)
    )
    workspace.put("texts.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    workspace.do("import_passages", "texts.jsonl")


def pilot(workspace: Workspace, code: int = 0, **how: Any) -> dict[str, Any]:
    """Run a pilot, confirmed, and return its document."""
    found: dict[str, Any] = workspace.do("pilot", code=code, yes=True, json=True, **how).json
    return found


def backfill(workspace: Workspace, code: int = 0, **how: Any) -> dict[str, Any]:
    """Run a backfill, confirmed, and return its document."""
    found: dict[str, Any] = workspace.do("backfill", code=code, yes=True, json=True, **how).json
    return found


def sent(workspace: Workspace) -> Counter[str]:
    """Return how often each row was sent in a batch, by the request files on disk."""
    keys = (
        line["key"] for batch in workspace.batches() for line in workspace.requests(batch["number"])
    )
    return Counter(str(key).partition("/")[2] for key in keys)


def window(workspace: Workspace, api: Engine, tokens: int) -> dict[str, Any]:
    """Let so many prompt tokens wait at once, by our table of models; the server takes a little more, and no more."""
    api.configure(enqueued_tokens={"*": tokens + 200})
    told = 'kind = "generate"\nprice_in = 0.3\nprice_out = 2.5\npriced_on = 2026-10-07\nsource = "a page"\n'
    models = workspace.put("models.toml", f'[models."{MODEL}"]\n{told}enqueued_tokens = {tokens}\n')
    return {"MODELS_FILE": models, "RETRY_FOR": 0.1, "RPM": 6000}


def concepts(workspace: Workspace) -> list[dict[str, Any]]:
    """Return every concept as it is exported, held against the text that it was found in."""
    found = workspace.exported(PASSAGES)
    for one in found:
        text = text_of(int(one["passage_id"][2:]))
        assert one["evidence"]["support"]
        assert all(
            text[each["start"] : each["end"]] == each["quote"]
            for each in one["evidence"]["support"]
        )
    return found


def test_nothing_is_sent_before_a_pilot_that_passed_and_a_yes(
    texts: Workspace, api: Engine
) -> None:
    """No pilot: 6. N are drawn by a seed, asked once and judged, with a report; the rest is left.

    Off a terminal without a yes: 2 with the estimate. The same seed draws the same, and asks nobody.
    """
    assert "passages-pilot" in texts.do("backfill", yes=True, code=6).err
    assert (api.creates(), texts.next()) == ([], ["passages-pilot"])
    for gates in ("evidence=1.1", "evidence", "concept=4..9"):
        assert "GATES" in texts.do("pilot", yes=True, GATES=gates, code=3).err
    assert api.creates() == []
    done = pilot(texts, N=20, seed=3)
    assert (done["drawn"], done["passed"], Path(done["report"]).is_file()) == (20, True, True)
    assert texts.states() == {"with_concepts": 20, "open": 10}
    first = sent(texts)
    assert (len(first), len(api.creates())) == (20, 1)
    assert "passages-backfill" in texts.do("pilot", N=20, seed=3, yes=True).out
    assert sent(texts) == first
    assert texts.next() == ["passages-backfill"]
    asks = texts.do("backfill", wait=True, code=2)
    assert "10 passages batch, estimated $0.0" in asks.err
    assert len(api.creates()) == 1
    done = backfill(texts, wait=True)
    assert (done["left"], done["is_over"], set(sent(texts).values())) == (0, True, {1})
    assert {concept["passage_id"] for concept in concepts(texts)} == set(sent(texts))
    assert "has concepts" in texts.do("backfill", wait=True, yes=True).out


@pytest.mark.alike
def test_a_pilot_that_fails_keeps_its_answers_and_closes_the_backfill(
    texts: Workspace, api: Engine
) -> None:
    """Exit code 6, what was answered is stored; the newest verdict counts; SKIP_PILOT=1 does without, and says so."""
    assert pilot(texts, code=6, N=24, GATES=STRICT)["passed"] is False
    assert texts.states() == {"with_concepts": 24, "open": 6}
    assert texts.next() == ["passages-pilot"]
    assert "failed its gates" in texts.do("backfill", wait=True, yes=True, code=6).err
    assert pilot(texts, N=24)["passed"]
    pilot(texts, code=6, N=24, GATES=STRICT)
    texts.do("backfill", yes=True, code=6)
    assert len(api.creates()) == 1
    done = backfill(texts, wait=True, skip_pilot=True)
    assert done["is_over"]
    assert "without a pilot" in Path(done["report"]).read_text(encoding="utf-8")
    assert (texts.states(), set(sent(texts).values())) == ({"with_concepts": 30}, {1})


@pytest.mark.alike
def test_invented_quotations_are_charged_and_parked(texts: Workspace, api: Engine) -> None:
    """An answer without one true quotation is invalid: asked again in the pilot itself, and parked the second time."""
    api.fault("answer_text", times=1, key=r"/p-0001$", args={"text": INVENTED})
    api.fault("answer_text", times=9, key=r"/p-0004$", args={"text": INVENTED})
    done = pilot(texts, code=6, N=500)
    assert done["drawn"] == 30
    assert {name: count for name, count in sent(texts).items() if count > 1} == {
        "p-0001": 2,
        "p-0004": 2,
    }
    assert texts.states() == {"with_concepts": 29, "parked": 1}
    assert "quot" in texts.parked()["p-0004"]
    assert not any("zeppelin" in one["concept_name"] for one in concepts(texts))
    outcomes = Counter(one["outcome"] for one in texts.asked() if one["batch"])
    assert outcomes == {"answered": 29, "invalid": 3}
    assert backfill(texts, wait=True, skip_pilot=True)["asked"] == 0
    again = backfill(
        texts, wait=True, skip_pilot=True, no_resume=True, VERSION="mine@2"
    )  # which has not failed yet
    assert (again["asked"], sent(texts)["p-0004"]) == (30, 4)


@pytest.mark.alike
def test_a_backfill_goes_on_in_its_window_where_it_was_stopped(
    texts: Workspace, api: Engine
) -> None:
    """More batches than may wait at once, ended by Ctrl-C and SIGKILL: the same command goes on, none is asked twice.

    It is one version until it is over, whichever command goes on; a new run takes the next free one, and the old rows
    stay.
    """
    backfill(texts, wait=True, skip_pilot=True)
    before = concepts(texts)
    how = {"wait": True, "no_resume": True, "skip_pilot": True, **window(texts, api, 2500)}
    with texts.start("backfill", yes=True, **how) as running:
        while len(api.creates()) < 3:
            assert not running.has_ended(), running.so_far()
        api.configure(paused=True)  # so that the batches do not end before the signal is noticed
        ended = running.stop(signal.SIGINT)
        assert ended.code == 130, (ended.out, ended.err[-3000:])
    api.configure(paused=False)
    with texts.start("backfill", yes=True, fate=Fate(at=40), **how) as running:
        assert running.wait().code == -signal.SIGKILL
    turn = texts.read("run", **window(texts, api, 2500))
    assert not turn["failures"]
    done = backfill(texts, **how)
    assert (done["extractor"], done["is_over"]) == (f"passage-concepts@2/{MODEL}", True)
    assert set(sent(texts).values()) == {2}
    found = concepts(texts)
    versions = {one["version"]: one["items"] for one in texts.read("versions")}
    assert versions == {LABEL: 30, "passage-concepts@2": 30}
    assert len(texts.exported(extractor=LABEL)) == len(before)
    assert found
    assert "passage-concepts@2" in texts.do("rollback", "passage-concepts@2", yes=True).said
    assert (texts.states(), texts.exported()) == ({"with_concepts": 30}, before)
    assert "--yes" in texts.do("rollback", LABEL, code=2).err
    texts.do("rollback", LABEL, yes=True)
    assert (texts.states(), texts.exported()) == ({"open": 30}, [])


@pytest.mark.alike
def test_gates_and_money_hold_a_backfill_back(texts: Workspace, api: Engine) -> None:
    """A window without one valid answer is exit code 6, and the rest waits; a day's budget leaves the rest, with 0."""
    put(texts, 80)
    how = {"wait": True, "skip_pilot": True, **window(texts, api, 9000)}
    spent = 0.0
    api.fault("answer_text", times=10_000, args={"text": INVENTED})
    stopped = backfill(texts, code=6, **how)
    assert ("nothing more was sent" in stopped["held_back"], stopped["is_over"]) == (True, False)
    made = len(api.creates())
    left = texts.states()["open"]
    assert left > 40
    assert "failed its gates" in texts.do("backfill", wait=True, yes=True, code=6).err
    assert "no_pilot" in str(texts.read("run", **window(texts, api, 9000))["tasks"])
    assert len(api.creates()) == made
    api.clear_faults()
    spent = texts.spent()["actual"]
    how["GATES"] = "parse-failure=off,coverage=off"
    done = backfill(texts, BUDGET_PER_DAY=f"{spent * 1.2:.6f}", **how)
    assert ("BUDGET_PER_DAY" in done["held_back"], done["is_over"]) == (True, False)
    assert texts.spent()["actual"] <= spent * 1.2
    assert backfill(texts, BUDGET_PER_DAY=5, **how)["is_over"]
    assert max(sent(texts).values()) == 2


def test_another_programs_versions_count_as_asked(texts: Workspace) -> None:
    """A passage with concepts of whatever version is not asked; with SKIP_VERSIONS of those that are named."""
    texts.status()
    for number in range(3):
        sql(
            texts,
            "INSERT INTO passage_concepts (passage_id, concept_name, concept_type, aliases, confidence,"
            " extractor_model, extractor_version, created_at)"
            " VALUES (:id, 'x', 'method', '[]', 1, 'm', :label, '2026-01-01')",
            id=f"p-{number:04d}",
            label=f"theirs@{number}",
        )
    assert texts.states() == {"with_concepts": 3, "open": 27}
    assert (
        backfill(texts, wait=True, skip_pilot=True, SKIP_VERSIONS="theirs@0,theirs@2")["asked"]
        == 28
    )
    assert set(sent(texts)) == {f"p-{number:04d}" for number in range(30)} - {"p-0000", "p-0002"}


@pytest.mark.alike
def test_people_have_a_pilot_where_it_is_asked_for(workspace: Workspace, api: Engine) -> None:
    """So many are asked and judged, then the rest; one that failed closes every command that asks all, for this model.

    SKIP_PILOT=1 does without, from then on.
    """
    workspace.people(28)
    assert "28 people" in workspace.do("submit", pilot=20, dry=True).out
    how = {"mode": "batch", "wait": True}
    assert (
        "BUDGET_PER_DAY" in workspace.do("submit", pilot=20, BUDGET_PER_DAY="0.0000001", code=3).err
    )
    assert api.creates() == []
    failed = workspace.do("tag", pilot=20, GATES="tags=11..12", code=6, **how)
    assert "tags is" in failed.err
    assert workspace.states() == {"tagged": 20, "untagged": 8}
    for verb, options in (
        ("submit", {}),
        ("tag", {"mode": "batch"}),
        ("tag", {}),
        ("tag_live", {}),
    ):
        assert "pilot" in workspace.do(verb, code=6, **options).err
    assert "no_pilot" in workspace.read("run")["tasks"]["experts"]
    assert len(api.creates()) == 1
    assert workspace.next() == ["tag"]
    workspace.do("submit", limit=1, MODEL="gemini-3.1-flash-lite")
    workspace.each("poll", "ingest")
    assert workspace.read("tag", skip_pilot=True, **how)["left"] == 0
    assert workspace.states() == {"tagged": 28}


@pytest.mark.alike
def test_a_pilot_that_failed_for_the_apis_sake_passes_anew(
    workspace: Workspace, api: Engine
) -> None:
    """What failed twice is parked, and freed; the same pilot asks it again, and is judged by that alone.

    A batch of which every request failed with one code ends the command, so that both tries are not used up at once.
    """
    workspace.people(28)
    how: dict[str, Any] = {"mode": "batch", "wait": True}
    api.fault("error_line", times=1000, args={"fraction": 1.0, "code": 13})
    for size in (3, 20):
        said = [workspace.do("tag", pilot=size, code=code, **how).err for code in (4, 4, 6)]
        assert all("failed with code 13" in one for one in said[:2])
        assert f"none of the {size} people" in said[2] or size > 3  # of few no gate is judged
    api.clear_faults()
    assert "unpark --all" in workspace.do("submit", code=6).err
    workspace.do("unpark", all=True, yes=True)
    workspace.do("tag", pilot=20, **how)
    assert workspace.states() == {"tagged": 28}


def test_two_at_once_run_one_pilot(workspace: Workspace, api: Engine) -> None:
    """The second command goes on with the same batch: each person stands in one; what passed stands for the next."""
    workspace.people(9)
    both = [workspace.start("submit", pilot=5) for _ in "12"]
    assert [one.wait().code for one in both] == [0, 0]
    assert [len(one["lines"]) for one in api.creates()] == [5, 4]
    workspace.people(3, first=50)
    workspace.do("submit", pilot=5)
    assert [len(one["lines"]) for one in api.creates()] == [5, 4, 3]
    workspace.each("poll", "ingest")
    assert workspace.states() == {"tagged": 12}


@pytest.mark.excused("nobody_is_answered_twice")
def test_tags_of_a_version_are_taken_back_and_asked_anew(workspace: Workspace) -> None:
    """Rolled back, all of one version are untagged; what another model or a person said stays."""
    workspace.people(4)
    workspace.do("tag_live", limit=3)
    workspace.do("tag_live", MODEL="gemini-3.1-flash-lite")
    before = workspace.tags()
    found = {one["model"]: one for one in workspace.read("versions")}
    assert {name: one["items"] for name, one in found.items()} == {
        MODEL: 3,
        "gemini-3.1-flash-lite": 1,
    }
    assert "no answers of nobody@7" in workspace.do("rollback", "nobody@7", yes=True).out
    workspace.do("rollback", found[MODEL]["extractor"], yes=True)
    assert workspace.states() == {"tagged": 1, "untagged": 3}
    assert [name for name, tags in workspace.tags().items() if tags] == ["person-0003"]
    workspace.do("tag_live")
    assert workspace.tags() == before
