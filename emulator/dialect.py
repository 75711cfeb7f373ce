"""Read a schema of the dialect into what is asked for, and refuse what the live service refuses.

That is `responseSchema`, an OpenAPI subset with types in capitals, and `responseJsonSchema` with its references put in
place, whose lists of types, `const` and null branches are read alike. What narrows a text by its form (`pattern`) is
not held.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emulator.errors import ApiError, invalid

MAX_DEPTH = 16
"""Levels of the deepest schema; ours, the live service does not say where its limit is."""
MOST_VALUES = 10_000
"""Values that an answer must have at most for its schema to be served."""
KINDS = ("OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN")
_WHOLE = 2**63 - 1
_WORD = re.compile(r"[^\W\d_]+|\d+")
_TOLD = {one: re.compile(rf"\b{one} (\d{{1,9}}) characters\b") for one in ("at least", "at most")}
_TOLD |= {
    one: re.compile(rf"\b{one} (-?\d{{1,15}}(?:\.\d{{1,15}})?)(?=[;)]|$)") for one in ("greater than", "less than")
}
"""Bounds that a description tells, for `responseSchema` has none of these."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Ask:
    """One value that is asked for: what it is and what bounds it, as far as its kind has such bounds."""

    kind: str
    """One of `KINDS`; blank for a choice between the `options`."""
    name: str = ""
    """The words of its name, or of the list it stands in."""
    about: str = ""
    """Its description."""
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    members: tuple[tuple[str, "Ask"], ...] = ()
    items: "Ask | None" = None
    options: tuple["Ask", ...] = ()
    at_least: int = 0
    """Items of a list, or characters of a text."""
    at_most: int | None = None
    lowest: float | None = None
    highest: float | None = None
    form: str = ""
    """The `format`, blank where there is none."""

    @property
    def said(self) -> str:
        """Return name and description."""
        return f"{self.name} {self.about}".strip()

    def smallest(self) -> int:
        """Return how many values the shortest answer has."""
        if self.kind == "ARRAY" and self.items is not None:
            return 1 + self.at_least * self.items.smallest()
        return 1 + sum(member.smallest() for _, member in self.members)


def read(schema: Mapping[str, Any], *, where: str) -> Ask:
    """Return what a schema asks for; `where` is its path in the request.

    Raises:
        ApiError: 400 naming the place: no type, a list without items, an object without properties, bounds that
            contradict each other, too deep, or too much.
    """
    ask = _read(schema, name="", where=where, depth=1)
    if ask.smallest() > MOST_VALUES:
        raise invalid("The specified schema produces a constraint that has too many states for serving.")
    return ask


def too_deep() -> ApiError:
    """Return the refusal of a schema that is nested too deeply, as every recursive one is."""
    return invalid("A schema in GenerationConfig in the request exceeds the maximum allowed nesting depth.")


def _read(schema: object, *, name: str, where: str, depth: int) -> Ask:
    """Return what one schema asks for."""
    if depth > MAX_DEPTH:
        raise too_deep()
    if not isinstance(schema, Mapping):
        raise invalid(f"* GenerateContentRequest.{where}: expected a schema, found {type(schema).__name__}")
    about = " ".join(str(schema[one]) for one in ("title", "description") if schema.get(one))
    kinds = _kinds(schema)
    ask = Ask("", name, about, nullable=bool(schema.get("nullable")) or "NULL" in kinds)
    named = [kind for kind in kinds if kind != "NULL"]
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices and not named:
        return _options(ask, choices, where=f"{where}.any_of", depth=depth)
    if len(named) > 1:
        parts = [dict(schema) | {"type": kind, "nullable": False} for kind in named]
        return _options(ask, parts, where=where, depth=depth)
    if not named or named[0] not in KINDS:
        raise invalid(f"* GenerateContentRequest.{where}.type: must be one of {', '.join(KINDS)}")
    return _of_kind(replace(ask, kind=named[0]), schema, where=where, depth=depth)


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema names, in capitals, or the one that it must mean without."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind.upper()] if kind.upper() != "TYPE_UNSPECIFIED" else []
    if isinstance(kind, Sequence):
        return [str(one).upper() for one in kind]
    meant = {"properties": "OBJECT", "items": "ARRAY", "enum": "STRING", "const": "STRING"}
    return [next((meant[member] for member in meant if member in schema), "")] if meant.keys() & schema.keys() else []


def _options(ask: Ask, schemas: Sequence[Any], *, where: str, depth: int) -> Ask:
    """Return what a choice between schemas asks for; a null among them makes it nullable."""
    is_null = [isinstance(one, Mapping) and _kinds(one) == ["NULL"] for one in schemas]
    options = tuple(
        _read(one, name=ask.name, where=f"{where}[{place}]", depth=depth + 1)
        for place, one in enumerate(schemas)
        if not is_null[place]
    )
    if not options:
        raise invalid(f"* GenerateContentRequest.{where}: must have one that is not null")
    return replace(ask, options=options, nullable=ask.nullable or any(is_null))


def _of_kind(ask: Ask, schema: Mapping[str, Any], *, where: str, depth: int) -> Ask:
    """Return what a schema of one type asks for."""
    if ask.kind == "OBJECT":
        return _object(ask, schema, where=where, depth=depth)
    if ask.kind == "ARRAY":
        if "items" not in schema:
            raise invalid(f"* GenerateContentRequest.{where}.items: missing field.")
        items = _read(schema["items"], name=ask.name, where=f"{where}.items", depth=depth + 1)
        items = replace(items, about=items.about or ask.about)
        return _bounded(replace(ask, items=items), schema, "Items", where=where)
    if ask.kind in ("INTEGER", "NUMBER"):
        ask = _number(ask, schema, where=where)
    if ask.kind != "STRING" and any(isinstance(one, str) for one in schema.get("enum") or ()):
        raise invalid(f"* GenerateContentRequest.{where}.enum: only allowed for STRING type")
    choices = tuple([schema["const"]] if "const" in schema else schema.get("enum") or ())
    if None in choices:
        ask, choices = replace(ask, nullable=True), tuple(one for one in choices if one is not None)
    ask = replace(ask, choices=choices, form=str(schema.get("format", "")))
    return _bounded(ask, schema, "Length", where=where) if ask.kind == "STRING" else ask


def _object(ask: Ask, schema: Mapping[str, Any], *, where: str, depth: int) -> Ask:
    """Return what an object asks for, its members in the order that is wanted."""
    properties = schema.get("properties") or {}
    if not properties:
        raise invalid(f"* GenerateContentRequest.{where}.properties: should be non-empty for OBJECT type")
    for place, name in enumerate(schema.get("required") or ()):
        if name not in properties:
            raise invalid(f"* GenerateContentRequest.{where}.required[{place}]: property is not defined")
    order = [name for name in schema.get("propertyOrdering") or () if name in properties]
    members = tuple(
        (
            name,
            _read(properties[name], name=words_of(name), where=f"{where}.properties[{name}]", depth=depth + 1),
        )
        for name in dict.fromkeys([*order, *properties])
    )
    return replace(ask, members=members)


def words_of(name: str) -> str:
    """Return the words of a name: "isDefective" and "is_defective" are two."""
    return " ".join(_WORD.findall(_HUMP.sub(" ", name))).lower()


def _bounded(ask: Ask, schema: Mapping[str, Any], of: str, *, where: str) -> Ask:
    """Return an ask with the least and the most of its items or characters."""
    at_least, at_most = schema.get(f"min{of}"), schema.get(f"max{of}")
    if of == "Length":
        at_least, at_most = _told("at least", ask, at_least), _told("at most", ask, at_most)
    at_least = int(at_least or 0)
    if at_least < 0 or (at_most is not None and at_least > int(at_most)):
        raise invalid(f"* GenerateContentRequest.{where}: min{of} {at_least} is above max{of} {at_most}.")
    if at_least > MOST_VALUES:
        raise invalid("The specified schema produces a constraint that has too many states for serving.")
    return replace(ask, at_least=at_least, at_most=None if at_most is None else int(at_most))


def _told(bound: str, ask: Ask, value: Any) -> Any:
    """Return a bound of a schema, or the one that its description tells."""
    found = None if value is not None else _TOLD[bound].search(ask.about)
    return value if found is None else float(found[1])


def _number(ask: Ask, schema: Mapping[str, Any], *, where: str, heeds_words: bool = True) -> Ask:
    """Return an ask with its bounds: of a whole number whole ones, of what must be above a bound the next number.

    What a description tells beside them counts where it contradicts none.
    """
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if heeds_words:
        above, below = _told("greater than", ask, above), _told("less than", ask, below)
    is_whole = ask.kind == "INTEGER"
    if above is not None:
        low = max(low if low is not None else -math.inf, math.floor(above) + 1 if is_whole else _next(above, math.inf))
    if below is not None:
        high = min(
            high if high is not None else math.inf, math.ceil(below) - 1 if is_whole else _next(below, -math.inf)
        )
    if is_whole:
        low, high = (None if low is None else math.ceil(low)), (None if high is None else math.floor(high))
    if is_whole and max(abs(low or 0), abs(high or 0)) > _WHOLE:
        raise invalid(f"* GenerateContentRequest.{where}: bounds of an INTEGER must fit 64 bits")
    if low is not None and high is not None and low > high:
        if heeds_words:
            return _number(ask, schema, where=where, heeds_words=False)
        raise invalid(f"* GenerateContentRequest.{where}: minimum {low} is above maximum {high}.")
    return replace(ask, lowest=low, highest=high)


def _next(number: float, towards: float) -> float:
    return math.nextafter(number, towards)
