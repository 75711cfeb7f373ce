"""What a valid answer of the tags task is."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.experts.wording import well_formed


class ExpertTags(BaseModel):
    """The answer: the domains a person knows. Asked for 3 to 8; any list with a tag in it is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tags: list[str] = Field(
        min_length=1,
        description="3 to 8 domains of knowledge, lower case, most characteristic first",
        json_schema_extra={"minItems": 3, "maxItems": 8},
    )

    @field_validator("tags")
    @classmethod
    def _well_formed(cls, tags: list[str]) -> list[str]:
        """Clean each tag, drop what is none and what stands twice, in order; refuse an answer that has none left."""
        clean, why = well_formed(tags)
        if not clean:
            raise ValueError(f"no tag is left: {why}")
        return clean
