"""Declare a user task: the answer model, the rows, and the prompt for each row.

A declaration has no behaviour of the engine; `askrows.pipeline.tasks.task` makes a `Task` of
it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, get_args, get_origin

from typing_extensions import TypeVar

from askrows.pipeline.core.column_placeholders import list_template_columns
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.settings import BUILT_IN_TASKS
from askrows.pipeline.core.text import suggest_similar

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

# The model of an answer.
A_co = TypeVar("A_co", bound="BaseModel", default="BaseModel", covariant=True)

NAME = re.compile("[a-z][a-z0-9_]{0,40}")
# Other members of the JSON document of `status`, which has the rows of a task under its name.
STATUS_MEMBERS = frozenset(
    {
        "backend",
        "batches",
        "bound",
        "doubtful",
        "due",
        "version",
        "failures",
        "file_version",
        "gone",
        "index",
        "model",
        "next",
        "others",
        "parked",
        "pilot",
        "source_changed",
        "spent",
        "stale",
        "task_file",
        "twins",
        "under_way",
        "unusable_values",
        "waiting",
        "workspace",
        "workspace_id",
    }
)
# Names that a user task cannot have.
RESERVED = STATUS_MEMBERS.union(BUILT_IN_TASKS, ("concepts", "askrows"))
# States of rows that keep their names, and the name of the sum of all states.
FIXED_STATES = frozenset(
    {"open", "claimed", "parked", "stale", "unusable", "refused", "gone", "total"}
)
# Members of each entry of an index, beside its `id`.
ENTRY_MEMBERS = frozenset({"label", "text", "answer"})
# The value of `key` for a hash of the row.
HASH_KEY = "row"
# The key of a table whose rows are named by another column.
ID_COLUMN = "id"
# PostgreSQL cuts longer names.
MAX_COLUMN_BYTES = 63  # bytes
# It does not match the file name `select.csv`.
_QUERY = re.compile(r"(?:select|with)(?:[\s(*\"'`\[]|/\*|--)", re.IGNORECASE)
_TYPE_LABELS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Mapping: "a mapping",
}
# Members that have a check of their own instead of a check of their type.
_MEMBERS_WITHOUT_TYPE_CHECK = (
    "answer",
    "items",
    "key",
    "requires",
    "examples",
    "check",
    "clean",
    "index",
    "words",
    "images",
    "list_columns",
    "question_words",
)
# Resolutions of images at the API.
RESOLUTIONS = ("low", "medium", "high")
THINKING_TYPES: Mapping[str, type] = {
    "thinkingBudget": int,
    "thinkingLevel": str,
    "includeThoughts": bool,
}
# The maximum temperature of the API.
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a file."""

    # The sheet of an .xlsx file; empty: the first.
    sheet: str = ""
    # Python's name of the encoding of a text. If it is empty, it is detected.
    encoding: str = ""
    # The line of the header, from 1, or "none"; empty: the first row that is not blank.
    header: int | str = ""

    @property
    def given_options(self) -> dict[str, str]:
        """The options that are set, by name."""
        return {name: str(value) for name, value in vars(self).items() if value}


DEFAULT_READ_OPTIONS = ReadOptions()
# The problem of a file that was deleted; its row is gone from the source.
GONE_FILE = "the file is not there any more"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The images of imported folders as the rows of a task.

    A row has `id`, `path` (absolute), and `problem`: the reason why the image cannot be sent.
    """

    # The table with a row for each file. It is created, or adopted from another program.
    table: str

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of the columns of a row, by name."""
        return dict.fromkeys(("id", "path", "problem"), "text")

    @property
    def query(self) -> str:
        """The query of the rows. A row whose file was deleted is not among them."""
        # The declaration checks the name of the table.
        return (
            f'SELECT CAST(id AS TEXT) AS id, path, problem FROM "{self.table}" '  # noqa: S608
            f"WHERE coalesce(problem, '') <> '{GONE_FILE}' ORDER BY \"{self.table}\".id"
        )


# A note on a changed cell: its column, why it changed, and the cell as it was.
CellNote = tuple[str, str, Any]


@dataclass(frozen=True)
class DatabaseTable:
    """A table of the workspace's database with the rows of a task.

    The table is made if it is missing. `import` and `add` write rows into it, and other programs
    may do so, too.
    """

    name: str
    # `str`, `int` or `float` by column; the key is one of the columns.
    columns: Mapping[str, type]
    # The column by which rows of files are matched, and by which a person names a row. The key is
    # then the column `id`, which is not among `columns`.
    file_key: str = ""
    # Names of columns in files, also in exports, if they differ.
    headers: Mapping[str, str] = field(default_factory=dict)
    # Called with the cells of a row of a file, by column. Returns the cells to store, and a note on
    # each cell that it changed: its column, why it changed, and the cell as it was.
    read: "Callable[[dict[str, Any]], tuple[Mapping[str, Any], Sequence[CellNote]]] | None" = None
    # Further columns of files, from which `read` makes cells of the table.
    file_columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the name, the columns and the members about files.

        Raises:
            InputError: The name is empty or reserved, the columns have other types, or `file_key`,
                `read` or `file_columns` does not fit them.
        """
        if not self.name.strip() or self.name.casefold().startswith("askrows_"):
            raise InputError(f"DatabaseTable cannot have the name {self.name!r}")
        columns: Any = self.columns
        is_valid = isinstance(columns, Mapping) and {*columns.values()} <= {*TABLE_COLUMN_TYPES}
        if not is_valid or not columns:
            raise InputError(
                f"DatabaseTable({self.name!r}) needs columns with the types str, int or float, "
                f"not {columns!r:.80}",
                hint='for example columns={"id": str, "text": str, "length_m": float}',
            )
        if self.file_key and (self.file_key not in columns or ID_COLUMN in columns):
            raise InputError(
                f"DatabaseTable({self.name!r}) has file_key={self.file_key!r}, which must be one "
                f"of its columns, beside the column {ID_COLUMN!r} that every row has",
                hint=f"name one of {', '.join(columns)}, and leave {ID_COLUMN!r} out of columns=",
            )
        if self.read is not None and not callable(self.read):
            raise InputError(
                f"DatabaseTable({self.name!r}) needs a function of the cells of a row in read=, "
                f"not {self.read!r}"
            )
        file_columns: Any = self.file_columns
        is_list = isinstance(file_columns, list | tuple)
        if not is_list or (file_columns and self.read is None) or {*file_columns} & {*columns}:
            raise InputError(
                f"DatabaseTable({self.name!r}) has file_columns={file_columns!r}, which must be a "
                "list of names that are no columns of the table, and that read= uses"
            )

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of the columns, by name; a made column of ids has whole numbers."""
        kinds = {name: TABLE_COLUMN_TYPES[kind] for name, kind in self.columns.items()}
        return {ID_COLUMN: "integer", **kinds} if self.file_key else kinds


# Kinds of a table's columns by the type that a task declares.
TABLE_COLUMN_TYPES: Mapping[type, str] = {
    str: "text",
    int: "integer",
    float: "real",
}


@dataclass(frozen=True, kw_only=True)
class Declaration(Generic[A_co]):
    """The declaration of a task. `answer`, `items` and `prompt` are required.

    In `prompt`, `{column}` is the value of a column, and `{job_title}` also that of `Job Title`.
    Other braces are plain text.
    """

    # The model of an answer.
    answer: type[A_co]
    # A query if it begins with SELECT or WITH, else the path of a file next to the task's file, a
    # list of mappings, a `DatabaseTable` or a `Folder`.
    items: str | Any
    prompt: str
    # The address of the database of the query; the default is the workspace's database. `$NAME` is
    # a variable of the environment or of `.env`. It can contain a password.
    source: str = field(default="", repr=False)
    # The sheet of an .xlsx file. The default is the first.
    sheet: str = ""
    # Python's name of the encoding of a text file. If it is empty, it is detected.
    encoding: str = ""
    # The line of the header, from 1, or "none". The default is the first row that is not blank.
    header: int | str = ""
    # A column of a query that grows with every change of a row. Older rows are read once a week.
    cursor: str = ""
    # The default is the name of the task's file.
    name: str = ""
    # The prefix of its tables. The default is the name.
    table: str = ""
    version: int = 1
    key: str | Sequence[str] = "id"
    # Columns without which a row is not asked: a row is empty if one of them is blank.
    requires: Sequence[str] = ()
    system: str = ""
    model: str | None = None
    max_output_tokens: int | None = None
    # Expected tokens of an answer, until answers were measured.
    answer_tokens: int | None = None
    temperature: float | None = None
    # A `thinkingConfig` that replaces the configuration of the catalogue.
    thinking: Mapping[str, Any] | None = None
    # Pairs of a row and its answer.
    examples: Sequence[tuple[Mapping[str, Any], Any]] = ()
    quotes_in: str | None = None
    # Called with an answer and its row. Returns the reason why the answer is wrong, or None.
    check: "Callable[[Any, Mapping[str, Any]], str | None] | None" = None
    # Called with a valid answer and its row. Returns the answer to store, and how many values were
    # cut.
    clean: "Callable[[Any, Mapping[str, Any]], tuple[Any, int]] | None" = None
    # "table.column=field", or "table.column" for a row of each answer.
    write_to: str | None = None
    # Functions of a row and its answer (or None). Each makes a value of every row. They have the
    # names of the values, or the "table.column" that gets the values, too.
    derive: Mapping[str, Callable[[Any, Any], Any]] | None = None
    # A template of the text that is searched, or a function of a row and its answer.
    index: str | Callable[[Any, Any], Any] | None = None
    # Members of an entry's metadata, each with the column or the field that it shows.
    metadata: Mapping[str, str] | None = None
    label: str | None = None
    # Words of questions that describe no row.
    question_words: Sequence[str] = ()
    # Columns and fields that lists show, and hits of a search.
    list_columns: Sequence[str] = ()
    # A row, several rows, the state of answered rows, and that of empty rows.
    words: Sequence[str] = ()
    gates: Mapping[str, Any] | None = None
    # Columns with the path of an image.
    images: Sequence[str] = ()
    # The folder of the images, relative to the task's file. The default is that of the items' file.
    image_folder: str | None = None
    # Maximum length of the longer side, in pixels.
    image_side: int = 768
    # A member of `RESOLUTIONS`. By default the model decides.
    media_resolution: str | None = None

    _is_built_in: ClassVar[bool] = False

    def __new__(cls, **member_values: Any) -> Self:
        """Validate all members, and report all faults together.

        Faults are unknown, missing or wrongly typed members, and names that are invalid as names of
        tables. If there are no members, as for an unpickled declaration, it validates nothing.

        Raises:
            DeclarationError: There is a fault.
        """
        declaration = super().__new__(cls)
        faults = [_make_unknown_member_error(name) for name in member_values.keys() - MEMBERS]
        for member in fields(cls) if member_values else ():
            value, fault = _validate_member_or_use_default(
                member, member_values.get(member.name, member.default)
            )
            vars(declaration)[member.name] = value
            if fault is not None:
                faults.append(fault)

        if member_values:
            faults += declaration._find_answer_version_and_empty_text_faults()
            faults += declaration._find_items_and_read_option_faults()
            faults += declaration._find_database_table_key_faults()
            faults += declaration._find_folder_faults()
            faults += declaration._find_key_function_and_column_list_faults()
            faults += declaration._find_words_faults()
            faults += declaration._find_derive_index_and_metadata_faults()
            faults += declaration._find_name_and_table_faults()
            faults += declaration._find_model_setting_and_gate_faults()
        if faults:
            raise DeclarationError(faults, declaration)
        return declaration

    def _find_answer_version_and_empty_text_faults(self) -> Iterator[InputError]:
        """Yield the faults of answer, version and image_side, and of an empty items or prompt."""
        answer: Any = self.answer
        # A model of a single value, such as a list, is a root model.
        is_model = (
            isinstance(answer, type) and getattr(answer, "__pydantic_root_model__", True) is False
        )
        if answer != "-" and not is_model:
            yield InputError(
                "answer= must be a class derived from pydantic's BaseModel, with fields, "
                f"not {answer!r}"
            )
        if self.version < 1:
            yield InputError(f"version= must be 1 or more, not {self.version}")
        if self.image_side < 1:
            yield InputError(f"image_side= must be 1 or more, not {self.image_side}")
        if isinstance(self.items, str) and not self.items.strip():
            yield InputError("items= is empty")
        if not self.prompt.strip():
            yield InputError("prompt= is empty")

    def _find_items_and_read_option_faults(self) -> Iterator[InputError]:
        """Yield the faults of items and of the members that say how items are read."""
        is_rows = isinstance(self.items, list | tuple) and all(
            isinstance(row, Mapping) for row in self.items
        )
        if not isinstance(self.items, str | Folder | DatabaseTable) and not is_rows:
            yield InputError(
                "items= must be a text or a list of rows ({column: value}), "
                f"not {self.items!r:.80}",
                hint="write items=list(…) for a generator, or tag(task, items=…) for a data frame",
            )
        is_file = isinstance(self.items, str) and not self.is_query
        if is_file and "\n" in self.items:
            yield InputError(
                "items= is neither a path nor a query; a query begins with SELECT or WITH"
            )
        if self.source and not self.is_query:
            yield InputError(
                "source= needs a query, but items= is not a query",
                hint="begin items= with SELECT",
            )
        if self.cursor and not self.is_query:
            yield InputError(
                "cursor= needs a query, but items= is not a query",
                hint="leave out cursor=",
            )
        if self.cursor and self.key == HASH_KEY:
            yield InputError(
                'cursor= reads only changed rows, but with key="row" a changed row is a new row',
                hint="name a key column in key=",
            )
        for name in ("sheet", "encoding", "header"):
            if getattr(self, name) and not is_file:
                yield InputError(
                    f"{name}= needs a file, but items= is not a file",
                    hint=f"leave out {name}=",
                )

    def _find_database_table_key_faults(self) -> Iterator[InputError]:
        """Yield the fault of the key of a `DatabaseTable`."""
        if not isinstance(self.items, DatabaseTable):
            return
        if self.items.file_key and self.keys != (ID_COLUMN,):
            yield InputError(
                f"key= must be {ID_COLUMN!r} with file_key=, not {self.key!r}",
                hint="leave out key=",
            )
        elif len(self.keys) > 1 or self.keys[0] not in self.items.kinds:
            yield InputError(
                f"key= must be one of the columns of DatabaseTable({self.items.name!r}), "
                f"not {self.key!r}"
            )

    def _find_folder_faults(self) -> Iterator[InputError]:
        """Yield the faults of a `Folder`: its table's name, and members that it decides about."""
        if not isinstance(self.items, Folder):
            return
        table = self.items.table
        if not NAME.fullmatch(str(table)) or table.startswith("askrows_"):
            yield InputError(
                f"items= has the table {table!r}, which must begin with a letter and have at most "
                "41 of a-z, 0-9 and _, but not begin with askrows_",
                hint="write items=Folder(table='photos')",
            )
        for name, default in (("key", "id"), ("source", ""), ("image_folder", None)):
            if getattr(self, name) != default:
                yield InputError(
                    f"{name}= cannot be used with a Folder, whose rows have the key id",
                    hint=f"leave out {name}=",
                )

    def _find_key_function_and_column_list_faults(self) -> Iterator[InputError]:
        """Yield the faults of key, check, clean, examples, and of the members that list texts.

        These are requires, images, list_columns and question_words.
        """
        keys = [self.key] if isinstance(self.key, str) else self.key
        if not _is_list_of_texts(keys) or not keys:
            yield InputError(f"key= must be a column or a list of columns, not {self.key!r}")
        elif len(set(keys)) < len(keys):
            yield InputError(f"key= names a column twice: {self.key!r}")
        for name in ("check", "clean"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                yield InputError(
                    f"{name}= must be a function of an answer and its row, not {function!r}"
                )
        is_pairs = isinstance(self.examples, list | tuple) and all(
            isinstance(pair, list | tuple)
            and len(pair) == len(("row", "answer"))
            and isinstance(pair[0], Mapping)
            for pair in self.examples
        )
        if not is_pairs:
            yield InputError(
                "examples= must be a list of pairs: a row ({column: value}) and its answer"
            )
        for name in ("requires", "images", "list_columns", "question_words"):
            texts = getattr(self, name)
            if not _is_list_of_texts(texts):
                noun = "words" if name == "question_words" else "columns"
                yield InputError(f"{name}= must be a list of {noun}, not {texts!r}")

    def _find_words_faults(self) -> Iterator[InputError]:
        """Yield the faults of words."""
        if self.words == ():
            return
        hint = 'for example words=("boat", "boats", "rated", "no_text")'
        is_words = (
            _is_list_of_texts(self.words)
            and len(self.words) == len(("row", "rows", "answered", "empty"))
            and all(word.strip() and word.isprintable() for word in self.words)
        )
        if not is_words:
            yield InputError(
                "words= must be four texts: a row, several rows, the state of answered rows, and "
                f"that of empty rows; not {self.words!r}",
                hint=hint,
            )
            return

        *_, answered, empty = self.words
        for word, other_words in ((answered, {"empty", empty}), (empty, {"answered"})):
            if not NAME.fullmatch(word):
                yield InputError(
                    f"words= has the state {word!r}, but a state must begin with a letter and have "
                    "at most 41 of a-z, 0-9 and _",
                    hint=hint,
                )
            if word in FIXED_STATES | other_words:
                yield InputError(f"words= has {word!r}, which is another state", hint=hint)

    def _find_derive_index_and_metadata_faults(self) -> Iterator[InputError]:
        """Yield the faults of derive, index and metadata."""
        for place, function in (self.derive or {}).items():
            name = str(place).rpartition(".")[2]
            if not NAME.fullmatch(name):
                yield InputError(
                    f"derive= has the name {name!r}, which must begin with a letter and have at "
                    "most 41 of a-z, 0-9 and _"
                )
            if not callable(function):
                yield InputError(
                    f"derive= must map {place!r} to a function of a row and its answer, not "
                    f"{function!r}"
                )
        if self.index is not None and not isinstance(self.index, str) and not callable(self.index):
            yield InputError(
                f"index= must be a text or a function of a row and its answer, not {self.index!r}"
            )
        for member, name in (self.metadata or {}).items():
            if {type(member), type(name)} != {str}:
                yield InputError(f"metadata= must map names to columns, not {member!r} to {name!r}")
            if member in ENTRY_MEMBERS:
                yield InputError(f"metadata={{{member!r}: …}} is a member of each entry")

    def _find_name_and_table_faults(self) -> Iterator[InputError]:
        """Yield the faults of name and table, unless the task is built in."""
        if self._is_built_in:
            return
        for member, value in (("name", self.name), ("table", self.table)):
            if value and not NAME.fullmatch(value):
                yield InputError(
                    f"{member}={value!r} must begin with a letter and have at most 41 of "
                    "a-z, 0-9 and _"
                )
            if value in RESERVED or value.startswith("askrows_"):
                yield InputError(f"{member}={value!r} is a name of askrows")

    def _find_model_setting_and_gate_faults(self) -> Iterator[InputError]:
        """Yield the faults of media_resolution, max_output_tokens, temperature, thinking, gates."""
        if self.media_resolution not in (None, *RESOLUTIONS):
            yield InputError(
                f"media_resolution= has no level {self.media_resolution!r}",
                hint=f"levels: {', '.join(RESOLUTIONS)}",
            )
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            yield InputError(f"max_output_tokens= must be 1 or more, not {self.max_output_tokens}")
        if self.temperature is not None and not 0 <= self.temperature <= MAX_TEMPERATURE:
            yield InputError(
                f"temperature= must be from 0 to {MAX_TEMPERATURE:g}, not {self.temperature}"
            )
        thinking = self.thinking or {}
        for name, value in thinking.items():
            kind = THINKING_TYPES.get(name)
            is_right = (
                kind is not None
                and isinstance(value, kind)
                and isinstance(value, bool) == (kind is bool)
            )
            if not is_right:
                yield InputError(
                    f"thinking= cannot have {name!r}: {value!r}",
                    hint=f"members: {', '.join(THINKING_TYPES)}",
                )
        if {"thinkingBudget", "thinkingLevel"} <= thinking.keys():
            yield InputError("thinking= cannot have both thinkingBudget and thinkingLevel")
        for name, bounds in (self.gates or {}).items():
            is_right = isinstance(bounds, str | int | float) and not isinstance(bounds, bool)
            is_right = is_right and not {",", "="} & {*f"{name}{bounds}"}
            if not is_right:
                yield InputError(
                    f"gates= has an invalid bound {name!r}: {bounds!r}",
                    hint='for example gates={"answered": 0.95}',
                )

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the key."""
        if isinstance(self.key, str):
            return (self.key,)
        return tuple(self.key)

    @property
    def has_made_key(self) -> bool:
        """Whether the key is a hash of the row."""
        return self.keys == (HASH_KEY,)

    @property
    def is_query(self) -> bool:
        """Whether the rows come from a query."""
        return bool(self.table_name) or (isinstance(self.items, str) and is_query(self.items))

    @property
    def table_name(self) -> str:
        """The table of the workspace's database that has the rows and takes new ones; else ""."""
        if isinstance(self.items, Folder):
            return self.items.table
        return self.items.name if isinstance(self.items, DatabaseTable) else ""

    @property
    def derived_functions(self) -> dict[str, Callable[[Any, Any], Any]]:
        """The functions that make derived values, by the name of the value."""
        functions = self.derive or {}
        return {place.rpartition(".")[2]: function for place, function in functions.items()}

    @property
    def index_template(self) -> str | None:
        """The template of the text that is searched; None if there is none."""
        return self.index if isinstance(self.index, str) else None

    @cached_property
    def prompt_columns(self) -> tuple[str, ...]:
        """The distinct columns that the prompt names, in their order."""
        return list_template_columns(self.prompt)


MEMBERS = frozenset(member.name for member in fields(Declaration))


def _is_list_of_texts(value: Any) -> bool:
    """Return whether a value is a list or a tuple of texts, none of which is empty."""
    return isinstance(value, list | tuple) and all(isinstance(text, str) and text for text in value)


def _make_unknown_member_error(name: str) -> InputError:
    """Return the error for an unknown member, with a similar name if there is any."""
    suggestion = suggest_similar(name, MEMBERS)
    message = f"Task has no member {name!r}"
    if suggestion:
        message += f"; {suggestion}"
    return InputError(message)


def _validate_member_or_use_default(
    member: Field[Any], value: Any
) -> tuple[Any, InputError | None]:
    """Check that a member has a value of its type; return the value, and an error or None.

    With an error, the value is the member's default instead, or "-" for a required member, so that
    further checks can run. The error says that the value is missing or has a wrong type. It is not
    raised. Types of members that have checks of their own are not checked.

    Args:
        value: The value, or MISSING, which is always an error.
    """
    default = "-" if member.default is MISSING else member.default
    if value is MISSING:
        return default, InputError(f"{member.name}= is missing")
    if member.name in _MEMBERS_WITHOUT_TYPE_CHECK:
        return value, None

    kinds: list[Any] = [get_origin(kind) or kind for kind in get_args(member.type) or [member.type]]
    accepted = (*kinds, int) if float in kinds else tuple(kinds)
    # A bool is an int, but not a valid number.
    if isinstance(value, accepted) and isinstance(value, bool) == (bool in kinds):
        return value, None
    # The value of a member without repr can contain a password.
    shown_value = repr(value) if member.repr else type(value).__name__
    message = f"{member.name}= must be {_TYPE_LABELS[kinds[0]]}, not {shown_value}"
    return default, InputError(message)


class DeclarationError(InputError):
    """A declaration is wrong.

    `faults` has an error for each wrong member. `declaration` has defaults in their place.
    """

    def __init__(self, faults: Sequence[InputError], declared: Declaration) -> None:
        """Join the messages of all faults; the hint is that of the first fault.

        Args:
            faults: At least one fault.
            declared: The declaration at fault, with defaults in place of wrong members.
        """
        heading = f"the task has {len(faults)} faults:\n" if len(faults) > 1 else ""
        messages = "\n".join(fault.message for fault in faults)
        super().__init__(heading + messages, hint=faults[0].hint)
        self.faults = faults
        self.declaration = declared


@dataclass(frozen=True, kw_only=True)
class BuiltInDeclaration(Declaration[A_co]):
    """A declaration that ships with askrows. Its name is reserved."""

    _is_built_in = True


@lru_cache(maxsize=1024)
def make_inlined_json_schema(
    kind: type,
    *,
    by_alias: bool = True,
    mode: Literal["validation", "serialization"] = "validation",
) -> Mapping[str, Any]:
    """Return the JSON schema of an answer's model, with each model in the place of its `$ref`.

    Recursive models keep their `$ref`. Descriptions of fields stay, but the docstrings of models
    are removed. The result is cached and must not be changed.

    Args:
        kind: The model, or another type that pydantic can validate.
        by_alias: Name fields by their alias, if they have one, instead of by their own name.
        mode: Whether the schema is of values that are read or of values that are stored.
    """
    from pydantic import TypeAdapter

    document = TypeAdapter(kind).json_schema(by_alias=by_alias, mode=mode)
    models = document.pop("$defs", {})
    for model in (document, *models.values()):
        model.pop("description", None)

    def inline_refs(node: Any, outer_models: tuple[str, ...]) -> Any:
        """Return a copy of a node in which each `$ref` is replaced by its model.

        If the node is inside the model that its `$ref` names, the `$ref` stays, because the model
        contains itself.
        """
        if isinstance(node, list):
            return [inline_refs(member, outer_models) for member in node]
        if not isinstance(node, dict):
            return node

        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name not in models or name in outer_models:
            return {key: inline_refs(member, outer_models) for key, member in node.items()}
        inlined = inline_refs(models[name], (*outer_models, name))
        if "description" in node:
            inlined = {**inlined, "description": node["description"]}
        return inlined

    schema: Mapping[str, Any] = inline_refs(document, ())
    return schema


def validate_answer_or_find_fault(
    read: "Callable[[Any], BaseModel]",
    answer: Any,
) -> "tuple[BaseModel | None, str]":
    """Return (validated answer, ""), or (None, first fault) if `read` refuses the answer.

    The fault is the path of a field and pydantic's message. Other errors of `read` are raised.

    Args:
        read: Validates an answer, and raises pydantic's ValidationError if it is invalid.
    """
    from pydantic import ValidationError

    try:
        return read(answer), ""
    except ValidationError as error:
        return None, list_faults(error)[0]


def list_faults(error: "ValidationError") -> list[str]:
    """Return the faults of an answer: each is the path of a field and pydantic's message."""
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'the answer'}: {fault['msg']}"
        for fault in error.errors()
    ]


def is_query(items: str) -> bool:
    """Return whether `items` is a query and not a path."""
    return bool(_QUERY.match(items.lstrip()))
