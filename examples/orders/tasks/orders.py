"""What does a customer who writes about an order want, and how soon?"""

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from askrows import Task


class Answer(BaseModel):
    """What one message asks for."""

    wish: Literal[
        "replacement", "refund", "delivery", "invoice", "return", "cancellation", "nothing"
    ] = Field(
        description="replacement: something is broken or leaks; refund: money back; "
        "delivery: where or when it arrives"
    )
    urgency: Literal["high", "normal", "low"] = Field(
        description="high: it must be done now or today, or it leaks; normal: a wish; "
        "low: thanks, or a question"
    )
    due: date | None = Field(
        default=None, description="The day by which it must be done, where the message names one"
    )


task = Task(
    answer=Answer,
    items="""
        SELECT orders.id, customers.name AS customer, customers.town, article, message
        FROM orders JOIN customers ON customers.id = orders.customer
    """,
    prompt="{message}",
    system=__doc__,
    label="{article}, {customer} of {town}",
    write_to="orders.urgency=urgency",  # your own column, and only where it is NULL
)
