"""What a reader would not read is taken out, what they would read stays."""

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.models import markup
from emulator.models.markup import plain


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<p>I <b>weld</b></p>", "I weld"),
        ("[bees](https://example.org/a_(b)?q=1) and honey", "[bees] and honey"),
        ("see https://law.example.org/x, or www.opera.com now", "see or now"),
        ("mail me@nursing.example.org or @chess_master", "mail or"),
        ("ASP.NET/C# and Node.js/Express", "ASP.NET/C# and Node.js/Express"),
        ("at example.com, example.dev/law and data.gov", "at , and data.gov"),
        ("a < b and c > d", "a < b and c > d"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("**bold** and _soft_", "bold and soft"),
        ("snake_case", "snake_case"),
        ("He\u2019s a \uff22\uff41\uff4b\uff45\uff52", "He's a Baker"),
        ("<!-- hidden --> shown", "shown"),
    ],
)
def test_markup_goes_and_text_stays(text: str, left: str) -> None:
    """Compared without regard to white space, which the pieces leave behind."""
    assert plain(text).split() == left.split()


def test_a_broken_character_is_replaced() -> None:
    """A lone surrogate cannot be written as UTF-8; a question mark can."""
    assert plain("a\ud800b") == "a?b"


PIECES = ["<", ">", "b", "/", "](", ")", ":", "//", "http", "www", ".", "com", "@", "*", "_", "`", " ", "\n", "\u017f"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_text_is_passed_over(text: str) -> None:
    """What a first look lets pass has no piece that would be taken out."""
    readable = unicodedata.normalize("NFKC", html.unescape(text))
    assert plain(text) == markup._MARKS.sub(" ", markup._NOISE.sub(" ", readable))
