"""Compare what two texts that are nearly one state: their numbers, negations and names.

A quotation that is found by likeness differs from the text in something. Where that is a number, a negation or a name
it may say another thing, or the opposite, and is none. The words of both are aligned, and only what differs is looked
at, so that a word taken for one of these by mistake costs nothing where both have it.

Numbers, number words and months are compared as they are written. A name is a word with a capital, and any word of a
script without capitals, for there names cannot be told from other words; one with a slip in it is another name.
"""

# ruff: noqa: RUF001 - some words are Russian

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from rapidfuzz.distance import Indel, Levenshtein, MatchingBlock

from pipeline.core.fold import is_unspaced, shown

NEGATIONS = (
    "no not non none nor neither never nobody nothing nowhere cannot without unless hardly scarcely barely isnt arent "
    "wasnt werent dont doesnt didnt cant wont couldnt wouldnt shouldnt mustnt neednt havent hasnt hadnt ikke ej ingen "
    "intet aldrig hverken uden næppe umuligt nicht nichts nie niemals niemand niemandem niemanden nirgends nirgendwo "
    "kein keine keinem keinen keiner keines keinerlei keineswegs weder ohne kaum nein nunca jamás nada nadie ningún "
    "ninguno ninguna ningunos ningunas tampoco ni sin ne pas jamais rien aucun aucune aucunement nul nulle nullement "
    "guère personne sans mai niente nulla nessun nessuno nessuna né neppure neanche nemmeno senza niet niets nooit "
    "nergens geen noch zonder nauwelijks nee ikkje ingenting aldri verken uten utan neppe nei não ninguém nenhum "
    "nenhuma nenhuns nenhumas nem sem tampouco не нет ни никогда никто никого никому ничто ничего ничем нигде никуда "
    "никак никакой никакая никакое никакие никаких никакого нельзя без вряд едва inte icke inget inga varken knappast"
)
NEGATIVE_PREFIXES = "un in im il ir non dis mis anti an on des o u не без бес анти"
NEGATIVE_SUFFIXES = "less free los lose losen loser loses frei vrij løs löst lös fri"
POSITIVE_SUFFIXES = "ful voll vol full fuld"
NUMBERS = (
    "zero null nul cero zéro ноль нуль noll one ein eine einem einen einer eines un une uno una uma een één один одна "
    "одно одного одной two zwei twee deux dos dois duas два две двух двум två both beide beiden ambos entrambi оба "
    "обе three drei drie trois tres três tre три трех трёх трем трём four vier quatre cuatro quattro quatro четыре "
    "четырех четырёх fyra five fünf vijf cinq cinco cinque пять пяти fem six sechs zes seis шесть шести seks sex "
    "seven sieben zeven siete sette sete семь семи syv sju eight acht huit ocho otto oito восемь восьми otte åtte "
    "åtta nine neun negen neuf nueve nove девять девяти nio ten zehn tien dix diez dieci dez десять десяти tio eleven "
    "elf onze undici одиннадцать elleve elva twelve zwölf twaalf douze doce dodici doze двенадцать tolv thirteen "
    "dreizehn dertien treize trece tredici treze тринадцать tretten tretton fourteen vierzehn veertien quatorze "
    "catorce quattordici catorze четырнадцать fjorten fjorton fifteen fünfzehn vijftien quinze quince quindici "
    "пятнадцать femten femton sixteen sechzehn zestien seize dieciséis sedici dezesseis шестнадцать seksten sexton "
    "seventeen siebzehn zeventien diecisiete diciassette dezessete семнадцать sytten sjutton eighteen achtzehn "
    "achttien dieciocho diciotto dezoito восемнадцать atten arton nineteen neunzehn negentien diecinueve diciannove "
    "dezenove девятнадцать nitten nitton twenty zwanzig twintig vingt veinte venti vinte двадцать двадцати tyve tjue "
    "tjugo thirty dreißig dreissig dertig trente treinta trenta trinta тридцать тридцати tredive tretti trettio forty "
    "vierzig veertig quarante cuarenta quaranta quarenta сорок сорока fyrre førti fyrtio fifty fünfzig vijftig "
    "cinquante cincuenta cinquanta cinquenta пятьдесят halvtreds femti femtio sixty sechzig zestig soixante sesenta "
    "sessanta sessenta шестьдесят seksti sextio seventy siebzig zeventig septante setenta settanta семьдесят "
    "halvfjerds sytti sjuttio eighty achtzig tachtig octante ochenta ottanta oitenta восемьдесят firs åtti åttio "
    "ninety neunzig negentig nonante noventa novanta девяносто halvfems nitti nittio hundred hundreds hundert honderd "
    "cent cents cien ciento cento cem сто ста hundre hundrede hundra thousand thousands tausend duizend mille mil "
    "тысяча тысячи тысяч tusind tusen million millions millionen miljoen millón millones milione milioni milhão "
    "milhões миллион миллиона миллионов millioner miljon miljoner billion billions milliarde milliarden miljard "
    "milliard milliards миллиард миллиарда миллиардов milliarder miljarder half halves hälfte halb halbe halben helft "
    "demi moitié mitad medio media metà mezzo metade половина половины halvdelen hälften halv halva quarter quarters "
    "viertel kwart quart quarts cuarto четверть first erste ersten erster eerste premier première primero primera "
    "primo prima primeiro primeira первый первая første första second zweite zweiten zweiter tweede deuxième seconde "
    "segundo segunda secondo seconda второй вторая anden andre andra third thirds dritte dritten dritter drittel "
    "derde troisième tiers tercero tercera tercio terzo terza terceiro terceira третий третья tredje fourth vierte "
    "vierten vierde quatrième quarto четвертый четвёртый fjerde fjärde fifth fünfte fünften vijfde cinquième quinto "
    "пятый femte once einmal eenmaal twice double doppelt zweimal tweemaal doble doppio dobro dobbelt dubbelt thrice "
    "triple dreimal трижды dozen dozens dutzend dozijn douzaine docena dozzina dúzia dusin дюжина"
)
MONTHS = (
    "january jan januar jänner januari janvier janv enero ene gennaio gen janeiro января январь янв february feb "
    "februar februari février févr fév febrero febbraio fevereiro fev февраля февраль фев march mar märz mrz maart "
    "mrt mars marzo março марта март мар april apr avril avr abril abr aprile апреля апрель апр may mai mei mayo "
    "maggio maio maj мая май june jun juni juin junio giugno giu junho июня июнь июн july jul juli juillet juil julio "
    "luglio lug julho июля июль июл august aug augustus août aou agosto августа август авг augusti september sep sept "
    "septembre septiembre settembre setembro сентября сентябрь сен сент october oct oktober okt octobre octubre "
    "ottobre ott outubro октября октябрь окт november nov novembre noviembre novembro ноября ноябрь ноя december dec "
    "dezember dez décembre déc diciembre dic dicembre dezembro декабря декабрь дек desember"
)


NUMBER, NEGATION, NAME = "number", "negation", "name"
SAME = 0.8  # share of characters in common (Indel) from which on two words are one, but for a slip
REACH = 40  # characters before and behind a slice that are looked at
FEWEST_LEFT = 3  # characters of a word without its negative prefix or suffix

_KINDS = {
    **dict.fromkeys("'", "'"),
    **dict.fromkeys(".,:\u066b\u066c", "."),
    "-": "-",
    **dict.fromkeys("<>\u2264\u2265\u2260\u00b1%\u2030", "s"),  # signs that a number has another meaning without
    **dict.fromkeys('!?\u00a1\u00bf"()[]\u2022\n\u2029', "!"),
}
# of kinds: a number with its sign, a word, a character of a script without blanks, another sign
_TOKEN = re.compile(r"(?:(?<![dlu])-)?d+(?:[.']d+)*|l+(?:'l+)*|u|s")
_CUT_NUMBER = re.compile(r"(?:(?<!\w)[-\u2212\u2013])?(?:\d[.,'\u2019]?)+$")
_CUT_WORD = re.compile(r"[^\W\d_]+[-'\u2010\u2011\u2019]$")
_NUMBER_ON = re.compile(r"(?:[.,'\u2019]?\d)+")
_LAST_WORDS = re.compile(r"(?:[^\s.!?]+[^\S\n]+){0,2}$")  # of the same sentence
_FIRST_WORDS = re.compile(r"(?:[^\S\n]+[^\s.!?]+){0,2}")
_WORD_ON = re.compile(r"[-'\u2010\u2011\u2019][^\W\d_]+")


_STATED = {
    **dict.fromkeys((*NUMBERS.split(), *MONTHS.split()), NUMBER),
    **dict.fromkeys(NEGATIONS.split(), NEGATION),
}


class _Word(NamedTuple):
    """A token: its folded form, and what it is: a number, a negation, a name, or nothing of these."""

    form: str
    kind: str


def difference(quote: str, text: str, start: int, end: int) -> str:
    """Return in what a quotation states something else than the slice text[start:end] that it is nearly.

    NEGATION, NUMBER or NAME, the first of them; empty where it differs in other words alone.
    """
    said = _words(quote, has_capitals=not quote.isupper() or text[start:end].isupper())
    first, last = _widened(text, start, end)
    there = _words(text[first:last])
    lead, tail = _left_out(said, there)
    if lead or tail:  # the slice lacks words that the quotation has at its ends: what stands in their place?
        before, behind = text[max(0, first - REACH) : first], text[last : last + REACH]
        first -= _size(_LAST_WORDS.search(before)) if lead else 0
        last += _size(_FIRST_WORDS.match(behind)) if tail else 0
        there = _words(text[first:last])
    found = {kind for one, other in _regions(said, there) for kind in _differences(one, other)}
    return next((kind for kind in (NEGATION, NUMBER, NAME) if kind in found), "")


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a slice with all of the numbers and compounds at its ends, of which it may have a part alone."""
    before = (_CUT_NUMBER if text[start].isdecimal() else _CUT_WORD).search(text[max(0, start - REACH) : start])
    after = (_NUMBER_ON if text[end - 1].isdecimal() else _WORD_ON).match(text[end : end + REACH])
    return start - _size(before), end + _size(after)


def _size(match: re.Match[str] | None) -> int:
    return 0 if match is None else len(match[0])


def _words(text: str, *, has_capitals: bool = True) -> list[_Word]:
    """Return the words of a text; where it is in capitals as a whole, and the other is not, these say nothing."""
    plain = shown(text)
    plain = plain if has_capitals else plain.lower()
    kinds = "".join(map(_kind, plain))
    return [_word(plain[at:end], kinds[at]) for at, end in (match.span() for match in _TOKEN.finditer(kinds))]


def _word(written: str, kind: str) -> _Word:
    """Return a token as it is compared; `kind` is that of its first character."""
    if kind in "d-s":
        return _Word(written, NUMBER)
    form = unicodedata.normalize("NFKC", written.casefold())
    if form.endswith("n't") or form.startswith("n'"):  # as in "isn't" and "n'est"
        return _Word(form, NEGATION)
    is_name = written.lower() == written.upper() or written != written.lower()
    return _Word(form.removesuffix("'s"), _STATED.get(form) or (NAME if is_name else ""))


@cache
def _kind(char: str) -> str:
    """Return of what kind a character is: l of a word, u a word of its own, d a digit, or as `_KINDS` has it."""
    if char.isdecimal():
        return "d"
    if unicodedata.category(char)[0] in "LMN":
        return "u" if is_unspaced(char) else "l"
    return "s" if unicodedata.category(char) == "Sc" else _KINDS.get(char, " ")


def _left_out(said: Sequence[_Word], there: Sequence[_Word]) -> tuple[bool, bool]:
    """Return whether a quotation has more words than the slice before the first that both have, and after the last."""
    *blocks, _ = _matching(said, there)
    if not blocks:
        return False, False
    first, last = blocks[0], blocks[-1]
    return first.a > first.b, len(said) - last.a > len(there) - last.b


def _matching(one: Sequence[_Word], other: Sequence[_Word]) -> list[MatchingBlock]:
    """Return the stretches of words that both have, and an empty one at the end."""
    return Levenshtein.opcodes([word.form for word in one], [word.form for word in other]).as_matching_blocks()


def _regions(one: Sequence[_Word], other: Sequence[_Word]) -> Iterator[tuple[Sequence[_Word], Sequence[_Word]]]:
    """Yield the stretches in which two texts differ, those that stand between words that both have."""
    begun, until = 0, 0
    for block in _matching(one, other):
        if (begun, until) != (block.a, block.b):
            yield one[begun : block.a], other[until : block.b]
        begun, until = block.a + block.size, block.b + block.size


def _differences(said: Sequence[_Word], there: Sequence[_Word]) -> Iterator[str]:
    """Yield in what a stretch of a quotation states something else than that of the text."""
    numbers = [[word.form for word in side if word.kind == NUMBER] for side in (said, there)]
    letters = ["".join(word.form for word in side) for side in (said, there)]
    if not any(numbers) and letters[0] == letters[1]:  # with blanks elsewhere
        return
    if numbers[0] != numbers[1]:
        yield NUMBER
    negations = [sum(word.kind == NEGATION for word in side) for side in (said, there)]
    if negations[0] != negations[1] or any(_is_negated(one.form, other.form) for one in said for other in there):
        yield NEGATION
    names = [[word.form for word in side if word.kind == NAME] for side in (said, there)]
    if names[0] != names[1]:
        yield NAME


def _is_negated(one: str, other: str) -> bool:
    """Return whether one of two words is the other one with a negative prefix or suffix, or nearly."""
    best = Indel.normalized_similarity(one, other)
    for word, plain in ((one, other), (other, one)):
        bare = [word.removeprefix(front) for front in NEGATIVE_PREFIXES.split() if word.startswith(front)]
        bare += [word.removesuffix(back) for back in NEGATIVE_SUFFIXES.split() if word.endswith(back)]
        plains = {plain, *(plain.removesuffix(back) for back in POSITIVE_SUFFIXES.split())}
        alike = (Indel.normalized_similarity(left, p) for left in bare if len(left) >= FEWEST_LEFT for p in plains)
        if max(alike, default=0.0) > max(best, SAME):
            return True
    return False
