"""What requests and results have in common on the wire, as models."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

TASK = "expert-tags"


class Camel(BaseModel):
    """What the API reads and writes in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Part(Camel):
    """A text."""

    text: str


class Content(Camel):
    """What the user or the model says."""

    parts: list[Part]
    role: str
