"""Write the file of a task of one's own for a table, which runs as it is and says how to go on from there.

Nothing that is there is overwritten. Which columns are the key and the text is guessed, and told.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core import files
from pipeline.core.declaration import NAME, RESERVED, is_query
from pipeline.core.errors import InputError
from pipeline.engine.declared.task_file import ENDING, FOLDER, find_task_file
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import tasks
from pipeline.store.database import Store
from pipeline.tables.findings import excerpt
from pipeline.tables.guessing import TableGuess, guess_columns
from pipeline.tables.headers import fold
from pipeline.tables.items_file import ItemsFile
from pipeline.tables.items_query import ItemsQuery

NO_LETTERS = re.compile("[^a-z0-9_]+")


@dataclass(frozen=True)
class NewTask:
    """What is to be written: the task's name, its source as it was given, and the file of it, None for a query."""

    name: str
    source: str
    table: ItemsFile | None

    @property
    def path(self) -> Path:
        """Return the file that will declare the task."""
        return Path(FOLDER) / f"{self.name}{ENDING}"

    @property
    def items(self) -> str:
        """Return the source as the declaration names it: a query, or a path relative to the task's file."""
        if self.table is None:
            return self.source.strip()
        return Path(os.path.relpath(self.table.path.resolve(), Path(FOLDER).resolve())).as_posix()


@dataclass(frozen=True)
class WrittenTask:
    """The file that was written, and what was guessed of its items."""

    path: Path
    items: str
    guess: TableGuess


def prepared(name: str, source: str, *, data: Path) -> NewTask:
    """Return what is to be written, when the name can be one and a file of items can be read; nothing is made.

    Raises:
        InputError: there is such a task already, the name can be none, or the file cannot be read.
    """
    if not NAME.fullmatch(name) or name in RESERVED or name.startswith("findable_"):
        near = NO_LETTERS.sub("_", name.casefold()).strip("_0123456789")
        can_be = NAME.fullmatch(near) and near not in RESERVED and not near.startswith("findable_")
        raise InputError(
            f"a task cannot be called {name!r}; nothing was written",
            hint="a name is a letter, then at most 40 of a-z, 0-9 and _, and no built-in one"
            + (f": {near}" if can_be else ""),
        )
    if (there := find_task_file(name, data)) is not None:
        raise _taken(there)
    table = None if is_query(source) else ItemsFile(Path(source))
    return NewTask(name, source, table)


def run(ws: OpenWorkspace, new: NewTask) -> WrittenTask:
    """Guess the columns of the items, and write the file of the task.

    Raises:
        InputError: a task of this name was used here, the items cannot be read, or the file cannot be written.
    """
    with ws.store.read() as tx:
        known = tasks.get_task(tx, new.name)
    if known is not None:
        raise _taken(Path(known.path))
    guess = _guess(ws.store, new)
    if new.table is not None:
        guess = guess._replace(notes=(*new.table.notes, *guess.notes))
    text = task_text(new.items, guess, what=new.table.path.name if new.table else "the query")
    _write_new(new.path, text)
    return WrittenTask(new.path, new.items, guess)


def document(written: WrittenTask) -> dict[str, Any]:
    """Return what was written for programs."""
    guess = written.guess
    return {
        "file": str(written.path),
        "items": written.items,
        "key": guess.key,
        "text": guess.text,
        "beside": guess.title,
        "images": list(guess.images),
        "notes": list(guess.notes),
    }


def _guess(store: Store, new: NewTask) -> TableGuess:
    """Return what the columns of the items seem to be; of a query the first one alone may be the key."""
    if new.table is not None:
        return guess_columns(new.table.columns, new.table)
    found = ItemsQuery(store, new.source)
    first: Sequence[str] = list(found.columns)[:1]
    return guess_columns(found.columns, found, keys=first)


def _write_new(path: Path, text: str) -> None:
    part = files.part_of(path)
    try:
        path.parent.mkdir(exist_ok=True)
        files.sweep_parts(path)
        part.write_text(text, encoding="utf-8", newline="\n")
        files.sync_part(part)
        os.link(part, path)  # which replaces nothing
        files.sync_directory(path.parent)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; nothing was written") from error
    finally:
        part.unlink(missing_ok=True)


def _taken(path: Path) -> InputError:
    return InputError(
        f"{path} is there already, and nothing is overwritten", hint="NAME= takes another name, or edit that file"
    )


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
