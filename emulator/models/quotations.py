"""Cut the quotations out of a text that show what it speaks of: sentences, or as much of one as a reader needs."""

import bisect
import itertools
import re
from collections.abc import Sequence

from emulator.models.markup import blanked
from emulator.models.phrases import Place

QUOTE = 200
"""Characters of the longest quote."""
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u061f\u06d4\u0964](?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bal\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\bFig\.)(?<!\bEq\.)"
    r"[.!?\u2026\u061f\u06d4\u0964]*(?=[\s\"'\u201d)\]]|$)|[\u3002\uff01\uff1f]|\n\s*\n|\0+"
)
_TURN = re.compile(r"(?:,\s+(?=(?:but|yet|however|although|though|while)\b)|;\s+)(?P<next>)", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:\u060c\u3001\uff0c\uff1b]\s*")


def sentences_of(readable: str) -> list[int]:
    """Return where the sentences begin, and the text's end."""
    return [0, *(match.end() for match in _SENTENCE_END.finditer(readable)), len(readable)]


def quotes_of(text: str, places: Sequence[Place], *, sentences: Sequence[int], most: int) -> list[str]:
    """Return the sentences around the first `places`, each once, at most `most` and one at least."""
    quotes: list[str] = []
    for place in places:
        at = bisect.bisect_right(sentences, place.start) - 1
        end = sentences[min(at + 1, len(sentences) - 1)]
        quote = _slice(text, place, low=sentences[at], high=max(end, place.end))
        if quote not in quotes:
            quotes.append(quote)
        if len(quotes) >= most:
            break
    return quotes


def _slice(text: str, place: Place, *, low: int, high: int) -> str:
    """Return the quote in `text[low:high]` around `place`: all of it where that fits, from a clause on else."""
    if high - low > QUOTE:
        earliest = max(low, place.end - QUOTE, place.start - QUOTE // 2)
        clause = _CLAUSE.search(text, earliest, place.start)
        if earliest > low:
            blank = text.find(" ", earliest, place.start)
            earliest = clause.end() if clause else blank + 1 if blank >= 0 else place.start
        low = earliest
        if high - low > QUOTE:
            blank = text.rfind(" ", place.end, low + QUOTE)
            high = blank if blank >= 0 else max(place.end, low + QUOTE)
    return text[low:high].strip()


def clauses_of(text: str) -> list[str]:
    """Return the sentences of a text, those apart that turn with a "but" or a semicolon; each once, in order.

    Each is a slice of the text, of a letter or a digit at least and of at most `QUOTE` characters.
    """
    ends = sentences_of(blanked(text))
    clauses: dict[str, None] = {}
    for low, high in itertools.pairwise(ends):
        cuts = [low, *(match.start("next") for match in _TURN.finditer(text, low, high)), high]
        for start, end in itertools.pairwise(cuts):
            lead = end - len(text[start:end].lstrip()) if text[start:end].strip() else end
            clause = _slice(text, Place(lead, lead + 1), low=lead, high=end).rstrip(",;: \n\t") if lead < end else ""
            if any(map(str.isalnum, clause)):
                clauses[clause] = None
    return list(clauses)
