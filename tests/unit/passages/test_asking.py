"""What is asked about a passage: its text between tags that it cannot close, and a word where it was cut."""

import re

from sqlalchemy import create_engine

from pipeline.passages.table import read_shape
from pipeline.passages.task import CUT, MAX_ASKED, ConceptsTask

TASK = ConceptsTask(read_shape(create_engine("sqlite://").connect()))


def told(text: str) -> str:
    """Return what is said to the model about a passage."""
    return str(next(TASK.items({"7": {"text": text}})).prompt.parts[0]["text"])


def test_a_passage_is_asked_about_as_it_is() -> None:
    """White space and odd characters stand in the question as they stand in the text, which goes on with the item."""
    text = " a\r\n\tb \u202e\u05d0\u0301 x < y & z "
    asked = next(TASK.items({"p-1": {"text": text}}))
    assert (asked.id, asked.context) == ("p-1", {"text": text})
    assert told(text) == f"<passage>{text}</passage>"


def test_a_long_passage_is_cut_at_its_end_and_the_question_says_so() -> None:
    """The note stands outside the tags; what was cut is part of the hash and of what answers are held against."""
    text = "x" * MAX_ASKED
    assert told(text) == f"<passage>{text}</passage>"
    long = next(TASK.items({"1": {"text": text + "yz"}}))
    assert long.prompt.parts[0]["text"] == f"<passage>{text}</passage>\n{CUT}"
    assert long.context == {"text": text + "yz"}
    assert long.input_hash != next(TASK.items({"1": {"text": text + "y"}})).input_hash


def test_the_hash_is_of_the_text_alone() -> None:
    """Any change of the text gives another hash, and the id does not."""
    texts = ["a", "a ", "A", "\u00e9", "e\u0301", ""]
    hashes = [next(TASK.items({"1": {"text": text}})).input_hash for text in texts]
    assert len(set(hashes)) == len(texts)
    assert next(TASK.items({"2": {"text": "a"}})).input_hash == hashes[0]
    assert re.fullmatch(r"[0-9a-f]{64}", hashes[0])
