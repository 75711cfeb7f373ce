"""The answers of the local engine follow the text of a row."""

import json
from typing import Any

import pytest

from askrows.emulator.answers.text import find_key_phrases
from askrows.emulator.catalogue import MODELS
from askrows.emulator.generate import answer_request

MODEL = MODELS["gemini-2.5-flash"]
STRING = {"type": "STRING"}


def test_phrases_are_words_between_common_words() -> None:
    """Phrases of several words come first, each with its sentence; mark-up has no phrase."""
    text = "She has <b>green roofs</b>, https://roofs.test. 水資源 and irrigation.\nGreen roofs!"
    assert [phrase.text for phrase in find_key_phrases(text)] == [
        "green roofs",
        "水資源",
        "irrigation",
    ]
    assert [phrase.sentence for phrase in find_key_phrases(text)] == [
        "She has <b>green roofs</b>, https://roofs.test.",
        "水資源 and irrigation.",
        "水資源 and irrigation.",
    ]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (
            "I am a hydrologist; <b>Water   Rights</b> are my life.",
            ["hydrology", "water law", "water management"],
        ),
        ("Desarrolladora: escribo en C++ y Go, go figure.", ["c++", "go"]),
        ("Je suis potière chez Zenika, et je fais de la céramique.", ["pottery"]),
        ("研究水法与灌溉", ["water law", "irrigation", "water management"]),
        ("Programming for beekeepers.", ["beekeeping"]),
        ("PROGRAMMING.", ["programming"]),
        ("Je suis chez Zenika.", ["Zenika"]),
        ("\0", []),
    ],
)
def test_tags_are_subjects_of_the_text(text: str, tags: list[str]) -> None:
    """Terms of the table are tags; broad terms or phrases are tags if the text has no other."""
    node = {"type": "ARRAY", "items": STRING, "maxItems": 8}
    assert _answer_text(f"<text>{text}</text>", tags=node)["tags"] == tags


def _answer_text(text: str, **members: dict[str, Any]) -> Any:
    """Return the answer to a request for an object."""
    schema = {"type": "OBJECT", "properties": members}
    request_body = {
        "contents": [{"parts": [{"text": text}]}],
        "generationConfig": {"responseSchema": schema},
    }
    return json.loads(
        answer_request(request_body, MODEL)["candidates"][0]["content"]["parts"][0]["text"]
    )


def test_user_task_is_filled_from_the_row() -> None:
    """Fields get choices, bounded numbers, dates, phrases or sentences; others get null."""
    text = (
        "The invoice of 2024-05-03 charges 39.90 euros twice. "
        "Please refund the payment, I gave it 4 stars."
    )
    answer = _answer_text(
        f"Judge this.\n<product>Acme Kettle</product>\n<text>{text}</text>",
        topic=STRING | {"enum": ["delivery", "billing", "defect"]},
        price={"type": "NUMBER"},
        stars={"type": "INTEGER", "minimum": 1, "maximum": 5},
        bought=STRING | {"format": "date"},
        opens=STRING | {"format": "time"},
        reason=STRING,
        product_quote=STRING | {"description": "copied from <product>, word for word"},
        labels={"type": "ARRAY", "items": STRING | {"enum": ["sailing", "payment"]}, "minItems": 1},
        weight={"type": "NUMBER", "nullable": True, "maximum": 1},
        is_poisonous={"type": "BOOLEAN"},
    )
    assert answer.pop("reason") in text
    assert answer == {
        "topic": "billing",
        "price": 39.9,
        "stars": 4,
        "bought": "2024-05-03",
        "opens": "00:00:00",
        "product_quote": "Acme Kettle",
        "labels": ["payment"],
        "weight": None,
        "is_poisonous": False,
    }
