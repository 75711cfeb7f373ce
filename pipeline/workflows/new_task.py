"""Write the file of a task of one's own for a table, which runs as it is and says how to go on from there.

Nothing that is there is overwritten. Which columns are the key, the text to ask about, and what says what a row is, is
told by their names in a dozen languages; a text that is not called so is the longest column. A key must be in every row
and in none twice; where no column that is called so is, it is a hash of the row.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pipeline.core import files
from pipeline.core.declaration import MADE_KEY, NAME, RESERVED, column_named, columns_in, is_query
from pipeline.core.errors import InputError
from pipeline.core.redact import without_password
from pipeline.core.step import Option
from pipeline.engine.task_file import ENDING, FOLDER, ItemsRows, find_task_file, place_in_python
from pipeline.engine.task_words import TAKEN, AnswerField, TableGuess, TaskDraft, task_text
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.cells import value_text
from pipeline.tables.columns import COLUMN_NAMES, fold
from pipeline.tables.fill import KEY_KINDS
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.read import SourceRow
from pipeline.tables.source import ItemsFile, ItemsQuery, other_database

UNNAMED = "ask"  # what a question is called in the accounts where it is not kept
SAMPLED = 1_000  # rows whose texts are measured
_LAST_KEYS = ("name", "slug", "url", "username", "email", "title")  # where none is called like a key
_ENDS_LIKE_KEY = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_IMAGE = re.compile(r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$", re.IGNORECASE)
_NO_WORD, _NO_LETTERS = re.compile(r"\W+"), re.compile("[^a-z0-9_]+")


class NewTask(NamedTuple):
    """What is to be written: the task's name, its items as they were given, and the rows of it, None for a query.

    A query is of the workspace's database, or of the one whose address is the `source`, which holds no password. Where
    a question is asked, it is of `fields`; without a name it is not kept.
    """

    name: str
    items: str
    table: ItemsFile | ItemsRows | None
    source: str = ""
    question: str = ""
    fields: Sequence[AnswerField] = ()
    draft: TaskDraft | None = None  # of what is not a query, which takes the workspace's database

    @property
    def path(self) -> Path:
        """Return where the file of the task would stand."""
        return Path(FOLDER) / f"{self.name}{ENDING}" if self.name else place_in_python(UNNAMED)


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
    draft = drafted(ws.store, new, new.path)
    write_new(draft.path, task_text(draft))
    return draft


def check_unused(store: Store, name: str) -> None:
    """Pass where no task of a name was used in a workspace; else it is an InputError."""
    with store.read() as tx:
        known = workspace.get_task(tx, name)
    if known is not None:
        raise _taken(known.path)


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


def _taken(what: object) -> InputError:
    return InputError(
        f"{what} is there already, and nothing is overwritten",
        hint=f"{Option('name')} takes another name, or edit that file",
    )


def guess_columns(columns: Mapping[str, str], rows: Iterable[SourceRow | Finding]) -> TableGuess:
    """Return what the columns of a table (with their kinds) seem to be.

    Raises:
        InputError: there is no column, or a prompt cannot name the one that holds the text.
    """
    if not columns:
        raise InputError("there is no row to ask about, and no column; nothing was written")
    may_be = [name for name in columns if columns[name] in KEY_KINDS and name.casefold() not in TAKEN]
    ends = [name for name in may_be if _ENDS_LIKE_KEY.search(name)]
    keys = list(dict.fromkeys([*_called(may_be, COLUMN_NAMES["key"]), *ends, *_called(may_be, _LAST_KEYS)]))
    cells: dict[str, list[str]] = {name: [] for name in columns}
    key, note = _key_among(keys, rows, cells)
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
    by_name = {fold(name): name for name in reversed(list(names))}
    return [by_name[one] for one in map(fold, known) if one in by_name]


def _key_among(
    keys: Sequence[str], rows: Iterable[SourceRow | Finding], cells: Mapping[str, list[str]]
) -> tuple[str, str]:
    """Return the first of some columns that can be the key, and what says so; texts of the first rows go to `cells`."""
    seen: dict[str, set[str]] = {name: set() for name in keys}
    against: list[str] = []
    for number, row in enumerate((row for row in rows if isinstance(row, SourceRow)), start=1):
        for name in list(seen):
            value = value_text(row.values.get(name))
            if value.strip() and value not in seen[name]:
                seen[name].add(value)
                continue
            twice = f"has {excerpt(value)!r} twice, again in row {row.line}"
            against.append(f"{excerpt(name)!r} {twice if value.strip() else f'is blank in row {row.line}'}")
            del seen[name]
        if number <= SAMPLED:
            for name, texts in cells.items():
                texts.append(value_text(row.values.get(name)))
        elif not seen:
            break
    for key, values in seen.items():
        if values:
            return key, f"key: {excerpt(key)!r}, which is in every row and in none twice"
    why = "; ".join(against[:3]) or "no column is called like a key"
    return MADE_KEY, f'key: "{MADE_KEY}", a hash of each row, for {why}'


def _are_images(texts: Iterable[str]) -> bool:
    found = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(found) * 2 > len(found)


def _name_in_prompt(column: str, columns: Iterable[str]) -> str | None:
    """Return what a prompt calls a column, None where it cannot: `Review Text` is `Review_Text` there."""
    name = column if columns_in(f"{{{column}}}") else _NO_WORD.sub("_", column).strip("_")
    name = f"_{name}" if name[:1].isdecimal() else name
    is_one = columns_in(f"{{{name}}}") == (name,) and column_named(name, columns) == column
    return name if is_one else None
