"""Write the file of a task of one's own for a table, which runs as it is and says how to go on from there.

Nothing that is there is overwritten. Which columns are the key, the text to ask about, and what says what a row is, is
told by their names in a dozen languages; a text that is not called so is the longest column. A key must be in every row
and in none twice, whatever it is called; without one that is called so it is the first column that looks like one.
"""

import inspect
import json
import keyword
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple
from unicodedata import normalize

from pipeline.core import files
from pipeline.core.declaration import MADE_KEY, MAX_COLUMN, NAME, RESERVED, column_named, columns_in, is_query
from pipeline.core.errors import InputError
from pipeline.core.redact import without_password
from pipeline.core.step import Hint, Option
from pipeline.engine.task_file import ENDING, FOLDER, ItemsRows, find_task_file
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.cells import value_text
from pipeline.tables.columns import COLUMN_NAMES, fold
from pipeline.tables.fill import KEY_KINDS
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.read import SourceRow
from pipeline.tables.source import OWN, ItemsFile, ItemsQuery, other_database
from pipeline.tables.view import ANSWERED_AT, EXTRACTOR, SYSTEM

SAMPLED = 1_000  # rows whose texts are measured
_LAST_KEYS = ("name", "slug", "url", "username", "email", "title")  # where none is called like a key
_ENDS_LIKE_KEY = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_TAKEN = frozenset({EXTRACTOR, ANSWERED_AT, *SYSTEM, MADE_KEY})  # no key can be called so
_LIKE_KEY = re.compile(r"(?![0-9]{1,4}$)[A-Za-z0-9_.:/@#+-]{1,64}")
_AMOUNT = re.compile(r"[+-]?\d+[.,]\d+|\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d\d?:\d\d.*")  # or a time
_IMAGE = re.compile(r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$", re.IGNORECASE)
# what pydantic's models have themselves, beside what begins with `model_`
_OF_MODELS = frozenset(
    {"construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj", "parse_raw"}
    | {"schema", "schema_json", "update_forward_refs", "validate"}
)
_NO_WORD, _NO_LETTERS = re.compile(r"\W+"), re.compile("[^a-z0-9_]+")


class NewTask(NamedTuple):
    """What is to be written: the task's name, its items as they were given, and the rows of it, None for a query.

    A query is of the workspace's database, or of the one whose address is the `source`, which holds no password.
    """

    name: str
    items: str
    table: ItemsFile | ItemsRows | None
    source: str = ""


class TableGuess(NamedTuple):
    """The columns of a table: its key ("row" where none is one), its text, and `beside` it what says what a row is.

    `names` are what a prompt calls the columns to ask about, the text last. `can_be_quoted` is whether the text is one,
    and no number or other value. `notes` say why, a line each. `images` hold images; where there is nothing to ask
    beside them, the text is empty.
    """

    key: str
    text: str
    beside: str | None
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
    rows: ItemsFile | ItemsQuery | ItemsRows
    where: Mapping[str, str] = MappingProxyType({})

    @property
    def document(self) -> dict[str, Any]:
        """Return what was written for programs."""
        told = {name: getattr(self.guess, name) for name in ("key", "text", "beside", "images", "notes")}
        return {"file": str(self.path), "items": self.items, **told}


def prepared(name: str, items: str, *, data: Path, sheet: str = "", source: str = "") -> NewTask:
    """Return what is to be written, when the name can be one and a file of items can be read; nothing is made.

    Raises:
        InputError: there is such a task already, the name can be none, the file cannot be read, or the address of a
            database, which is to stand in the task's file, holds a password.
    """
    check_name(name, data)
    return named(name, items, sheet=sheet, source=source)


def named(name: str, items: str, *, sheet: str = "", source: str = "") -> NewTask:
    """Return what is to be written under a name, as `prepared` does, whether or not there is such a task."""
    if without_password(source) != source:
        said = f"{Option('source')} holds a password, which would stand in the task's file; nothing was written"
        raise InputError(said, hint=f"write TABLE_URL=… with it into .env, and {Option(source='$TABLE_URL')}")
    if (source and not is_query(items)) or (sheet and is_query(items)):
        said = (
            f"{Option('source' if source else 'sheet')} needs {'a query' if source else 'a file'}; nothing was written"
        )
        raise InputError(said, hint=f"{Option('from')} names a file, or is a query that begins with SELECT or WITH")
    return NewTask(name, items, None if is_query(items) else ItemsFile(Path(items), sheet), source)


def check_name(name: str, data: Path) -> None:
    """Pass where a task may be called so, and none is yet.

    Raises:
        InputError: there is such a task already, or the name can be none.
    """
    if not _can_be(name):
        near = f": {near}" if (near := _near(name)) else ""
        hint = f"a name is a letter, then at most 40 of a-z, 0-9 and _, and no built-in one{near}"
        raise InputError(f"a task cannot be called {name!r}; nothing was written", hint=hint)
    if (there := find_task_file(name, data)) is not None:
        raise _taken(there)


def run(ws: OpenWorkspace, new: NewTask) -> TaskDraft:
    """Guess the columns of the items, and write the file of the task.

    Raises:
        InputError: a task of this name was used here, the items cannot be read, or the file cannot be written.
    """
    check_unused(ws.store, new.name)
    draft = drafted(ws.store, new, Path(FOLDER) / f"{new.name}{ENDING}")
    write_new(draft.path, task_text(draft))
    return draft


def check_unused(store: Store, name: str) -> None:
    """Pass where no task of a name was used in a workspace; else it is an InputError."""
    with store.read() as tx:
        known = workspace.get_task(tx, name)
    if known is not None:
        raise _taken(Path(known.path))


def drafted(store: Store | None, new: NewTask, path: Path) -> TaskDraft:
    """Guess the columns of the items for a file at some path; nothing is written. A query wants the store.

    Raises:
        InputError: the items cannot be read, or no prompt can name their text.
    """
    if new.table is None:
        _, is_file, place = new.source.partition("sqlite:///")
        source = f"{is_file}{_below(path.parent, Path(place))}" if is_file and not place.startswith("/") else new.source
        with other_database(source, path.parent) if source else nullcontext(store) as asked:
            assert asked is not None  # noqa: S101 - of a query it is given
            found = ItemsQuery(asked, new.items)
        guess = guess_columns(found.columns, found)
        return TaskDraft(path, new.items.strip(), "the query", guess, found, {"source": source})
    guess = guess_columns(new.table.columns, new.table)
    guess = guess._replace(notes=(*new.table.notes, *guess.notes))
    if isinstance(new.table, ItemsRows):
        return TaskDraft(path, new.items, "rows", guess, new.table)
    items = _below(path.parent, new.table.path)
    return TaskDraft(path, items, new.table.path.name, guess, new.table, {"sheet": new.table.sheet})


def name_for(source: str) -> str:
    """Return what a task about a source may be called."""
    return _near("" if is_query(source) else Path(source).stem) or "mine"


def _near(name: str) -> str:
    """Return the name nearest to another that a task can have, empty where there is none."""
    near = _NO_LETTERS.sub("_", name.casefold()).strip("_0123456789")
    return near if _can_be(near) else ""


def _below(folder: Path, path: Path) -> str:
    """Return a path, relative to where a command runs, as a task's file in a folder names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _can_be(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and name not in RESERVED and not name.startswith("findable_")


def write_new(path: Path, text: str) -> None:
    """Write the file of a task, whole or not at all; it is an InputError where one is there, or it cannot be."""
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
        f"{path} is there already, and nothing is overwritten",
        hint=f"{Option('name')} takes another name, or edit that file",
    )


def guess_columns(columns: Mapping[str, str], rows: Iterable[SourceRow | Finding]) -> TableGuess:
    """Return what the columns of a table (with their kinds) seem to be.

    Raises:
        InputError: there is no column, or a prompt cannot name the one that holds the text.
    """
    if not columns:
        raise InputError("there is no row to ask about, and no column; nothing was written")
    may_be = [name for name in columns if columns[name] in KEY_KINDS and name.casefold() not in _TAKEN]
    ends = [name for name in may_be if _ENDS_LIKE_KEY.search(name)]
    keys = list(dict.fromkeys([*_called(may_be, COLUMN_NAMES["key"]), *ends, *_called(may_be, _LAST_KEYS)]))
    texts = {*_called(may_be, ("text", *COLUMN_NAMES["any_text"]))}
    cells: dict[str, list[str]] = {name: [] for name in columns}
    key, note = _key_among(keys, [one for one in may_be if one not in {*keys, *texts}], rows, cells)
    images = tuple(name for name in columns if name != key and columns[name] == "text" and _are_images(cells[name]))
    notes = [note, *(f"images: {excerpt(name)!r}, whose cells are images, or name some" for name in images)]
    there = [name for name in columns if (name != key or len(columns) == 1) and name not in images]
    lettered = [name for name in there if any(map(str.isalpha, "".join(cells[name])))]
    wordy = [name for name in lettered if columns[name] == "text"]
    if images and not wordy:
        return TableGuess(key, "", None, (), can_be_quoted=False, notes=tuple(notes), images=images)
    text, why = next(iter(_called(wordy, ("text", *COLUMN_NAMES["any_text"]))), ""), "by its name"
    if not text:
        lengths = {name: fmean(map(len, cells[name])) if cells[name] else 0.0 for name in wordy or there}
        text = max(lengths, key=lambda name: lengths[name])
        why = f"the longest with {lengths[text]:,.0f} characters in the mean"
    named = _name_in_prompt(text, columns)
    if named is None:
        raise InputError(
            f"{excerpt(text)!r} is the text, {why}, and a prompt cannot name it, for there is no letter in it or "
            "another column is called alike; nothing was written",
            hint="give the column another name in the source (in a query with AS), then run it again",
        )
    notes.append(f"text: {excerpt(text)!r}, {why}")
    titles = _called([one for one in lettered if one != text], COLUMN_NAMES["row_title"])
    beside, titled = next(((one, name) for one in titles if (name := _name_in_prompt(one, columns))), (None, None))
    if beside:
        notes.append(f"beside it: {excerpt(beside)!r}, which by its name says what it is about")
    names = (titled, named) if titled else (named,)
    return TableGuess(key, text, beside, names, text in wordy and not images, tuple(notes), images)


def _called(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return those of some names that are known, the best known first."""
    by_name = {fold(name): name for name in reversed(list(names))}
    return [by_name[one] for one in map(fold, known) if one in by_name]


def _key_among(
    keys: Sequence[str], others: Sequence[str], rows: Iterable[SourceRow | Finding], cells: Mapping[str, list[str]]
) -> tuple[str, str]:
    """Return the first of some columns that can be the key, and what says so; texts of the first rows go to `cells`.

    Where none of those can that are called like a key, it is the first of the `others` that looks like one.
    """
    seen: dict[str, set[str]] = {name: set() for name in (*keys, *others)}
    against: list[str] = []
    for number, row in enumerate((row for row in rows if isinstance(row, SourceRow)), start=1):
        for name in list(seen):
            value = value_text(row.values.get(name))
            if value.strip() and value not in seen[name] and (name in keys or _is_like_key(value)):
                seen[name].add(value)
                continue
            if name not in keys:
                del seen[name]
                continue
            twice = f"has {excerpt(value)!r} twice, again in row {row.line}"
            against.append(f"{excerpt(name)!r} {twice if value.strip() else f'is blank in row {row.line}'}")
            del seen[name]
        if number <= SAMPLED:
            for name, texts in cells.items():
                texts.append(value_text(row.values.get(name)))
        elif not seen:
            break
    for key in (one for one in seen if one in keys or seen[one]):
        called = "" if key in keys else ", though it is not called like a key"
        called += f" ({'; '.join(against[:3])})" if called and against else ""
        return key, f"key: {excerpt(key)!r}, which is in every row and in none twice{called}"
    why = "; ".join(against[:3]) or "no column is called like a key"
    return MADE_KEY, f'key: "{MADE_KEY}", a hash of each row, for {why}'


def _is_like_key(value: str) -> bool:
    """Return whether a value may tell rows apart, by its looks: short, no blank, no amount, no grade."""
    return bool(_LIKE_KEY.fullmatch(value)) and not _AMOUNT.fullmatch(value) and not _IMAGE.match(value)


def _are_images(texts: Iterable[str]) -> bool:
    """Return whether most cells that hold something end as the names of images do."""
    found = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(found) * 2 > len(found)


def _name_in_prompt(column: str, columns: Iterable[str]) -> str | None:
    """Return what a prompt calls a column, None where it cannot: `Review Text` is `Review_Text` there."""
    name = column if columns_in(f"{{{column}}}") else _NO_WORD.sub("_", column).strip("_")
    name = f"_{name}" if name[:1].isdecimal() else name
    is_one = columns_in(f"{{{name}}}") == (name,) and column_named(name, columns) == column
    return name if is_one else None


class AnswerField(NamedTuple):
    """One field of an answer: its name, its kind (of `KINDS`), and what a choice is among."""

    name: str
    kind: str
    choices: tuple[str, ...] = ()


_NULL = 'Annotated[{} | None, Field(description="Null where it is not said")]'
KINDS = {  # of fields: how a class has each, an example, and what is said of it
    "text": ("str", '"…"', ""),
    "quote": ("Quote", '"…"', "must stand in {text!r}, or the answer is invalid; its place is kept with it"),
    "number": (_NULL.format("float"), "None", ""),
    "int": (_NULL.format("int"), "None", "a whole number"),
    "bool": ("bool", "True", ""),
    "date": (_NULL.format("date"), "None", ""),
    "list": ("list[str]", "[]", "an empty list is an answer, too"),
    "a|b|c": ("Literal[{}]", "", "one of these, and nothing else"),
}
_GRAMMAR = "text, quote, number, int (a whole number), bool (yes or no), date, list (of texts), or choices: a|b|c"


_SUCH_AS = Hint("{} is such a list", Option(fields="tone: praise|blame|mixed; reason: quote; year: int; topics: list"))


def parse_fields(text: str) -> tuple[AnswerField, ...]:
    """Return the fields that a text such as `tone: praise|blame; reason: quote` lists; one text where it is blank.

    Raises:
        InputError: it is no such list; the message says at which character, and what is expected there.
    """
    found, at = list[AnswerField](), 1
    for part in text.split(";"):
        named, colon, kind = part.partition(":")
        if part.strip():
            name = _field_name(named, at, [one.name.casefold() for one in found])
            found.append(_field(name, kind, at + len(named) + 1, told=bool(colon)))
        at += len(part) + 1
    return tuple(found) or (AnswerField("answer", "text"),)


def _wrong(at: int, part: str, said: str, hint: object = _SUCH_AS) -> InputError:
    place = at + len(part) - len(part.lstrip())
    return InputError(f"FIELDS, at character {place}: {said}; nothing was asked", hint=hint)


def _field_name(part: str, at: int, before: Sequence[str]) -> str:
    name = normalize("NFKC", part.strip())  # as Python reads it
    if not name.isidentifier() or name.startswith("_"):
        near = _NO_WORD.sub("_", name).strip("_0123456789")
        said = f"{excerpt(name)!r} is no name: letters, digits and _ are, from a letter on"
        raise _wrong(at, part, said, f"{near} is one" if near.isidentifier() else _SUCH_AS)
    folded, is_long = name.casefold(), len(name.encode()) > MAX_COLUMN
    is_taken = folded in _TAKEN or folded.startswith((OWN, "model_")) or name in _OF_MODELS or keyword.iskeyword(name)
    if folded in before or is_long or is_taken:
        why = "is there twice" if folded in before else "is too long for a column" if is_long else "is taken"
        raise _wrong(at, part, f"the name {excerpt(name)!r} {why}", "give the field another name")
    return name


def _field(name: str, part: str, at: int, *, told: bool) -> AnswerField:
    kind = part.strip() if told else "text"
    if "|" in kind:
        choices: list[str] = []
        for one in part.split("|"):
            if not one.strip() or one.strip() in choices:
                said = f"{excerpt(one.strip())!r} is there twice" if one.strip() else "a choice is expected"
                raise _wrong(at, one, f"{said}, and {name!r} is one of several: a|b|c")
            choices.append(one.strip())
            at += len(one) + 1
        return AnswerField(name, "a|b|c", tuple(choices))
    if kind in KINDS:
        return AnswerField(name, kind)
    near = "".join(f"; did you mean {one}?" for one in get_close_matches(kind, KINDS, n=1))
    raise _wrong(at, part, f"{excerpt(kind)!r} is no kind of a field{near}" if kind else "a kind is expected", _GRAMMAR)


def _answer_text(fields: Sequence[AnswerField], text: str) -> tuple[str, str, str]:
    """Return the class of an answer as a file has it, its first field, and an example of an answer."""
    lines, examples = ["class Answer(BaseModel):"], []
    for name, kind, choices in fields:
        annotation, example, said = KINDS[kind]
        literals = [*map(_literal, choices)]
        told = f"  # {said.format(text=excerpt(text))}" if said else ""
        lines.append(f"    {name}: {annotation.format(', '.join(literals))}{told}")
        examples.append(f"{_literal(name)}: {literals[0] if literals else example}")
    return "\n".join([*lines, ""]), fields[0].name, f"{{{', '.join(examples)}}}"


_USUAL = (("summary", "gist"), ("tone", "attitude"), ("points", "remarks"))  # the second where a key is called so
_USUAL_QUESTION = "What does each row say, in which tone, and with which points?"
_USUAL_ANSWER = """\
class Point(BaseModel):
    point: str = Field(description="One thing that is said, in a few words", max_length=200)
{quote}

class Answer(BaseModel):
    {summary}: str = Field(description="What is said, in one sentence", max_length=1_000)
    {tone}: Literal["positive", "neutral", "negative"]  # one of these, and nothing else
    {points}: list[Point] = Field(max_length=5)  # an empty list is an answer, too
"""
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
_WHERE = {"source": "the database of the query, which is only read", "sheet": "of the workbook"}
_IMAGES = "    images=[{names}],  # columns that hold an image: a path, or an https address\n"
_QUOTE = "    quote: Quote  # must stand in {text!r}, or the answer is invalid; its place is kept with it\n"


def _usual_answer(guess: TableGuess) -> tuple[str, str, str]:
    summary, tone, points = (second if fold(first) == fold(guess.key) else first for first, second in _USUAL)
    quote = _QUOTE.format(text=excerpt(guess.text)) if guess.can_be_quoted else ""
    classes = _USUAL_ANSWER.format(quote=quote, summary=summary, tone=tone, points=points)
    return classes, summary, f'{{"{summary}": "…", "{tone}": "neutral", "{points}": []}}'


def task_text(draft: TaskDraft, *, question: str = _USUAL_QUESTION, fields: Sequence[AnswerField] = ()) -> str:
    """Return the text of a file that declares a task.

    Without `fields` an answer is one that fits any text: a summary, a tone, and points with quotations.
    """
    items, guess, what, where = draft.items, draft.guess, draft.what, draft.where
    classes, first, answer = _answer_text(fields, guess.text) if fields else _usual_answer(guess)
    is_made, has_quotes = guess.key == MADE_KEY, re.search(r"^    \w+: Quote\b", classes, re.MULTILINE)
    return _FILE.format(
        question="\n".join("".join(map(_escaped, line)) for line in inspect.cleandoc(question).split("\n")),
        what=excerpt(what),
        imports=_imports(classes),
        imported="Quote, Task" if has_quotes else "Task",
        classes=classes,
        items=_literal(items),
        source="a file, relative to this one: CSV, .xlsx, JSON lines, JSON or Parquet; or a SELECT",
        where="".join(f"    {name}={_literal(one)},  # {_WHERE[name]}\n" for name, one in where.items() if one),
        key=_literal(guess.key),
        key_said="a hash of each row" if is_made else "tells rows apart",
        images=_IMAGES.format(names=", ".join(map(_literal, guess.images))) if guess.images else "",
        prompt=_literal(_prompt(guess.names) if guess.names else "What does the image show?"),
        quotes_in=f"    quotes_in={_literal(guess.text)},\n" if has_quotes else "",
        index=_literal(". ".join(f"{{{name}}}" for name in guess.names or [first])),
        label=_literal(f"{{{(guess.names or (guess.key,))[0]}}}"),
        example=json.dumps(dict.fromkeys(guess.names, "…"), ensure_ascii=False),
        answer=answer,
        first=first,
    )


def _imports(classes: str) -> str:
    typing = ", ".join(one for one in ("Annotated", "Literal") if f": {one}[" in classes)
    dated = "from datetime import date\n" if "[date | None" in classes else ""
    known = f"{dated}from typing import {typing}\n\n" if typing else ""
    return f"{known}from pydantic import BaseModel{', Field' if 'Field(' in classes else ''}"


def _prompt(names: Sequence[str]) -> str:
    return "\n\n".join([*(f"{name}: {{{name}}}" for name in names[:-1]), f"{{{names[-1]}}}"])


def _literal(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char == '"':
        return '\\"'
    return char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii")
