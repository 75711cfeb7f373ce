"""What a valid answer of the tags task is."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ExpertTags(BaseModel):
    """The answer: the domains a person knows. Asked for 3 to 8; any list that is not empty is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: list[str] = Field(
        min_length=1,
        description="3 to 8 domains of knowledge, lower case, most characteristic first",
        json_schema_extra={"minItems": 3, "maxItems": 8},
    )

    @field_validator("tags")
    @classmethod
    def _normalised(cls, tags: list[str]) -> list[str]:
        """Lower case, trimmed, inner white space collapsed, blanks and duplicates dropped in order."""
        clean = dict.fromkeys(" ".join(tag.lower().split()) for tag in tags)
        clean.pop("", None)
        if not clean:
            raise ValueError("no tag is left after trimming")
        return list(clean)
