"""Say which of some choices a text is nearest to: by what its words mean, and where the choices judge, by its feeling.

Word by word, because one telling word decides and the mean of a text blurs it. Vectors of words say little of praise
and blame, so choices of that kind are told by words known to be kind or unkind, and by the words near to those. What
comes first for a text comes first in every process.
"""

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emulator.models import encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|[.,;:!?]")
_KIND = frozenset(
    _TOKEN.findall(
        """
        good great excellent wonderful perfect lovely amazing fantastic brilliant superb best beautiful delicious
        friendly helpful kind comfortable reliable easy enjoy love like happy satisfied pleased recommend pleasure
        impressive outstanding fresh clean quick smooth fair generous charming elegant fun clever fine nice praise
        positive thank
        """
    )
)
_UNKIND = frozenset(
    _TOKEN.findall(
        """
        bad terrible awful horrible poor worst dreadful disappointing disappointed useless broken dirty rude slow
        noisy cheap ugly boring faulty defective hate angry annoying regret waste mistake problem fail failed
        wrong missing confusing unfriendly unfair expensive overpriced uncomfortable unreliable blame complaint
        criticism negative late cold
        """
    )
)
_MIXED = frozenset(_TOKEN.findall("mixed both ambivalent partly partial balanced"))
_NEUTRAL = frozenset(_TOKEN.findall("neutral none unclear neither objective indifferent unknown other"))
_NEGATIONS = frozenset(_TOKEN.findall("not no never nothing nobody none without hardly cannot"))
_ENDINGS = ("s", "d", "ed", "ly")
_REACH = 3
"""Words that a negation turns."""
_TURN = re.compile(r"\b(?:but|yet|however|although|though|unfortunately|sadly|alas|except|while)\b", re.IGNORECASE)
_KNOWN, _FELT = 0.6, 0.2
"""What a listed word weighs, and below what a word near to listed ones weighs nothing."""
_NEAREST = 3
_ONE_SIDED, _WITH_TURN = 0.3, 0.1
"""The share of the lesser feeling from which a text is mixed, and where it says "but"."""
_ALIKE = 0.6
"""The likeness of two words that speak of the same."""


def ranked(text: str, choices: Sequence[str], *, about: str = "") -> list[tuple[int, float]]:
    """Return the places of the `choices` and how near they are, from 0 on, the nearest first.

    `about` is what is asked, a field's name and description; words of the text near to it count more, and where it
    says what a choice stands for ("billing: invoices and payments"), so does that.
    """
    scores = _meant(text, tuple(choices), about)
    roles = _roles(tuple(choices))
    if roles:
        wanted = _feeling(text, roles)
        scores = [score + (role == wanted) for score, role in zip(scores, roles, strict=True)]
    return sorted(enumerate(scores), key=lambda one: (-one[1], one[0]))


def judgement(wanted: str, text: str) -> bool | None:
    """Return whether a text feels as some words do ("positive", "dissatisfied"), None where those name no feeling."""
    role = _role(wanted)
    return _feeling(text, ("kind", "unkind")) == role if role in ("kind", "unkind") else None


@functools.lru_cache(maxsize=1 << 12)
def likeness(words: str, text: str) -> float:
    """Return how near a text comes to saying each of some words, about 0 to 1; 0 where either has none."""
    wanted, found = _matrix(tuple(encoder.words_of(words))), _matrix(tuple(encoder.words_of(text)))
    if wanted is None or found is None:
        return 0.0
    return float((wanted @ found.T).max(axis=1).mean())


def is_denied(word: str, text: str) -> bool:
    """Tell whether the text's nearest to a word stands behind a negation."""
    tokens = [token.lower() for token in _TOKEN.findall(text)]
    near = [place for place, token in enumerate(tokens) if _like(word, token) >= _ALIKE]
    return bool(near) and any(_negates(token) for token in tokens[max(0, near[0] - _REACH) : near[0]])


def _like(word: str, other: str) -> float:
    """Return the likeness of two words; signs are like nothing."""
    return float(encoder.meaning_of(word) @ encoder.meaning_of(other)) if other[0].isalpha() else 0.0


def _matrix(words: tuple[str, ...]) -> "NDArray[np.float32] | None":
    """Return the meanings of some words, float32, (n, 256), None for none."""
    import numpy as np

    return np.stack([encoder.meaning_of(word) for word in words]) if words else None


def _meant(text: str, choices: tuple[str, ...], about: str) -> list[float]:
    """Return for each choice how near the words of the text come to it, the nearest by far the most."""
    import numpy as np

    counted = encoder.words_of(text) if text.strip() else {}
    found = _matrix(tuple(counted))
    if found is None:
        return [0.0] * len(choices)
    wanted, asked = _wanted(choices, about)
    weights = 1 + 2 * np.clip(found @ asked, 0, None)
    near = np.clip(found @ wanted.T, 0, None) ** 2
    return [float(score) for score in (near * weights[:, None]).sum(axis=0) / weights.sum()]


@functools.lru_cache(maxsize=128)
def _wanted(choices: tuple[str, ...], about: str) -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
    """Return the meanings of the choices, (n, 256), and of what is asked, (256,)."""
    import numpy as np

    said = [f"{choice} {_explained(choice, about)}".replace("_", " ") for choice in choices]
    rows = encoder.encode([one if one.strip() else "-" for one in [*said, about]])[:, : encoder.MEANING]
    units = rows / np.maximum(np.sqrt((rows**2).sum(axis=1, keepdims=True)), 1e-9)
    return units[:-1], units[-1]


def _explained(choice: str, about: str) -> str:
    """Return what a description says of a choice: "billing: invoices and payments; delivery: ..."."""
    found = re.search(
        rf"(?<!\w){re.escape(choice)}['\"`]?\s*(?:[:=(\u2013-]|means|if|when)\s*([^;.,\n)]{{3,200}})", about
    )
    return found[1] if found else ""


@functools.lru_cache(maxsize=1024)
def _roles(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return what each choice says of a feeling, `kind`, `unkind`, `mixed`, `neutral` or nothing; () for no such."""
    roles = tuple(_role(choice) for choice in choices)
    return roles if {"kind", "unkind"} <= set(roles) else ()


def _role(choice: str) -> str:
    """Return the feeling that a choice names."""
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", choice)]
    for role, known in (("mixed", _MIXED), ("neutral", _NEUTRAL)):
        if known & set(words):
            return role
    felt = sum(_felt(word) for word in words)
    if _NEGATIONS & set(words):
        felt = -felt
    return "" if abs(felt) < 2 * _FELT else "kind" if felt > 0 else "unkind"


def _feeling(text: str, roles: tuple[str, ...]) -> str:
    """Return which feeling a text shows, as far as the roles have one for it."""
    kind, unkind = _weighed(text)
    turns = _TURN.search(text.lstrip(), 1) is not None  # what begins with one turns from what stands before
    if not kind and not unkind and not turns:
        return "neutral" if "neutral" in roles else "unkind"  # who has no kind word complains more often than not
    share = (kind + 0.1) / (kind + unkind + 0.2)
    limit = _WITH_TURN if turns else _ONE_SIDED
    middle = next((role for role in ("mixed", "neutral") if role in roles), "")
    if middle and limit <= share <= 1 - limit:
        return middle
    return "kind" if share > 1 / 2 else "unkind"


def _weighed(text: str) -> tuple[float, float]:
    """Return how much kind and how much unkind is said; a negation turns the next words."""
    kind = unkind = 0.0
    turned = 0
    for token in _TOKEN.findall(text.lower()):
        if _negates(token):
            turned = _REACH
            continue
        felt = _felt(token) if token[0].isalpha() else 0.0
        turned = max(0, turned - 1) if token[0].isalpha() else 0
        if abs(felt) >= _FELT:
            felt = -felt if turned else felt
            kind, unkind = kind + max(felt, 0), unkind + max(-felt, 0)
    return kind, unkind


def _negates(token: str) -> bool:
    return token in _NEGATIONS or token.endswith(("n't", "n\u2019t"))


@functools.lru_cache(maxsize=1 << 14)
def _felt(word: str) -> float:
    """Return how kind (above 0) or unkind (below) a word is: by the lists, else by the nearest words of them."""
    forms = {word, *(word.removesuffix(ending) for ending in _ENDINGS)}
    if forms & (_KIND | _UNKIND):
        return _KNOWN if forms & _KIND else -_KNOWN
    if not encoder.is_telling(word):
        return 0.0
    import numpy as np

    kind, unkind = (np.sort(words @ encoder.meaning_of(word))[-_NEAREST:].mean() for words in _listed())
    return float(kind - unkind)


@functools.cache
def _listed() -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
    """Return the meanings of the kind and of the unkind words."""
    import numpy as np

    kind, unkind = (np.stack([encoder.meaning_of(word) for word in sorted(words)]) for words in (_KIND, _UNKIND))
    return kind, unkind
