"""What a person types to bring a workspace of the version before to its end, and what must hold there."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from click.testing import Result

from tests.lab import Api, Workspace

PASSAGES = {"TASK": "passages", "GATES": "coverage=off,parse-failure=off,concepts=off,evidence=off"}
CHAIN = ("batch-submit", "batch-poll", "batch-ingest")


def run(workspace: Workspace, *words: str, **values: str) -> Result:
    """Run a command that must work."""
    done = workspace.run(*words, **values)
    assert done.exit_code == 0, (words, done.exit_code, done.stdout, done.stderr)
    return done


def document(workspace: Workspace, *words: str, **values: str) -> Any:
    """Return what a command says with `--json`."""
    return json.loads(run(workspace, *words, "--json", **values).stdout)


def end_probes(workspace: Workspace) -> None:
    """Do without a probe that is under way, where the version still has them; later ones end them as they migrate."""
    run(workspace, "status")
    if workspace.query("SELECT batch FROM findable_probes WHERE verdict IS NULL"):
        run(workspace, "preflight", "--no-probe")


def go_on_with_people(workspace: Workspace) -> None:
    """Bring all people to the end: what was begun first, then those who are parked, then the index."""
    end_probes(workspace)
    for words in (*CHAIN, *CHAIN):
        run(workspace, words)
    run(workspace, "unpark", "--all", "--yes")
    for words in CHAIN:
        run(workspace, words)
    run(workspace, "index")


def go_on_with_passages(workspace: Workspace) -> None:
    """Bring every passage to the end: the rollback, the pilot under another version, the backfill, those parked."""
    run(workspace, "rollback", "old@1", "--yes")
    run(workspace, "passages-pilot", "--yes", **PASSAGES, VERSION="next@1")
    run(workspace, "passages-backfill", "--wait", "--yes", **PASSAGES)
    run(workspace, "unpark", "--all", "--yes", **PASSAGES)
    run(workspace, "passages-backfill", "--wait", "--yes", **PASSAGES)


def check_healthy(workspace: Workspace) -> Mapping[str, Any]:
    """Let `doctor` find nothing that contradicts what is stored, and return what it says."""
    found: Mapping[str, Any] = document(workspace, "doctor")
    assert found["healthy"], found
    return found


def check_asked_once(workspace: Workspace, api: Api) -> None:
    """Hold rows, request files and the API against one another.

    Each batch that was created is there once, with as many requests as its file has lines; other batches of ours are
    twins, which are cancelled. Under each version an item stands in one batch more than it failed in.
    """
    rows = workspace.query(
        "SELECT number, task, extractor, state, requests, request_file, remote_name FROM findable_batches "
        "ORDER BY number"
    )
    remote = {one["name"]: one for one in api.batches()["batches"]}
    twins = {name for (name,) in workspace.query("SELECT remote_name FROM findable_twins")}
    assert set(remote) == {row[6] for row in rows if row[6]} | twins
    assert {remote[name]["state"] for name in twins} <= {"CANCELLED"}
    asked: Counter[tuple[str, str]] = Counter()
    for number, task, extractor, state, requests, file, name in rows:
        lines = (workspace.data / file).read_bytes().splitlines()
        assert len(lines) == requests
        assert state in ("ingested", "failed"), (number, state)
        if state == "failed":
            continue
        assert remote[name]["requests"] == requests
        assert f"-{task}-{number}-" in remote[name]["displayName"]
        asked.update((extractor, json.loads(line)["key"]) for line in lines)
    outcomes = workspace.query(
        "SELECT b.extractor, r.task, r.item_id FROM findable_requests r JOIN findable_batches b ON b.number = r.batch "
        "WHERE b.state = 'ingested' AND r.outcome <> 'answered'"
    )
    failed = Counter((extractor, f"{task}/{item}") for extractor, task, item in outcomes)
    again = {one: count for one, count in asked.items() if count > 1 + failed[one]}
    assert not again
    assert workspace.query("SELECT task, item_id FROM findable_requests WHERE open") == []
    assert workspace.query("SELECT id FROM findable_calls WHERE outcome IS NULL") == []
    twice = "SELECT item_id FROM findable_answers WHERE applied GROUP BY extractor, item_id HAVING count(*) > 1"
    assert workspace.query(twice) == []


def check_accounts(workspace: Workspace) -> None:
    """Hold that every batch accounts for each of its requests once, as `batches` tells it."""
    for one in document(workspace, "batches"):
        if one["state"] == "ingested":
            assert one["answered"] + one["refused"] + one["invalid"] + one["missing"] == one["requests"], one
