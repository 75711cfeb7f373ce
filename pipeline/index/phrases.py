"""Look whether a phrase stands in a text: its words, folded as terms are, one behind the other, with no word between.

Stems and stop words play no part here: a phrase means what it says.
"""

import re
from collections.abc import Iterable

from pipeline.core.errors import InputError
from pipeline.index import terms

_BETWEEN = r"[\W_]+"
_NO_WORD_BEFORE, _NO_WORD_BEHIND = r"(?<![^\W_])", r"(?![^\W_])"


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Return what finds a phrase in a folded text.

    Of a script without blanks, a word may stand next to it.

    Raises:
        InputError: it has no word.
    """
    words = re.findall(r"(?:[^\W_]|[\u0300-\u036f])+", terms.fold(phrase))
    if not words:
        raise InputError(f"there is no word in {phrase!r}", hint="leave it out")
    before = "" if terms.is_unspaced(words[0][0]) else _NO_WORD_BEFORE
    behind = "" if terms.is_unspaced(words[-1][-1]) else _NO_WORD_BEHIND
    return re.compile(before + _BETWEEN.join(map(re.escape, words)) + behind)


def stands_in(pattern: re.Pattern[str], texts: Iterable[str]) -> bool:
    """Return whether a phrase stands in any of some texts."""
    return any(pattern.search(terms.fold(text)) for text in texts)
