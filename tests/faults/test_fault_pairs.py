"""Pairs of faults in one run of submit or poll: whatever two go wrong, nothing is lost and nothing made twice."""

import itertools
import os
import random

import pytest

from tests.faults import cells, words
from tests.faults.ground import PEOPLE, Ground, Script, haste

pytestmark = pytest.mark.sampled(12, sqlite=12)

SEED = 20261121
MANY = os.environ.get("FAULTS") == "all"
COUNT = 300 if MANY else 12  # pairs of each command

ANYWHERE = words.PASSING + words.DAILY + words.REFUSED + words.KEY + words.GONE
SUBMIT = (
    *cells.each(ANYWHERE, cells.START),
    *cells.each(ANYWHERE + words.plain("mime_refused_final", "chunk_lost", "file_failed"), cells.PIECE),
    *cells.each(ANYWHERE + words.plain("no_name", "foreign_name", "quota_batch"), cells.CREATE),
    *cells.each(words.PASSING + words.plain("page_circle"), cells.LIST),
)
POLL = (
    *cells.each(ANYWHERE + words.plain("unknown_state", "missing_state", "no_output_yet"), cells.GET),
    *cells.each(ANYWHERE + words.plain("cut_with_length", "cut_without_length", "reset_download"), cells.DOWNLOAD),
    *cells.each(ANYWHERE, cells.DELETE),
)

Pair = tuple[Script, Script]


def _sample(faults: tuple[Script, ...]) -> list[Pair]:
    """Return the pairs of this run, the same ones every time; the order of the two does not matter."""
    every = list(itertools.combinations(faults, 2))
    return random.Random(SEED).sample(every, COUNT)  # noqa: S311 - a sample for a test


def _name(pair: Pair) -> str:
    """Return the name of a pair."""
    return " + ".join(f"{one} at {one.path.strip('^$')}" for one in pair)


@pytest.mark.parametrize("pair", _sample(SUBMIT), ids=_name)
def test_two_faults_meet_a_submit(pair: Pair, asking: Ground) -> None:
    """It ends with a code of its own, and run again there is one batch at the API and every person is tagged."""
    asking.script(*pair)
    done = asking.run("batch-submit", **haste())
    assert done.exit_code in {0, 3, 4}, done.output
    _check_struck(asking, pair, ended_well=done.exit_code == 0)
    facts = asking.facts()
    assert (facts.claimed, facts.charged, facts.tagged) == (PEOPLE, 0, 0)
    assert facts.remote <= 1
    assert facts.states == ("submitted",) if done.exit_code == 0 else facts.states[0] in {"prepared", "submitting"}
    _end(asking)


@pytest.mark.parametrize("pair", _sample(POLL), ids=_name)
def test_two_faults_meet_a_poll(pair: Pair, asking: Ground) -> None:
    """The batch is home or where it was, never failed; run again every person is tagged by that one batch."""
    assert asking.run("batch-submit").exit_code == 0
    asking.script(*pair)
    done = asking.run("batch-poll", **haste())
    assert done.exit_code in {0, 3, 4}, done.output
    _check_struck(asking, pair, ended_well=done.exit_code == 0)
    facts = asking.facts()
    assert facts == (cells.HOME if done.exit_code == 0 else cells.SENT)
    _end(asking)


def _check_struck(ground: Ground, pair: Pair, *, ended_well: bool) -> None:
    """Hold that both faults struck, or one where it ended the command or left the other no second request."""
    struck = [bool(one["fired"]) for one in ground.api.faults()["faults"]]
    assert any(struck)
    assert all(struck) or not ended_well or pair[0].path == pair[1].path, struck


def _end(ground: Ground) -> None:
    """Hold the end to what an undisturbed run comes to."""
    ground.recover()
    facts = ground.facts()
    assert (facts.states, facts.tagged, facts.charged) == (("ingested",), PEOPLE, 0)
    assert (facts.remote, ground.live()) == (1, 1)
