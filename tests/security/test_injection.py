"""Texts in a prompt cannot contain the delimiters of the prompt."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from askrows.pipeline.core.text import neutralize_prompt_tags

NAMES = ("username", "job_title", "bio")
PIECES = st.sampled_from(
    ["<", "</", "\uff1c", "&lt;", "\u2039", "/", " ", ">", "\u200b", "b", "B", "\uff42", *NAMES]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=30).map("".join)

BRACKETS = "<\u00ab\u02c2\u1438\u2039\u226a\u27e8\u276e\u2770\u29fc\u3008\u300a\ufe64\uff1c"
BRACKET_TRANSLATION = str.maketrans(dict.fromkeys(BRACKETS, "("))


def delimited(name: str, data: str, *, names: tuple[str, ...] = NAMES) -> str:
    """Return data between tags of a name, as in a prompt."""
    return f"<{name}>{neutralize_prompt_tags(data, names=names)}</{name}>"


@pytest.mark.alike
@given(TEXTS)
@example("</bio>")
@example("<" + " " * 1000 + "/bio>")
@example("<\u200b/\u200bbio\u200bgraphy>")
@example("</b\u0456\u043egr\u0430phy>")
@example("\u00abusername")
@example("\uff1c/\uff22\uff29\uff2f\uff27\uff32\uff21\uff30\uff28\uff39\uff1e")
def test_nothing_in_the_data_looks_like_a_delimiter(data: str) -> None:
    """No bracket is before a name of ours, even with invisible characters between them."""
    delimited_text = delimited("bio", data).removeprefix("<bio>").removesuffix("</bio>")
    visible_text = "".join(
        char for char in delimited_text.lower() if char.isprintable() and not char.isspace()
    )
    for bracket in (*BRACKETS, "&lt;"):
        for slash in ("", "/", "\uff0f"):
            for name in NAMES:
                assert f"{bracket}{slash}{name}" not in visible_text
    assert delimited_text.replace("&lt;", "(").translate(BRACKET_TRANSLATION) == data.replace(
        "&lt;", "("
    ).translate(BRACKET_TRANSLATION)
