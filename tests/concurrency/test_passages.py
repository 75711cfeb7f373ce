"""A backfill, a pilot and `run` beside a backfill, at the same moment: each passage is asked once under a version."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.concurrency.conftest import WAITS
from tests.integration import many_passages as passages
from tests.integration.hands import Ended, Hand
from tests.integration.many_passages import EXTRACTOR
from tests.lab import Api, Workspace

MANY = 9
ROUNDS = 2
BACKFILL = ("passages-backfill", "--skip-pilot", "--wait", "--yes")
PILOT = ("passages-pilot", "--n", "4", "--yes")
RUN = ("run",)
VALUES: dict[str, Any] = {"TASK": "passages", "CREATE_TIMEOUT": "5", "LEASE": "5"}
NOT_OVERTAKEN = {"LEASE": "60"}  # itself, however slow the machine is
QUICK = {**VALUES, "CREATE_TIMEOUT": "0.4", "LEASE": "0.6"}
_KEYS = itertools.count(1)


@pytest.fixture(name="api", scope="module")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("api")) as engine:
        yield engine


def filled(folder: Path, api: Api) -> Workspace:
    """Return a workspace with nine passages and a key of its own."""
    folder.mkdir()
    own = {"FINDABLE_DATA": str(folder / "data"), "GOOGLE_GEMINI_BASE_URL": api.url}
    workspace = Workspace(folder / "data", {**WAITS, **own, "GEMINI_API_KEY": f"key-of-passages-{next(_KEYS)}"})
    passages.put(workspace, MANY)
    return workspace


def come_home(workspace: Workspace) -> None:
    """Bring what is left to its end, and hold all accounts against one another."""
    done = passages.backfill(workspace, "--skip-pilot", "--wait", **VALUES)
    assert (done["left"], done["under_way"]) == (0, 0)
    assert passages.counts(workspace) == {"total": MANY, "with_concepts": MANY}
    assert set(passages.asked(workspace).values()) == {1}
    assert workspace.scalar("SELECT count(*) FROM findable_runs WHERE mode = 'backfill' AND ended_at IS NULL") == 0
    assert workspace.query("SELECT DISTINCT extractor FROM findable_answers") == [(EXTRACTOR,)]
    assert passages.check(workspace)


def checked(*ended: Ended) -> None:
    """Hold that no command ended as none may."""
    for one in ended:
        assert "Traceback" not in one.err, one.err
        assert "bug in findable" not in one.err, one.err
        assert one.code in {0, 4, 6}, one


@pytest.mark.sampled(0, sqlite=6)
@pytest.mark.parametrize("other", [BACKFILL, PILOT, RUN], ids=lambda words: words[0])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_at_the_same_time_ask_everyone_once(
    other: tuple[str, ...], number: int, api: Api, hands: tuple[Hand, Hand], tmp_path: Path
) -> None:
    """Whichever takes what, each passage stands in one request, and the run of the backfill ends."""
    workspace = filled(tmp_path / "at-once", api)
    for hand, words in zip(hands, (BACKFILL, other) if number % 2 else (other, BACKFILL), strict=True):
        hand.start(workspace, *words, values=VALUES)
    checked(*(hand.ended() for hand in hands))
    come_home(workspace)


@pytest.mark.full
@pytest.mark.sampled(9, sqlite=9)
@pytest.mark.parametrize("other", [BACKFILL, PILOT, RUN], ids=lambda words: words[0])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.7])
def test_a_backfill_that_stood_still_does_no_harm(
    other: tuple[str, ...], share: float, api: Api, hands: tuple[Hand, Hand], tmp_path: Path
) -> None:
    """Stopped past its lease while another command goes on with its work, and continued, it asks no person again."""
    workspace = filled(tmp_path / "still", api)
    first, second = hands
    first.start(filled(tmp_path / "peace", api), *BACKFILL, values=QUICK)
    steps = first.ended().steps
    first.start(workspace, *BACKFILL, stop_at=int(steps * share), values=QUICK)
    ended = []
    if first.wait_until_stopped():
        time.sleep(0.7)  # past its lease
        second.start(workspace, *other, values=QUICK | NOT_OVERTAKEN)
        until = time.monotonic() + 5.0
        while not second.has_ended() and time.monotonic() < until:  # who stands still may hold the database
            time.sleep(0.02)
        first.go_on()
        ended.append(second.ended())
    checked(first.ended(), *ended)
    living = "SELECT count(*) FROM findable_batches WHERE state <> 'failed'"
    assert workspace.scalar(living) >= 1
    come_home(workspace)


@pytest.mark.full
def test_pilots_at_the_same_time_draw_the_same_ones(api: Api, hands: tuple[Hand, Hand], tmp_path: Path) -> None:
    """Two pilots of one seed are one pilot: the same four are asked, each once."""
    workspace = filled(tmp_path / "pilots", api)
    for hand in hands:
        hand.start(workspace, *PILOT, values=VALUES)
    checked(*(hand.ended() for hand in hands))
    assert len(passages.asked(workspace)) == 4
    assert set(passages.asked(workspace).values()) == {1}
    assert passages.pilot(workspace, N="4")["passed"]
    come_home(workspace)


@pytest.mark.full
def test_two_new_versions_at_the_same_time_are_one(api: Api, hands: tuple[Hand, Hand], tmp_path: Path) -> None:
    """`--no-resume` twice at once is one version, or two where one was over before the other; none is asked in part."""
    workspace = filled(tmp_path / "anew", api)
    first = passages.backfill(workspace, "--skip-pilot", "--wait", **VALUES)
    assert first["is_over"]
    for hand in hands:
        hand.start(workspace, *BACKFILL, "--no-resume", values=VALUES)
    checked(*(hand.ended() for hand in hands))
    sql = "SELECT extractor_version, count(DISTINCT passage_id) FROM passage_concepts GROUP BY 1 ORDER BY 1"
    versions = workspace.query(sql)
    assert versions in ([(f"passage-concepts@{one}", MANY) for one in range(1, 1 + most)] for most in (2, 3))
    assert set(passages.asked(workspace).values()) == {len(versions)}
    assert workspace.scalar("SELECT count(*) FROM findable_runs WHERE ended_at IS NULL") == 0
    assert passages.check(workspace)
