"""Which aspects of a product does a review praise or blame?"""

from typing import Literal

from pydantic import BaseModel, Field

from askrows import Quote, Task


class Aspect(BaseModel):
    """One thing that the review judges."""

    aspect: str = Field(max_length=60, description="a feature of the product, in a few words")
    verdict: Literal["praise", "blame", "mixed"]
    quote: Quote = Field(description="where the review says so, word for word")


class Answer(BaseModel):
    """All that the review judges, and the stars that it gives in words or as a figure."""

    aspects: list[Aspect]
    stars: int | None = Field(default=None, ge=1, le=5)


task = Task(answer=Answer, items="reviews.csv", prompt="Product: {product}\n\n{text}")
