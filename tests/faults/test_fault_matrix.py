"""The fault matrix: every fault at every endpoint of every command that meets it, and all is well in the end."""

import os
import random
from pathlib import Path

import pytest

from tests.faults import cells
from tests.faults.cells import Cell
from tests.faults.ground import ALWAYS, PEOPLE, RESIGNATION, Ground, Script, haste, person_file
from tests.faults.words import SLOW

pytestmark = pytest.mark.sampled(30, sqlite=20)

SEED = 20261120
SHARE = 1.0 if os.environ.get("FAULTS") == "all" else 0.02
HANGS = {word for word, _ in SLOW}


def _sample(every: list[Cell]) -> list[Cell]:
    """Return the cells of this run: one of each row at least, and a share of all, the same ones every time."""
    chosen = random.Random(SEED)  # noqa: S311 - a sample for a test
    rows: dict[tuple[object, ...], list[Cell]] = {}
    for cell in every:
        rows.setdefault((cell.command, cell.at, cell.code, cell.fault.times, cell.facts), []).append(cell)
    picked = {str(chosen.choice(row)) for row in rows.values()}
    return [cell for cell in every if str(cell) in picked or chosen.random() < SHARE]


def _values(cell: Cell) -> dict[str, str]:
    """Return the limits a cell runs under."""
    hastily = haste() if cell.fault.word in HANGS else {}
    resigned = RESIGNATION if cell.fault.times == ALWAYS else {}
    return {**hastily, **resigned}


def _prepare(cell: Cell, ground: Ground) -> None:
    """Bring a workspace to the stage a cell begins at."""
    if cell.stage == "unclear":
        ground.script(Script("create_lost_reply"), Script("status", {}, *cells.LIST, times=ALWAYS))
        assert ground.run("batch-submit", RETRY_FOR="0").exit_code == 4
    elif cell.stage in {"submitted", "running"}:
        if cell.stage == "running":
            ground.api.configure(paused=True)
        assert ground.run("batch-submit").exit_code == 0
    ground.api.clear_faults()


@pytest.mark.parametrize("cell", _sample(cells.every()), ids=str)
def test_a_fault_leaves_what_the_table_says(cell: Cell, request: pytest.FixtureRequest) -> None:
    """The command ends with the code and the facts of its row; run again without the fault, every person is tagged."""
    _meet(cell, request.getfixturevalue("serving" if cell.stage == "served" else "asking"))


def _meet(cell: Cell, ground: Ground) -> None:
    """Let a fault strike a command, hold the facts of its row, and come to the end without it."""
    if cell.command[0] == "index":
        _change_a_bio(ground)
    if cell.command[0] == "add-expert":
        person_file(Path("newcomer.json"))
    _prepare(cell, ground)
    if cell.values:
        ground.workspace.environ |= cell.values
    else:
        ground.script(*cell.before, cell.fault)
    result = ground.run(*cell.command, **_values(cell))
    assert result.exit_code == cell.code, result.output
    assert cell.says in result.stderr
    assert ground.facts() == cell.facts, result.output
    assert ground.struck(), "the fault never struck"
    ground.api.configure(paused=False)
    ground.workspace.environ["GOOGLE_GEMINI_BASE_URL"] = ground.api.url
    if cell.stage == "served":
        ground.api.clear_faults()
        assert ground.run(*cell.command).exit_code == 0
        return
    ground.recover()
    people = ground.facts()
    assert (people.tagged, people.claimed) == (PEOPLE + (cell.command[0] == "add-expert"), 0)
    assert cell.live is None or ground.live() == cell.live


def _change_a_bio(ground: Ground) -> None:
    """Give one person another biography, so that there is something to embed."""
    from pipeline.experts import table

    with ground.workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "later", {"bio": "I mend clocks.", "tags": '["horology"]'})
