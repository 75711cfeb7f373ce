"""Find out whether a service returned the answers of a batch for wrong rows (mixed them up).

The words that answers and the texts of their rows share show that. A pair is an answer and the text
of its row. Only rare words count, because every text has the frequent ones:

- An answer is *alike* a text if both have a rare word.
- An answer is *placed* at a text if the two share at least two words that no other answer and no
  other text has. Two such words by chance are unlikely.

The batch is mixed up if both conditions hold:

1. Not more answers are alike the texts of their own rows than of shuffled rows. This is a
   permutation test (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd ed. 2005,
   ch. 3). Its shuffles move all answers along a ring of rows in random order, so that no answer
   stays at its row. One-sided p < 0.001 shows that answers are better than chance.
2. They should be more alike. Earlier answers show how alike right answers are; then fewer than half
   of that share is required, with p < 0.0005. Without earlier answers the placed answers show it:
   most belong to other rows, with p < 0.0005 by the binomial distribution.

So a task whose answers never repeat words of their rows is not suspected. With earlier answers that
are no better than chance the batch is not tested.
"""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# From this number of answers on, a batch is tested (our choice).
MIN_PAIRS = 50
# Compared pairs at most, so that memory does not grow with the rows (our choice).
MAX_PAIRS = 500
# With 1,999 shuffles or more, none of which is as alike, p is 1 / 2,000 or less.
MIN_SHUFFLES = 1_999
# Chance of a hold if answers are as alike as expected (our choice).
MAX_FALSE_HOLD_SHARE = 0.0005
# A rare word occurs in at most this share of the texts and of the answers, but in one at least.
RARE_WORD_SHARE = 0.02
# Words that place an answer at a text.
MIN_PLACING_WORDS = 2
# Share of the placed answers, or of the earlier alike answers, that right answers surely reach.
EXPECTED_SHARE = 0.5
_WORD = re.compile(r"\w{3,}")


class WordPair(NamedTuple):
    """The words of an answer and of the text of its row."""

    answer_words: frozenset[str]
    text_words: frozenset[str]


class Likeness(NamedTuple):
    """How alike answers and the texts of their rows are."""

    # For each answer the indexes of the texts that share a rare word with it.
    alike_texts: list[set[int]]
    # Answers that unique words place at a text, and those of them placed at their own row's text.
    placed_count: int
    own_placed_count: int

    @property
    def alike_count(self) -> int:
        """Return how many answers are alike the text of their own row."""
        return sum(index in texts for index, texts in enumerate(self.alike_texts))


def split_words(text: str) -> frozenset[str]:
    """Return the words of a text, case-folded; a word has three letters or digits or more."""
    return frozenset(_WORD.findall(text.casefold()))


def list_texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value in their order, without the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from list_texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from list_texts(member)


def measure_likeness(pairs: Sequence[WordPair]) -> Likeness:
    """Return how the words of each answer are like the words of its own and of other texts.

    The result has two parts. First, for each answer the texts that share a rare word with it. A
    rare word is in at most RARE_WORD_SHARE of the answers and of the texts. Second, how many
    answers are placed at a text, and how many of these at the text of their own row. An answer is
    placed at a text if they share at least MIN_PLACING_WORDS words that no other answer and no
    other text has.

    Args:
        pairs: The words of each answer, and of the text of the row that it was returned for.
    """
    answers_by_word = _index_words([pair.answer_words for pair in pairs])
    texts_by_word = _index_words([pair.text_words for pair in pairs])
    max_uses = max(1, int(RARE_WORD_SHARE * len(pairs)))

    alike_texts: list[set[int]] = [set() for _ in pairs]
    placing_words = [Counter[int]() for _ in pairs]
    for word, answers in answers_by_word.items():
        texts = texts_by_word.get(word, [])
        if not texts or len(answers) > max_uses or len(texts) > max_uses:
            continue
        for answer_index in answers:
            alike_texts[answer_index].update(texts)
        if len(answers) == len(texts) == 1:
            placing_words[answers[0]][texts[0]] += 1

    placed_count = 0
    own_placed_count = 0
    for answer_index, word_counts in enumerate(placing_words):
        if not word_counts:
            continue
        text_index, word_count = word_counts.most_common(1)[0]
        if word_count >= MIN_PLACING_WORDS:
            placed_count += 1
            own_placed_count += text_index == answer_index
    return Likeness(alike_texts, placed_count, own_placed_count)


def is_better_than_chance(likeness: Likeness, *, seed: str) -> bool:
    """Return whether answers are more alike their own rows than shuffled rows, with p < 0.001.

    The answers are compared with MIN_SHUFFLES or a few more random assignments of the rows. The
    result is False if one of these is as alike. Equal seeds give equal results.
    """
    alike_count = likeness.alike_count
    row_count = len(likeness.alike_texts)
    randomness = random.Random(seed)  # noqa: S311 - it must be repeatable
    shuffle_count = 0
    while shuffle_count < MIN_SHUFFLES:
        positions = list(range(row_count))
        randomness.shuffle(positions)
        # Rows are in a ring of random order; each distance along the ring is a shuffle.
        alike_counts = [0] * row_count
        for answer_index, texts in enumerate(likeness.alike_texts):
            for text_index in texts:
                alike_counts[positions[text_index] - positions[answer_index]] += 1
        # The distance 0 is the row itself.
        if max(alike_counts[1:]) >= alike_count:
            return False
        shuffle_count += row_count - 1
    return True


def is_mixed_up(
    pairs: Sequence[WordPair],
    read_earlier_pairs: Callable[[], Sequence[WordPair]],
    *,
    seed: str,
) -> bool:
    """Return whether the words of a batch's answers show that they were returned for wrong rows.

    An answer is alike a row if they share a rare word. A share is significantly below another if
    chance would make it so low less often than MAX_FALSE_HOLD_SHARE. The steps in this order:

    1. False if there are fewer than MIN_PAIRS pairs, if more than half of the answers are alike
       their own rows, or if `is_better_than_chance`.
    2. If there are at least MIN_PAIRS earlier pairs, they decide. False if they are not
       `is_better_than_chance`, because then words show nothing for this task. Otherwise true if the
       share of answers that are alike their own rows is significantly below half of the earlier
       share.
    3. If there are fewer earlier pairs, unique words decide (see `measure_likeness`). True if, of
       the answers that are placed at a text, significantly fewer than EXPECTED_SHARE are placed at
       that of their own row.

    Args:
        pairs: The words of each answer, and of the text of the row that it was returned for.
        read_earlier_pairs: Returns pairs of stored answers of earlier batches. It is called only
            after step 1.
        seed: Seed of the shuffles; equal seeds give equal results.
    """
    if len(pairs) < MIN_PAIRS:
        return False
    likeness = measure_likeness(pairs)
    # Most answers are alike in nearly every batch, and shuffling takes long.
    if 2 * likeness.alike_count > len(pairs) or is_better_than_chance(likeness, seed=seed):
        return False

    earlier_pairs = read_earlier_pairs()
    if len(earlier_pairs) < MIN_PAIRS:
        probability = _binomial_tail(
            likeness.own_placed_count,
            likeness.placed_count,
            EXPECTED_SHARE,
        )
        return probability < MAX_FALSE_HOLD_SHARE

    earlier_likeness = measure_likeness(earlier_pairs)
    if not is_better_than_chance(earlier_likeness, seed=seed):
        return False
    share = EXPECTED_SHARE * earlier_likeness.alike_count / len(earlier_pairs)
    return _binomial_tail(likeness.alike_count, len(pairs), share) < MAX_FALSE_HOLD_SHARE


def _index_words(word_sets: Sequence[frozenset[str]]) -> Mapping[str, list[int]]:
    """Return the indexes of the sets that contain each word."""
    indexes_by_word = defaultdict[str, list[int]](list)
    for index, words in enumerate(word_sets):
        for word in words:
            indexes_by_word[word].append(index)
    return indexes_by_word


def _binomial_tail(count: int, tries: int, share: float) -> float:
    """Return the binomial probability of at most `count` successes in `tries` tries.

    Args:
        tries: At most MAX_PAIRS; the number of ways does not fit a float for more than 1,000.
        share: The probability of a success.
    """
    return sum(
        math.comb(tries, successes) * share**successes * (1 - share) ** (tries - successes)
        for successes in range(count + 1)
    )
