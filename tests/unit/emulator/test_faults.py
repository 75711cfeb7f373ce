"""Scripting faults: what matches, when one strikes, and when it is used up."""

import re

from hypothesis import given
from hypothesis import strategies as st

from emulator.fault_words import WORDS
from emulator.faults import Faults
from tests.lab import ROOT


def scripted(*documents: object) -> Faults:
    """Return faults with these scripted."""
    faults = Faults(WORDS)
    faults.script(documents)
    return faults


@given(st.integers(1, 6), st.one_of(st.none(), st.integers(0, 6)), st.integers(0, 15))
def test_a_fault_strikes_from_nth_on_and_at_most_so_many_times(nth: int, times: int | None, matches: int) -> None:
    """Of any number of matches exactly those from `nth` on are struck, up to `times`."""
    faults = scripted({"fault": "drop", "nth": nth, "times": times})
    struck = [bool(faults.firing("reply", "GET", target="/v1/files")) for _ in range(matches)]
    passed = max(matches - nth + 1, 0)
    hits = passed if times is None else min(passed, times)
    assert struck == [False] * min(nth - 1, matches) + [True] * hits + [False] * (passed - hits)


def test_the_table_of_words_is_complete_and_true() -> None:
    """The table in docs/local-engine.md has every word with its id, and no other."""
    told = re.findall(
        r"^([a-z_0-9]+) +(F[0-9]+b?) ", (ROOT / "docs/local-engine.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert dict(told) == {name: word.code for name, word in WORDS.items()}
    assert len(told) == len(WORDS)


def test_a_recipe_makes_the_same_fault_on_another_host() -> None:
    """A fault found by its recipe is this host's own where it has it, and one alike where not."""
    faults = scripted({"fault": "error_line", "match": {"key": "^a"}, "times": 2, "args": {"code": 8}})
    [own] = faults.matching("line", "POST", target="/v1/models/m:batchGenerateContent")
    assert faults.by_recipe(own.recipe()) is own
    other = Faults(WORDS).by_recipe(own.recipe())
    assert other is not own
    assert other.recipe() == own.recipe()


def test_an_odd_expression_is_scripted_without_a_warning() -> None:
    """A pattern that a later Python may read otherwise is taken as it is, without a warning."""
    faults = scripted({"fault": "status", "match": {"path": "[[]x"}})
    assert len(faults.firing("reply", "GET", target="/v1/[x")) == 1
