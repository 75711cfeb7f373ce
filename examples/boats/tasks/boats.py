"""What is a boat good for, by its advertisement, and what is its best feature?"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from askrows import DatabaseTable, NoAnswer, Quote, Task

# Characters of an advertisement that earn all points for its text.
FULL_TEXT_CHARS = 100


class Answer(BaseModel):
    """What an advertisement says about a boat."""

    rig: Literal["sloop", "ketch", "cutter", "motor", "rowing", "other"]
    feature: Quote = Field(description="The words about what is best in this boat")
    use: str = Field(description="What the boat is good for, in a few words")


def clean(answer: Answer, _row: Mapping[str, Any]) -> tuple[Answer, int]:
    """Return the answer with a use of at most 80 characters, and the number of cut values."""
    if not answer.use.strip():
        raise NoAnswer("use")
    use = answer.use.strip()[:80]
    return answer.model_copy(update={"use": use}), int(use != answer.use.strip())


def score(row: Mapping[str, Any], answer: Mapping[str, Any] | None) -> float:
    """Return how complete an advertisement is, from 0 to 100, also without an answer."""
    text_points = min(len(row["text"] or ""), FULL_TEXT_CHARS) / FULL_TEXT_CHARS * 50
    number_points = 15 * sum(row[name] is not None for name in ("built", "length_m"))
    return round(text_points + number_points + (20 if answer else 0), 1)


task = Task(
    answer=Answer,
    # The table of the harbour's program, which `import` and `add` write into, too.
    items=DatabaseTable(
        "boats",
        columns={"name": str, "built": int, "length_m": float, "harbour": str, "text": str},
    ),
    key="name",
    requires=["text"],
    prompt="{text}",
    system=__doc__,
    clean=clean,
    # Only where the harbour has said nothing; its own words are answers, too.
    write_to="boats.good_for=use",
    # A new column of the table, for all boats.
    derive={"boats.score": score},
    label="{name} in {harbour}",
    index="{name} {text} {use}",
    words=("boat", "boats", "described", "no_text"),
)
