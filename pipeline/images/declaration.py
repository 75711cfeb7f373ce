"""Declare the task images: a summary and buckets of tags of each image of the library that can be opened."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.core.declaration import BuiltInDeclaration

MOST_WORDS = 60  # of a summary, as it is asked for
MOST_WORDS_TAKEN = 90  # a few more are no reason to ask again
MOST_TAG = 60  # characters
MOST_TAGS = 12  # of a bucket, as it is asked for


class Buckets(BaseModel):
    """What is seen, by kind; a bucket with nothing to say stays empty."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    subjects: list[str] = Field(
        description="who or what the image is about", json_schema_extra={"maxItems": MOST_TAGS}
    )
    objects: list[str] = Field(
        description="other things that are seen", json_schema_extra={"maxItems": MOST_TAGS}
    )
    setting: list[str] = Field(
        description="place, season, time of day", json_schema_extra={"maxItems": MOST_TAGS}
    )
    style: list[str] = Field(
        description="kind of picture and technique", json_schema_extra={"maxItems": MOST_TAGS}
    )
    mood: list[str] = Field(
        description="what it feels like", json_schema_extra={"maxItems": MOST_TAGS}
    )
    colours: list[str] = Field(
        description="the main colours", json_schema_extra={"maxItems": MOST_TAGS}
    )
    text_seen: list[str] = Field(
        description="words that can be read in it, as they stand there",
        json_schema_extra={"maxItems": MOST_TAGS},
    )

    @field_validator("*")
    @classmethod
    def _distinct(cls, tags: list[str]) -> list[str]:
        """Return the tags with single blanks, cut where they are long, blank ones left out and each once."""
        found: dict[str, str] = {}
        for tag in tags:
            cleaned = " ".join(tag.split())[:MOST_TAG].rstrip()
            found.setdefault(cleaned.casefold(), cleaned)
        found.pop("", None)
        return list(found.values())


class ImageAnswer(BaseModel):
    """The answer: what is seen in an image, in a few sentences and in buckets of tags."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    summary: str = Field(
        description=f"what the image shows, in at most {MOST_WORDS} words, without “this image”"
    )
    buckets: Buckets

    @field_validator("summary")
    @classmethod
    def _short(cls, summary: str) -> str:
        """Return the summary on one line; refuse one that is blank or far too long."""
        words = summary.split()
        if not 1 <= len(words) <= MOST_WORDS_TAKEN:
            raise ValueError(
                f"the summary has {len(words)} words, and 1 to {MOST_WORDS} are asked for"
            )
        return " ".join(words)


task = BuiltInDeclaration(
    name="images",
    answer=ImageAnswer,
    items="SELECT CAST(id AS TEXT) AS id, path, problem FROM assets "
    "WHERE coalesce(problem, '') <> 'the file is not there any more' ORDER BY assets.id",  # as an import says it
    images=["path"],
    prompt="Describe this image for a library in which it is to be found again.",
    system=(
        "You describe images. Say only what can be seen; do not guess names, places or events. Tags are short and in "
        "lower case, but for words that are read in the image."
    ),
    label="{path}",
    index="{summary} {buckets}",
    refresh=True,
    max_output_tokens=1024,
)
