"""Prepare texts for the engine's answers: strip mark-up, find sentences, sections and key phrases.

Key phrases are runs of up to three words between common words. Phrases and sentences are slices of
the text, and equal texts give equal phrases.
"""

import bisect
import functools
import html
import re
import threading
import unicodedata
from importlib.resources import files
from typing import Any, NamedTuple

# Characters of a section that are read.
MAX_SECTION_CHARS = 20_000
# Longer words are cut: stemming them takes seconds.
MAX_WORD_CHARS = 48
# Chinese, Japanese and Korean characters; these texts do not mark the ends of words.
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
# A sentence has at most 200 characters. A longer one is split, at a blank if possible.
_SENTENCE = re.compile(
    r"\S.{0,198}?(?:[.!?\u2026]{1,9}(?=\s|\Z)|[\u3002\uff01\uff1f]|(?=\n\s{0,9}\n)|\Z)"
    r"|\S.{0,198}\S(?=\s)"
    r"|\S.{0,199}",
    re.DOTALL,
)
_SECTION_TAG = re.compile(r"<(?P<close>/?)(?P<name>[^\W\d]\w{0,63})>")
_MAX_PHRASE_CHARS = 60
_LETTERS = rf"[^\W_{CJK}]{{1,40}}"
_WORD = rf"(?:[{CJK}]{{1,12}}|(?!\d){_LETTERS}(?:[-'\u2019]{_LETTERS}){{0,3}}[+#]?)"
_PHRASE = re.compile(rf"{_WORD}(?:\s{_WORD}){{0,2}}")
# Endings of the forms of a verb, and of adverbs.
_ENDING = re.compile(r"(?:s|ed?|d|ing|ly)$")
# A stemmer stores the current word in itself, so threads take turns.
_stemmer_lock = threading.Lock()


def strip_markup(text: str) -> str:
    """Return a text without mark-up, addresses and handles.

    The returned text is valid Unicode in NFKC, with straight apostrophes and with characters in
    place of HTML references such as `&amp;`. A blank replaces each removed part, so offsets change;
    `blank_markup` keeps them.
    """
    unescaped_text = html.unescape(text.encode("utf-8", "replace").decode("utf-8"))
    clean_text = unicodedata.normalize("NFKC", unescaped_text).replace("\u2019", "'")
    if _MARKUP_HINT.search(clean_text):
        clean_text = _MARKUP.sub(" ", clean_text)
    if not _EMPHASIS_CHARACTERS.isdisjoint(clean_text):
        clean_text = _EMPHASIS.sub(" ", clean_text)
    return clean_text


def blank_markup(text: str) -> str:
    """Replace mark-up and addresses by NUL characters of the same number.

    All other characters keep their offsets.
    """
    return _MARKUP.sub(lambda match: "\0" * len(match[0]), text)


def stem_word(word: str) -> str:
    """Return the stem of a word by the rules of English."""
    with _stemmer_lock:
        return str(_load_stemmer().stemWord(word))


@functools.cache
def _load_stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def find_sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end offset of each sentence, without the blanks around it."""
    return [
        (match.start(), match.start() + len(match[0].rstrip()))
        for match in _SENTENCE.finditer(text)
    ]


def find_tagged_sections(text: str) -> dict[str, str]:
    """Return the content of each section in a text, in order, cut after MAX_SECTION_CHARS.

    A section reaches from `<name>` to the last `</name>`. A section inside another section is not
    returned by itself, but its tags and text are part of the outer content. A tag without a later
    closing tag opens no section. A text without a section is a section without a name.
    """
    closing_offsets = {
        tag["name"]: tag.start() for tag in _SECTION_TAG.finditer(text) if tag["close"]
    }
    sections: dict[str, str] = {}
    section_end = 0
    for tag in _SECTION_TAG.finditer(text):
        closing_offset = closing_offsets.get(tag["name"], 0)
        if not tag["close"] and section_end <= tag.start() < closing_offset:
            section_end = closing_offset
            sections[tag["name"]] = text[tag.end() : section_end][:MAX_SECTION_CHARS]
    return sections or {"": text[:MAX_SECTION_CHARS]}


def choose_main_section(sections: dict[str, str]) -> str:
    """Return the name of the section `text`, else of the longest that is no user name."""
    return max(
        sections,
        key=lambda name: (name == "text", name != "username", len(sections[name].strip())),
    )


class Phrase(NamedTuple):
    """A key phrase of a text."""

    text: str
    # The sentence of its first occurrence.
    sentence: str


def find_key_phrases(text: str) -> list[Phrase]:
    """Return the key phrases of a text, those of several words first, else in their order.

    A phrase has at most three words, and no common word. It is cut after _MAX_PHRASE_CHARS
    characters. Phrases that differ in case only count once. The list is empty if all words are
    common.
    """
    sentences = find_sentence_spans(text)
    readable_text = re.sub(_WORD, _blank_common_word, blank_markup(text))
    phrases: dict[str, Phrase] = {}
    for match in _PHRASE.finditer(readable_text):
        sentence_index = bisect.bisect_right(sentences, (match.start(), len(text))) - 1
        start, end = sentences[sentence_index]
        phrase = Phrase(match[0][:_MAX_PHRASE_CHARS], text[start:end])
        phrases.setdefault(phrase.text.lower(), phrase)
    return sorted(phrases.values(), key=lambda phrase: " " not in phrase.text)


def _blank_common_word(match: re.Match[str]) -> str:
    """Return a word, or NUL characters of its length if it is common."""
    word = match[0].lower()
    base_form = _ENDING.sub("", word)
    common_words = _load_common_words()
    is_common = not common_words.isdisjoint((word, base_form, f"{base_form}e"))
    return "\0" * len(word) if is_common else match[0]


@functools.cache
def _load_common_words() -> frozenset[str]:
    path = files("askrows.emulator.answers").joinpath("common_words.txt")
    return frozenset(path.read_text(encoding="utf-8").split())
