"""What a task is in words: the question, the fields of an answer, whose rows, and what their columns were taken for.

The text of a task's file is made of them. A question that is only tried has no file: that text is run in memory, as the
file would be, so that the two cannot differ.
"""

import inspect
import json
import keyword
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unicodedata import normalize

from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.declaration import HASH_KEY, MAX_COLUMN_BYTES
from pipeline.core.errors import InputError
from pipeline.engine.task_file import MemorySource
from pipeline.tables.answer_views import ANSWERED_AT, EXTRACTOR, POSTGRESQL_SYSTEM_COLUMNS
from pipeline.tables.columns import fold_name
from pipeline.tables.row_import import make_excerpt
from pipeline.tables.source import RESERVED_PREFIX, FileSource, QuerySource

TAKEN = frozenset(
    {EXTRACTOR, ANSWERED_AT, *POSTGRESQL_SYSTEM_COLUMNS, HASH_KEY}
)  # no key can be called so
_OF_MODELS = frozenset(  # what pydantic's models have themselves, beside what begins with `model_`
    {
        *(
            "construct",
            "copy",
            "dict",
            "from_orm",
            "json",
            "parse_file",
            "parse_obj",
            "parse_raw",
            "schema",
        )
    }
    | {"schema_json", "update_forward_refs", "validate"}
)
_NO_WORD = re.compile(r"\W+")


class ColumnChoice(NamedTuple):
    """The columns that a person named; what is empty is guessed, and `others` are in the prompt beside the text.

    `others` may be a text, in which commas separate the names; a name that has a comma stands in double quotes.
    """

    text: str = ""
    key: str = ""
    others: str | Sequence[str] = ()


ALL_GUESSED = ColumnChoice()


class TableGuess(NamedTuple):
    """The columns of a table: its key ("row" where none is one), its text, and all that are sent, the text last.

    `names` are what a prompt calls the texts among those `sent`. `can_be_quoted` is whether the text is one, and no
    number or other value. `notes` say why, a line each. `images` are those of the sent that hold images; where nothing
    is asked beside them, the text is empty.
    """

    key: str
    text: str
    sent: tuple[str, ...]
    names: tuple[str, ...]
    can_be_quoted: bool
    notes: tuple[str, ...]
    images: tuple[str, ...] = ()


class TaskDraft(NamedTuple):
    """A file of a task that is to be written: its place, its items as it names them, what was guessed, and the rows.

    `what` says of which table it is, for readers; `where` has what else says where its items are, by the names of the
    members of a task, empty where nothing does.
    """

    path: Path
    items: str
    what: str
    guess: TableGuess
    rows: FileSource | QuerySource | MemorySource
    where: Mapping[str, str] = MappingProxyType({})

    @property
    def document(self) -> dict[str, Any]:
        """Return what was written for programs."""
        told = {
            name: getattr(self.guess, name) for name in ("key", "text", "sent", "images", "notes")
        }
        return {"file": str(self.path), "items": self.items, **told}


class AnswerField(NamedTuple):
    """One field of an answer: its name, its kind (of `KINDS`), and what a choice is among."""

    name: str
    kind: str
    choices: tuple[str, ...] = ()


_NULL = 'Annotated[{} | None, Field(description="Null where it is not said")]'
KINDS = {  # of fields: how a class has each, an example, and what is said of it
    "text": ("str", '"…"', ""),
    "quote": (
        "Quote",
        '"…"',
        "must stand in {text!r}, or the answer is invalid; its place is kept with it",
    ),
    "number": (_NULL.format("float"), "None", ""),
    "int": (_NULL.format("int"), "None", "a whole number"),
    "bool": ("bool", "True", ""),
    "date": (_NULL.format("date"), "None", ""),
    "list": ("list[str]", "[]", "an empty list is an answer, too"),
    "a|b|c": ("Literal[{}]", "", "one of these, and nothing else"),
}
_GRAMMAR = "text, quote, number, int (a whole number), bool (yes or no), date, list (of texts), or choices: a|b|c"
_SUCH_AS = HintTemplate(
    "{} is such a list",
    OptionHint(fields="tone: praise|blame|mixed; reason: quote; year: int; topics: list"),
)


def parse_fields(text: str) -> tuple[AnswerField, ...]:
    """Return the fields that a text such as `tone: praise|blame; reason: quote` lists; one text where it is blank."""
    found = list[AnswerField]()
    for part in filter(str.strip, text.split(";")):
        named, colon, kind = (one.strip() for one in part.partition(":"))
        name = _field_name(named, [one.name.casefold() for one in found])
        choices = tuple(one.strip() for one in kind.split("|")) if "|" in kind else ()
        if "" in choices or len(set(choices)) < len(choices):
            said = "a choice is there twice" if all(choices) else "a choice is expected"
            raise _wrong(f"{said}, and {name!r} is one of several: a|b|c")
        if choices:
            kind = "a|b|c"
        elif not colon:
            kind = "text"
        if kind not in KINDS:
            near = "".join(f"; did you mean {one}?" for one in get_close_matches(kind, KINDS, n=1))
            said = (
                f"{make_excerpt(kind)!r} is no kind of a field{near}"
                if kind
                else f"a kind is expected of {name!r}"
            )
            raise _wrong(said, _GRAMMAR)
        found.append(AnswerField(name, kind, choices))
    return tuple(found) or (AnswerField("answer", "text"),)


def _wrong(said: str, hint: object = _SUCH_AS) -> InputError:
    return InputError(f"FIELDS: {said}; nothing was asked", hint=hint)


def _field_name(part: str, before: Sequence[str]) -> str:
    name = normalize("NFKC", part)  # as Python reads it
    if not name.isidentifier() or name.startswith("_"):
        near = _NO_WORD.sub("_", name).strip("_0123456789")
        said = f"{make_excerpt(name)!r} is no name: letters, digits and _ are, from a letter on"
        raise _wrong(said, f"{near} is one" if near.isidentifier() else _SUCH_AS)
    folded = name.casefold()
    reasons = {
        "is there twice": folded in before,
        "is too long for a column": len(name.encode()) > MAX_COLUMN_BYTES,
        "is a keyword of Python, in which the task's file is written": keyword.iskeyword(name),
        "is a name of Pydantic, which reads the answers": name in _OF_MODELS
        or folded.startswith("model_"),
        "is a column of findable's own": folded in TAKEN or folded.startswith(RESERVED_PREFIX),
    }
    if reason := next((reason for reason, is_so in reasons.items() if is_so), ""):
        hint = f"give the field another name, such as answer_{name[:50]}"
        raise _wrong(f"the name {make_excerpt(name)!r} {reason}", hint)
    return name


def _answer_text(fields: Sequence[AnswerField], text: str) -> tuple[str, str, str]:
    lines = ["class Answer(BaseModel):"]
    examples = []
    for name, kind, choices in fields:
        annotation, example, said = KINDS[kind]
        literals = [*map(_literal, choices)]
        told = f"  # {said.format(text=make_excerpt(text))}" if said else ""
        lines.append(f"    {name}: {annotation.format(', '.join(literals))}{told}")
        examples.append(f"{_literal(name)}: {literals[0] if literals else example}")
    return "\n".join([*lines, ""]), fields[0].name, f"{{{', '.join(examples)}}}"


_USUAL = (
    AnswerField("summary", "text"),
    AnswerField("tone", "a|b|c", ("positive", "neutral", "negative")),
    AnswerField("points", "list"),
    AnswerField("quote", "quote"),
)
_USUAL_QUESTION = "What does each row say, in which tone, and with which points?"
_FILE = '''\
"""{question}"""

# A task of findable, made for {what}. It runs as it is: change the question above, the answer and the prompt.
# Once answers are kept, another question is another version: raise `version` below, and rows are asked about again.

{imports}

from findable import {imported}


{classes}

task = Task(
    answer=Answer,  # only what is valid by it is kept
    items={items},  # {source}
{where}    key={key},  # {key_said}
{images}    prompt={prompt},  # {{column}} is a row's value, as data between tags
    system=__doc__,  # the question
{quotes_in}    index={index},  # the text that answered rows are found by: make index, make search
    # What else there is:
    # version=2,
    # label={label},  # how lists call a row
    # model="gemini-3.6-flash",  # in the place of MODEL=
    # max_output_tokens=2_000,  # of one answer, thoughts and all
    # examples=[({example}, {answer})],
    # check=lambda answer, row: None if answer.{first} else "empty",  # says what is wrong, or None
    # refresh=True,  # REFRESH=1 asks again about rows that changed
)
'''
_WHERE = {
    "source": "the database of the query, which is only read",
    "sheet": "of the workbook",
    "encoding": "of the text",
    "header": "the line with the names of the columns, or none",
}
_IMAGES = "    images=[{names}],  # columns that hold an image: a path, or an https address\n"


def task_text(
    draft: TaskDraft, *, question: str = _USUAL_QUESTION, fields: Sequence[AnswerField] = ()
) -> str:
    """Return the text of a file that declares a task.

    Without `fields` an answer is one that fits any text: a summary, a tone, points, and a quotation.
    """
    items = draft.items
    guess = draft.guess
    what = draft.what
    where = draft.where
    if not fields:
        usual = [one for one in _USUAL if guess.can_be_quoted or one.kind != "quote"]
        taken = fold_name(guess.key)
        fields = [
            one._replace(name=f"answer_{one.name}") if fold_name(one.name) == taken else one
            for one in usual
        ]
    classes, first, answer = _answer_text(fields, guess.text)
    typing = ", ".join(one for one in ("Annotated", "Literal") if f": {one}[" in classes)
    dated = "from datetime import date\n" if "[date | None" in classes else ""
    known = f"{dated}from typing import {typing}\n\n" if typing else ""
    prompt = [
        *(f"{name}: {{{name}}}" for name in guess.names[:-1]),
        *(f"{{{name}}}" for name in guess.names[-1:]),
    ]
    is_made = guess.key == HASH_KEY
    has_quotes = re.search(r"^    \w+: Quote\b", classes, re.MULTILINE)
    return _FILE.format(
        question="\n".join(
            "".join(map(_escaped, line)) for line in inspect.cleandoc(question).split("\n")
        ),
        what=make_excerpt(what),
        imports=f"{known}from pydantic import BaseModel{', Field' if 'Field(' in classes else ''}",
        imported="Quote, Task" if has_quotes else "Task",
        classes=classes,
        items=_literal(items),
        source="a file, relative to this one: CSV, .xlsx, JSON lines, JSON or Parquet; or a SELECT",
        where="".join(
            f"    {name}={_literal(one)},  # {_WHERE[name]}\n" for name, one in where.items() if one
        ),
        key=_literal(guess.key),
        key_said="a hash of each row" if is_made else "tells rows apart",
        images=_IMAGES.format(names=", ".join(map(_literal, guess.images))) if guess.images else "",
        prompt=_literal("\n\n".join(prompt) if prompt else "What does the image show?"),
        quotes_in=f"    quotes_in={_literal(guess.text)},\n" if has_quotes else "",
        index=_literal(". ".join(f"{{{name}}}" for name in guess.names or [first])),
        label=_literal(f"{{{(guess.names or (guess.key,))[0]}}}"),
        example=json.dumps(dict.fromkeys(guess.names, "…"), ensure_ascii=False),
        answer=answer,
        first=first,
    )


def _literal(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char == '"':
        return '\\"'
    return (
        char
        if char.isprintable() and char != "\\"
        else char.encode("unicode_escape").decode("ascii")
    )
