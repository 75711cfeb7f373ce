"""Concepts over the wire: live and in a batch, with real quotes, honest counts and the bounds of the schema."""

import json
from typing import Any

from tests.integration.emulator.caller import MODEL, Caller, by_key

GENERATE = f"/v1/models/{MODEL}:generateContent"
STRING = {"type": "STRING"}
STRINGS = {"type": "ARRAY", "items": STRING}
TYPES = ["method", "model", "other"]
MEMBERS = {
    "name": STRING,
    "type": {"type": "STRING", "enum": TYPES},
    "aliases": STRINGS,
    "confidence": {"type": "NUMBER"},
    "quotes": STRINGS,
}
TEXT = (
    "We train a recurrent neural network (RNN) with stochastic gradient descent. The RNN beats decision trees on "
    "speech recognition and on protein folding, and its energy consumption is low."
)


def schema_of(members: dict[str, Any], **bounds: int) -> dict[str, Any]:
    """Return the schema of a list of concepts with these members."""
    items = {"type": "OBJECT", "properties": members, "required": list(members)}
    return {"type": "OBJECT", "properties": {"concepts": {"type": "ARRAY", "items": items, **bounds}}}


def asking(text: str, schema: dict[str, Any], **config: object) -> dict[str, Any]:
    """Return a request for the concepts of a passage, with a note outside of it."""
    said = f"<note>The end of it is missing.</note>\n<passage>\n{text}\n</passage>"
    return {
        "contents": [{"role": "user", "parts": [{"text": said}]}],
        "systemInstruction": {"parts": [{"text": "Name the concepts of galactic archaeology."}]},
        "generationConfig": {"responseSchema": schema, **config},
    }


def concepts_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the concepts in a response's text."""
    found: list[dict[str, Any]] = json.loads(response["candidates"][0]["content"]["parts"][0]["text"])["concepts"]
    return found


def test_an_answer_has_all_that_the_schema_asks_for(guest: Caller) -> None:
    """Each concept has the members in their order, a type of the enumeration, and quotes out of the passage alone."""
    response = guest.post(GENERATE, asking(TEXT, schema_of(MEMBERS)))
    found = concepts_of(response)
    assert 4 <= len(found) <= 14
    assert all(list(concept) == list(MEMBERS) for concept in found)
    assert all(concept["type"] in TYPES for concept in found)
    assert all(quote in TEXT for concept in found for quote in concept["quotes"])
    assert {"name": "recurrent neural network", "type": "model", "aliases": ["RNN"]}.items() <= found[0].items()
    assert response["modelVersion"] == "findable-local-1"


def test_fewer_members_are_served_and_others_by_the_stand_in(guest: Caller) -> None:
    """A name and its quotes are enough; what has other members is no question for concepts, and the answer says so."""
    short = {"name": STRING, "quotes": STRINGS | {"maxItems": 1}}
    found = concepts_of(guest.post(GENERATE, asking(TEXT, schema_of(short))))
    assert all(list(concept) == ["name", "quotes"] and len(concept["quotes"]) == 1 for concept in found)
    for members in ({"name": STRING}, {"quotes": STRINGS}, MEMBERS | {"weight": STRING}, MEMBERS | {"aliases": STRING}):
        response = guest.post(GENERATE, asking(TEXT, schema_of(members)))
        assert all(list(concept) == list(members) for concept in concepts_of(response))
        assert response["modelVersion"] == "findable-local-stand-in-1"


def test_a_batch_gives_the_live_answers(caller: Caller) -> None:
    """Line by line the same concepts."""
    requests = {f"p/{n}": asking(f"{TEXT} Case {n}.", schema_of(MEMBERS)) for n in range(3)}
    lines = "".join(json.dumps({"key": key, "request": request}) + "\n" for key, request in requests.items()).encode()
    answers = by_key(caller.run(lines))
    for key, request in requests.items():
        assert answers[key]["response"] == caller.post(GENERATE, request)
