"""What a response schema asks for: tags, concepts, or any other values.

A list of strings, bare or as the one property of an object, is what a question for tags is; an `enum` restricts the
words. A list of objects with a `name` and their `quotes` is what a question for concepts is. `minItems` and `maxItems`
bound the number of either. Every other schema of the dialect is read by `dialect` and answered by the stand-in.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from emulator import dialect
from emulator.answers.fill import is_tag
from emulator.dialect import MAX_DEPTH, Ask
from emulator.errors import invalid

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


def shape_of(config: Mapping[str, Any]) -> Shape | ConceptShape | Ask:
    """Return the shape that a generation config asks for.

    Raises:
        ApiError: 400 where there is no schema, two of them, or one that the live service refuses.
    """
    plain = config.get("responseSchema")
    json_schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if plain is not None and json_schema is not None:
        raise invalid("Only one of responseSchema and responseJsonSchema may be set.")
    if plain is not None:
        return _shape_again(orjson.dumps(plain), resolve=False)
    if isinstance(json_schema, Mapping):
        return _shape_again(orjson.dumps(json_schema), resolve=True)
    raise invalid("The local engine answers by a schema only: set generationConfig.responseSchema.")


@functools.lru_cache(maxsize=256)
def _shape_again(document: bytes, *, resolve: bool) -> Shape | ConceptShape | Ask:
    """Return the shape of a schema that stands alike in every line of a file, looked at once."""
    schema = orjson.loads(document)
    where = "generation_config.response_schema"
    if resolve:
        schema, where = _resolved(schema, root=schema, depth=0), "generation_config.response_json_schema"
    return _shape(schema) or dialect.read(schema, where=where)


def _shape(schema: Mapping[str, Any]) -> Shape | ConceptShape | None:
    """Return the shape of a schema whose references are resolved, None for one of neither tags nor concepts."""
    kind = _kind(schema)
    if kind == "ARRAY":
        return _list_shape(schema, name=None)
    properties = schema.get("properties") or {}
    if kind == "OBJECT" and len(properties) == 1:
        name, member = next(iter(properties.items()))
        if _kind(member) == "ARRAY":
            return _list_shape(member, name=name)
    return None


def _list_shape(schema: Mapping[str, Any], *, name: str | None) -> Shape | ConceptShape | None:
    """Return the shape of a list of strings or of concepts."""
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return None
    if _kind(items) == "OBJECT":
        return _concept_shape(schema, items.get("properties") or {}, name=name)
    if _kind(items) != "STRING" or not is_tag(name or "", schema, items):
        return None
    words = items.get("enum")
    at_least, at_most = _bounds(schema, fewest=AT_LEAST, most=AT_MOST)
    return Shape(name, None if words is None else tuple(words), at_least, at_most)


def _concept_shape(schema: Mapping[str, Any], members: Mapping[str, Any], *, name: str | None) -> ConceptShape | None:
    """Return the shape of a list of concepts, whose `members` are given by their names; None for other things."""
    asked = (*_ASKED_ALWAYS, *members)
    if any(_CONCEPT.get(member, "") != _member_kind(members.get(member)) for member in asked):
        return None
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


def _resolved(schema: Mapping[str, Any], *, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return a JSON Schema with its local references put in place."""
    if depth > MAX_DEPTH:
        raise dialect.too_deep()
    reference = schema.get("$ref")
    if reference is not None:
        found = root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/"))
        if not isinstance(found, Mapping):
            raise invalid(f"Unresolved reference {reference!r} in responseJsonSchema.")
        beside = {name: member for name, member in schema.items() if name != "$ref"}
        return _resolved({**found, **beside}, root=root, depth=depth + 1)

    def inner(member: Any) -> Any:
        return _resolved(member, root=root, depth=depth + 1) if isinstance(member, Mapping) else member

    resolved = dict(schema)
    if "items" in schema:
        resolved["items"] = inner(schema["items"])
    for choice in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(choice), list):
            resolved[choice] = [inner(member) for member in schema[choice]]
    if isinstance(schema.get("properties"), Mapping):
        resolved["properties"] = {name: inner(member) for name, member in schema["properties"].items()}
    return resolved
