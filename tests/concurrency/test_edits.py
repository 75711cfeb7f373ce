"""Two people edit the tags of the same fifty by hand while a batch is ingested: no edit that was taken is lost."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core.errors import ChangedMeanwhileError, InputError
from pipeline.experts import edits, person_tags, table
from pipeline.experts.edits import Editor, TagChange
from tests.lab import Workspace

PEOPLE, EACH = 50, 500  # edits of each client that are taken
TAGS = ("law", "water", "soil", "bees", "rail", "organs")


def changed(dice: random.Random, tags: list[str]) -> TagChange:
    """Return a change of the tags that were shown."""
    way, old, new = dice.randrange(3), dice.choice([*tags, ""]), dice.choice(TAGS)
    return TagChange(add=[new]) if not way or not old else TagChange(remove=[old], add=[new] if way == 1 else ())


def edit(workspace: Workspace, client: str, names: list[str]) -> int:
    """Edit until enough edits were taken, each from the state that was shown; return how many were refused."""
    dice, taken, refused = random.Random(client), 0, 0  # noqa: S311 - always the same
    with workspace.open() as ws:
        while taken < EACH:
            name = dice.choice(names)
            shown = person_tags.read_tags(ws.store, name)
            try:
                done = edits.edit_tags(
                    ws.store, name, changed(dice, shown.tags), Editor(client, shown.state), at=ws.now()
                )
            except ChangedMeanwhileError:
                refused += 1
            except InputError:  # the last tag is not taken away
                continue
            else:
                taken += done.number is not None
    return refused


@pytest.mark.full
def test_a_thousand_edits_during_an_ingest_are_all_there(
    workspace: Workspace, people: Callable[..., list[str]]
) -> None:
    """The tags are the replay of the edits that were taken; a model's are only where none came before its answer."""
    names = people(PEOPLE)
    workspace.ran_each("batch-submit", "batch-poll")
    with ThreadPoolExecutor(2) as clients:
        going = [clients.submit(edit, workspace, client, names) for client in ("ada", "bob")]
        workspace.ran("batch-ingest")
        assert all(one.result() >= 0 for one in going)
    said = dict(workspace.query("SELECT item_id, answer FROM findable_answers WHERE batch = 1 AND applied"))
    edited = 0
    with workspace.open() as ws, ws.store.read() as tx:
        for number, name in enumerate(names, start=1):
            found = person_tags.tags_of_person(tx, table.by_username(tx, name))
            stands = json.loads(said[str(number)])["tags"] if str(number) in said else []
            for one in found.edits:
                assert one.before == stands
                stands = one.after
            assert found.tags == stands
            edited += len(found.edits)
    assert edited == 2 * EACH
    [batch] = json.loads(workspace.ran("batches", "--json").stdout)
    assert (batch["answered"], batch["not_applied"]) == (PEOPLE, PEOPLE - len(said))
    assert json.loads(workspace.ran("doctor", "--json").stdout)["healthy"]
