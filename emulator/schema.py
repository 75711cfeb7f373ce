"""What a response schema asks for, as far as this server can serve it.

It can serve a list of strings, bare or as the one property of an object, which is what a question for tags is; an
`enum` restricts the words. And it can serve a list of objects with a `name` and their `quotes`, which is what a
question for concepts is. `minItems` and `maxItems` bound the number of either. Anything else is refused rather than
filled with invented content.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from emulator.errors import ApiError, invalid

AT_LEAST = 3
"""How many tags are given where the schema does not say (the local tagger tops up to this)."""
AT_MOST = 8
"""How many tags are given at most where the schema does not say."""
FEWEST_CONCEPTS = 4
"""How many concepts are given where the schema does not say and the text has as many."""
MOST_CONCEPTS = 14
"""How many concepts are given at most where the schema does not say."""
_CONCEPT = {"name": "STRING", "quotes": "STRINGS", "type": "STRING", "aliases": "STRINGS", "confidence": "NUMBER"}
"""What a concept may be asked for, and what each member is."""
_ASKED_ALWAYS = ("name", "quotes")
"""The members by which a question for concepts is known."""
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Shape:
    """The answer that is wanted: the property it stands in, if any, the words allowed, and how many."""

    name: str | None
    allowed: tuple[str, ...] | None
    at_least: int
    at_most: int

    def wrap(self, tags: list[str]) -> object:
        """Return the answer's JSON document."""
        return tags if self.name is None else {self.name: tags}


@dataclass(frozen=True)
class ConceptShape:
    """The concepts that are wanted: the property they stand in, if any, their members and types, and how many."""

    name: str | None
    members: tuple[str, ...]
    types: tuple[str, ...] | None
    at_least: int
    at_most: int
    most: tuple[tuple[str, int], ...] = ()
    """How many aliases or quotes a concept may have, where the schema says so."""

    def wrap(self, concepts: Sequence[Mapping[str, Any]]) -> object:
        """Return the answer's JSON document, of each concept what was asked for."""
        found = [self._fitted(concept) for concept in concepts]
        return found if self.name is None else {self.name: found}

    def _fitted(self, concept: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the schema asks of a concept, within what it allows: of the types `other`, or else the last."""
        fitted = {member: concept[member] for member in self.members}
        if self.types is not None and fitted.get("type", self.types[-1]) not in self.types:
            fitted["type"] = "other" if "other" in self.types else self.types[-1]
        for member, most in self.most:
            fitted[member] = fitted[member][:most]
        return fitted


def shape_of(config: Mapping[str, Any]) -> Shape | ConceptShape:
    """Return the shape that a generation config asks for.

    Raises:
        ApiError: 400 where there is no schema, two of them, or one that cannot be served.
    """
    plain = config.get("responseSchema")
    json_schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if plain is not None and json_schema is not None:
        raise invalid("Only one of responseSchema and responseJsonSchema may be set.")
    if plain is not None:
        return _shape_again(orjson.dumps(plain), resolve=False)
    if isinstance(json_schema, Mapping):
        return _shape_again(orjson.dumps(json_schema), resolve=True)
    raise invalid(
        "The local engine answers with tags or concepts only: set generationConfig.responseSchema to an ARRAY of "
        "STRING or of OBJECT with name and quotes, or to an OBJECT with one such property."
    )


@functools.lru_cache(maxsize=256)
def _shape_again(document: bytes, *, resolve: bool) -> Shape | ConceptShape:
    """Return the shape of a schema that stands alike in every line of a file, looked at once."""
    schema = orjson.loads(document)
    if resolve:
        return _shape(_resolved(schema, root=schema, depth=0))
    check_items(schema, where="generation_config.response_schema")
    return _shape(schema)


def check_items(schema: Mapping[str, Any], *, where: str) -> None:
    """Refuse a list that does not say what it holds, at any depth, as the live service does.

    Raises:
        ApiError: 400 naming the list.
    """
    if str(schema.get("type", "")).upper() == "ARRAY" and "items" not in schema:
        raise invalid(f"* GenerateContentRequest.{where}.items: missing field.")
    if "items" in schema:
        check_items(schema["items"], where=f"{where}.items")
    for name, member in schema.get("properties", {}).items():
        check_items(member, where=f"{where}.properties[{name}]")


def _shape(schema: Mapping[str, Any]) -> Shape | ConceptShape:
    """Return the shape of a schema whose references are resolved."""
    kind = _kind(schema)
    if kind == "ARRAY":
        return _list_shape(schema, name=None)
    properties = schema.get("properties") or {}
    if kind == "OBJECT" and len(properties) == 1:
        name, member = next(iter(properties.items()))
        if _kind(member) == "ARRAY":
            return _list_shape(member, name=name)
    raise _refused(f"{kind or 'no type'} with the properties {sorted(properties)}")


def _list_shape(schema: Mapping[str, Any], *, name: str | None) -> Shape | ConceptShape:
    """Return the shape of a list of strings or of concepts."""
    items = schema.get("items")
    if isinstance(items, Mapping) and _kind(items) == "OBJECT":
        return _concept_shape(schema, items.get("properties") or {}, name=name)
    if not isinstance(items, Mapping) or _kind(items) != "STRING":
        raise _refused(f"ARRAY of {items.get('type') if isinstance(items, Mapping) else items!r}")
    words = items.get("enum")
    at_least, at_most = _bounds(schema, fewest=AT_LEAST, most=AT_MOST)
    return Shape(name, None if words is None else tuple(words), at_least, at_most)


def _concept_shape(schema: Mapping[str, Any], members: Mapping[str, Any], *, name: str | None) -> ConceptShape:
    """Return the shape of a list of concepts, whose `members` are given by their names."""
    for member in (*_ASKED_ALWAYS, *members):
        wanted, found = _CONCEPT.get(member), _member_kind(members.get(member))
        if wanted != found:
            raise _refused(f"ARRAY of OBJECT whose {member!r} is {found or 'missing'}")
    most = tuple(
        (member, int(members[member]["maxItems"])) for member in members if members[member].get("maxItems") is not None
    )
    types = members.get("type", {}).get("enum")
    at_least, at_most = _bounds(schema, fewest=FEWEST_CONCEPTS, most=MOST_CONCEPTS)
    at_least = max(at_least, min(FEWEST_CONCEPTS, at_most))  # one is enough for a schema, and too few for a reader
    return ConceptShape(name, tuple(members), tuple(types) if types else None, at_least, at_most, most)


def _member_kind(schema: object) -> str:
    """Return what a member of a concept is: STRING, NUMBER, STRINGS for a list of them, or whatever else it says."""
    kind = _kind(schema)
    if kind == "ARRAY" and isinstance(schema, Mapping):
        return f"{_kind(schema.get('items'))}S"
    return kind


def _kind(schema: object) -> str:
    """Return the type that a schema names, in capitals, blank where it names none."""
    return str(schema.get("type", "")).upper() if isinstance(schema, Mapping) else ""


def _bounds(schema: Mapping[str, Any], *, fewest: int, most: int) -> tuple[int, int]:
    """Return how many items a list must and may have; `fewest` and `most` where it does not say.

    Raises:
        ApiError: 400 where the one is above the other.
    """
    limit = schema.get("maxItems")
    at_least = int(schema.get("minItems", fewest))
    at_most = max(most, at_least) if limit is None else int(limit)
    if at_least < 0 or ("minItems" in schema and at_least > at_most):
        raise invalid(f"minItems {at_least} is above maxItems {at_most}.")
    return min(at_least, at_most), at_most


def _refused(found: str) -> ApiError:
    """Return the 400 for a schema that this server cannot serve."""
    return invalid(
        f"The local engine cannot serve this response schema: found {found}, "
        "expected ARRAY of STRING, or of OBJECT with a STRING name and an ARRAY of STRING quotes (and type, aliases, "
        "confidence at most), or an OBJECT with exactly one such property."
    )


def _resolved(schema: Mapping[str, Any], *, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return a JSON Schema with its local references put in place."""
    if depth > _MAX_DEPTH:
        raise invalid("A schema in GenerationConfig in the request exceeds the maximum allowed nesting depth.")
    reference = schema.get("$ref")
    if reference is not None:
        found = root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/"))
        if not isinstance(found, Mapping):
            raise invalid(f"Unresolved reference {reference!r} in responseJsonSchema.")
        return _resolved(found, root=root, depth=depth + 1)
    resolved = dict(schema)
    if isinstance(schema.get("items"), Mapping):
        resolved["items"] = _resolved(schema["items"], root=root, depth=depth + 1)
    if isinstance(schema.get("properties"), Mapping):
        resolved["properties"] = {
            name: _resolved(member, root=root, depth=depth + 1) if isinstance(member, Mapping) else member
            for name, member in schema["properties"].items()
        }
    return resolved
