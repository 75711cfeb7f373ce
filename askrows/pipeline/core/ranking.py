"""Entries of an index, and the options of ranking them by words and vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

# BM25 saturation of repeated words (Robertson and Zaragoza 2009, the usual value).
BM25_K1 = 1.2
# BM25 penalty of long texts (same source).
BM25_B = 0.75


class RankMode(StrEnum):
    """The scores that rank entries."""

    HYBRID = "hybrid"
    WORDS = "words"
    VECTORS = "vectors"


class FieldGroup(NamedTuple):
    """Fields of an entry that are ranked as a single text.

    `weight` multiplies their BM25 in the sum over all groups.
    """

    fields: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """Options of ranking."""

    # At most eight.
    groups: tuple[FieldGroup, ...] = (FieldGroup(("text",)),)
    # The share of words in a fused score. Vectors have the rest.
    share: float = 0.6
    # Words of questions that do not describe an entry.
    question_words: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        groups = [{"fields": list(group.fields), "weight": group.weight} for group in self.groups]
        return {
            "groups": groups,
            "share": self.share,
            "asking": self.question_words,
            "k1": BM25_K1,
            "b": BM25_B,
        }

    def texts(self, fields: Mapping[str, str]) -> list[str]:
        """Return the text of each group, without the missing fields of the entry."""
        return ["\n".join(filter(None, map(fields.get, group.fields))) for group in self.groups]


def parse_ranking(document: Mapping[str, Any]) -> Ranking:
    """Return the options in a document of `Ranking.as_json`.

    Raises:
        KeyError, TypeError, ValueError: The document has another shape.
    """
    groups = tuple(
        FieldGroup(tuple(map(str, group["fields"])), float(group["weight"]))
        for group in document["groups"]
    )
    return Ranking(groups, float(document["share"]), str(document["asking"]))


class Entry(NamedTuple):
    """A row of the index."""

    id: str
    # The text that is embedded.
    text: str
    # Its part of `metadata.json`.
    metadata: Mapping[str, Any]
    # JSON values. The entry is out of date if the text, these or the fields change.
    facts: Any = None
    # Texts by name, in which words are searched. The default is `text`.
    fields: Mapping[str, str] | None = None
    # Other columns of the source, by name, which WHERE= can name but `metadata` does not contain.
    extra_cells: Mapping[str, Any] = MappingProxyType({})
