"""Tell which tags the text of a person does not support: by a word they share, else by what both mean.

By words alone a tag of another word than the text's is unlike it, by vectors alone none is. So what shares no word with
its text is held against the texts of others, by the local engine's encoder: it runs here, free, and sends nothing
anywhere. Tags are in English, so only texts in English are looked at.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipeline.gemini import models
from pipeline.gemini.local_embeddings import embed_locally
from pipeline.index.terms import terms_of

ENCODER, WIDTH = "findable-local-embedding-1", 768
ALIKE = 0.6  # of the longer of two terms: what they begin with in common, where they are of one root
LEAST = 4  # letters of a term that stands within another: `keep` in `beekeep`
NEARER = 0.25  # of the texts of others: where more of them are nearer to a tag, its own does not tell of it
ENGLISH = frozenset({"the", "and", "of", "with", "for", "my", "is", "from", "by", "our", "at", "has", "who", "as"})
FEW = 2  # different ones of these words, which a text in English has


class TaggedText(NamedTuple):
    """What was asked about a person, and the tags that were given."""

    text: str
    tags: Sequence[str]


def in_english(texts: Sequence[TaggedText]) -> list[TaggedText]:
    """Return those whose text is in English, as far as its small words tell."""
    return [one for one in texts if len(ENGLISH.intersection(one.text.lower().split())) >= FEW]


def unsupported(texts: Sequence[TaggedText]) -> list[tuple[int, str]]:
    """Return the tags that are unlike their text, each with its place among these texts in English."""
    strange = [(place, tag) for place, one in enumerate(texts) for tag in _without_word(one)]
    nearer = _others_nearer([tag for _, tag in strange], [place for place, _ in strange], [one.text for one in texts])
    return [one for one, share in zip(strange, nearer, strict=True) if share > NEARER]


def _without_word(one: TaggedText) -> list[str]:
    """Return the tags that have no term in common with their text, nor one of the same root."""
    terms = set(terms_of(one.text))
    return [tag for tag in one.tags if not any(_stands_in(term, terms) for term in terms_of(tag))]


def _stands_in(term: str, terms: Collection[str]) -> bool:
    return term in terms or any(_are_alike(term, other) for other in terms)


def _are_alike(one: str, other: str) -> bool:
    if len(other) >= LEAST and other in one:
        return True
    pairs = enumerate(zip(one, other, strict=False))
    same = next((place for place, (here, there) in pairs if here != there), min(len(one), len(other)))
    return same > LEAST and same >= ALIKE * max(len(one), len(other))


def _others_nearer(short: Sequence[str], own: Sequence[int], texts: Sequence[str]) -> list[float]:
    """Return for each short text what share of the texts is nearer to it than its own, by its place among them."""
    if not short:
        return []
    model = models.load_models(None)[ENCODER]
    wide, brief = (embed_locally(model, some, dim=WIDTH, query=True) for some in (texts, short))
    likeness = brief @ wide.T
    mine = likeness[range(len(short)), list(own)]
    nearer: list[float] = (likeness > mine[:, None]).mean(axis=1).tolist()
    return nearer
