"""The prompt of a passage has its text between tags, and a notice if the text is cut."""

from sqlalchemy import create_engine

from askrows.pipeline.passages.table import read_shape
from askrows.pipeline.passages.task import CUT_INSTRUCTION, MAX_ASKED_CHARS, PassagesTask

TASK = PassagesTask(read_shape(create_engine("sqlite://").connect()))


def read_prompt(text: str) -> str:
    """Return the prompt of a passage."""
    return str(
        next(TASK.make_task_rows_with_prompts({"7": {"text": text}})).prompt.parts[0]["text"]
    )


def test_long_passage_is_cut_and_the_prompt_says_so() -> None:
    """The notice is outside the tags; hash and context use the whole text."""
    text = "x" * MAX_ASKED_CHARS
    assert read_prompt(text) == f"<passage>{text}</passage>"
    long_row = next(TASK.make_task_rows_with_prompts({"1": {"text": text + "yz"}}))
    assert long_row.prompt.parts[0]["text"] == f"<passage>{text}</passage>\n{CUT_INSTRUCTION}"
    assert long_row.context == {"text": text + "yz"}
    assert (
        long_row.input_hash
        != next(TASK.make_task_rows_with_prompts({"1": {"text": text + "y"}})).input_hash
    )
