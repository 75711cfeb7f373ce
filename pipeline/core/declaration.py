"""Declare a task of one's own: what an answer is, which rows are asked about, and how each is put to the model.

A declaration says nothing of how it is carried out; `pipeline.engine.user_task` makes a `Task` of the engine from it.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from functools import cached_property, lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, get_args, get_origin

from typing_extensions import TypeVar

from pipeline.core.errors import InputError
from pipeline.core.settings import BUILT_IN

if TYPE_CHECKING:
    from pydantic import BaseModel

A_co = TypeVar(
    "A_co", bound="BaseModel", default="BaseModel", covariant=True
)  # the model of an answer

NAME = re.compile("[a-z][a-z0-9_]{0,40}")
RESERVED = frozenset({*BUILT_IN, "concepts", "images", "findable"})  # names of what is built in
MADE_KEY = "row"  # as `key`: a hash of the row is its key
MAX_COLUMN = 63  # bytes; PostgreSQL cuts longer names
_PLACE = re.compile(r"\{([^\W\d]\w*)\}")
_QUERY = re.compile(
    r"(?:select|with)(?:[\s(*\"'`\[]|/\*|--)", re.IGNORECASE
)  # and not `select.csv`
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Mapping: "a mapping",
}
_NOT_BY_TYPE = (
    "answer",
    "items",
    "key",
    "examples",
    "check",
    "images",
)  # members that are looked at by themselves
RESOLUTIONS = ("low", "medium", "high")  # of images, as the API knows them
THINKING: Mapping[str, type] = {
    "thinkingBudget": int,
    "thinkingLevel": str,
    "includeThoughts": bool,
}
HOTTEST = 2.0  # the API takes temperatures from 0 to it


@dataclass(frozen=True)
class ReadOptions:
    """How a user wants a file to be read."""

    # The sheet of an .xlsx file; empty: the first.
    sheet: str = ""
    # Python's name of a text's encoding; empty: it is found out.
    encoding: str = ""
    # The line of the header, from 1, or "none"; empty: the first row that is not blank.
    header: int | str = ""

    @property
    def given(self) -> dict[str, str]:
        """Return what is not left to the file, by name."""
        return {name: str(value) for name, value in vars(self).items() if value}


AS_IT_IS = ReadOptions()


@dataclass(frozen=True, kw_only=True)
class Declaration(Generic[A_co]):
    """What to ask about which rows, and what a valid answer is; `answer`, `items` and `prompt` are required.

    `items` is a query where it begins with SELECT or WITH, else the path of a file beside the task's, or a list of
    rows. In `prompt` `{column}` is that column's value, `{job_title}` that of `Job Title`; every other brace is
    itself. `check(answer, row)` returns why an answer is wrong, or None. `examples` are pairs of a row and its answer.
    Without `name` a task is called as its file is. A query is of the workspace's database, or of the one whose address
    is its `source`, which may be $NAME, a variable of the environment or of `.env`.
    """

    answer: type[A_co]
    items: str | Any  # rows may stand here, too: a list of mappings
    prompt: str
    source: str = field(default="", repr=False)  # it may hold a password
    sheet: str = ""  # of an .xlsx file; the first where it is empty
    encoding: str = ""  # of a text file, as Python calls it; it is found out where it is empty
    header: int | str = (
        ""  # the line of the header, from 1, or "none"; the first row where it is empty
    )
    cursor: str = ""  # a column of a query that grows with every change of a row; older rows are read once a week
    name: str = ""
    table: str = ""  # the prefix of its tables; the name where it is empty
    version: int = 1
    key: str | Sequence[str] = "id"
    system: str = ""
    model: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    thinking: Mapping[str, Any] | None = None  # a `thinkingConfig` in the place of the catalogue's
    examples: Sequence[tuple[Mapping[str, Any], Any]] = ()
    quotes_in: str | None = None
    check: "Callable[[Any, Mapping[str, Any]], str | None] | None" = None
    write_to: str | None = None  # "table.column=field", or "table.column" for a row of each answer
    index: str | None = None
    label: str | None = None
    refresh: bool = False
    gates: Mapping[str, Any] | None = None
    images: Sequence[str] = ()  # columns that hold the path or the https address of an image
    image_side: int = 768  # pixels of the longer side, at the most
    media_resolution: str | None = None  # of `RESOLUTIONS`; None: what is usual with the model

    _is_built_in: ClassVar[bool] = False

    def __new__(cls, **given: Any) -> Self:
        """Refuse members that are none, are missing, or of another kind, and names that no table can have; all at once.

        A DeclarationError says what is wrong; one that is read of a pickle was judged when it was made.
        """
        made = super().__new__(cls)
        faults = list[InputError]()
        for name in given.keys() - MEMBERS:
            near = get_close_matches(name, MEMBERS, n=1)
            faults.append(
                InputError(
                    f"Task has no member {name!r}"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )
            )
        for one in fields(cls) if given else ():
            value = given.get(one.name, one.default)
            default = "-" if one.default is MISSING else one.default
            kinds: list[Any] = [
                get_origin(kind) or kind for kind in get_args(one.type) or [one.type]
            ]
            takes = (*kinds, int) if float in kinds else tuple(kinds)
            is_by_type = one.name not in _NOT_BY_TYPE
            if value is MISSING:
                faults.append(InputError(f"{one.name}= is missing"))
            elif is_by_type and not (
                isinstance(value, takes) and isinstance(value, bool) == (bool in kinds)
            ):
                shown = repr(value) if one.repr else type(value).__name__
                faults.append(InputError(f"{one.name}= must be {_KINDS[kinds[0]]}, not {shown}"))
            else:
                default = value
            vars(made)[one.name] = default
        checks = chain(made._checks(), made._checks_of_parameters()) if given else ()
        if faults := [
            *faults,
            *(InputError(said, hint=hint) for is_wrong, said, hint in checks if is_wrong),
        ]:
            raise DeclarationError(faults, made)
        return made

    def _checks(self) -> Iterator[tuple[Any, str, str]]:
        """Yield of each thing that may be wrong whether it is, what is said then, and what mends it."""
        answer, items, key, pairs, images = attrgetter(
            "answer", "items", "key", "examples", "images"
        )(self)
        is_model = isinstance(answer, type) and "root" not in getattr(
            answer, "model_fields", ["root"]
        )
        said = f"answer= must be a class derived from pydantic's BaseModel, with fields, not {answer!r}"
        yield answer != "-" and not is_model, said, ""
        yield self.version < 1, f"version= counts from 1, and is {self.version}", ""
        yield self.image_side < 1, f"image_side= counts from 1, and is {self.image_side}", ""
        yield isinstance(items, str) and not items.strip(), "items= is empty", ""
        yield not self.prompt.strip(), "prompt= is empty", ""
        is_rows = isinstance(items, list | tuple) and all(isinstance(one, Mapping) for one in items)
        shown = "" if is_rows else f"{items!r:.80}"  # of many rows it takes long
        said = f"items= must be a text or a list of rows ({{column: value}}), not {shown}"
        yield not isinstance(items, str) and not is_rows, said, ""
        is_no_path = (
            isinstance(items, str) and not self.is_query and ("\n" in items or ";" in items)
        )
        yield is_no_path, "items= is no path of a file, and a query begins with SELECT or WITH", ""
        said = "source= is the database of a query, and items= is none"
        yield self.source and not self.is_query, said, "begin it with SELECT"
        yield (
            self.cursor and not self.is_query,
            "cursor= is a column of a query, and items= is none",
            "leave it out",
        )
        said = 'cursor= reads the rows that changed, and by key="row" a row that changed is another one'
        yield self.cursor and self.key == MADE_KEY, said, "name the column of its key"
        is_no_file = self.is_query or not isinstance(items, str)
        for name in ("sheet", "encoding", "header"):
            yield (
                getattr(self, name) and is_no_file,
                f"{name}= is of a file, and items= is none",
                "leave out either",
            )
        keys = [key] if isinstance(key, str) else key
        is_key = (
            isinstance(keys, list | tuple)
            and keys
            and all(isinstance(one, str) and one for one in keys)
        )
        yield not is_key, f"key= must name a column or several, not {key!r}", ""
        yield is_key and len(set(keys)) < len(keys), f"key= names a column twice: {key!r}", ""
        is_check = self.check is None or callable(self.check)
        yield (
            not is_check,
            f"check= must be a function of an answer and its row, not {self.check!r}",
            "",
        )
        is_pairs = isinstance(pairs, list | tuple) and all(
            isinstance(one, list | tuple)
            and len(one) == len(("row", "answer"))
            and isinstance(one[0], Mapping)
            for one in pairs
        )
        yield (
            not is_pairs,
            "examples= must be a list of pairs: a row ({column: value}) and its answer",
            "",
        )
        is_columns = isinstance(images, list | tuple) and all(
            isinstance(one, str) and one for one in images
        )
        yield not is_columns, f"images= must be a list of columns, not {images!r}", ""

    def _checks_of_parameters(self) -> Iterator[tuple[Any, str, str]]:
        for member, value in (
            () if self._is_built_in else (("name", self.name), ("table", self.table))
        ):
            said = "must begin with a letter and hold at most 41 of a-z, 0-9 and _ (lower case)"
            yield value and not NAME.fullmatch(value), f"{member}={value!r} {said}", ""
            is_taken = value in RESERVED or value.startswith("findable_")
            yield is_taken, f"{member}={value!r} is the name of something that is built in", ""
        level = self.media_resolution
        tokens = self.max_output_tokens
        heat = self.temperature
        thinking = self.thinking
        yield (
            level not in (None, *RESOLUTIONS),
            f"media_resolution= is {level!r}",
            f"it takes {', '.join(RESOLUTIONS)}",
        )
        yield (
            tokens is not None and tokens < 1,
            f"max_output_tokens= must be 1 or more, and is {tokens}",
            "",
        )
        is_heat = heat is None or 0 <= heat <= HOTTEST
        yield not is_heat, f"temperature= lies between 0 and {HOTTEST:g}, and is {heat}", ""
        for name, value in (thinking or {}).items():
            kind = THINKING.get(name)
            is_right = (
                kind is not None
                and isinstance(value, kind)
                and isinstance(value, bool) == (kind is bool)
            )
            yield (
                not is_right,
                f"thinking= holds {name!r}: {value!r}",
                f"it takes {', '.join(THINKING)}",
            )
        said = "thinking= holds thinkingBudget and thinkingLevel, which exclude each other"
        yield {"thinkingBudget", "thinkingLevel"} <= (thinking or {}).keys(), said, ""
        for name, bounds in (self.gates or {}).items():
            is_right = isinstance(bounds, str | int | float) and not isinstance(bounds, bool)
            is_right = is_right and not {",", "="} & {*f"{name}{bounds}"}
            yield (
                not is_right,
                f"gates= holds {name!r}: {bounds!r}",
                'write it like gates={"answered": 0.95}',
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the columns of the key."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def has_made_key(self) -> bool:
        """Return whether a hash of each row is its key."""
        return self.keys == (MADE_KEY,)

    @property
    def is_query(self) -> bool:
        """Return whether the items come from a query, and not from a file."""
        return isinstance(self.items, str) and is_query(self.items)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """Return the columns that the prompt names, each once, in the order of their first place."""
        return columns_in(self.prompt)


MEMBERS = frozenset(one.name for one in fields(Declaration))


class DeclarationError(InputError):
    """A declaration is wrong: `faults` are all that is, each of a member, `declared` what it is without them."""

    def __init__(self, faults: Sequence[InputError], declared: Declaration) -> None:
        several = f"the task has {len(faults)} faults:\n" if len(faults) > 1 else ""
        super().__init__(several + "\n".join(one.message for one in faults), hint=faults[0].hint)
        self.faults = faults
        self.declared = declared


@dataclass(frozen=True, kw_only=True)
class BuiltInDeclaration(Declaration[A_co]):
    """A declaration that comes with findable, under a name that no other task may have."""

    _is_built_in = True


@lru_cache(maxsize=1024)
def json_schema(kind: type, *, by_alias: bool = True) -> Mapping[str, Any]:
    """Return the JSON schema of an answer's model, with each model in the place of its `$ref`.

    That of one inside of itself stays. Descriptions of fields stay; those of models, their docstrings, do not.
    """
    from pydantic import TypeAdapter

    document = TypeAdapter(kind).json_schema(by_alias=by_alias)
    models = document.pop("$defs", {})
    for one in (document, *models.values()):
        one.pop("description", None)

    def whole(node: Any, within: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [whole(one, within) for one in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name not in models or name in within:
            return {key: whole(one, within) for key, one in node.items()}
        said = {"description": node["description"]} if "description" in node else {}
        return whole(models[name], (*within, name)) | said

    found: Mapping[str, Any] = whole(document, ())
    return found


def valid_answer(read: "Callable[[Any], BaseModel]", answer: Any) -> "tuple[BaseModel | None, str]":
    """Return what a model reads as an answer, or None and the first thing that is wrong with it."""
    from pydantic import ValidationError

    try:
        return read(answer), ""
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"


def fitting(answer: "type[BaseModel]", field: str, readings: Sequence[Any]) -> Any:
    """Return the first of some readings of a text that a field of an answer takes; the first where none is."""
    from pydantic import TypeAdapter

    kind: Any = TypeAdapter(answer.model_fields[field].rebuild_annotation())
    for one in readings:
        try:
            kind.validate_json(json.dumps(one))
        except Exception:  # noqa: BLE001, S112 - a validator of the user's own may raise anything
            continue
        return one
    return readings[0]


def is_query(items: str) -> bool:
    """Return whether what names items is a query, and no path."""
    return bool(_QUERY.match(items.lstrip()))


def fill_template(template: str, value_of: Callable[[str], str]) -> str:
    """Return a template with each `{column}` replaced by what a function gives for it; other braces stay."""
    return _PLACE.sub(lambda found: value_of(found[1]), template)


def columns_in(template: str | None) -> tuple[str, ...]:
    """Return the columns that a template names, each once, in the order of their first place."""
    return tuple(dict.fromkeys(_PLACE.findall(template or "")))


def unread_places(template: str | None, columns: Iterable[str]) -> dict[str, str]:
    """Return columns that stand between braces as no place is written, each with the name that would mean it."""
    held = [
        one
        for one in columns
        if f"{{{one}}}" in (template or "") and not _PLACE.fullmatch(f"{{{one}}}")
    ]
    return {one: _folded(one) for one in held}


def column_named(name: str, columns: Iterable[str]) -> str | None:
    """Return the column that a name means: the one called so, else the only one that is called so but for its look.

    `{job_title}` is `Job Title`, for a name between braces holds no blank.
    """
    there = list(columns)
    if name in there:
        return name
    alike = [one for one in there if _folded(one) == _folded(name)]
    return alike[0] if len(alike) == 1 else None


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
