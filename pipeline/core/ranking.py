"""What an entry of an index is, and how entries are ranked by words, and words beside vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

K1 = 1.2  # how soon a repeated word stops counting (Robertson and Zaragoza 2009, the usual value)
B = 0.75  # how much a long text counts against its words (same source)


class RankMode(StrEnum):
    """By what entries are ranked."""

    HYBRID = "hybrid"
    WORDS = "words"
    VECTORS = "vectors"


class FieldGroup(NamedTuple):
    """Fields of an entry that are ranked as one text, and what their BM25 counts in the sum over all groups."""

    fields: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """The groups of fields, eight at most, and the share of words in a fused score; the rest is that of vectors.

    `asking` are words of a question that say nothing of which entry is asked for.
    """

    groups: tuple[FieldGroup, ...] = (FieldGroup(("text",)),)
    share: float = 0.6
    asking: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        groups = [{"fields": list(group.fields), "weight": group.weight} for group in self.groups]
        return {"groups": groups, "share": self.share, "asking": self.asking, "k1": K1, "b": B}

    def texts(self, fields: Mapping[str, str]) -> list[str]:
        """Return the text of each group of one entry's fields, those it has not left out."""
        return ["\n".join(filter(None, map(fields.get, group.fields))) for group in self.groups]


def ranking_from_json(document: Mapping[str, Any]) -> Ranking:
    """Return the facts that `Ranking.as_json` made a document of; KeyError, TypeError or ValueError of another one."""
    groups = tuple(
        FieldGroup(tuple(map(str, one["fields"])), float(one["weight"]))
        for one in document["groups"]
    )
    return Ranking(groups, float(document["share"]), str(document["asking"]))


class Entry(NamedTuple):
    """One row of the index: the item's id, the text that is embedded, and what stands in `metadata.json` for it.

    `facts` (JSON) are what, beside the text, makes an index out of date when it changes; so do the `fields`, texts by
    their names, in whose words the entry is found. Without any, it is found in those of its text.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]
    facts: Any = None
    fields: Mapping[str, str] | None = None
