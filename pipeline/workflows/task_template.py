"""The text of a new task's file: an answer of the usual parts, made for the columns of its items."""

import json
from collections.abc import Sequence

from pipeline.tables.column_names import fold
from pipeline.tables.findings import excerpt
from pipeline.tables.guessing import TableGuess

_FIELDS = (("summary", "gist"), ("tone", "attitude"), ("points", "remarks"))  # the second where a key is called so
_FILE = '''\
"""What does each row say, in which tone, and with which points?"""

# A task of findable, made for {what}. It runs as it is: change the question above, the answer and the prompt.
# Once answers are kept, another question is another version: raise `version` below, and rows are asked about again.

from typing import Literal

from pydantic import BaseModel, Field

from findable import {imported}


class Point(BaseModel):
    point: str = Field(description="One thing that is said, in a few words", max_length=200)
{quote}

class Answer(BaseModel):
    {summary}: str = Field(description="What is said, in one sentence", max_length=1_000)
    {tone}: Literal["positive", "neutral", "negative"]  # one of these, and nothing else
    {points}: list[Point] = Field(max_length=5)  # an empty list is an answer, too


task = Task(
    answer=Answer,  # only what is valid by it is kept
    items={items},  # {source}
    key={key},  # {key_said}
{images}    prompt={prompt},  # {{column}} is a row's value, as data between tags
    system=__doc__,  # the question
{quotes_in}    index={index},  # the text that answered rows are found by: make index, make search
    # What else there is:
    # version=2,
    # label={label},  # how lists call a row
    # model="gemini-3.6-flash",  # in the place of MODEL=
    # max_output_tokens=2_000,  # of one answer, thoughts and all
    # examples=[({example}, {{"{summary}": "…", "{tone}": "neutral", "{points}": []}})],
    # check=lambda answer, row: None if answer.{summary} else "empty",  # says what is wrong, or None
    # refresh=True,  # REFRESH=1 asks again about rows that changed
)
'''
_IMAGES = "    images=[{names}],  # columns that hold an image: a path, or an https address\n"
_QUOTE = "    quote: Quote  # must stand in {text!r}, or the answer is invalid; its place is kept with it\n"


def task_text(items: str, guess: TableGuess, *, what: str) -> str:
    """Return the text of a file that declares a task; `what` says of which table, for readers."""
    summary, tone, points = (second if fold(first) == fold(guess.key) else first for first, second in _FIELDS)
    is_made = guess.key == "row"
    return _FILE.format(
        what=excerpt(what),
        imported="Quote, Task" if guess.can_be_quoted else "Task",
        quote=_QUOTE.format(text=excerpt(guess.text)) if guess.can_be_quoted else "",
        summary=summary,
        tone=tone,
        points=points,
        items=_literal(items),
        source="a file, relative to this one: CSV, JSON lines, JSON or Parquet; or a SELECT",
        key=_literal(guess.key),
        key_said="a hash of each row" if is_made else "tells rows apart",
        images=_IMAGES.format(names=", ".join(map(_literal, guess.images))) if guess.images else "",
        prompt=_literal(_prompt(guess.names) if guess.names else "What does the image show?"),
        quotes_in=f"    quotes_in={_literal(guess.text)},\n" if guess.can_be_quoted else "",
        index=_literal(". ".join(f"{{{name}}}" for name in guess.names or [summary])),
        label=_literal(f"{{{(guess.names or (guess.key,))[0]}}}"),
        example=json.dumps(dict.fromkeys(guess.names, "…"), ensure_ascii=False),
    )


def _prompt(names: Sequence[str]) -> str:
    return "\n\n".join([*(f"{name}: {{{name}}}" for name in names[:-1]), f"{{{names[-1]}}}"])


def _literal(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char == '"':
        return '\\"'
    return char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii")
