"""What is asked about a passage: its text between tags that it cannot close, and a word where it was cut."""

from sqlalchemy import create_engine

from pipeline.passages.shape import read_shape
from pipeline.passages.task import CUT_NOTICE, MAX_ASKED_CHARS, ConceptsTask

TASK = ConceptsTask(read_shape(create_engine("sqlite://").connect()))


def told(text: str) -> str:
    """Return what is said to the model about a passage."""
    return str(next(TASK.prompt.make_rows({"7": {"text": text}})).prompt.parts[0]["text"])


def test_a_long_passage_is_cut_at_its_end_and_the_question_says_so() -> None:
    """The note stands outside the tags; what was cut is part of the hash and of what answers are held against."""
    text = "x" * MAX_ASKED_CHARS
    assert told(text) == f"<passage>{text}</passage>"
    long = next(TASK.prompt.make_rows({"1": {"text": text + "yz"}}))
    assert long.prompt.parts[0]["text"] == f"<passage>{text}</passage>\n{CUT_NOTICE}"
    assert long.context == {"text": text + "yz"}
    assert long.input_hash != next(TASK.prompt.make_rows({"1": {"text": text + "y"}})).input_hash


def test_the_hash_is_of_the_text_alone() -> None:
    """Any change of the text gives another hash, and the id does not."""
    texts = ["a", "a ", "A", "\u00e9", "e\u0301", ""]
    hashes = [next(TASK.prompt.make_rows({"1": {"text": text}})).input_hash for text in texts]
    assert (len(set(hashes)), len(hashes[0])) == (len(texts), 64)
    assert next(TASK.prompt.make_rows({"2": {"text": "a"}})).input_hash == hashes[0]
