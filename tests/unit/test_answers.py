"""The answers of the local engine follow the text of a row."""

import json
from typing import Any

import pytest

from emulator.answers.encoder import encode
from emulator.answers.tags import tag_text
from emulator.catalogue import MODELS
from emulator.generate import answer_request

MODEL = MODELS["gemini-2.5-flash"]
STRING = {"type": "STRING"}


@pytest.mark.parametrize(
    ("bio", "expected"),
    [
        (
            "I am a registered nurse on a cardiac ward, before that a midwife.",
            {"nursing", "midwifery", "cardiology"},
        ),
        ("Family lawyer: divorce, custody, inheritance.", {"family law", "inheritance law"}),
        (
            "Dairy farmer and beekeeper; I also make cheese.",
            {"dairy farming", "beekeeping", "cheesemaking"},
        ),
        (
            "Python/Django developer, CI/CD, front-end",
            {"python", "django", "devops", "frontend development"},
        ),
        ("Truck driver, then warehouse manager.", {"trucking", "logistics"}),
        ("Beekeeper\nKeeps bees and teaches water law.", {"beekeeping", "water law"}),
        ("Imkerin und Tischlermeisterin, gelernte Tischlerin", {"beekeeping", "carpentry"}),
        (
            "Sie ist Wirtschaftsjournalistin und Kulturanthropologin.",
            {"journalism", "anthropology"},
        ),
        ("Infirmière puis boulangère à Lyon", {"nursing", "baking"}),
        ("Hidróloga: acuíferos, riego por goteo", {"hydrology", "hydrogeology", "irrigation"}),
        ("È docente di storia dell'arte e traduttrice letteraria.", {"art history"}),
        ("律師、專長人權", {"human rights"}),
        ("主要研究方向為訊號處理與電力電子", {"signal processing", "power electronics"}),
    ],
)
def test_text_gets_its_tags(bio: str, expected: set[str]) -> None:
    """Texts of several languages and spellings get tags; the tag of the title is first."""
    assert expected <= set(tag_text(bio))
    assert tag_text(f"Cardiologist\n{bio}")[0] == "cardiology"


@pytest.mark.parametrize(
    ("bio", "unwanted_tag"),
    [
        ("Go check out my page. I love carpentry and wood.", "go"),
        ("Rust is the enemy of every farmer.", "rust"),
        ("She runs Galaxy, a platform for genomics.", "astrophysics"),
        ("Fights for racial equity in Ohio.", "investment management"),
        ("Built the Chatbot Framework at Acme.", "natural language processing"),
        ("Works at CloudBees.", "beekeeping"),
        ("推動開源生態系", "ecology"),
        ("I work at City Network as a nurse.", "computer networking"),
        ("Software architect for Java.", "architecture"),
        ("Viviendo en Viena como programador de apps.", "housing policy"),
        ("Elle est infirmière et travaille sur les bactéries du sol.", "battery technology"),
        ("Tax accountant. In her free time she enjoys rock climbing.", "rock climbing"),
        ("Loves hill walking, cooking and jazz.", "jazz"),
        ("Bio coming soon.", "biochemistry"),
    ],
)
def test_word_of_another_meaning_gives_no_tag(bio: str, unwanted_tag: str) -> None:
    """Homonyms, names, words of other languages and leisure give no tag."""
    assert unwanted_tag not in tag_text(bio)


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
    """Fields get choices, bounded numbers, dates, columns or sentences; others get null."""
    text = (
        "The invoice of 3 May 2024 charges 39.90 euros twice. "
        "Please refund the payment, I gave it four stars."
    )
    answer = _answer_text(
        f"Judge this.\n<product>Acme Kettle</product>\n<text>{text}</text>",
        topic=STRING | {"enum": ["delivery", "billing", "defect"]},
        price={"type": "NUMBER"},
        stars={"type": "INTEGER", "minimum": 1, "maximum": 5},
        bought=STRING | {"description": "date of purchase"},
        opens=STRING | {"format": "time"},
        took=STRING | {"format": "duration"},
        product=STRING,
        reason=STRING,
        labels={"type": "ARRAY", "items": STRING | {"enum": ["sailing", "payment"]}, "minItems": 1},
        weight={"type": "NUMBER", "nullable": True, "maximum": 1},
        is_poisonous={"type": "BOOLEAN"},
    )
    assert answer.pop("reason").startswith("The invoice of 3 May 2024 charges 39.90 euros twice.")
    assert answer == {
        "topic": "billing",
        "price": 39.9,
        "stars": 4,
        "bought": "2024-05-03",
        "opens": "00:00:00",
        "took": "PT0S",
        "product": "Acme Kettle",
        "labels": ["payment"],
        "weight": None,
        "is_poisonous": False,
    }


def test_unknown_encoder_is_refused() -> None:
    """A mistyped encoder raises an error, instead of vectors of another encoder."""
    with pytest.raises(ValueError, match="there is no encoder 'lexicla'"):
        encode(["water law"], encoder="lexicla")
