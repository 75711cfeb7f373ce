"""Declare the task images: a summary and buckets of tags for each image that can be opened.

The docstrings and descriptions of the models are part of the stored fingerprint of the task. Any
change of them makes a new version.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from askrows import Folder, Task

# The prompt asks for this length. A summary that is a little longer is accepted.
MAX_REQUESTED_WORDS = 60
MAX_ACCEPTED_WORDS = 90
MAX_TAG_CHARS = 60
# The schema asks for this number of tags in a bucket. Longer lists are accepted.
MAX_TAGS = 12


class Buckets(BaseModel):
    """What is seen, by kind; a bucket with nothing to say stays empty."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    subjects: list[str] = Field(
        description="who or what the image is about",
        json_schema_extra={"maxItems": MAX_TAGS},
    )
    objects: list[str] = Field(
        description="other things that are seen",
        json_schema_extra={"maxItems": MAX_TAGS},
    )
    setting: list[str] = Field(
        description="place, season, time of day",
        json_schema_extra={"maxItems": MAX_TAGS},
    )
    style: list[str] = Field(
        description="kind of picture and technique",
        json_schema_extra={"maxItems": MAX_TAGS},
    )
    mood: list[str] = Field(
        description="what it feels like",
        json_schema_extra={"maxItems": MAX_TAGS},
    )
    colours: list[str] = Field(
        description="the main colours",
        json_schema_extra={"maxItems": MAX_TAGS},
    )
    text_seen: list[str] = Field(
        description="words that can be read in it, as they stand there",
        json_schema_extra={"maxItems": MAX_TAGS},
    )

    @field_validator("*")
    @classmethod
    def _clean_tags(cls, tags: list[str]) -> list[str]:
        """Return the tags with single blanks, cut to MAX_TAG_CHARS, without blank tags and repeats.

        Repeats are compared without case; the first spelling stays.
        """
        first_spellings: dict[str, str] = {}
        for tag in tags:
            short_tag = " ".join(tag.split())[:MAX_TAG_CHARS].rstrip()
            first_spellings.setdefault(short_tag.casefold(), short_tag)
        return [tag for tag in first_spellings.values() if tag]


class ImageAnswer(BaseModel):
    """The answer: what is seen in an image, in a few sentences and in buckets of tags."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    summary: str = Field(
        description=f"what the image shows, in at most {MAX_REQUESTED_WORDS} words, "
        "without “this image”",
    )
    buckets: Buckets

    @field_validator("summary")
    @classmethod
    def _check_length(cls, summary: str) -> str:
        """Return the summary as a single line.

        Raises:
            ValueError: The summary is blank, or has more than MAX_ACCEPTED_WORDS words.
        """
        words = summary.split()
        if not 1 <= len(words) <= MAX_ACCEPTED_WORDS:
            raise ValueError(
                f"the summary has {len(words):,} words, allowed: 1 to {MAX_ACCEPTED_WORDS}"
            )
        return " ".join(words)


def clean(answer: ImageAnswer, _row: Mapping[str, Any]) -> tuple[ImageAnswer, int]:
    """Return an answer with up to MAX_TAGS tags in each bucket, and the number of dropped tags."""
    first_tags = {name: tags[:MAX_TAGS] for name, tags in answer.buckets}
    buckets = answer.buckets.model_copy(update=first_tags)
    cut_tag_count = sum(len(tags[MAX_TAGS:]) for _, tags in answer.buckets)
    return answer.model_copy(update={"buckets": buckets}), cut_tag_count


task = Task(
    name="images",
    answer=ImageAnswer,
    items=Folder(table="assets"),
    images=["path"],
    prompt="Describe this image for a library in which it is to be found again.",
    system=(
        "You describe images. Say only what can be seen; do not guess names, places or events. "
        "Tags are short and in lower case, but for words that are read in the image."
    ),
    clean=clean,
    label="{path}",
    words=("image", "images", "answered", "empty"),
    index="{summary} {buckets}",
    write_to="asset_ai.asset_id",
    max_output_tokens=1024,
)
