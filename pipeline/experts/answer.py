"""Define a valid answer of the tags task: tags are short phrases of visible text, in lower case, on one line.

A model repeats what stands in a biography, and a stranger may have written it. What is harmless in another form is
cleaned: mark-up, entities, control and invisible characters. What is too long after that, still mark-up, or an address
is no tag, and `ill_formed` says why.
"""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.core.errors import InputError
from pipeline.core.text import MAX_RAW, without_markup

MAX_TAG = 60  # characters; a phrase of three words has half as many, and what is longer is a sentence

_PLAIN = re.compile(r"[a-z0-9]++(?:[ \n-][a-z0-9]++)*+")  # tags that stand on a line each
_MARKS = "*_~ "  # of emphasis, at the ends; not `#`, which ends the names of languages
_LEFT_OVER = re.compile(r"[<>{}\[\]\ufe64\ufe65\uff1c\uff1e]")


def well_formed(tags: Sequence[str]) -> tuple[list[str], str]:
    """Return the tags cleaned, without what is no tag and what stands twice, in order; and why the first is none."""
    together = "\n".join(tags)
    if _PLAIN.fullmatch(together) and together.count("\n") == len(tags) - 1 and max(map(len, tags)) <= MAX_TAG:
        return list(tags) if len(set(tags)) == len(tags) else list(dict.fromkeys(tags)), ""
    clean = dict.fromkeys(clean_tag(tag) for tag in tags)
    reasons = {tag: ill_formed(tag) for tag in clean}
    return [tag for tag, reason in reasons.items() if not reason], next(iter(reasons.values()), "there is none")


def clean_tag(tag: str) -> str:
    """Return a tag in lower case, with single blanks, without mark-up or invisible characters; cut after 1,000."""
    text = " ".join(tag.lower().split())[: MAX_RAW + 1]
    if len(text) > MAX_RAW:
        return text
    while (cleaner := without_markup(text).lower().strip(_MARKS)) != text:
        text = cleaner
    return text


def ill_formed(tag: str) -> str:
    """Return why a cleaned text is no tag; an empty text where it is one."""
    if not tag:
        return "a tag is blank"
    if len(tag) > MAX_TAG:
        return f"a tag is longer than {MAX_TAG} characters"
    if _LEFT_OVER.search(tag):
        return "a tag holds mark-up"
    return "a tag is an address" if "://" in tag else ""


def checked_tag(tag: str) -> str:
    """Return a tag that a person typed as it is written.

    Raises:
        InputError: it is none.
    """
    clean = clean_tag(tag)
    if why := ill_formed(clean):
        raise InputError(f"{tag[:MAX_RAW]!r} cannot be a tag: {why}; nothing was changed")
    return clean


class Tags(BaseModel):
    """The answer: the domains that the text supports, none where it supports none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: list[str] = Field(
        description="domains of knowledge that the text shows, lower case, most characteristic first; "
        "empty where it shows none",
        json_schema_extra={"minItems": 0, "maxItems": 8},
    )

    @field_validator("tags")
    @classmethod
    def _well_formed(cls, tags: list[str]) -> list[str]:
        """Clean each tag, drop what is none and what stands twice, in order; refuse a list of which nothing is left."""
        if not tags:
            return []
        clean, why = well_formed(tags)
        if not clean:
            raise ValueError(f"no tag is left: {why}")
        return clean
