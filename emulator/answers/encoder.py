"""Turn texts into vectors of 768 numbers: what a text means, then which words it uses.

The semantic encoder puts 256 dimensions of meaning first (the token vectors that come inside the wordllama wheel)
and 512 of hashed word stems after them, so that cutting a vector short leaves the meaning. The lexical encoder hashes
character n-grams and needs no weights at all. A text has the same vector alone, in a batch, and in the next process.
"""

import functools
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from emulator.answers.text import CJK, LONGEST, plain, stem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH = 768
"""How many numbers a vector has."""
MEANING = 256
"""How many of them, from the front, carry meaning: the width of wordllama's l2_supercat_256."""
_SHARE = 0.65
"""The weight of the meaning in a similarity; flat between 0.6 and 0.7 on the development data."""
_SLOTS = 2
"""In how many places a stem is written; two soften the collisions of 512 places."""
_FIRST_MERGE = 259
"""The token ids below are control tokens and single bytes; above, they stand in order of frequency."""
_BLANK_TOKEN = 29871
"""The token of a lone leading space: it stands before what the tokenizer does not know and means nothing."""
_WORD = re.compile(rf"[^\W_{CJK}]+[+#]*")
_CJK_PAIR = re.compile(rf"(?=([{CJK}]{{2}}))")
_STOP_WORDS = frozenset(
    _WORD.findall(
        """a about above after again against all also am an and any are as at be because been before being below between
    both but by can could did do does doing down during each few for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me more most my myself no nor not now of off on once
    only or other our ours ourselves out over own same she should so some such than that the their theirs them
    themselves then there these they this those through to too under until up us very was we were what when where which
    while who whom why will with would you your yours yourself yourselves"""
    )
)


class _Word(NamedTuple):
    tokens: tuple[int, ...]
    weight: float
    slots: tuple[int, ...]
    signs: tuple[int, ...]


def encode(texts: Sequence[str], *, encoder: str = "semantic") -> "NDArray[np.float32]":
    """Return float32 (n, 768), rows of unit length, in the order of `texts`; a blank one is a ValueError."""
    import numpy as np

    for place, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"text {place} is blank, expected something to encode")
    if not texts:
        return np.zeros((0, WIDTH), dtype=np.float32)
    rows = (_lexical if encoder == "lexical" else _semantic)([words_of(text) for text in texts])
    return _unit(rows)


def words_of(text: str) -> Counter[str]:
    """Count the words of `text`, lower case, stop words left out; never empty unless the text is blank.

    Chinese, Japanese and Korean runs count as their overlapping pairs. A text of stop words alone counts those, a
    text without any word (signs, emoji) its characters.
    """
    lower = plain(text).lower()
    every = [word[:LONGEST] for word in _WORD.findall(lower)] + _CJK_PAIR.findall(lower)
    telling = [word for word in every if word not in _STOP_WORDS]
    return Counter(telling or every or text.encode("utf-8", "replace").decode("utf-8").split())


@functools.lru_cache(maxsize=1 << 14)
def meaning_of(word: str) -> "NDArray[np.float32]":
    """Return what one word, lower case, means: float32, (256,), of unit length; it must not be changed."""
    meant: NDArray[np.float32] = _unit(
        _weights()[1][list(_word(word[:LONGEST]).tokens)].sum(axis=0)[None]
    )[0]
    return meant


def _semantic(counted: Sequence[Counter[str]]) -> "NDArray[np.float32]":
    import numpy as np

    table = _weights()[1]
    meaning = np.empty((len(counted), MEANING), dtype=np.float32)
    stems = np.empty((len(counted), WIDTH - MEANING), dtype=np.float32)
    for place, words in enumerate(counted):
        known = [(_word(word), 1 + math.log(times)) for word, times in words.items()]
        tokens = [token for word, _ in known for token in word.tokens]
        weights = [word.weight * damped for word, damped in known for _ in word.tokens]
        scaled = (
            table[np.array(tokens, dtype=np.intp)] * np.array(weights, dtype=np.float32)[:, None]
        )
        meaning[place] = scaled.sum(axis=0)
        slots = [slot for word, _ in known for slot in word.slots]
        signed = [sign * word.weight * damped for word, damped in known for sign in word.signs]
        stems[place] = np.bincount(slots, weights=signed, minlength=WIDTH - MEANING)
    halves = _unit(meaning) * math.sqrt(_SHARE), _unit(stems) * math.sqrt(1 - _SHARE)
    return np.concatenate(halves, axis=1)


def _lexical(counted: Sequence[Counter[str]]) -> "NDArray[np.float32]":
    """Return hashed 3- to 5-grams of every word between its ends; a word weighs the same however long it is."""
    import numpy as np

    rows = np.empty((len(counted), WIDTH), dtype=np.float32)
    for place, words in enumerate(counted):
        grams = [(*_grams(word), 1 + math.log(times)) for word, times in words.items()]
        slots = [slot for found, _, _ in grams for slot in found]
        signed = [
            sign * damped / math.sqrt(len(signs)) for _, signs, damped in grams for sign in signs
        ]
        rows[place] = np.bincount(slots, weights=signed, minlength=WIDTH)
    return rows


def _unit(rows: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


@functools.lru_cache(maxsize=1 << 16)
def _word(word: str) -> _Word:
    """Return what `word` adds: its tokens, how telling it is by their ranks (about 0 to 1.2), and its stem's places."""
    tokenizer, table = _weights()
    ids = tokenizer.encode(word, add_special_tokens=False).ids
    tokens = tuple(token for token in ids if token != _BLANK_TOKEN) or tuple(ids)
    rank = (
        max(tokens[0] - _FIRST_MERGE + 1, 1) if len(tokens) == 1 else table.shape[0] * len(tokens)
    )
    weight = math.log(rank + 1) / math.log(table.shape[0])
    stemmed = stem(word)
    return _Word(
        tokens, weight, *_hashed([f"{turn}:{stemmed}" for turn in range(_SLOTS)], WIDTH - MEANING)
    )


@functools.lru_cache(maxsize=1 << 16)
def _grams(word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    framed = f"<{word}>"
    grams = {
        framed[at : at + size] for size in (3, 4, 5) for at in range(len(framed) - size + 1)
    } | {framed}
    return _hashed(sorted(grams), WIDTH)


def _hashed(parts: Sequence[str], width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    hashes = [zlib.crc32(part.encode()) for part in parts]
    return tuple(value % width for value in hashes), tuple(
        1 if value >> 31 else -1 for value in hashes
    )


@functools.cache
def _weights() -> "tuple[Any, NDArray[np.float16]]":
    """Return tokenizer and token vectors, (32000, 256), of the installed wheel, whose own code is slow to import."""
    import numpy as np
    from tokenizers import Tokenizer

    inside = Path(str(distribution("wordllama").locate_file("wordllama")))
    tokenizer = Tokenizer.from_file(
        str(inside / "tokenizers" / "l2_supercat_tokenizer_config.json")
    )
    path = inside / "weights" / "l2_supercat_256.safetensors"
    with path.open("rb") as file:  # the length of the head in 8 bytes, the head, the numbers
        length = int.from_bytes(file.read(8), "little")
        tensor = orjson.loads(file.read(length))["embedding.weight"]
    start = 8 + length + tensor["data_offsets"][0]
    shape = tuple(tensor["shape"])
    return tokenizer, np.memmap(path, dtype="<f2", mode="r", offset=start, shape=shape).view(
        np.ndarray
    )
