"""A rollback dies before or after any step: other versions are as they were, and run again it ends as it does in peace.

Some passages have concepts by batch and live under two versions, and more of another program's under a third.
It dies before each step and after the last, and what is so after a step is so before the next; unless `KEEPING=all`, at
a few places.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table as experts
from pipeline.passages import table
from pipeline.passages.schema import read_shape
from pipeline.passages.table import ConceptRow, PassageRow
from tests.crash import homes
from tests.crash.homes import at_home, copied
from tests.crash.program import Mortal
from tests.crash.steps import Fate
from tests.lab import Workspace

ONE, TWO, THEIRS = "passage-concepts@1", "passage-concepts@2", "theirs"
TAGS = "expert-tags@1"
MANY = 700  # passages with another program's concepts: two blocks of them
PASSAGES = {"FINDABLE_TASK": "passages"}
SOME = slice(None) if os.environ.get("KEEPING") == "all" else slice(2, None, 3)  # fates that are tried
STATE = {  # what a rollback may change, without what time it was
    "passage_concepts": "passage_id, concept_name, extractor_version, extractor_model, evidence",
    "experts": "username, tags, findability_score",
    "findable_answers": "task, item_id, batch, extractor, answer, applied",
    "findable_attempts": "task, item_id, batch, reason",
    "findable_parked": "task, item_id, reason",
    "findable_calls": "task, item_id, extractor, purpose, outcome, cost",
    "findable_requests": "task, item_id, batch, open, outcome",
    "findable_batches": "number, state, extractor",
    "findable_batch_accounts": "batch, cost",
    "findable_versions": "task, version, model",
    "findable_events": "kind, name, new",
    "findable_usage": "model, day, requests",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Versions of concepts and tags: by batch with a failure, live, and another program's in two blocks."""
    with at_home(tmp_path_factory.mktemp("rolling")) as (server, made):
        run(made, "status", TASK="passages")
        put(made)
        server.world.faults.script([{"fault": "safety"}])
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            run(made, command, TASK="passages", SKIP_VERSIONS="none", LIMIT="4")
            run(made, command, LIMIT="2")
        run(made, "tag-live", TASK="passages", SKIP_VERSIONS="none", LIMIT="2")
        run(made, "tag-live", TASK="passages", VERSION=TWO, LIMIT="3")
        yield made


NO_GATES = "coverage=off,evidence=off,concepts=off,parse-failure=off"


def run(workspace: Workspace, *args: str, **values: str) -> None:
    """Run a command that must work; of so few passages no gate tells anything."""
    workspace.ran(*args, **{**values, **({"GATES": NO_GATES} if "TASK" in values else {})})


def put(workspace: Workspace) -> None:
    """Put people and passages into a workspace, and another program's concepts of most passages."""
    with workspace.open() as ws, ws.store.write() as tx:
        shape = read_shape(tx)
        for number in range(3):
            tags = '["beekeeping"]' if number == 0 else None
            bio = f"I keep bees and teach water law, {number}."
            experts.insert_person(tx, f"person-{number}", {"bio": bio, "tags": tags})
        ids = [f"p-{number:04d}" for number in range(MANY)]
        text = "Groundwater models estimate aquifer depletion under heavy pumping in district {}."
        table.insert_passages(tx, shape, [PassageRow(one, text.format(one), None, None) for one in ids])
        rows = [ConceptRow(one, "theirs", "other", "[]", 0.9, "m", THEIRS, None, ws.now()) for one in ids]
        table.add_concepts(tx, shape, rows)


def state(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Return what a rollback may change, table by table."""
    told = {}
    for name, columns in STATE.items():
        order = ", ".join(str(number) for number in range(1, columns.count(",") + 2))
        told[name] = workspace.query(f"SELECT {columns} FROM {name} ORDER BY {order}")  # noqa: S608 - our names
    return told


def others(workspace: Workspace, label: str) -> list[tuple[Any, ...]]:
    """Return every column of the concepts of all other versions."""
    return workspace.query("SELECT * FROM passage_concepts WHERE extractor_version <> :label ORDER BY id", label=label)


@pytest.mark.parametrize("label", [ONE, THEIRS, TAGS])
def test_a_rollback_that_is_killed_ends_as_in_peace(
    source: Workspace, mortal: Mortal, tmp_path: Path, label: str
) -> None:
    """Whatever step it dies at: what is left is out of sight, nothing is asked under it, and the rest is untouched."""
    peace = copied(source, tmp_path / "peace")
    kept = others(peace, label)
    ended = homes.run(mortal, peace, "rollback", label, "--yes")
    assert ended.code == 0, ended
    wanted = state(peace)
    assert wanted != state(source)
    assert others(peace, label) == kept
    halves = 0
    last = len(ended.trail)
    for fate in [*(Fate(at, "before") for at in range(1, last + 1)), Fate(last, "after")][SOME]:
        here = copied(source, tmp_path / f"{fate.at}-{fate.side}")
        died = homes.run(mortal, here, "rollback", label, "--yes", fate=fate)
        assert died.code == -9, died
        assert others(here, label) == kept
        halves += check_half(mortal, here, label)
        again = homes.run(mortal, here, "rollback", label, "--yes")
        assert again.code == 0, again
        assert state(here) == wanted, died.last
    assert halves
    assert homes.run(mortal, here, "doctor", environ=PASSAGES).code == 0


def check_half(mortal: Mortal, here: Workspace, label: str) -> bool:
    """Hold what is so while a rollback is half done; return whether it is."""
    half = here.query("SELECT model FROM findable_versions WHERE version = :l AND withdrawn_at IS NOT NULL", l=label)
    if not half:
        return False
    assert here.query("SELECT 1 FROM best_concepts WHERE extractor_version = :l", l=label) == []
    doctor = homes.run(mortal, here, "doctor")
    assert doctor.code == 0, doctor
    assert f"the rollback of {label}" in doctor.out
    if label == ONE:
        refused = homes.run(mortal, here, "batch-submit", environ=PASSAGES)
        assert refused.code == 3
    return True
