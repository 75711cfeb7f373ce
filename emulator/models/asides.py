"""Tell what a text says of the person's work from what it says beside: leisure, likings, and names of organisations."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emulator.models.tagging import words
from emulator.models.words import Word, cut

_LEISURE = re.compile(
    r"\b(?:in|during) (?:his|her|my|their|our|your) (?:free|spare|leisure) time\b"
    r"|\b(?:outside|away from|out) (?:of )?"
    r"(?:work|coding|the office|tech|programming|his|her|my|the keyboard|the computer)\b"
    r"|\bwhen (?:not|he is not|he's not|she is not|she's not|i'm not|i am not|they're not|they are not)\b"
    r"|\b(?:spare|free) time\b|\boff[- ]hours\b|\bhobb(?:y|ies)\b|\bafter hours\b|\b(?:at|on|nights and|my) weekends?\b"
    r"|\bweekends are\b|\bby night\b|\b(?:plays|playing) (?:the|in a)\b|\bcover band\b|\bfan (?:of|de)\b|\bopinions my own\b"
    r"|\b(?:when|while) (?:he|she|i|they)(?:'s| is|'m| am|'re| are)? ?n[o']t\b"
    r"|\bfreizeit\b|\bhobb?ys?\b|\bam wochenende\b|\bleidenschaftliche[rn]?\b|\bprivat\b"
    r"|\baficiones\b|\baficionad[oa]\b|\bamante de\w*\b|\bpasatiempos?\b|\btiempo libre\b|\bratos libres\b"
    r"|\btemps libre\b|\bloisirs?\b|\bpassionnée? de\b|\bamat(?:eur|rice) de\b|\bà ses heures\b"
    r"|\bв свободное время\b|\bлюблю\b|\bлюбит\b|\bувлека\w+\b|\bхобби\b|\bобожа\w+\b|\bна досуге\b"
    r"|周末|週末|業餘|业余|閒暇|闲暇|喜歡|喜欢|愛好|爱好|熱愛|热爱",
    re.IGNORECASE,
)
_LIKING = re.compile(
    r"\b(?:lov(?:e|es|er|ing)|enjoys?|enjoying|likes?|keen|avid|addict|fond of|passion for|huge fan|interests? include)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n\u3002\uff1b;]*(?:[.!?](?=\S)[^.!?\n\u3002]*)*(?:[.!?\u3002;\uff1b]+|\n|$)")
_QUOTED = re.compile(r"«[^«»\n]{1,80}»|„[^„“”\n]{1,80}[“”]|“[^“”\n]{1,80}”|《[^《》\n]{1,80}》")
_BREAK = Word(",", "", "")
_JOINING = frozenset({"of", "for", "and", "the", "de", "des", "du", "of the", "für", "für", "der", "del", "la", "&"})
_BEHIND = frozenset({"of", "for", "de", "des", "du", "für", "der", "del"})
_WHERE = frozenset({"at"})


class Said(NamedTuple):
    """The words of a text by what they speak of."""

    work: list[Word]
    liked: list[Word]
    """What stands behind a word of liking: a pastime there is none of the person's fields."""


def told_apart(text: str) -> Said:
    """Return the words about work and those about likings; leisure, quotations and organisations are left out."""
    text = _QUOTED.sub(" , ", text)
    if not (_LEISURE.search(text) or _LIKING.search(text)):
        return Said(_without_organisations(cut(text)), [])
    work: list[str] = []
    liked: list[str] = []
    for sentence in _SENTENCE.findall(text):
        free = _LEISURE.search(sentence)
        kept = sentence[: free.start()] if free else sentence
        liking = _LIKING.search(kept)
        work.append(kept[: liking.start()] if liking else kept)
        if liking:
            liked.append(kept[liking.start() :])
    return Said(_without_organisations(cut("\n".join(work))), _without_organisations(cut("\n".join(liked))))


def _without_organisations(said: Sequence[Word]) -> list[Word]:
    """Return words with a break in the place of each name of an organisation."""
    kept: list[Word] = []
    at = 0
    for start, end in _names(said):
        kept += said[at:start]
        kept.append(_BREAK)
        at = end
    return kept + list(said[at:])


def _names(said: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield the places of names of organisations: where each begins, and where it is over."""
    at = 0
    while at < len(said):
        if not said[at].surface[:1].isupper():
            at += 1
            continue
        end = _end_of_run(said, at)
        name_end = _name_in(said, at, end)
        if name_end:
            yield at, name_end
        at = max(name_end, end)


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


def _name_in(said: Sequence[Word], start: int, end: int) -> int:
    """Return where a name of an organisation is over that begins with a run, 0 where it is none."""
    if end - start > 1 and start > 0 and said[start - 1].surface in _WHERE:
        return end
    over = 0
    for place in range(start, end):
        if said[place].surface.lower() not in _organisations():
            continue
        follows = said[place + 1].surface if place + 1 < end else ""
        if follows in _BEHIND:
            return end
        if place > start and not follows[:1].isupper():
            over = place + 1
    return over


@functools.cache
def _organisations() -> frozenset[str]:
    return frozenset(words("organisations"))
