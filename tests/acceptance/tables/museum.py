"""From which century is an object, and in what state?"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from findable import Quote, Task


class Answer(BaseModel):
    """What a note tells of an object."""

    century: int | None = Field(default=None, ge=1, le=21)
    state: Literal["whole", "damaged", "restored", "unknown"]
    damage: Annotated[str, Quote(optional=True)] | None = Field(
        default=None, description="quotation about the damage"
    )


task = Task(
    answer=Answer,
    items="""
        WITH housed AS (
            SELECT objects.id, title, note, name AS room, "select" FROM objects LEFT JOIN rooms ON
            rooms.id = room
        )
        SELECT id, title, note, room, "select" FROM housed WHERE title NOT LIKE '%:%' ORDER BY title
        DESC;
    """,
    prompt="{title} ({room}, {select})\n{note}",
    quotes_in="note",
    write_to="objects.century=century",
)
