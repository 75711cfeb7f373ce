"""Gates that see padding: tags that most people have, no more tags than must be, tags that no text speaks of."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.experts import table
from tests.lab import Workspace

PEOPLE = 500
WORDS = """
beekeeping hydrology archery pottery astronomy forestry opera geology plumbing carpentry sailing baking
botany chess dentistry falconry glaciology heraldry insurance journalism knitting linguistics masonry
navigation oncology papermaking quarrying robotics surveying taxation upholstery viticulture welding
xylography yoga zoology acoustics brewing cartography distilling etching fencing gardening horology
interpreting jewellery kiting lexicography
"""
TOPICS = WORDS.split()
Given = Callable[[int], list[str]]


def texts_tags(number: int) -> list[str]:
    """Return two tags that a person's biography speaks of."""
    return [TOPICS[number % len(TOPICS)], TOPICS[(number * 7 + 3) % len(TOPICS)]]


@pytest.fixture
def measured(workspace: Workspace) -> Callable[[Given], dict[str, Any]]:
    """A function that gives people tags, and returns the gates of the report by their names."""

    def measure(given: Given) -> dict[str, Any]:
        """Write the tags with an answer of each, and measure them."""
        people = [
            (f"p{one}", {"bio": f"I teach {' and '.join(texts_tags(one))} at the school."}) for one in range(PEOPLE)
        ]
        with workspace.open() as ws, ws.store.write() as tx:
            table.insert_people(tx, people)
            rows = table.by_usernames(tx, [name for name, _ in people])
            tags = {str(rows[f"p{one}"]["id"]): json.dumps(given(one)) for one in range(PEOPLE)}
            table.write_tags(tx, tags)
        workspace.change(
            "INSERT INTO findable_answers (task, item_id, extractor, input_hash, answer, applied, outdated,"
            " model_version, response_id, tokens_in, tokens_out, cost, at) SELECT 'expert-tags', CAST(id AS TEXT),"
            " 'expert-tags@2/m', '', '{}', :yes, :no, 'm', 'r', 1, 1, 0, '2026-11-20 08:00:00.000000' FROM experts",
            yes=True,
            no=False,
        )
        document = json.loads(workspace.run("qc", "--json", EXTRACTOR="expert-tags@2").stdout)
        return {one["name"]: one["passed"] for one in document["gates"]}

    return measure


@pytest.mark.sampled(4, sqlite=2)
@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        pytest.param(texts_tags, set(), id="specific"),
        pytest.param(lambda one: [*texts_tags(one), "science"], {"commonest", "unlike-text"}, id="a parent for all"),
        pytest.param(lambda one: texts_tags(one)[:1], {"at-minimum"}, id="one each"),
        pytest.param(lambda one: texts_tags(one + 11), {"unlike-text"}, id="of others"),
    ],
)
def test_padding_fails_a_gate(measured: Callable[[Given], dict[str, Any]], given: Given, wrong: set[str]) -> None:
    """Each kind fails the gate that is about it, and what the text says fails none."""
    passed = measured(given)
    assert {name for name in ("commonest", "at-minimum", "unlike-text") if not passed[name]} == wrong
    assert passed["commonest"] is not None
