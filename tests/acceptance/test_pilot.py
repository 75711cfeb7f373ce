"""Test pilots, backfills and versions: samples are judged first, versions are rolled back."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import MODEL, PASSAGES, Workspace
from tests.acceptance.steps import Fate

FIRST_VERSION = "passage-concepts@1"
SECOND_VERSION = "passage-concepts@2"
OTHER_MODEL = "gemini-3.5-flash"
# No answer of the engine passes these gates.
FAILING_GATES = "concepts=12..14"
TOPICS = (
    "groundwater recharge in arid river basins",
    "queen rearing by selective honey bee breeding",
    "graph neural networks for protein folding",
    "timber frame joints under cyclic loading",
    "customary water law in mountain valleys",
)
INVENTED_NAMES = ("zeppelin docking", "quasar farming", "xylophone repair", "jade milling")


def make_invented_answer() -> str:
    """Return an answer whose quotations are in no passage."""
    concept_fields = {"type": "method", "aliases": [], "confidence": 0.9}
    concepts = []
    for name in INVENTED_NAMES:
        quotes = [f"words of {name} found nowhere"]
        concepts.append({"name": name, "quotes": quotes, **concept_fields})
    return json.dumps({"concepts": concepts})


def passage_text(number: int) -> str:
    """Return the text of a passage, which differs for each number."""
    topic = TOPICS[number % len(TOPICS)]
    second_topic = TOPICS[(number // len(TOPICS) + number + 1) % len(TOPICS)]
    return (
        f"Study {number} examines {topic} with field measurements. We compare it with "
        f"{second_topic} and report the mean absolute error over {number + 3} sites. "
        "Naïve baselines such as linear regression fall behind\u2009🐝. "
        f"The benchmark dataset and the evaluation protocol of {topic} are released."
    )


@pytest.fixture(name="passages")
def _passages(workspace: Workspace) -> Workspace:
    """Return a workspace of thirty passages whose commands use the passages."""
    workspace.task = PASSAGES
    import_passages(workspace, 30)
    return workspace


def import_passages(workspace: Workspace, count: int) -> None:
    """Import passages with the ids p-0000, p-0001 and so on."""
    lines = []
    for number in range(count):
        passage = {"id": f"p-{number:04d}", "text": passage_text(number), "source": "field"}
        lines.append(json.dumps(passage) + "\n")
    workspace.write_file("texts.jsonl", "".join(lines))
    workspace.run_command("import_passages", "texts.jsonl")


def run_pilot(workspace: Workspace, code: int = 0, **options: Any) -> dict[str, Any]:
    """Run a confirmed pilot, and return its report."""
    process = workspace.run_command("pilot", code=code, yes=True, json=True, **options)
    report: dict[str, Any] = process.json
    return report


def run_backfill(workspace: Workspace, code: int = 0, **options: Any) -> dict[str, Any]:
    """Run a confirmed backfill, and return its report."""
    process = workspace.run_command("backfill", code=code, yes=True, json=True, **options)
    report: dict[str, Any] = process.json
    return report


def count_sent_requests(workspace: Workspace) -> Counter[str]:
    """Return the number of requests of each row in the sealed request files."""
    request_counts = Counter[str]()
    for batch in workspace.batches():
        for line in workspace.sealed_requests(batch["number"]):
            _, _, row_id = line["key"].partition("/")
            # Control requests belong to no row.
            if row_id:
                request_counts[row_id] += 1
    return request_counts


def limit_waiting_tokens(workspace: Workspace, api: Engine, tokens: int) -> dict[str, Any]:
    """Limit the prompt tokens that wait at the API, and return the settings of commands.

    The server allows a few more tokens than the table of models.
    """
    api.configure(enqueued_tokens={"*": tokens + 200})
    lines = (
        f'[models."{MODEL}"]',
        'kind = "generate"',
        "price_in = 0.3",
        "price_out = 2.5",
        "priced_on = 2026-10-07",
        'source = "a page"',
        f"enqueued_tokens = {tokens}",
    )
    models_file = workspace.write_file("models.toml", "\n".join(lines) + "\n")
    return {"MODELS_FILE": models_file, "RETRY_FOR": 0.1, "RPM": 6000}


def export_concepts(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the exported concepts after a check that each quotation is in its passage."""
    exported_concepts = workspace.exported_rows(PASSAGES)
    for concept in exported_concepts:
        text = passage_text(int(concept["passage_id"][2:]))
        quotations = concept["evidence"]["support"]
        assert quotations
        for quotation in quotations:
            assert text[quotation["start"] : quotation["end"]] == quotation["quote"]
    return exported_concepts


def test_backfill_needs_a_passed_pilot_and_consent(passages: Workspace, api: Engine) -> None:
    """A backfill without a pilot ends with exit 6, and without consent with exit 2.

    A pilot with the same seed draws the same rows, and sends nothing again.
    """
    passages.run_command("backfill", yes=True, code=6)
    assert api.creates() == []
    assert passages.next_command() == ["passages-pilot"]
    passages.run_command("pilot", yes=True, GATES="evidence=1.1", code=3)
    assert api.creates() == []

    report = run_pilot(passages, N=20, seed=3)
    assert report["drawn"] == 20
    assert report["passed"] is True
    assert Path(report["report"]).is_file()
    assert passages.state_counts() == {"with_concepts": 20, "open": 10}
    pilot_requests = count_sent_requests(passages)
    assert (len(pilot_requests), len(api.creates())) == (20, 1)

    assert "passages-backfill" in passages.run_command("pilot", N=20, seed=3, yes=True).stderr
    assert count_sent_requests(passages) == pilot_requests
    assert passages.next_command() == ["passages-backfill"]

    passages.run_command("backfill", wait=True, code=2)
    assert len(api.creates()) == 1

    report = run_backfill(passages, wait=True)
    assert (report["left"], report["is_over"]) == (0, True)
    request_counts = count_sent_requests(passages)
    assert set(request_counts.values()) == {1}
    concepts = export_concepts(passages)
    assert {concept["passage_id"] for concept in concepts} == set(request_counts)


@pytest.mark.alike
def test_failed_pilot_stores_its_answers_and_blocks_the_backfill(
    passages: Workspace, api: Engine
) -> None:
    """A failed pilot stores its answers and blocks a backfill, unless SKIP_PILOT=1 is set.

    The latest pilot counts.
    """
    assert run_pilot(passages, code=6, N=24, GATES=FAILING_GATES)["passed"] is False
    assert passages.state_counts() == {"with_concepts": 24, "open": 6}
    assert passages.next_command() == ["passages-pilot"]
    passages.run_command("backfill", wait=True, yes=True, code=6)

    assert run_pilot(passages, N=24)["passed"]
    run_pilot(passages, code=6, N=24, GATES=FAILING_GATES)
    passages.run_command("backfill", yes=True, code=6)
    assert len(api.creates()) == 1

    report = run_backfill(passages, wait=True, skip_pilot=True)
    assert report["is_over"]
    assert "without a passed pilot" in Path(report["report"]).read_text(encoding="utf-8")
    assert passages.state_counts() == {"with_concepts": 30}
    assert set(count_sent_requests(passages).values()) == {1}


@pytest.mark.alike
def test_interrupted_backfill_continues_and_sends_no_row_twice(
    passages: Workspace, api: Engine
) -> None:
    """A backfill that was interrupted and killed continues, and sends each row once.

    It uses the same version until it is over, also if another command continues it. A new run
    takes the next version, and rows of the first version stay.
    """
    run_backfill(passages, wait=True, skip_pilot=True)
    concepts_before = export_concepts(passages)

    limits = limit_waiting_tokens(passages, api, 2500)
    options = {"wait": True, "VERSION": SECOND_VERSION, "skip_pilot": True, **limits}
    with passages.start_command("backfill", yes=True, **options) as running:
        while len(api.creates()) < 3:
            assert not running.is_finished(), running.read_output()
        # No batch may end before the signal arrives.
        api.configure(paused=True)
        interrupted_run = running.stop(signal.SIGINT)
        assert interrupted_run.code == 130, interrupted_run
    api.configure(paused=False)
    with passages.start_command("backfill", yes=True, fate=Fate(step=40), **options) as running:
        assert running.wait().code == -signal.SIGKILL

    round_report = passages.read_json("run", **limit_waiting_tokens(passages, api, 2500))
    assert not round_report["failures"]
    report = run_backfill(passages, **options)
    assert report["version"] == f"{SECOND_VERSION}/{MODEL}"
    assert report["is_over"] is True
    assert set(count_sent_requests(passages).values()) == {2}
    assert export_concepts(passages)

    row_counts = {
        version["prompt_version"]: version["rows"] for version in passages.read_json("versions")
    }
    assert row_counts == {FIRST_VERSION: 30, SECOND_VERSION: 30}
    assert len(passages.exported_rows(answer_version=FIRST_VERSION)) == len(concepts_before)
    assert SECOND_VERSION in passages.run_command("rollback", SECOND_VERSION, yes=True).output
    assert passages.state_counts() == {"with_concepts": 30}
    assert passages.exported_rows() == concepts_before

    passages.run_command("rollback", FIRST_VERSION, code=2)
    passages.run_command("rollback", FIRST_VERSION, yes=True)
    assert (passages.state_counts(), passages.exported_rows()) == ({"open": 30}, [])


@pytest.mark.alike
def test_gates_and_budget_stop_a_backfill(passages: Workspace, api: Engine) -> None:
    """Invalid answers stop a backfill with exit 6, and a spent daily budget with exit 0."""
    import_passages(passages, 80)
    limits = limit_waiting_tokens(passages, api, 9000)
    options = {"wait": True, "skip_pilot": True, **limits}

    api.script_fault("answer_text", times=10_000, args={"text": make_invented_answer()})
    report = run_backfill(passages, code=6, **options)
    assert "no more rows were sent" in report["held_back"]
    assert report["is_over"] is False
    created_batches = len(api.creates())
    assert passages.state_counts()["open"] > 40
    assert (
        "failed its gates" in passages.run_command("backfill", wait=True, yes=True, code=6).stderr
    )
    round_report = passages.read_json("run", **limit_waiting_tokens(passages, api, 9000))
    assert "no_pilot" in str(round_report["tasks"])
    assert len(api.creates()) == created_batches
    api.clear_faults()

    spent = passages.spending()["actual"]
    options["GATES"] = "parse-failure=off,coverage=off"
    report = run_backfill(passages, BUDGET_PER_DAY=f"{spent * 1.2:.6f}", **options)
    assert "BUDGET_PER_DAY" in report["held_back"]
    assert report["is_over"] is False
    assert passages.spending()["actual"] <= spent * 1.2

    assert run_backfill(passages, BUDGET_PER_DAY=5, **options)["is_over"]
    assert max(count_sent_requests(passages).values()) == 2


@pytest.mark.alike
def test_failed_pilot_of_people_blocks_commands_of_its_model(
    workspace: Workspace, api: Engine
) -> None:
    """A failed pilot blocks commands that send all people to the model.

    SKIP_PILOT=1 lifts the block permanently.
    """
    workspace.import_people(28)
    options = {"mode": "batch", "wait": True}
    workspace.run_command("submit", pilot=20, BUDGET_PER_DAY="0.0000001", code=3)
    assert api.creates() == []

    workspace.run_command("tag", pilot=20, GATES="tags=11..12", code=6, **options)
    assert workspace.state_counts() == {"tagged": 20, "open": 8}
    for verb, blocked_options in (
        ("submit", {}),
        ("tag", {"mode": "batch"}),
        ("tag", {}),
        ("tag_live", {}),
    ):
        assert "pilot" in workspace.run_command(verb, code=6, **blocked_options).stderr
    assert "no_pilot" in workspace.read_json("run")["tasks"]["experts"]
    assert len(api.creates()) == 1
    assert workspace.next_command()[:1] == ["tag"]

    # Another model has no failed pilot.
    workspace.run_command("submit", limit=1, MODEL=OTHER_MODEL)
    workspace.run_commands("poll", "ingest")
    assert workspace.read_json("tag", skip_pilot=True, **options)["left"] == 0
    assert workspace.state_counts() == {"tagged": 28}
