"""Split a question into what is asked, the phrases that must stand in a text, and what must not."""

import re
from dataclasses import dataclass

from pipeline.core.errors import InputError
from pipeline.core.step import Step
from pipeline.core.text import UNSOUND

MAX_QUESTION = 8_000  # characters; about what the smaller embedding models read
MAX_MARKED = 50  # phrases and exclusions, for each of which texts are looked through
_QUOTES = {'"': '"', "“": "”", "„": "“”", "«": "»"}  # what opens a phrase, and what closes it
_OPENING = re.compile(rf"(?<!\S)(?P<without>-?)(?P<quote>[{''.join(_QUOTES)}])")
_WITHOUT = re.compile(r"(?<!\S)-(?=\w)(?P<word>\S+)")


@dataclass(frozen=True)
class Question:
    """A question: its words without signs of ours, the phrases that must stand in a text, and what must not."""

    text: str
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def parse_question(given: str) -> Question:
    """Return a question, its white space collapsed.

    A phrase stands between quotation marks that begin a word; what is excluded has a hyphen before it. A hyphen inside
    of a word, or between blanks, is none.

    Raises:
        InputError: it is blank, too long, no text, has a quotation mark that is not closed or too many phrases, or says
            only what is not wanted.
    """
    text = _checked(given)
    words, phrases, without = [], list[str](), list[str]()
    at = 0
    while opening := _OPENING.search(text, at):
        end = _closing(text, opening)
        phrase = text[opening.end() : end].strip()
        if not any(map(str.isalnum, phrase)):
            raise _empty(f"between the quotation marks at character {opening.start('quote') + 1} stands no word")
        words.append(_split_words(text[at : opening.start()], without))
        if opening["without"]:
            without.append(phrase)
        else:
            phrases.append(phrase)
            words.append(phrase)
        at = end + 1
    words.append(_split_words(text[at:], without))
    plain = " ".join(" ".join(words).split())
    if not plain:
        raise _empty("the question says only what is not wanted")
    asked = Question(plain, tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(without)))
    if (marked := len(asked.phrases) + len(asked.without)) > MAX_MARKED:
        said = f"the question has {marked:,} phrases and words to leave out, the limit is {MAX_MARKED}"
        raise InputError(said, hint="leave some of them out")
    return asked


def parse_one_of_many(given: str, place: str) -> Question:
    """Return one of many questions.

    Raises:
        InputError: as for one; the message begins with its place.
    """
    try:
        return parse_question(given)
    except InputError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from None


def _split_words(text: str, without: list[str]) -> str:
    without += [found["word"] for found in _WITHOUT.finditer(text)]
    return _WITHOUT.sub(" ", text)


def _closing(text: str, opening: re.Match[str]) -> int:
    """Return where a quotation mark is closed."""
    closing = re.compile(f"[{_QUOTES[opening['quote']]}]").search(text, opening.end())
    if closing is None:
        raise InputError(
            f"the quotation mark at character {opening.start('quote') + 1} of the question is not closed",
            hint="close it, or leave it out: a phrase between quotation marks must stand in the text as it is",
        )
    return closing.start()


def _empty(why: str) -> InputError:
    return InputError(f"there is nothing to search for: {why}", hint=f"`{Step('search', q='who knows water law')}`")


def _checked(question: str) -> str:
    """Return a question with its white space collapsed; refuse what cannot be one."""
    text = " ".join(question.split())
    if not text:
        raise InputError("there is nothing to search for", hint=f"`{Step('search', q='who knows water law')}`")
    if UNSOUND.search(text):
        raise InputError("the question holds what is no text (NUL, or bytes that are no UTF-8)", hint="type it anew")
    if len(text) > MAX_QUESTION:
        raise InputError(f"the question has {len(text):,} characters, the limit is {MAX_QUESTION:,}", hint="shorten it")
    return text
