"""Turn texts into vectors of 768 numbers.

- The first 256 are the meaning (token vectors of the wordllama wheel), the other 512 are hashed
  word stems. A vector that is cut short keeps the meaning.
- The vector of a text is the same alone, in a batch and in another process.
"""

import functools
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from askrows.emulator.answers.text import CJK, MAX_WORD_CHARS, stem_word, strip_markup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Numbers in a vector.
WIDTH = 768
# The first numbers, which are the meaning: the width of wordllama's l2_supercat_256.
MEANING_WIDTH = 256
_STEM_WIDTH = WIDTH - MEANING_WIDTH
# Weight of the meaning in a similarity; flat between 0.6 and 0.7 on the development data.
_MEANING_SHARE = 0.65
# Dimensions per stem. Two soften the collisions of 512 dimensions.
_DIMENSIONS_PER_STEM = 2
# Smaller token ids are control tokens and single bytes. Ids from here on are in order of falling
# frequency.
_FIRST_FREQUENCY_TOKEN = 259
# A lone leading space, which has no meaning. The tokenizer writes it before unknown characters.
_SPACE_TOKEN = 29871
_WORD = re.compile(rf"[^\W_{CJK}]+[+#]*")
_CJK_PAIR = re.compile(rf"(?=([{CJK}]{{2}}))")
_STOP_WORDS = frozenset(
    _WORD.findall(
        """
    a about above after again against all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each few for from further had
    has have having he her here hers herself him himself his how i if in into is it its itself just
    me more most my myself no nor not now of off on once only or other our ours ourselves out over
    own same she should so some such than that the their theirs them themselves then there these
    they this those through to too under until up us very was we were what when where which while
    who whom why will with would you your yours yourself yourselves
    """,
    ),
)


class _EncodedWord(NamedTuple):
    """Contribution of a word to the vector of a text."""

    tokens: tuple[int, ...]
    # How much the word says, by the rank of its tokens: about 0 to 1.2.
    weight: float
    # Dimensions of its stem, counted from the first after the meaning, and their signs.
    dimensions: tuple[int, ...]
    signs: tuple[int, ...]


def encode(texts: Sequence[str]) -> "NDArray[np.float32]":
    """Return the vectors of texts, float32 (len(texts), 768), of unit length and in their order.

    The meaning of a text is made from the vectors of its words. In a dot product of two vectors,
    the meaning contributes at most `_MEANING_SHARE`, and the stems the rest. If there are no texts,
    the array has no rows.
    """
    import numpy as np

    meanings = np.empty((len(texts), MEANING_WIDTH), dtype=np.float32)
    stems = np.empty((len(texts), _STEM_WIDTH), dtype=np.float32)
    for row_index, text in enumerate(texts):
        counts = count_content_words(text)
        words = [(_encode_word(word), 1 + math.log(count)) for word, count in counts.items()]
        meanings[row_index] = _sum_token_vectors(words)
        stems[row_index] = _sum_stems(words)

    scaled_meanings = _normalize(meanings) * math.sqrt(_MEANING_SHARE)
    scaled_stems = _normalize(stems) * math.sqrt(1 - _MEANING_SHARE)
    # If one of the two parts is zero, the vector is shorter than 1.
    return _normalize(np.concatenate((scaled_meanings, scaled_stems), axis=1))


def count_content_words(text: str) -> Counter[str]:
    """Count the words of a text, in lower case and without mark-up and stop words.

    - Words are cut after `MAX_WORD_CHARS` characters.
    - Chinese, Japanese and Korean runs count as their overlapping pairs of characters.
    - If a text has stop words only, these are counted.
    - If a text has no word (signs, emoji), its parts between blanks are counted.

    The count is empty only if the text is blank.
    """
    lower_text = strip_markup(text).lower()
    words = [word[:MAX_WORD_CHARS] for word in _WORD.findall(lower_text)]
    words += _CJK_PAIR.findall(lower_text)
    content_words = [word for word in words if word not in _STOP_WORDS]
    if content_words or words:
        return Counter(content_words or words)

    return Counter(text.encode("utf-8", "replace").decode("utf-8").split())


def measure_similarity(words: str, text: str) -> float:
    """Return how similar a text is to some words, about 0 to 1; 0 if either is blank.

    It is the mean over the words of the similarity to the most similar word of the text.
    """
    word_meanings = _compute_word_meanings(words)
    text_meanings = _compute_word_meanings(text)
    if not len(word_meanings) or not len(text_meanings):
        return 0.0

    return float((word_meanings @ text_meanings.T).max(axis=1).mean())


# Many questions in a row are about the same text.
@functools.lru_cache(maxsize=64)
def _compute_word_meanings(text: str) -> "NDArray[np.float32]":
    """Return the meanings of the words of a text, (words, 256), of unit length.

    The array is cached, so callers must not change it.
    """
    import numpy as np

    _, token_vectors = _load_tokenizer_and_token_vectors()
    meanings = [
        token_vectors[list(_encode_word(word).tokens)].sum(axis=0)
        for word in count_content_words(text)
    ]
    return _normalize(np.array(meanings, dtype=np.float32).reshape(-1, MEANING_WIDTH))


def _sum_token_vectors(words: Sequence[tuple[_EncodedWord, float]]) -> "NDArray[np.float32]":
    """Return the weighted sum of the token vectors of words, (256,).

    Args:
        words: (word, factor) pairs. The factor grows with the word's count in the text; the vectors
            are multiplied by it and by the word's `weight`.
    """
    import numpy as np

    tokens: list[int] = []
    weights: list[float] = []
    for word, factor in words:
        tokens += word.tokens
        weights += [word.weight * factor] * len(word.tokens)

    _, token_vectors = _load_tokenizer_and_token_vectors()
    vectors = token_vectors[np.array(tokens, dtype=np.intp)]
    scaled_vectors = vectors * np.array(weights, dtype=np.float32)[:, None]
    total: NDArray[np.float32] = scaled_vectors.sum(axis=0)
    return total


def _sum_stems(words: Sequence[tuple[_EncodedWord, float]]) -> "NDArray[Any]":
    """Return the weighted sum of the hashed stems of words, (512,).

    Args:
        words: (word, factor) pairs, as in `_sum_token_vectors`.
    """
    import numpy as np

    dimensions: list[int] = []
    weights: list[float] = []
    for word, factor in words:
        dimensions += word.dimensions
        weights += [sign * word.weight * factor for sign in word.signs]
    return np.bincount(dimensions, weights=weights, minlength=_STEM_WIDTH)


def _normalize(rows: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Scale rows to unit length; a row of zeros is unchanged."""
    import numpy as np

    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    divisors = np.where(lengths > 0, lengths, 1.0)
    return (rows / divisors).astype(np.float32)


@functools.lru_cache(maxsize=1 << 16)
def _encode_word(word: str) -> _EncodedWord:
    """Return the tokens, the weight and the hashed stem of a word in lower case.

    A word weighs more the rarer its token is. A word that consists of several tokens counts as
    rarer than every word of a single token.
    """
    tokenizer, token_vectors = _load_tokenizer_and_token_vectors()
    token_ids = tokenizer.encode(word, add_special_tokens=False).ids
    tokens = tuple(token for token in token_ids if token != _SPACE_TOKEN) or tuple(token_ids)

    vocabulary_size = token_vectors.shape[0]
    rank = vocabulary_size * len(tokens)
    if len(tokens) == 1:
        rank = max(tokens[0] - _FIRST_FREQUENCY_TOKEN + 1, 1)
    weight = math.log(rank + 1) / math.log(vocabulary_size)

    stem = stem_word(word)
    hashes = [zlib.crc32(f"{number}:{stem}".encode()) for number in range(_DIMENSIONS_PER_STEM)]
    dimensions = tuple(crc % _STEM_WIDTH for crc in hashes)
    signs = tuple(1 if crc >> 31 else -1 for crc in hashes)
    return _EncodedWord(tokens, weight, dimensions, signs)


@functools.cache
def _load_tokenizer_and_token_vectors() -> "tuple[Any, NDArray[np.float16]]":
    """Return the tokenizer and the token vectors, (32000, 256) float16, of wordllama.

    They are read once from the files of that installed package. The vectors are mapped from their
    file. The package's own code is not used, because it is slow to import.
    """
    import numpy as np
    from tokenizers import Tokenizer

    package_path = Path(str(distribution("wordllama").locate_file("wordllama")))
    tokenizer_path = package_path / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer = Tokenizer.from_file(str(tokenizer_path))

    weights_path = package_path / "weights" / "l2_supercat_256.safetensors"
    # The file contains the header's length in 8 bytes, the header, and the numbers.
    with weights_path.open("rb") as file:
        header_length = int.from_bytes(file.read(8), "little")
        header: Mapping[str, Any] = orjson.loads(file.read(header_length))

    tensor = header["embedding.weight"]
    offset = 8 + header_length + tensor["data_offsets"][0]
    shape = tuple(tensor["shape"])
    mapped_file = np.memmap(weights_path, dtype="<f2", mode="r", offset=offset, shape=shape)
    return tokenizer, mapped_file.view(np.ndarray)
