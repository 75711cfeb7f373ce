"""Tell what a text says of the person's work from what it says beside: leisure, likings, and names of organisations."""

import functools
import re
from collections.abc import Container, Iterator, Sequence

from emulator.models.tagging import words
from emulator.models.vocabulary import ASIDES, AWAY, LEISURE, LIKING, STUDY, Found
from emulator.models.words import CJK, Word, cut, is_sign

_QUOTED = re.compile(
    r"«[^«»\n]{1,80}»|„[^„“”\n]{1,80}[“”]|“[^“”\n]{1,80}”|《[^《》\n]{1,80}》|「[^「」\n]{1,80}」|『[^『』\n]{1,80}』"
)
_BEFORE_NAME = "在于於从從和与與的是我任为為及曾到向跟由過过了"
"""Signs that are no part of a name of an organisation behind them."""
_BREAK, _STOP = Word(",", "", ""), Word(".", "", "")
_BEHIND = frozenset({"of", "for", "de", "des", "du", "für", "der", "del", "di", "do", "da", "dell", "della", "degli"})
_JOINING = _BEHIND | {"l", "le", "la", "the", "dos", "das", "delle", "dei", "e", "y"}
_BRIEF = 2
"""Words of a sentence that tells a liking beside others."""
_LISTED, _LISTED_SIGNS = 12, 6
"""Words, and Chinese or Japanese signs, of an item that goes on with a list."""
_ARTICLES = frozenset({"l", "la", "le", "los", "las", "the"})
_WHERE = frozenset({"at", "chez", "bei"})
_FOR, _WORKING = "for", frozenset({"work", "works", "worked", "working"})
_AND = frozenset({"and", "y", "e", "et", "und", "и"})
_BESIDE_FAMILY = frozenset(
    {
        "a",
        "an",
        "of",
        "the",
        "my",
        "our",
        "two",
        "three",
        "four",
        "his",
        "her",
        "proud",
        "mother",
        "father",
        "mum",
        "mom",
        "dad",
    }
    | {
        "owner",
        "lover",
        "mein",
        "meine",
        "mis",
        "mes",
        "dos",
        "tres",
        "deux",
        "trois",
        "zwei",
        "drei",
        "mama",
        "de",
        "von",
        "big",
    }
)
"""Words that stand before "kids" where a list names them beside what the person does."""


def worded(text: str) -> list[Word]:
    """Return the words of a text, with a break in the place of each quotation and each name of an organisation."""
    said = cut(_QUOTED.sub(" , ", text if text.isascii() else _name_in_signs().sub(" , ", text)))
    kept: list[Word] = []
    at = 0
    for start, end in _names(said):
        kept += said[at:start]
        kept.append(_BREAK)
        at = end
    return kept + said[at:]


def about_work(founds: Sequence[Found], said: Sequence[Word], pastimes: Container[str]) -> list[Found]:
    """Return what is found outside asides: in one about leisure nothing counts, in one about likings no pastime."""
    leisure, likings = list(_leisure(founds, said)), list(_likings(founds, said))
    kept = [found for found in founds if found.name not in ASIDES and not _is_in(leisure, found.at)]
    return [found for found in kept if found.name not in pastimes or not _is_in(likings, found.at)]


def unlearnt(kept: Sequence[Found], founds: Sequence[Found], said: Sequence[Word]) -> list[Found]:
    """Return of what is kept what a text does not tell only as learnt: "studierte Philosophie, Ethnologie"."""
    studies = [found for found in founds if found.name == STUDY]
    spans = [(_begin_of_study(said, found), _end_of_list(said, found.at)) for found in studies]
    return [found for found in kept if not _is_in(spans, found.at)]


def _begin_of_study(said: Sequence[Word], found: Found) -> int:
    """Return where what was learnt begins: in Chinese before a word for it that ends the item ("機械系畢業")."""
    end = found.at + found.size
    is_last = is_sign(said[found.at].surface) and _end_of_item(said, end) == end
    return next((at + 1 for at in range(found.at, -1, -1) if not said[at].plain), 0) if is_last else found.at


def _end_of_list(said: Sequence[Word], at: int) -> int:
    """Return where an item is over, and brief ones of its sentence right behind it, before "now"."""
    most = _LISTED_SIGNS if is_sign(said[at].surface) else _LISTED
    end = _end_of_item(said, at)
    while end < len(said) and said[end] == _BREAK and 0 < (after := _end_of_item(said, end + 1)) - end - 1 <= most:
        end = after
    return next((place for place in range(at, end) if said[place].surface.lower() in words("nowadays")), end)


def _is_in(spans: Sequence[tuple[int, int]], at: int) -> bool:
    return any(begin <= at < end for begin, end in spans)


def _leisure(founds: Sequence[Found], said: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield from where to where a text tells of leisure: "when not teaching, she sails" from the comma on."""
    for found in founds:
        if found.name == LEISURE:
            yield found.at, _end_of_sentence(said, found.at)
        elif found.name == AWAY:
            pause = _end_of_item(said, found.at)
            turn = next((other.at for other in founds if found.at < other.at < pause and other.name in ASIDES), pause)
            yield turn, _end_of_sentence(said, turn)


def _likings(founds: Sequence[Found], said: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield from where to where a text tells of likings.

    That is what follows a word for them, all of a sentence with one that ends an item ("runner, wine lover") or with an
    item of family or pets, and what the person is away from.
    """
    for found in founds:
        if found.name == AWAY:
            yield found.at, _end_of_item(said, found.at)
        elif found.name == LIKING:
            is_last = _is_item_over(said, found.at + found.size)
            yield _begin_of_sentence(said, found.at) if is_last else found.at, _end_of_sentence(said, found.at)
    family = _family()
    for at, word in enumerate(said):
        if word.surface in family and _is_alone(said, at):
            yield _brief_around(said, _begin_of_sentence(said, at), _end_of_sentence(said, at))


def _brief_around(said: Sequence[Word], begin: int, end: int) -> tuple[int, int]:
    """Return where a row of sentences of a word or two begins and is over ("Cats. Cake."); else one sentence alone."""
    if end - begin > _BRIEF:
        return begin, end
    while begin > 0 and begin - 1 - (before := _begin_of_sentence(said, begin - 2)) <= _BRIEF:
        begin = before
    while end + 1 < len(said) and (after := _end_of_sentence(said, end + 1)) - end - 1 <= _BRIEF:
        end = after
    return begin, end


def _is_alone(said: Sequence[Word], at: int) -> bool:
    """Tell whether a word stands in a list as an item of its own, little words before it left aside."""
    first = at
    while first > 0 and said[first - 1].surface.lower() in _BESIDE_FAMILY:
        first -= 1
    is_begun = first == 0 or _is_item_over(said, first - 1)
    return is_begun and _is_item_over(said, at + 1)


def _is_item_over(said: Sequence[Word], at: int) -> bool:
    """Tell whether no item of a list goes on at a place."""
    return at >= len(said) or not said[at].plain or said[at].surface.lower() in _AND


def _begin_of_sentence(said: Sequence[Word], at: int) -> int:
    return next((place + 1 for place in range(at, -1, -1) if said[place] == _STOP), 0)


def _end_of_sentence(said: Sequence[Word], at: int) -> int:
    return next((place for place in range(at, len(said)) if said[place] == _STOP), len(said))


def _end_of_item(said: Sequence[Word], at: int) -> int:
    return next((place for place in range(at, len(said)) if not said[place].plain), len(said))


@functools.cache
def _family() -> frozenset[str]:
    known = words("family")
    return frozenset([*known, *map(str.capitalize, known)])


def _names(said: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield the places of names of organisations: where each begins, and where it is over."""
    known = _organisations()
    at = 0
    while at < len(said):
        if not said[at].surface[:1].isupper():
            is_name = said[at].surface in known and _is_of_name(said, at + 1)
            end = _end_of_run(said, at + 1) if is_name else at + 1
            if is_name:
                yield at, end
            at = end
            continue
        end = _end_of_run(said, at)
        name, at = _name_in(said, at, end)
        if name < at:
            yield name, at


def _is_of_name(said: Sequence[Word], at: int) -> bool:
    """Tell whether "of" and a name stand at a place, as in "musée du Louvre"."""
    place = at + 1
    while place < len(said) and said[place].surface in _ARTICLES:
        place += 1
    return place < len(said) and said[at].surface in _BEHIND and said[place].surface[:1].isupper()


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
    before = said[start - 1].surface if start > 0 else ""
    is_for = before == _FOR and start > 1 and said[start - 2].surface.lower() in _WORKING
    if end - start > 1 and (before in _WHERE or is_for):
        return start, end
    begin, known = start, _houses() if before.islower() else _organisations()
    for place in range(start, end):
        if said[place].surface in _JOINING:
            begin = place + 1
        elif said[place].surface.lower() in known:
            follows = said[place + 1].surface if place + 1 < end else ""
            if follows in _BEHIND:
                return begin, end
            if place > begin and not follows:
                return begin, end
    return end, end


@functools.cache
def _name_in_signs() -> re.Pattern[str]:
    """Return what finds Chinese and Japanese names of organisations by their last signs."""
    return re.compile(
        rf"[{CJK}](?<![{_BEFORE_NAME}])(?:(?![{_BEFORE_NAME}])[{CJK}]){{0,5}}?(?:{'|'.join(words('signs'))})"
    )


@functools.cache
def _houses() -> frozenset[str]:
    """Return what names of organisations hold, and those of houses of the arts."""
    return _organisations().union(words("houses"))


@functools.cache
def _organisations() -> frozenset[str]:
    return frozenset(words("organisations"))
