"""What a question shows to be read: the sections between its delimiters, and of them the text that it is about."""

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from emulator.models.concepts import concepts
from emulator.models.quotations import clauses_of

T = TypeVar("T")
LOOKED_AT = 20_000
"""Characters that are read of a section: what it is about is said by then."""
_SECTIONS_IN = 1_000_000
"""Characters in which sections are looked for."""
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[^\W\d]\w{0,63})>")
_MOST_PHRASES = 24


IMAGE = "image"
"""The name of a section that tells of an image."""


class Section(NamedTuple):
    """A value with the name of its delimiter, blank where there is none."""

    name: str
    text: str


def sections_of(text: str) -> list[Section]:
    """Return what stands between `<name>` and the next `</name>`, for each of the outermost; all where there is none.

    The words around them are the template's, not the data's.
    """
    tags = list(_TAG.finditer(text, 0, _SECTIONS_IN))
    closing = {tag["name"]: tag.start() for tag in tags if tag["close"]}
    found: list[Section] = []
    opened: re.Match[str] | None = None
    for tag in tags:
        if opened is None and not tag["close"] and closing.get(tag["name"], -1) > tag.start():
            opened = tag
        elif opened is not None and tag["close"] and tag["name"] == opened["name"]:
            found.append(Section(opened["name"], text[opened.end() : tag.start()]))
            opened = None
    return found or [Section("", text)]


def asked(request: Mapping[str, Any]) -> str:
    """Return the last that the user says in a request, its parts in lines of their own; blank where there is nothing.

    What the user said before, and what the model answered, are examples or an earlier question.
    """
    said = [
        "\n".join(part["text"] for part in content.get("parts", []) if "text" in part)
        for content in request.get("contents", [])
        if content.get("role", "user") == "user"
    ]
    return next((one for one in reversed(said) if one.strip()), "")


def with_images(said: str, told: Sequence[str]) -> str:
    """Return the sections of what is said, and one for each image; a text without sections is the template's alone."""
    sections = [section for section in sections_of(said) if section.name]
    sections += [Section(IMAGE, text) for text in told]
    return "\n".join(f"<{section.name}>{section.text}</{section.name}>" for section in sections)


class Reading:
    """One question's data, read as far as an answer needs it."""

    def __init__(self, said: str) -> None:
        """Take the sections of what is said."""
        sections = [Section(name, text[:LOOKED_AT]) for name, text in sections_of(said)]
        named = [section for section in sections if section.name == "text" and section.text.strip()]
        written = [section for section in sections if section.name != IMAGE and section.text.strip()]
        self.running = max(named or written or sections, key=lambda section: len(section.text))
        """The section that it is about: `text`, else the longest, an image's where there is no other."""
        self.others = [section for section in sections if section is not self.running and section.text.strip()]
        """What else is told, the blank apart."""
        self._digest = int.from_bytes(hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=64).digest())

    @property
    def text(self) -> str:
        """Return the running text."""
        return self.running.text

    @property
    def is_blank(self) -> bool:
        """Return whether nothing is told at all."""
        return not self.text.strip() and not self.others

    def every(self) -> str:
        """Return all sections, each behind its name."""
        told = [self.running, *self.others]
        return "\n".join(f"{section.name.replace('_', ' ')}: {section.text}" for section in told)

    def drawn(self, among: Sequence[T], count: int) -> list[T]:
        """Return some of several by the digest of all that is said: what differs a little mostly has others."""
        left, rest = list(among), self._digest
        found: list[T] = []
        while left and len(found) < count:
            rest, place = divmod(rest, len(left))
            found.append(left.pop(place))
        return found

    @functools.cached_property
    def clauses(self) -> list[str]:
        """Return the sentences and clauses of the running text, in order."""
        return clauses_of(self.text)

    @functools.cached_property
    def phrases(self) -> list[str]:
        """Return the phrases that the running text is most about, the surest first."""
        return [concept["name"] for concept in concepts(self.text, at_least=4, at_most=_MOST_PHRASES)]

    @functools.cached_property
    def telling(self) -> list[str]:
        """Return the clauses, those with the most and the surest phrases first."""
        lower = [phrase.lower() for phrase in self.phrases]

        def weight(clause: str) -> float:
            return sum(1 / (2 + rank) for rank, phrase in enumerate(lower) if phrase in clause.lower())

        return sorted(self.clauses, key=weight, reverse=True)

    def phrases_in(self, clause: str) -> list[str]:
        """Return the phrases of a part of the text, the surest first."""
        if clause == self.text:
            return self.phrases
        own = [phrase for phrase in self.phrases if phrase.lower() in clause.lower()]
        return own or [concept["name"] for concept in concepts(clause, at_least=1, at_most=3)]
