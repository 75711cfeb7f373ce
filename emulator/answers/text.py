"""Read a text as the engine's answers need it: without mark-up, in words, in sentences, in sections."""

import functools
import html
import itertools
import re
import threading
import unicodedata
from typing import Any, NamedTuple

QUOTE = 200
"""Characters of the longest sentence that is quoted whole."""
LONGEST = 48
"""Longer runs of letters are cut here: no term is as long, and stemming them takes seconds."""
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
"""Chinese, Japanese and Korean characters: words of their own, because nothing else says where a word ends."""
_NOISE = re.compile(  # every pattern is bounded, so that a text of any length takes time in proportion to its length
    r"<!--.{0,2000}?-->"
    r"|</?[A-Za-z][^<>]{0,2000}>"  # an HTML tag
    r"|(?<=\])\((?:[^()\s]|\([^()\s]{0,200}\)){0,2000}\)"  # where a Markdown link leads
    r"|\bhttps?://\S{1,2000}"
    r"|\bwww\.\S{1,2000}"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}"  # an e-mail address
    r"|(?<!\w)@\w{1,64}"  # a handle
    r"|\b[\w-]{1,64}(?:\.[\w-]{1,64}){0,3}\.(?:(?:com|org|edu|info)\b(?:/\S{0,2000})?|(?:ai|app|be|de|dev|es|fr|gov|in|io|ly|me|tv|tw|uk)/\S{1,2000})",
    re.DOTALL | re.IGNORECASE,
)
_MAY_BE_NOISE = re.compile(r"[<@]|\]\(|://|\.\S")  # what stands in all of it
_SIGNS = frozenset("*`~_")
_MARKS = re.compile(r"[*`~]{1,3}|(?<![^\W_])_{1,3}|_{1,3}(?!\w)")
_UNREAD = re.compile(
    r"^[ \t]*(?P<fence>```|~~~).{0,20000}?^[ \t]*(?P=fence)"
    r"|\$[^$\n]{0,200}[\\^_{=<>][^$\n]{0,200}\$|\\[A-Za-z]{1,40}",  # TeX
    re.DOTALL | re.MULTILINE,
)
_PIECE = re.compile(
    rf"(?P<word>\.net\b|[{CJK}]|[^\W_{CJK}]+(?:\+\+|#(?!\w))?)(?:['\u2019]s\b)?"
    r"|(?P<stop>\n|[.!?\u2026]+(?=[\s\"')\]]|$)|[\u3002\uff01\uff1f])"
    r"|(?P<pause>[,;:()|\u2022\u00b7\u2013\u2014\u3001\u00bf\u00a1]+)",
    re.IGNORECASE,
)
_PLURALS = (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", ""))
_SHORT = 3
"""Letters that a word must exceed before its "s" is taken for a plural: "bus", "aws", "ios"."""
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u061f\u06d4\u0964](?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bal\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\bFig\.)(?<!\bEq\.)"
    r"[.!?\u2026\u061f\u06d4\u0964]*(?=[\s\"'\u201d)\]]|$)|[\u3002\uff01\uff1f]|\n\s*\n|\0+"
)
_SECTION = re.compile(r"<(?P<close>/?)(?P<name>[^\W\d]\w{0,63})>")
_stemming = threading.Lock()


class Word(NamedTuple):
    """One word of a text, or a break between words (`plain` is empty then)."""

    surface: str
    """As it stands in the text; of a break, `.` for the end of a sentence and `,` for a pause."""
    plain: str
    """Lower case, without accents, singular."""
    stem: str


def plain(text: str) -> str:
    """Return `text` without mark-up, addresses and handles: valid Unicode, NFKC, with straight apostrophes."""
    valid = text.encode("utf-8", "replace").decode("utf-8")
    readable = unicodedata.normalize("NFKC", html.unescape(valid)).replace("\u2019", "'")
    quiet = _NOISE.sub(" ", readable) if _MAY_BE_NOISE.search(readable) else readable
    return quiet if _SIGNS.isdisjoint(quiet) else _MARKS.sub(" ", quiet)


def blanked(text: str) -> str:
    """Return `text` with mark-up, addresses, fenced code and TeX as NUL characters, every other sign in its place."""
    for pattern in (_UNREAD, _NOISE):
        text = pattern.sub(lambda found: "\0" * len(found[0]), text)
    return text


def cut(text: str) -> list[Word]:
    """Return the words of `text` and the breaks between them, in order."""
    return [
        _word(match["word"][:LONGEST])
        if match["word"]
        else Word("." if match["stop"] else ",", "", "")
        for match in _PIECE.finditer(text)
    ]


@functools.lru_cache(maxsize=1 << 16)
def _word(surface: str) -> Word:
    folded = unicodedata.normalize("NFKD", surface.casefold())
    bare = "".join(sign for sign in folded if not unicodedata.combining(sign))
    return Word(surface, singular(bare) or surface, stem(bare) or surface)


def singular(word: str) -> str:
    """Return `word` without a plural ending; good enough for comparing, not for reading."""
    if len(word) <= _SHORT or word.endswith(("ss", "us", "is")):
        return word
    ending, one = next(
        ((ending, one) for ending, one in _PLURALS if word.endswith(ending)), ("", "")
    )
    return word.removesuffix(ending) + one


def stem(word: str) -> str:
    """Return the stem of a word, as of an English one."""
    with _stemming:  # a stemmer keeps the word it works on in itself
        return str(_stemmer().stemWord(word))


@functools.cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of `text` begin and end, blanks apart; one longer than `QUOTE` falls into pieces."""
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(blanked(text))), len(text)]
    found = []
    for low, high in itertools.pairwise(ends):
        start = high - len(text[low:high].lstrip())
        while start < high:
            blank = text.rfind(" ", start + 1, start + QUOTE)
            end = high if high - start <= QUOTE else blank if blank > 0 else start + QUOTE
            if any(map(str.isalnum, text[start:end])):
                found.append((start, start + len(text[start:end].rstrip())))
            start = high - len(text[end:high].lstrip())
    return found


def sections(text: str) -> list[tuple[str, str]]:
    """Return what stands between `<name>` and the last `</name>`, for each of the outermost, with the names."""
    closing = {tag["name"]: tag.start() for tag in _SECTION.finditer(text) if tag["close"]}
    found: list[tuple[str, str]] = []
    at = 0
    for tag in _SECTION.finditer(text):
        if not tag["close"] and at <= tag.start() < closing.get(tag["name"], 0):
            at = closing[tag["name"]]
            found.append((tag["name"], text[tag.end() : at]))
    return found
