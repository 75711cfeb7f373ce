"""Which aspects of a product does a review praise or blame, and how many stars does it give?"""

from typing import Literal

from pydantic import BaseModel, Field

from askrows import Quote, Task


class Aspect(BaseModel):
    """One thing that a review judges."""

    aspect: str = Field(description="A feature of the product, in a few words", max_length=60)
    verdict: Literal["praise", "blame", "mixed"]
    quote: Quote  # must be in the review's text; it is stored with its place there


class Answer(BaseModel):
    """All that a review judges."""

    aspects: list[Aspect] = Field(max_length=6)
    stars: int | None = Field(
        default=None, ge=1, le=5, description="Null if the review names no number"
    )


task = Task(
    answer=Answer,
    items="../reviews.csv",  # relative to this file
    prompt="Product: {product}\n\n{text}",
    system=__doc__,
    label="{product}",
    index="{product}. {text}",
)
