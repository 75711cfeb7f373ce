"""What kind of request is a ticket, and must somebody hurry?"""

from enum import Enum

from pydantic import BaseModel, Field

from findable import Task


class Kind(Enum):
    """What a ticket is about."""

    FAULT = "fault"
    MONEY = "money"
    WISH = "wish"
    SECURITY = "security"
    OTHER = "other"


class Contact(BaseModel):
    """How to reach the sender."""

    name: str | None = None
    address: str | None = Field(
        default=None, description="e-mail or telephone, as the ticket has it"
    )


class Answer(BaseModel):
    """How a ticket is sorted in."""

    kind: Kind
    urgent: bool
    summary: str = Field(max_length=120, description="at most ten words")
    contact: Contact
    tags: list[str] = Field(max_length=4)


task = Task(
    answer=Answer,
    items="tickets.json",
    key="ticket",
    table="desk",
    system="You sort tickets for a help desk.",
    prompt="Subject: {subject}\nSender: {sender}\n\n{text}",
    examples=[
        (
            {"subject": "stuck", "sender": None, "text": "The printer shows E4 and does nothing."},
            {
                "kind": "fault",
                "urgent": False,
                "summary": "Printer shows E4",
                "contact": {},
                "tags": ["printer"],
            },
        )
    ],
    max_output_tokens=600,
)
