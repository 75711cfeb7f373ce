"""What holds for any reply whatever: it is judged, and judging it never raises."""

import json
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.core.states import Outcome
from pipeline.gemini.responses import Response, parse_answer


class Tags(BaseModel):
    """What is wanted."""

    tags: list[str]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_good_answers_come_through(tags: list[str]) -> None:
    """Whatever tags an answer holds, they arrive as they are."""
    parsed, reason = parse_answer(Response(Outcome.ANSWERED, "ok", text=json.dumps({"tags": tags})), Tags)
    assert (parsed, reason) == (Tags(tags=tags), "ok")


PIECES = ('{"tags":', '["a"', ',"b"', "]}", "NaN", '"x":1', "\n", " ", "\\u0000", '"', "{", "}", "]", ":", "\x01", "é")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_the_quick_way_to_read_an_answer_says_what_the_careful_way_says(text: str) -> None:
    """Answers that are seen to be plain, and so are not parsed twice, come out as if they were, reasons included."""
    reply = Response(Outcome.ANSWERED, "ok", text=text)
    found = parse_answer(reply, Tags)
    with patch("pipeline.gemini.responses._is_plain", return_value=False):
        assert found == parse_answer(reply, Tags)
