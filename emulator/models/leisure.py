"""Tell what a text says of the person's work from what it says beside: leisure, likings, and names of organisations."""

import functools
import re
from collections.abc import Container, Iterator, Sequence

from emulator.models.tagging import words
from emulator.models.vocabulary import LEISURE, LIKING, Found
from emulator.models.words import Word, cut

_QUOTED = re.compile(r"«[^«»\n]{1,80}»|„[^„“”\n]{1,80}[“”]|“[^“”\n]{1,80}”|《[^《》\n]{1,80}》")
_BREAK, _STOP = Word(",", "", ""), Word(".", "", "")
_JOINING = frozenset({"of", "for", "de", "des", "du", "für", "der", "del", "la", "the"})
_BEHIND = frozenset({"of", "for", "de", "des", "du", "für", "der", "del"})
_WHERE = frozenset({"at"})


def worded(text: str) -> list[Word]:
    """Return the words of a text, with a break in the place of each quotation and each name of an organisation."""
    said = cut(_QUOTED.sub(" , ", text))
    kept: list[Word] = []
    at = 0
    for start, end in _names(said):
        kept += said[at:start]
        kept.append(_BREAK)
        at = end
    return kept + said[at:]


def about_work(founds: Sequence[Found], said: Sequence[Word], pastimes: Container[str]) -> list[Found]:
    """Return what is found outside asides: in one about leisure nothing counts, in one about likings no pastime."""
    kept: list[Found] = []
    over = {LEISURE: 0, LIKING: 0}
    for found in founds:
        if found.name in over:
            over[found.name] = _end_of_sentence(said, found.at)
        elif found.at >= over[LEISURE] and (found.at >= over[LIKING] or found.name not in pastimes):
            kept.append(found)
    return kept


def _end_of_sentence(said: Sequence[Word], at: int) -> int:
    return next((place for place in range(at, len(said)) if said[place] == _STOP), len(said))


def _names(said: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield the places of names of organisations: where each begins, and where it is over."""
    at = 0
    while at < len(said):
        if not said[at].surface[:1].isupper():
            at += 1
            continue
        end = _end_of_run(said, at)
        name, at = _name_in(said, at, end)
        if name < at:
            yield name, at


def _end_of_run(said: Sequence[Word], at: int) -> int:
    """Return where a run of capitalised words is over, with the little words inside it."""
    end = at + 1
    place = end
    while place < len(said):
        if said[place].surface[:1].isupper():
            end = place + 1
        elif said[place].surface not in _JOINING:
            break
        place += 1
    return end


def _name_in(said: Sequence[Word], start: int, end: int) -> tuple[int, int]:
    """Return where in a run a name of an organisation begins and is over; nothing of the run where it holds none."""
    if end - start > 1 and start > 0 and said[start - 1].surface in _WHERE:
        return start, end
    begin = start
    for place in range(start, end):
        if said[place].surface in _JOINING:
            begin = place + 1
        elif said[place].surface.lower() in _organisations():
            follows = said[place + 1].surface if place + 1 < end else ""
            if follows in _BEHIND:
                return begin, end
            if place > begin and not follows:
                return begin, end
    return end, end


@functools.cache
def _organisations() -> frozenset[str]:
    return frozenset(words("organisations"))
