"""Prepare texts for the engine's answers: strip mark-up, split into words, sentences, sections."""

import functools
import html
import itertools
import re
import threading
import unicodedata
from typing import Any, NamedTuple

# A longer sentence is split, so that no quote is longer.
MAX_QUOTE_CHARS = 200
# Longer words are cut: no term is as long, and stemming them takes seconds.
MAX_WORD_CHARS = 48
# Chinese, Japanese and Korean characters. Each is a word, because these texts do not mark the ends
# of words.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"

# Every repetition is bounded, so that the time is proportional to the length of the text.
_MARKUP = re.compile(
    r"<!--.{0,2000}?-->"
    # HTML tags.
    r"|</?[A-Za-z][^<>]{0,2000}>"
    # Targets of Markdown links.
    r"|(?<=\])\((?:[^()\s]|\([^()\s]{0,200}\)){0,2000}\)"
    r"|\bhttps?://\S{1,2000}"
    r"|\bwww\.\S{1,2000}"
    # E-mail addresses.
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}"
    # Handles.
    r"|(?<!\w)@\w{1,64}"
    # Addresses without a scheme.
    r"|\b[\w-]{1,64}(?:\.[\w-]{1,64}){0,3}\.(?:(?:com|org|edu|info)\b(?:/\S{0,2000})?"
    r"|(?:ai|app|be|de|dev|es|fr|gov|in|io|ly|me|tv|tw|uk)/\S{1,2000})",
    re.DOTALL | re.IGNORECASE,
)
# All mark-up contains a match of this faster pattern.
_MARKUP_HINT = re.compile(r"[<@]|\]\(|://|\.\S")
_EMPHASIS_CHARACTERS = frozenset("*`~_")
_EMPHASIS = re.compile(r"[*`~]{1,3}|(?<![^\W_])_{1,3}|_{1,3}(?!\w)")
_CODE_OR_TEX = re.compile(
    # Fenced code.
    r"^[ \t]*(?P<fence>```|~~~).{0,20000}?^[ \t]*(?P=fence)"
    # TeX formulas and commands.
    r"|\$[^$\n]{0,200}[\\^_{=<>][^$\n]{0,200}\$|\\[A-Za-z]{1,40}",
    re.DOTALL | re.MULTILINE,
)
_WORD_OR_BREAK = re.compile(
    rf"(?P<word>\.net\b|[{CJK}]|[^\W_{CJK}]+(?:\+\+|#(?!\w))?)(?:['\u2019]s\b)?"
    r"|(?P<stop>\n|[.!?\u2026]+(?=[\s\"')\]]|$)|[\u3002\uff01\uff1f])"
    r"|(?P<pause>[,;:()|\u2022\u00b7\u2013\u2014\u3001\u00bf\u00a1]+)",
    re.IGNORECASE,
)
# Plural endings with the endings that replace them; the first that fits is used.
_PLURAL_ENDINGS = (
    ("ies", "y"),
    ("sses", "ss"),
    ("xes", "x"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("s", ""),
)
# The "s" of words up to this length is no plural ending: "bus", "aws", "ios".
_MAX_UNCHANGED_CHARS = 3
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u061f\u06d4\u0964]"
    # The dots of abbreviations do not end a sentence.
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bal\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\bFig\.)(?<!\bEq\.)"
    r"[.!?\u2026\u061f\u06d4\u0964]*(?=[\s\"'\u201d)\]]|$)|[\u3002\uff01\uff1f]|\n\s*\n|\0+",
)
_SECTION_TAG = re.compile(r"<(?P<close>/?)(?P<name>[^\W\d]\w{0,63})>")
# A stemmer stores the current word in itself, so threads take turns.
_stemmer_lock = threading.Lock()


class Word(NamedTuple):
    """A word of a text, or a break between words."""

    # Spelling in the text. For a break, "." is the end of a sentence and "," a pause.
    surface: str
    # Lower case, without accents, singular; empty for a break.
    folded: str
    # Stem of the folded word; empty for a break.
    stem: str


_SENTENCE_BREAK = Word(".", "", "")
_PAUSE_BREAK = Word(",", "", "")


def strip_markup(text: str) -> str:
    """Return a text without mark-up, addresses and handles.

    The returned text is valid Unicode in NFKC, with straight apostrophes. A blank replaces each
    removed part, so offsets change; `blank_markup` keeps them.
    """
    unescaped_text = html.unescape(text.encode("utf-8", "replace").decode("utf-8"))
    clean_text = unicodedata.normalize("NFKC", unescaped_text).replace("\u2019", "'")
    if _MARKUP_HINT.search(clean_text):
        clean_text = _MARKUP.sub(" ", clean_text)
    if not _EMPHASIS_CHARACTERS.isdisjoint(clean_text):
        clean_text = _EMPHASIS.sub(" ", clean_text)
    return clean_text


def blank_markup(text: str) -> str:
    """Replace mark-up, addresses, fenced code and TeX by NUL characters of the same number.

    All other characters keep their offsets.
    """
    for pattern in (_CODE_OR_TEX, _MARKUP):
        text = pattern.sub(lambda match: "\0" * len(match[0]), text)
    return text


def split_words(text: str) -> list[Word]:
    """Return the words of a text and the breaks between them, in order; each is a `Word`.

    Sentence ends and line ends are breaks with the surface ".", other punctuation with ",". Words
    are cut after MAX_WORD_CHARS characters.
    """
    words = []
    for match in _WORD_OR_BREAK.finditer(text):
        if match["word"]:
            words.append(_build_word(match["word"][:MAX_WORD_CHARS]))
        elif match["stop"]:
            words.append(_SENTENCE_BREAK)
        else:
            words.append(_PAUSE_BREAK)
    return words


@functools.lru_cache(maxsize=1 << 16)
def _build_word(surface: str) -> Word:
    decomposed = unicodedata.normalize("NFKD", surface.casefold())
    base_letters = "".join(
        character for character in decomposed if not unicodedata.combining(character)
    )
    folded = singularize(base_letters) or surface
    return Word(surface, folded, stem_word(base_letters) or surface)


def singularize(word: str) -> str:
    """Return a word without its plural ending: good enough to compare, not to display.

    Short words, and words that end in "ss", "us" or "is", are returned unchanged.
    """
    if len(word) <= _MAX_UNCHANGED_CHARS or word.endswith(("ss", "us", "is")):
        return word

    for plural_ending, singular_ending in _PLURAL_ENDINGS:
        if word.endswith(plural_ending):
            return word.removesuffix(plural_ending) + singular_ending
    return word


def stem_word(word: str) -> str:
    """Return the stem of a word by the rules of English."""
    with _stemmer_lock:
        return str(_load_stemmer().stemWord(word))


@functools.cache
def _load_stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def find_sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end offset of each sentence, without the blanks around it.

    A sentence over `MAX_QUOTE_CHARS` is split, at a blank if possible. A sentence that has neither
    letter nor digit is left out.
    """
    sentence_ends = [match.end() for match in _SENTENCE_END.finditer(blank_markup(text))]
    boundaries = [0, *sentence_ends, len(text)]

    spans = []
    for sentence_start, sentence_end in itertools.pairwise(boundaries):
        start = _skip_blanks(text, sentence_start, sentence_end)
        while start < sentence_end:
            end = _find_split(text, start, sentence_end)
            piece = text[start:end]
            if any(map(str.isalnum, piece)):
                spans.append((start, start + len(piece.rstrip())))
            start = _skip_blanks(text, end, sentence_end)
    return spans


def _skip_blanks(text: str, start: int, end: int) -> int:
    """Return the offset of the first character in start to end that is not blank, else end."""
    return end - len(text[start:end].lstrip())


def _find_split(text: str, start: int, end: int) -> int:
    """Return the end of the first piece of a sentence: its end, a blank, or the longest quote."""
    if end - start <= MAX_QUOTE_CHARS:
        return end

    blank_offset = text.rfind(" ", start + 1, start + MAX_QUOTE_CHARS)
    return blank_offset if blank_offset > 0 else start + MAX_QUOTE_CHARS


def find_tagged_sections(text: str) -> list[tuple[str, str]]:
    """Return (name, content) of each section in a text, in order.

    A section reaches from `<name>` to the last `</name>`. A section inside another section is not
    returned by itself, but its tags and text are part of the outer content. A tag without a later
    closing tag opens no section.
    """
    closing_offsets = {
        tag["name"]: tag.start() for tag in _SECTION_TAG.finditer(text) if tag["close"]
    }
    sections: list[tuple[str, str]] = []
    section_end = 0
    for tag in _SECTION_TAG.finditer(text):
        closing_offset = closing_offsets.get(tag["name"], 0)
        if not tag["close"] and section_end <= tag.start() < closing_offset:
            section_end = closing_offset
            sections.append((tag["name"], text[tag.end() : section_end]))
    return sections
