"""Parts of a task's file: prompt, answer fields, source of the rows and guessed columns.

`task_text` renders the file. A question that is only tried has no file: its text is rendered in
the same way and runs in memory, so a trial and the file cannot differ.
"""

import inspect
import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unicodedata import normalize

from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.declaration import HASH_KEY, MAX_COLUMN_BYTES
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.answer_views import ANSWERED_AT, VERSION_COLUMN
from askrows.pipeline.rows.row_findings import make_excerpt
from askrows.pipeline.rows.source import RESERVED_PREFIX, RowSource

# Names of columns that askrows adds; no key or answer field can have them.
RESERVED_COLUMN_NAMES = frozenset({VERSION_COLUMN, ANSWERED_AT, HASH_KEY})
# Methods of pydantic models; names that begin with `model_` are refused as well.
_PYDANTIC_METHODS = frozenset(
    {
        "construct",
        "copy",
        "dict",
        "from_orm",
        "json",
        "parse_file",
        "parse_obj",
        "parse_raw",
        "schema",
        "schema_json",
        "update_forward_refs",
        "validate",
    },
)


# ---- the parts of a task


class ColumnChoice(NamedTuple):
    """The columns that a user chose; empty members are guessed."""

    # The column of the main text.
    text: str = ""
    key: str = ""
    # Columns that the prompt contains in addition to the text. A str lists names separated by
    # commas; a name with a comma is in double quotes.
    more_columns: str | Sequence[str] = ()


GUESS_ALL_COLUMNS = ColumnChoice()


class TableGuess(NamedTuple):
    """The columns of a table as guessed or chosen for a prompt."""

    # Key column; "row" if the table has no key.
    key: str
    # Column of the main text; empty if only images are sent.
    text: str
    # All columns that are sent; the main text is last.
    sent: tuple[str, ...]
    # Names in the prompt of the columns of `sent` that contain texts.
    prompt_names: tuple[str, ...]
    # Whether the main text is text that can be quoted, and not a number or another value.
    is_text_quotable: bool
    # Reasons for the guess, a line each.
    notes: tuple[str, ...]
    # Columns of `sent` that contain images.
    image_columns: tuple[str, ...] = ()
    # The error to raise unless a person chooses the text; None if the guess is not doubtful.
    text_error: InputError | None = None


class FieldDraft(NamedTuple):
    """A field of an answer."""

    name: str
    # A key of `FIELD_KINDS`.
    kind: str
    # Values of a field of kind CHOICES_KIND.
    choices: tuple[str, ...] = ()
    # Lowest and highest number of a field of kind RANGE_KIND.
    bounds: tuple[int, int] | None = None
    # Path of the file of a field of kind VOCABULARY_KIND.
    vocabulary: str = ""
    # What the field is to contain; sent with the schema of the answer.
    description: str = ""


class TaskDraft(NamedTuple):
    """A task's file before it is written."""

    name: str
    # The file to write.
    path: Path
    # Query or row file, as the task's file names it.
    items: str
    # Description of the table for readers of the file.
    table_description: str
    guess: TableGuess
    source: RowSource
    # More members of the task that locate the rows, by name; empty values are left out.
    source_members: Mapping[str, str] = MappingProxyType({})
    # System instruction, which is the docstring of the file; empty for a default.
    question: str = ""
    # Fields of an answer; empty for summary, tone, points and a quotation.
    fields: Sequence[FieldDraft] = ()

    @property
    def document(self) -> dict[str, Any]:
        """Return the file, its rows and the guessed columns, for JSON."""
        return {
            "file": str(self.path),
            "items": self.items,
            "key": self.guess.key,
            "text": self.guess.text,
            "sent": self.guess.sent,
            "images": self.guess.image_columns,
            "notes": self.guess.notes,
        }


# ---- the fields of an answer


class FieldKind(NamedTuple):
    """How a kind of field is written in the class of the answer."""

    # Type; `{}` is replaced by the choices.
    type_text: str
    # Comment at the field; `{text!r}` is replaced by the column of the main text.
    comment: str
    is_nullable: bool = False


# Kinds that are written by their content; the key is an example of it.
CHOICES_KIND = "a|b|c"
RANGE_KIND = "1-5"
VOCABULARY_KIND = "topics.csv"
MIN_CHOICES = 2
NULL_DESCRIPTION = "Null where it is not said"
FIELD_KINDS = {
    "text": FieldKind("str", ""),
    "quote": FieldKind(
        "Quote", "must be in {text!r}, or the answer is invalid; its position is stored"
    ),
    "number": FieldKind("float", "", is_nullable=True),
    "int": FieldKind("int", "a whole number", is_nullable=True),
    "bool": FieldKind("bool", ""),
    "date": FieldKind("date", "", is_nullable=True),
    "list": FieldKind("list[str]", "may be empty"),
    CHOICES_KIND: FieldKind("Literal[{}]", "one of these"),
    RANGE_KIND: FieldKind("int", "a whole number"),
    VOCABULARY_KIND: FieldKind("str", "a term of this file, relative to this folder"),
}
_FIELD_KINDS_HINT = (
    "kinds are text, quote, number, int (a whole number), bool (yes or no), date, list (of texts), "
    "1-5 (a whole number from 1 to 5), topics.csv (a term of this vocabulary), or choices: a|b|c"
)
# Whole numbers of at most 15 digits, so that a column of 64 bits and a JSON number contain them.
_RANGE = re.compile(r"(-?\d{1,15})\s*(?:-|\u2013|\.\.|to)\s*(-?\d{1,15})", re.ASCII)
_VOCABULARY_SUFFIX = ".csv"
_FIELDS_EXAMPLE_HINT = HintTemplate(
    "write it like {}",
    OptionHint(fields="tone: praise|blame|mixed; reason: quote; stars: 1-5; topics: list"),
)


def parse_fields(text: str) -> tuple[FieldDraft, ...]:
    """Parse the FIELDS setting, such as `tone: praise|blame; reason: quote`.

    Returns:
        The fields in order; a single text field `answer` if the text is blank.

    Raises:
        InputError: A name or kind is invalid, or a name or choice is repeated.
    """
    fields = list[FieldDraft]()
    for definition in text.split(";"):
        if definition.strip():
            used_names = {field.name.casefold() for field in fields}
            fields.append(_parse_field(definition, used_names))
    return tuple(fields) or (FieldDraft("answer", "text"),)


def _parse_field(definition: str, used_names: Collection[str]) -> FieldDraft:
    """Parse a definition of FIELDS: `name` (a text), or `name:` and a kind.

    A kind is a key of `FIELD_KINDS`, choices such as `a|b`, a range such as `1-5`, or the path of a
    vocabulary.

    Args:
        used_names: Case-folded names of the fields before.

    Raises:
        InputError: The name, kind or choices are invalid, or the kind has a comma, which is most
            likely a mistyped semicolon.
    """
    name_text, colon, kind = (part.strip() for part in definition.partition(":"))
    if "," in kind:
        raise _make_fields_error(f"{make_excerpt(name_text)!r} has a comma in its kind")
    if "|" in kind:
        choices = tuple(choice.strip() for choice in kind.split("|"))
        field = FieldDraft(
            name_text,
            CHOICES_KIND,
            choices,
        )
    elif _RANGE.fullmatch(kind):
        field = FieldDraft(
            name_text,
            RANGE_KIND,
            bounds=parse_bounds(name_text, kind),
        )
    elif kind.casefold().endswith(_VOCABULARY_SUFFIX):
        field = FieldDraft(
            name_text,
            VOCABULARY_KIND,
            vocabulary=kind,
        )
    else:
        field = FieldDraft(name_text, kind if colon else "text")
    return check_and_normalize_field(field, used_names)


def parse_bounds(name: str, text: str) -> tuple[int, int]:
    """Return the lowest and the highest number of a range such as `1-5`, `1 to 5` or `-2-2`.

    Args:
        name: The field's name for messages.

    Raises:
        InputError: The text is not a range of at least two whole numbers.
    """
    match = _RANGE.fullmatch(text.strip())
    lowest, highest = map(int, match.groups()) if match else (0, 0)
    if lowest >= highest:
        raise _make_fields_error(
            f"{name!r} needs two whole numbers, the lower first, such as {RANGE_KIND}"
        )
    return lowest, highest


def check_and_normalize_field(field: FieldDraft, used_names: Collection[str]) -> FieldDraft:
    """Check the name, kind and choices of a field; return it with its name as Python normalizes it.

    The bounds of a number are not checked, and the file of a vocabulary is not read.

    Args:
        field: The field, with its name and kind as a person typed them.
        used_names: Case-folded names of the fields before.

    Raises:
        InputError: The name, kind or choices are invalid.
    """
    name = _parse_field_name(field.name, used_names)
    if field.kind not in FIELD_KINDS:
        message = f"{make_excerpt(field.kind)!r} is not a kind of field"
        raise _make_fields_error(message, _FIELD_KINDS_HINT)
    different_choices = {choice for choice in field.choices if choice}
    has_choices = len(different_choices) == len(field.choices) >= MIN_CHOICES
    if field.kind == CHOICES_KIND and not has_choices:
        raise _make_fields_error(
            f"{name!r} needs at least {MIN_CHOICES} choices, all different and none of them empty"
        )
    return field._replace(name=name)


def _make_fields_error(message: str, hint: object = _FIELDS_EXAMPLE_HINT) -> InputError:
    return InputError(f"FIELDS: {message}; nothing was asked", hint=hint)


def _parse_field_name(text: str, used_names: Collection[str]) -> str:
    """Return the name of a field, normalized as Python normalizes identifiers.

    Args:
        used_names: Case-folded names of the fields before.

    Raises:
        InputError: The name is not an identifier, begins with _, is reserved (Python, pydantic,
            askrows), is repeated or is too long for a column.
    """
    name = normalize("NFKC", text)
    is_name = name.isidentifier() and not name.startswith("_")
    if not is_name or len(name.encode()) > MAX_COLUMN_BYTES:
        raise _make_fields_error(
            f"{make_excerpt(name)!r} is not a name (a letter, then letters, digits and _, "
            f"at most {MAX_COLUMN_BYTES} bytes)"
        )

    folded = name.casefold()
    taken_names = {*used_names, *RESERVED_COLUMN_NAMES, *_PYDANTIC_METHODS}
    is_reserved = keyword.iskeyword(name) or folded.startswith(("model_", RESERVED_PREFIX))
    if folded in taken_names or is_reserved:
        raise _make_fields_error(
            f"the name {make_excerpt(name)!r} is taken or reserved",
            f"give the field another name, such as answer_{name[:50]}",
        )
    return name


# ---- the text of the file


def _render_answer_class(fields: Sequence[FieldDraft], text_column: str) -> str:
    """Return the code of the class `Answer`: a line for each field, and a comment on other fields.

    Args:
        fields: At least one field.
        text_column: The column that comments of quotation fields name.
    """
    lines = ["class Answer(BaseModel):"]
    for field in fields:
        comment = FIELD_KINDS[field.kind].comment.format(text=make_excerpt(text_column))
        line = f"    {field.name}: {_render_annotation_source(field)}"
        lines.append(f"{line}  # {comment}" if comment else line)
    return "\n".join([*lines, _OTHER_FIELDS_COMMENT])


def _render_annotation_source(field: FieldDraft) -> str:
    """Return the Python source of a field's type, with its choices.

    If the field has a vocabulary, bounds or a description, the source is `Annotated[…]` of the type
    and of these. A field that may be null has ` | None`, and its description says when it is null.
    """
    kind = FIELD_KINDS[field.kind]
    type_text = kind.type_text.format(", ".join(_to_literal(choice) for choice in field.choices))
    descriptions = [field.description.rstrip(". ")] if field.description else []
    if kind.is_nullable:
        type_text += " | None"
        descriptions.append(NULL_DESCRIPTION)

    parts = [type_text]
    if field.vocabulary:
        parts.append(f"Vocabulary({_to_literal(field.vocabulary)})")
    arguments = []
    if field.bounds is not None:
        arguments.append("ge={}, le={}".format(*field.bounds))
    if descriptions:
        arguments.append(f"description={_to_literal('. '.join(descriptions))}")
    if arguments:
        parts.append(f"Field({', '.join(arguments)})")
    return f"Annotated[{', '.join(parts)}]" if len(parts) > 1 else type_text


# Fields of an answer about any text.
_DEFAULT_FIELDS = (
    FieldDraft("summary", "text"),
    FieldDraft("tone", "a|b|c", ("positive", "neutral", "negative")),
    FieldDraft("points", "list"),
    FieldDraft("quote", "quote"),
)
# Lines at the end of the class of the answer.
_OTHER_FIELDS_COMMENT = """\
    # Other kinds of fields. First import Annotated from typing, Field from pydantic, and
    # Vocabulary from askrows:
    # stars: Annotated[int, Field(ge=1, le=5)]  # a whole number from 1 to 5
    # topic: Annotated[str, Vocabulary("topics.csv")]  # a term of a CSV file
"""
_DEFAULT_QUESTION = "What does each row say, in which tone, and with which points?"
_FILE_TEMPLATE = '''\
"""{question}"""

# A task of askrows for {what}. You may change the question above, the fields of the
# answer, and the prompt. If answers are stored already, raise `version` below, too: then all rows
# but corrected ones are asked again.

{imports}

from askrows import {imported}{vocabulary_import}


{classes}

task = Task(
    answer=Answer,  # only valid answers are stored
    items={items},  # {source}
{where}    key={key},  # {key_said}
{images}    prompt={prompt},  # {{column}} is replaced by the row's value
    system=__doc__,  # the question
{quotes_in}    index={index},  # the text of a row that `make search` searches
    # Other options:
    # version=2,
    # label={label},  # the name of a row in lists
    # model="gemini-3.6-flash",  # the model of this task; MODEL= is for tasks without one
    # max_output_tokens=2_000,  # limit of an answer, with the model's thinking before it
    # examples=[(row, answer)],  # each a dict: columns of the prompt, fields of the answer
    # check=lambda answer, row: None if answer.{first} else "empty",  # returns a fault, or None
)
'''
# Comments at the members that locate the rows.
SOURCE_COMMENTS = {
    "source": "the database of the query; it is only read",
    "sheet": "sheet of the workbook",
    "encoding": "encoding of the text",
    "header": "the line with the names of the columns, or none",
}
_ITEMS_COMMENT = "path relative to this file: CSV, .xlsx, JSON lines, JSON or Parquet; or a SELECT"
_IMAGES_LINE = "    images=[{names}],  # columns with the path of an image\n"


def render_task_file(draft: TaskDraft) -> str:
    """Return the Python text of a file that declares a task; writes nothing.

    The main text is the column that is last in the prompt, and that quotations are from. It is in
    `quotes_in=` if the answer has a quotation or the prompt has several columns. A default
    quotation is left out if the main text cannot be quoted.
    """
    guess = draft.guess
    answer_fields = draft.fields or _choose_default_fields(guess)
    first_field = answer_fields[0].name
    has_quotes = any(field.kind == "quote" for field in answer_fields)
    has_vocabularies = any(field.vocabulary for field in answer_fields)
    has_made_key = guess.key == HASH_KEY

    images_line = ""
    if guess.image_columns:
        image_literals = ", ".join(_to_literal(name) for name in guess.image_columns)
        images_line = _IMAGES_LINE.format(names=image_literals)

    # A row without the text is not asked, even if the prompt has other columns.
    quotes_in_line = ""
    if has_quotes or len(guess.prompt_names) > 1:
        quotes_in_line = f"    quotes_in={_to_literal(guess.text)},  # where quotations are from\n"
    # The members that locate the rows, without empty ones.
    source_lines = [
        f"    {name}={_to_literal(text)},  # {SOURCE_COMMENTS[name]}\n"
        for name, text in draft.source_members.items()
        if text
    ]
    label_column = guess.prompt_names[0] if guess.prompt_names else guess.key
    index_names = guess.prompt_names or (first_field,)
    # Search results show the names of short columns to people.
    index_parts = [f"{name.replace('_', ' ')}: {{{name}}}" for name in index_names[:-1]]
    index_template = ". ".join([*index_parts, f"{{{index_names[-1]}}}"])
    return _FILE_TEMPLATE.format(
        question=_escape_docstring(draft.question or _DEFAULT_QUESTION),
        what=make_excerpt(draft.table_description),
        imports=_render_imports(answer_fields),
        imported="Quote, Task" if has_quotes else "Task",
        vocabulary_import=", Vocabulary" if has_vocabularies else "",
        classes=_render_answer_class(answer_fields, guess.text),
        items=_to_literal(draft.items),
        source=_ITEMS_COMMENT,
        where="".join(source_lines),
        key=_to_literal(guess.key),
        key_said="a hash of each row" if has_made_key else "identifies a row",
        images=images_line,
        prompt=_to_literal(_make_prompt(guess.prompt_names)),
        quotes_in=quotes_in_line,
        index=_to_literal(index_template),
        label=_to_literal(f"{{{label_column}}}"),
        first=first_field,
    )


def _choose_default_fields(guess: TableGuess) -> list[FieldDraft]:
    """Return the default fields of an answer: summary, tone, points and a quotation.

    The quotation is left out if the column of the main text has no texts, such as numbers.
    """
    return [field for field in _DEFAULT_FIELDS if field.kind != "quote" or guess.is_text_quotable]


def _render_imports(fields: Sequence[FieldDraft]) -> str:
    """Render the imports that the class of the answer needs, except those from askrows."""
    lines = []
    if any(field.kind == "date" for field in fields):
        lines.append("from datetime import date")

    has_field_calls = any(
        field.description or field.bounds or FIELD_KINDS[field.kind].is_nullable for field in fields
    )
    typing_names = []
    if has_field_calls or any(field.vocabulary for field in fields):
        typing_names.append("Annotated")
    if any(field.choices for field in fields):
        typing_names.append("Literal")
    if typing_names:
        lines += [f"from typing import {', '.join(typing_names)}", ""]

    pydantic_names = "BaseModel, Field" if has_field_calls else "BaseModel"
    return "\n".join([*lines, f"from pydantic import {pydantic_names}"])


def _make_prompt(column_names: Sequence[str]) -> str:
    """Return a prompt with all columns, each but the last with its name; the last is the text."""
    if not column_names:
        return "What does the image show?"
    paragraphs = [f"{name}: {{{name}}}" for name in column_names[:-1]]
    return "\n\n".join([*paragraphs, f"{{{column_names[-1]}}}"])


def _escape_docstring(text: str) -> str:
    """Return a text without common indentation, escaped for a docstring; line ends stay."""
    lines = inspect.cleandoc(text).split("\n")
    return "\n".join(_escape(line) for line in lines)


def _to_literal(text: str) -> str:
    """Return a Python string literal in double quotes on one line."""
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    """Escape quotation marks, backslashes and unprintable characters for a Python literal."""
    return "".join(_escape_char(char) for char in text)


def _escape_char(char: str) -> str:
    """Return a character as it is written in a Python literal in double quotes."""
    if char == '"':
        return '\\"'
    if char.isprintable() and char != "\\":
        return char
    return char.encode("unicode_escape").decode("ascii")
