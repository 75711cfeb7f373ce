"""What each command does to a batch or a row in each state: tables, and stories of stopped runs.

An effect is written as `exit code | requests | batches | rows | paid`:

- requests: those that reached the server; `some get` if their number depends on its pace
- batches: the states of all batches, oldest first; a run of calls has its mode before its state
- rows: how many rows are in each state
- paid: how many requests have a cost, by mode; `lost` if others may have been paid

`unit_states` makes the states.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.engine import HANGS, LIVE_CALL, LIVE_CALL_PATH, MANY_TIMES
from tests.acceptance.killing import kill_after_calls, wait_for_calls
from tests.acceptance.process import EndedCommand
from tests.acceptance.product import on_a_server
from tests.acceptance.unit_states import OVERLOAD, Life, copy_state, write_person
from tests.scratch import wait_until

MakeLife = Callable[[str], Life]
# Neither the index nor its requests are the business of these tests.
ASKING_UNITS = "poll,ingest,fill,ask,submit"
# Commands of the tables, with their options.
COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch-submit": ("submit", {}),
    "batch-submit REFRESH=1": ("submit", {"refresh": True}),
    "batch-submit BUDGET_PER_DAY=0": ("submit", {"BUDGET_PER_DAY": 0}),
    "batch-poll": ("poll", {"no_wait": True}),
    "batch-ingest": ("ingest", {}),
    "tag batch": ("tag", {"mode": "batch"}),
    "tag batch BUDGET=0": ("tag", {"mode": "batch", "budget": 0}),
    "tag batch WAIT=1": ("tag", {"mode": "batch", "wait": True}),
    "tag live": ("tag", {"mode": "live"}),
    "tag live REFRESH=1": ("tag", {"mode": "live", "refresh": True}),
    "tag live LIMIT=1": ("tag", {"mode": "live", "limit": 1}),
    "tag live BUDGET=0": ("tag", {"mode": "live", "budget": 0}),
    "tag live ROW=parked": ("tag", {"mode": "live", "row": "parked"}),
    "tag live ROW=claimed": ("tag", {"mode": "live", "row": "claimed"}),
    "tag live ROW=gone": ("tag", {"mode": "live", "row": "gone"}),
    "tag live ROW=answered AGAIN=1": ("tag", {"mode": "live", "row": "answered", "again": True}),
    "tag flex": ("tag", {"mode": "flex"}),
    "tag decide": ("tag", {"mode": "decide"}),
    "tag decide REFRESH=1": ("tag", {"mode": "decide", "refresh": True}),
    "tag DEADLINE=50s": ("tag", {"deadline": "50s"}),
    "tag DEADLINE=1s": ("tag", {"deadline": "1s"}),
    "work": ("run", {"only": ASKING_UNITS}),
    "work REFRESH=1": ("run", {"only": ASKING_UNITS, "refresh": True}),
    "work BUDGET_PER_DAY=0": ("run", {"only": ASKING_UNITS, "BUDGET_PER_DAY": 0}),
    "work UNITS=ask": ("run", {"only": "ask"}),
    "try N=9": ("try", {"n": 9}),
    "try decide N=9": ("try", {"n": 9, "mode": "decide"}),
    "try ROW=parked": ("try", {"row": "parked"}),
    "try ROW=claimed": ("try", {"row": "claimed"}),
    "add-expert": ("add", {}),
    "ask N=2": ("ask", {"n": 2}),
    "ask NAME=tones": ("ask", {"name": "tones"}),
}
QUESTION = {"q": "Tone?", "fields": "tone: praise|blame", "mode": "live", "TASK": ""}

# state of the batch | command | effect
BATCH_TABLE = """
none          | batch-submit                  | 0 | 1 create, 1 upload, 1 list                          | submitted           | 2 claimed            | -
none          | batch-ingest                  | 0 | -                                                   | -                   | 2 untagged           | -
none          | tag batch                     | 0 | 1 create, 1 upload, 1 list                          | submitted           | 2 claimed            | -
none          | tag batch WAIT=1              | 0 | 1 create, 1 upload, some list, some get, 1 download | ingested            | 2 tagged             | 2 batch
none          | tag live                      | 0 | 2 call                                              | live ingested       | 2 tagged             | 2 live
none          | work                          | 0 | 1 create, 1 upload, 1 list                          | submitted           | 2 claimed            | -
none          | batch-submit BUDGET_PER_DAY=0 | 3 | -                                                   | -                   | 2 untagged           | -
none          | tag batch BUDGET=0            | 0 | -                                                   | -                   | 2 untagged           | -
none          | work BUDGET_PER_DAY=0         | 0 | -                                                   | -                   | 2 untagged           | -
none          | tag DEADLINE=50s              | 0 | 2 call                                              | live ingested       | 2 tagged             | 2 live
none          | tag DEADLINE=1s               | 0 | 2 call                                              | live ingested       | 2 tagged             | 2 live
prepared      | batch-submit                  | 0 | 1 create, 1 list                                    | submitted           | 2 claimed            | -
prepared      | batch-poll                    | 0 | -                                                   | prepared            | 2 claimed            | -
prepared      | tag batch                     | 0 | 1 create, 1 list                                    | submitted           | 2 claimed            | -
prepared      | tag batch WAIT=1              | 0 | 1 create, some list, some get, 1 download           | ingested            | 2 tagged             | 2 batch
prepared      | tag live                      | 0 | -                                                   | prepared            | 2 claimed            | -
prepared      | work                          | 0 | 1 create, 1 list                                    | submitted           | 2 claimed            | -
lost create   | batch-submit                  | 0 | 1 list                                              | submitted           | 2 claimed            | -
lost create   | batch-poll                    | 4 | -                                                   | submitting          | 2 claimed            | -
lost create   | tag batch                     | 0 | 1 list                                              | submitted           | 2 claimed            | -
lost create   | tag batch WAIT=1              | 0 | some list, some get, 1 download                     | ingested            | 2 tagged             | 2 batch
lost create   | tag live                      | 0 | -                                                   | submitting          | 2 claimed            | -
lost create   | work                          | 0 | 1 list                                              | submitted           | 2 claimed            | -
absent create | batch-submit                  | 0 | 1 create, 1 list                                    | submitted           | 2 claimed            | -
absent create | tag batch                     | 0 | 1 create, 1 list                                    | submitted           | 2 claimed            | -
absent create | tag batch WAIT=1              | 0 | 1 create, some list, some get, 1 download           | ingested            | 2 tagged             | 2 batch
absent create | work                          | 0 | 1 create, 1 list                                    | submitted           | 2 claimed            | -
running       | batch-submit                  | 0 | -                                                   | submitted           | 2 claimed            | -
running       | batch-poll                    | 0 | 1 list, 1 get                                       | submitted           | 2 claimed            | -
running       | tag batch                     | 0 | -                                                   | submitted           | 2 claimed            | -
running       | tag live                      | 0 | -                                                   | submitted           | 2 claimed            | -
running       | work                          | 0 | 1 list, 1 get                                       | submitted           | 2 claimed            | -
ended         | batch-poll                    | 0 | 1 list, 1 get, 1 download                           | downloaded          | 2 claimed            | -
ended         | batch-ingest                  | 0 | -                                                   | submitted           | 2 claimed            | -
ended         | tag batch WAIT=1              | 0 | some list, some get, 1 download                     | ingested            | 2 tagged             | 2 batch
ended         | work                          | 0 | 1 list, 1 get, 1 download                           | ingested            | 2 tagged             | 2 batch
downloaded    | batch-poll                    | 0 | -                                                   | downloaded          | 2 claimed            | -
downloaded    | batch-ingest                  | 0 | -                                                   | ingested            | 2 tagged             | 2 batch
downloaded    | tag batch                     | 0 | -                                                   | downloaded          | 2 claimed            | -
downloaded    | tag batch WAIT=1              | 0 | -                                                   | ingested            | 2 tagged             | 2 batch
downloaded    | tag live                      | 0 | -                                                   | downloaded          | 2 claimed            | -
downloaded    | work                          | 0 | -                                                   | ingested            | 2 tagged             | 2 batch
expired       | batch-submit                  | 0 | -                                                   | submitted           | 2 claimed            | -
expired       | batch-poll                    | 0 | 1 list, 1 get                                       | failed              | 2 untagged           | -
expired       | tag batch                     | 0 | -                                                   | submitted           | 2 claimed            | -
expired       | tag batch WAIT=1              | 4 | some list, some get                                 | failed              | 2 untagged           | -
expired       | work                          | 4 | 1 create, 1 upload, 2 list, 1 get                   | failed, submitted   | 2 claimed            | -
half expired  | batch-poll                    | 0 | 1 list, 1 get, 3 download                           | downloaded          | 2 claimed            | -
half expired  | tag batch WAIT=1              | 4 | some list, some get, 3 download                     | ingested            | 1 tagged, 1 untagged | 1 batch
half expired  | work                          | 4 | 1 create, 1 upload, 2 list, 1 get, 3 download       | ingested, submitted | 1 tagged, 1 claimed  | 1 batch
failed        | batch-poll                    | 0 | 1 list, 1 get                                       | failed              | 2 untagged           | -
failed        | tag batch WAIT=1              | 4 | some list, some get                                 | failed              | 2 untagged           | -
failed        | work                          | 4 | 1 create, 1 upload, 2 list, 1 get                   | failed, submitted   | 2 claimed            | -
cancelled     | batch-poll                    | 0 | 2 list, 1 get                                       | failed              | 2 untagged           | -
cancelled     | tag batch WAIT=1              | 0 | some list, some get                                 | failed              | 2 untagged           | -
cancelled     | work                          | 0 | 1 create, 1 upload, 3 list, 1 get                   | failed, submitted   | 2 claimed            | -
ingested      | tag batch WAIT=1              | 0 | -                                                   | ingested            | 2 tagged             | 2 batch
ingested      | work                          | 0 | -                                                   | ingested            | 2 tagged             | 2 batch
"""  # noqa: E501 - the columns stand below each other
# What some of these commands print: why they stop, or what they continue.
BATCH_SENTENCES = {
    ("none", "batch-submit BUDGET_PER_DAY=0"): "BUDGET_PER_DAY",
    ("none", "tag batch BUDGET=0"): "BUDGET=0",
    ("none", "work BUDGET_PER_DAY=0"): "2 not asked: BUDGET_PER_DAY=0",
    ("none", "tag DEADLINE=50s"): "within 50 s",
    ("none", "tag DEADLINE=1s"): "within 1 s",
    ("prepared", "tag batch"): "continuing batch 1",
    ("lost create", "batch-poll"): "batch 1: it is unclear whether it was created",
    ("lost create", "work"): "batch 1: found again as ",
    ("expired", "batch-poll"): "batch 1 failed (expired), its people can be asked again",
    ("expired", "tag batch WAIT=1"): "all batches failed at the API, so no more rows were sent",
    ("expired", "work"): "batch 1 failed at the API (expired)",
    ("half expired", "tag batch WAIT=1"): "1 tagged, 1 still open",
    ("cancelled", "batch-poll"): "batch 1 failed (cancelled by hand)",
    ("cancelled", "tag batch WAIT=1"): "2 still open",
    ("ingested", "tag batch WAIT=1"): "nothing to tag",
}

# task | command | exit code | asked rows, named by their states | rows after it
ROW_TABLE = """
people  | batch-submit                   | 0 | batch due, batch failed, batch open                               | 1 tagged, 4 claimed, 1 parked
people  | tag batch                      | 0 | batch due, batch failed, batch open                               | 1 tagged, 4 claimed, 1 parked
people  | tag live                       | 0 | call due, call failed, call open                                  | 4 tagged, 1 claimed, 1 parked
people  | tag flex                       | 0 | flex due, flex failed, flex open                                  | 4 tagged, 1 claimed, 1 parked
people  | tag live LIMIT=1               | 0 | call failed                                                       | 2 tagged, 2 untagged, 1 claimed, 1 parked
people  | tag live BUDGET=0              | 0 | -                                                                 | 1 tagged, 3 untagged, 1 claimed, 1 parked
people  | tag live ROW=parked            | 0 | -                                                                 | 1 tagged, 3 untagged, 1 claimed, 1 parked
people  | tag live ROW=claimed           | 0 | -                                                                 | 1 tagged, 3 untagged, 1 claimed, 1 parked
people  | try N=9                        | 0 | call due, call failed, call open                                  | 1 tagged, 3 untagged, 1 claimed, 1 parked
people  | try ROW=parked                 | 0 | call parked                                                       | 1 tagged, 3 untagged, 1 claimed, 1 parked
people  | try ROW=claimed                | 0 | call claimed                                                      | 1 tagged, 3 untagged, 1 claimed, 1 parked
people  | work                           | 0 | batch failed, batch open, call due                                | 2 tagged, 3 claimed, 1 parked
people  | work UNITS=ask                 | 0 | call due                                                          | 2 tagged, 2 untagged, 1 claimed, 1 parked
people  | add-expert                     | 0 | call added                                                        | 2 tagged, 3 untagged, 1 claimed, 1 parked
tickets | batch-submit                   | 0 | batch marked, batch open                                          | 1 answered, 3 claimed, 1 parked, 1 stale
tickets | batch-submit REFRESH=1         | 0 | batch marked, batch open, batch stale                             | 1 answered, 4 claimed, 1 parked
tickets | tag batch                      | 0 | batch marked, batch open                                          | 1 answered, 3 claimed, 1 parked, 1 stale
tickets | tag live                       | 0 | call marked, call open                                            | 3 answered, 1 claimed, 1 parked, 1 stale
tickets | tag live REFRESH=1             | 0 | call marked, call open, call stale                                | 4 answered, 1 claimed, 1 parked
tickets | tag decide                     | 0 | decision marked, decision open                                    | 3 answered, 1 claimed, 1 parked, 1 stale
tickets | tag decide REFRESH=1           | 0 | decision marked, decision open, decision stale                    | 4 answered, 1 claimed, 1 parked
tickets | tag live ROW=answered AGAIN=1  | 0 | call answered                                                     | 1 answered, 1 open, 1 claimed, 1 parked, 2 stale
tickets | tag live ROW=gone              | 0 | -                                                                 | 1 answered, 1 open, 1 claimed, 1 parked, 2 stale
tickets | try N=9                        | 0 | call marked, call open                                            | 1 answered, 1 open, 1 claimed, 1 parked, 2 stale
tickets | try decide N=9                 | 0 | decision marked, decision open                                    | 1 answered, 1 open, 1 claimed, 1 parked, 2 stale
tickets | work                           | 0 | batch marked, batch open                                          | 1 answered, 3 claimed, 1 parked, 1 stale
tickets | work REFRESH=1                 | 0 | batch marked, batch open, batch stale                             | 1 answered, 4 claimed, 1 parked
tickets | ask N=2                        | 0 | call answered, call stale                                         | 1 answered, 1 open, 1 claimed, 1 parked, 2 stale
tickets | ask NAME=tones                 | 0 | call answered, call claimed, call marked, call parked, call stale | 1 answered, 1 open, 1 claimed, 1 parked, 2 stale
"""  # noqa: E501 - the columns stand below each other


def read_table(text: str) -> list[Any]:
    """Return the first two columns of each line of a table, and the others as one text."""
    lines = []
    for line in text.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        state, command, *effect = cells
        lines.append(pytest.param(state, command, " | ".join(effect), id=f"{state}, {command}"))
    return lines


@pytest.fixture(name="kept_folder", scope="module")
def _kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the workspaces of all states, each of which is made once."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture(name="make_life")
def _make_life(kept_folder: Path, tmp_path: Path) -> Iterator[MakeLife]:
    """Return a function that copies the workspace in a state, with its own server."""
    lives = list[Life]()

    def make(state: str) -> Life:
        """Copy the workspace in a state."""
        folder = tmp_path / f"life-{len(lives)}"
        lives.append(copy_state(state, kept_folder=kept_folder, folder=folder))
        return lives[-1]

    yield make
    for life in lives:
        life.api.kill()


def run(life: Life, command: str) -> EndedCommand:
    """Run a command of the tables."""
    verb, options = COMMANDS[command]
    arguments = []
    if verb == "add":
        write_person(life.workspace, "added")
        arguments = ["added.json"]
    if verb == "ask":
        arguments = ["tasks/tickets.csv"]
        options = {**QUESTION, **options}
    return life.workspace.try_command(verb, *arguments, **options)


def effect_of(life: Life, verb: str, **options: Any) -> str:
    """Run a command, and return its effect."""
    before = life.count_requests()
    ended = life.workspace.try_command(verb, **options)
    return life.describe_effect(before, ended.code, waits=bool(options.get("wait")))


@pytest.mark.parametrize(("state", "command", "effect"), read_table(BATCH_TABLE))
def test_command_moves_a_batch(make_life: MakeLife, state: str, command: str, effect: str) -> None:
    """The command has the effect of the table."""
    life = make_life(state)
    before = life.count_requests()
    ended = run(life, command)
    waits = "WAIT=1" in command
    assert life.describe_effect(before, ended.code, waits=waits) == effect, ended
    assert BATCH_SENTENCES.get((state, command), "") in ended.output


# Rows that changed, or are asked again, are answered again.
AGAIN = ("nobody_is_answered_twice",)


@pytest.mark.parametrize(("state", "command", "effect"), read_table(ROW_TABLE))
def test_command_asks_rows(make_life: MakeLife, state: str, command: str, effect: str) -> None:
    """The command asks exactly the rows of the table, each once."""
    life = make_life(state)
    before = life.count_asked_rows()
    ended = run(life, command)
    counts = life.count_asked_rows() - before
    assert set(counts.values()) <= {1}
    parts = (str(ended.code), ", ".join(sorted(counts)) or "-", ", ".join(life.describe_rows()))
    assert " | ".join(parts) == effect, ended
    life.check(excused=AGAIN)


def test_budget_of_a_killed_run_goes_on(make_life: MakeLife) -> None:
    """What a killed run spent, and may have spent, counts for the run that continues it."""
    life = make_life("six")
    price = life.workspace.read_json("preflight", limit=1)["live"]["cost"]
    life.api.script_fault("hang", nth=3, times=MANY_TIMES, path=LIVE_CALL_PATH, args=HANGS)
    limits: dict[str, Any] = {"BUDGET": f"{7 * price:.9f}", "CONCURRENCY": 1}
    kill_after_calls(
        life.workspace, life.api, LIVE_CALL, "tag", mode="live", call_count=3, **limits
    )
    life.api.clear_faults()

    effects = [effect_of(life, "tag", mode="live", CONCURRENCY=1) for _ in range(3)]
    assert effects == [
        "0 | 3 call | live ingested, live ingested | 5 tagged, 1 untagged | 5 live, lost",
        # The budget was used up, which ended its run, so the next run has none.
        "0 | 1 call | live ingested, live ingested, live ingested | 6 tagged | 6 live, lost",
        "0 | - | live ingested, live ingested, live ingested | 6 tagged | 6 live, lost",
    ]


def test_budget_of_an_unfinished_tag_limits_work(make_life: MakeLife) -> None:
    """`work` and `tag` keep to the budget while the run is not over; `batch-submit` does not."""
    life = make_life("six")
    price = life.workspace.read_json("preflight", limit=1)["batch"]["cost"]
    budget = f"{2.5 * price:.9f}"
    effect = effect_of(life, "tag", mode="batch", BUDGET=budget)
    sent = "0 | 1 create, 1 upload, 1 list | submitted | 4 untagged, 2 claimed | -"
    assert effect == sent

    life.wait_for_server()
    document = life.workspace.read_json("run", only=ASKING_UNITS)["tasks"]["experts"]
    assert (document["left"], document["submitted"]) == (4, {})
    assert document["out_of_money"].startswith("BUDGET=")
    assert effect_of(life, "run", only=ASKING_UNITS) == (
        "0 | - | ingested | 2 tagged, 4 untagged | 2 batch"
    )
    assert effect_of(life, "submit") == (
        "0 | 1 create, 1 upload, 1 list | ingested, submitted | 2 tagged, 4 claimed | 2 batch"
    )


@pytest.mark.parametrize(
    ("verb", "options", "effect"),
    [
        (
            "tag",
            {},
            "0 | 3 decision | decide ingested, decide ingested | 4 answered | 4 decide, lost",
        ),
        (
            "run",
            {},
            "0 | 3 decision | decide ingested, decide ingested | 4 answered | 4 decide, lost",
        ),
        (
            "tag",
            {"mode": "live"},
            "0 | 3 call | decide ingested, live ingested | 4 answered | 1 decide, 3 live, lost",
        ),
        (
            "submit",
            {},
            "0 | 1 create, 1 upload, 1 list | decide ingested, submitted | 1 answered, 3 claimed | 1 decide, lost",  # noqa: E501
        ),
    ],
    ids=["tag", "work", "tag live", "batch-submit"],
)
def test_decisions_go_on_after_a_kill(
    make_life: MakeLife, verb: str, options: dict[str, Any], effect: str
) -> None:
    """`tag` and `work` continue by decisions; a command with another way uses its own."""
    life = make_life("closed rows")
    life.api.script_fault("hang", nth=2, times=MANY_TIMES, path="/decisions$", args=HANGS)
    kill_after_calls(
        life.workspace, life.api, "/decisions", "tag", mode="decide", call_count=2, CONCURRENCY=1
    )
    life.api.clear_faults()
    assert effect_of(life, verb, **options) == effect


def test_pilot_waits_for_no_other_rows(make_life: MakeLife) -> None:
    """A batch of other rows that never ends does not delay the verdict of a pilot."""
    life = make_life("none")
    life.api.script_fault("never_ends")
    life.workspace.run_command("submit")
    life.workspace.import_people(20, first=50)
    # The sample has one of the new rows.
    life.workspace.run_command("submit", pilot=1)
    assert sorted(life.workspace.batch_states()) == ["ingested", "submitted", "submitted"]


def test_pilot_beside_another_process(make_life: MakeLife) -> None:
    """The second command waits for the batch of the first, and neither sends a row twice."""
    life = make_life("none")
    workspace, api = life.workspace, life.api
    workspace.import_people(1, first=50)
    api.configure(paused=True)
    before = life.count_requests()
    # On a busy machine a reply may be late, but it is never lost.
    names = ("CREATE_TIMEOUT", "CALL_TIMEOUT", "RETRY_FOR", "POLL_PATIENCE")
    patience: dict[str, Any] = dict.fromkeys(names, 60)
    with workspace.start_command("submit", pilot=2, **patience) as first:
        wait_until(api.batches, first.read_output)
        wait_until(lambda: workspace.batch_states() == ["submitted"], first.read_output)
        looks = api.count_calls("GET", "/batches/")
        with workspace.start_command("submit", pilot=2, **patience) as second:
            wait_until(lambda: api.count_calls("GET", "/batches/") > looks + 4, second.read_output)
            api.configure(paused=False)
            codes = [first.wait().code, second.wait().code]

    assert codes == [0, 0]
    assert [len(create["lines"]) for create in api.creates()] == [2, 1]
    assert life.describe_effect(before, 0, waits=True) == (
        "0 | 2 create, 2 upload, some list, some get, 1 download"
        " | ingested, submitted | 2 tagged, 1 claimed | 2 batch"
    )


def interrupt_call(life: Life, *, is_repeated: bool, reply_after_s: float) -> EndedCommand:
    """Send one or more SIGINT to a live run whose first call is answered after some seconds."""
    args = {"seconds": reply_after_s}
    life.api.script_fault("slow_reply", times=MANY_TIMES, path=LIVE_CALL_PATH, args=args)
    options: dict[str, Any] = {"mode": "live", "CONCURRENCY": 1, "CALL_TIMEOUT": 200}
    with life.workspace.start_command("tag", **options) as running:
        wait_for_calls(life.api, running, LIVE_CALL, 1)
        running.signal(signal.SIGINT)
        while is_repeated and not running.is_finished():
            time.sleep(0.5)
            with contextlib.suppress(ProcessLookupError):
                running.signal(signal.SIGINT)
        ended = running.wait()
    life.api.clear_faults()
    return ended


def test_first_interrupt_waits_for_the_running_call(make_life: MakeLife) -> None:
    """After Ctrl-C nothing is asked any more, but the reply of the running call is stored."""
    life = make_life("none")
    before = life.count_requests()
    ended = interrupt_call(life, is_repeated=False, reply_after_s=2)
    assert life.describe_effect(before, ended.code) == (
        "130 | 1 call | live ingested | 1 tagged, 1 untagged | 1 live"
    )
    assert "interrupted; finished work is stored" in ended.stderr
    assert effect_of(life, "tag", mode="live") == (
        "0 | 1 call | live ingested, live ingested | 2 tagged | 2 live"
    )


def test_second_interrupt_gives_the_running_call_up(make_life: MakeLife) -> None:
    """The call may have been paid, and its row is asked again."""
    life = make_life("none")
    before = life.count_requests()
    ended = interrupt_call(life, is_repeated=True, reply_after_s=4.5)
    assert life.describe_effect(before, ended.code) == (
        "130 | 1 call | live ingested | 2 untagged | lost"
    )
    assert effect_of(life, "tag", mode="live") == (
        "0 | 2 call | live ingested, live ingested | 2 tagged | 2 live, lost"
    )


def test_interrupted_wait_is_continued(make_life: MakeLife) -> None:
    """The batch goes on at the server, and the same command collects it."""
    life = make_life("none")
    life.api.configure(paused=True)
    before = life.count_requests()
    with life.workspace.start_command("tag", mode="batch", wait=True) as running:
        wait_until(lambda: life.api.count_calls("GET", "/batches/"), running.read_output)
        ended = running.stop(signal.SIGINT)
    assert life.describe_effect(before, ended.code, waits=True) == (
        "130 | 1 create, 1 upload, some list, some get | submitted | 2 claimed | -"
    )
    life.api.configure(paused=False)
    assert effect_of(life, "tag", mode="batch", wait=True) == (
        "0 | some list, some get, 1 download | ingested | 2 tagged | 2 batch"
    )


@pytest.mark.parametrize("verb", ["submit", "work"])
def test_first_look_after_a_restart(make_life: MakeLife, verb: str) -> None:
    """Each process looks for a lost create for LIST_LAG seconds before it creates again.

    Looks of killed processes do not count.
    """
    life = make_life("absent create")
    before = life.count_requests()
    for _ in range(2):
        with life.workspace.start_command(verb, LIST_LAG=600) as running:
            wait_until(
                lambda: "checking again in 60 s" in running.read_output(), running.read_output
            )
            running.signal(signal.SIGKILL)
            running.wait()
    assert life.describe_effect(before, 0) == "0 | 2 list | submitting | 2 claimed | -"

    before = life.count_requests()
    started_at_s = time.monotonic()
    with life.workspace.start_command(verb, LIST_LAG=1.5) as running:
        wait_until(lambda: life.workspace.batch_states() == ["submitted"], running.read_output)
        duration_s = time.monotonic() - started_at_s
        ended = running.stop(signal.SIGTERM) if verb == "work" else running.wait()
    assert duration_s > 1.5
    code = 130 if verb == "work" else 0
    counts = life.count_requests() - before
    # `work` may look at the batch before it ends.
    assert (ended.code, counts["create"], counts["upload"]) == (code, 1, 0)
    if verb == "submit":
        assert life.describe_effect(before, code) == (
            "0 | 1 create, 2 list | submitted | 2 claimed | -"
        )


def test_new_person_is_due_after_the_deadline(make_life: MakeLife) -> None:
    """`add-expert` gives the call up after 6.5 s, and `work` asks the person alone."""
    life = make_life("none")
    life.api.script_fault("hang", times=MANY_TIMES, path=LIVE_CALL_PATH, args=HANGS)
    write_person(life.workspace, "added")
    before = life.count_requests()
    ended = life.workspace.try_command("add", "added.json", CALL_TIMEOUT=200)
    assert life.describe_effect(before, ended.code) == (
        "0 | 1 call | live ingested | 3 untagged | lost"
    )
    assert "no reply came within 6.5 s" in ended.stderr
    life.api.clear_faults()
    assert effect_of(life, "run", only=ASKING_UNITS) == (
        "0 | 1 create, 1 upload, 1 call, 1 list | live ingested, live ingested, submitted"
        " | 1 tagged, 2 claimed | 1 live, lost"
    )


def test_due_row_stays_due_until_it_is_answered(make_life: MakeLife) -> None:
    """Each pass makes one call and repeats it once; the page asks when it starts."""
    life = make_life("due")
    life.api.script_fault("status", times=MANY_TIMES, path=LIVE_CALL_PATH, args=OVERLOAD)
    runs = ["live ingested"]
    for _ in range(2):
        runs.append("live ingested")
        effect = effect_of(life, "run", only=ASKING_UNITS.replace(",submit", ""), RETRY_FOR=0)
        assert effect == f"4 | 2 call | {', '.join(runs)} | 1 untagged | -"
    life.api.clear_faults()

    before = life.count_requests()
    with life.workspace.serve_page():
        wait_until(lambda: life.workspace.state_counts() == {"tagged": 1})
    runs.append("live ingested")
    assert life.describe_effect(before, 0) == f"0 | 1 call | {', '.join(runs)} | 1 tagged | 1 live"


@on_a_server
def test_workers_take_all_steps_once(make_life: MakeLife) -> None:
    """Jobs of the same workspace send, poll and ingest one batch."""
    life = make_life("none")
    workspace = life.workspace
    before = life.count_requests()
    with workspace.start_command("work", concurrency=2, yes=True) as running:
        wait_until(lambda: workspace.state_counts() == {"tagged": 2}, running.read_output)
        running.signal(signal.SIGTERM)
        ended = running.wait()
    assert life.describe_effect(before, ended.code, waits=True) == (
        "0 | 1 create, 1 upload, some list, some get, 1 download | ingested | 2 tagged | 2 batch"
    )
