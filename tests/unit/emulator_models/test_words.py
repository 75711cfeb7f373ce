"""Which spellings are the same words."""

import pytest

from emulator.models.words import cut, humps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("front-end/back-end", ["front", "end", "back", "end"]),
        ("C++, C# and F#", ["c++", "", "c#", "and", "f#"]),
        ("ASP.NET", ["asp", ".net"]),
        ("Node.js. Next", ["node", "js", "", "next"]),
        ("the baker's nurses, allergies, boxes", ["the", "baker", "nurse", "", "allergy", "", "box"]),
        ("bus AWS glass analysis", ["bus", "aws", "glass", "analysis"]),
        ("Médico Ärztin", ["medico", "arztin"]),
        ("我是律師。好", ["我", "是", "律", "師", "", "好"]),
        ("", []),
    ],
)
def test_text_is_cut_into_plain_words_and_breaks(text: str, words: list[str]) -> None:
    """Hyphens and slashes part, accents and plurals go, breaks are empty words."""
    assert [word.plain for word in cut(text)] == words


def test_phrases_share_stems() -> None:
    """The phrases "managing projects" and "project management" have the same stems in another order."""
    assert {word.stem for word in cut("managing projects")} == {word.stem for word in cut("project management")}


def test_camel_case_comes_apart_at_its_humps() -> None:
    """Only where a small letter meets a capital."""
    assert [word.plain for word in humps("MachineLearning")] == ["machine", "learning"]
    assert [word.plain for word in humps("HTML")] == ["html"]
