"""What kind of boat does an advertisement offer, and what is its best feature?"""

from typing import Literal

from pydantic import BaseModel, Field

from askrows import DatabaseTable, Quote, Task


class Answer(BaseModel):
    """What an advertisement says about a boat."""

    rig: Literal["sloop", "ketch", "cutter", "motor", "rowing", "other"]
    feature: Quote = Field(description="The words about what is best in this boat")
    use: str = Field(description="What the boat is good for, in a few words", max_length=80)


task = Task(
    answer=Answer,
    # The table is made if it is missing; `import` and `add` write rows into it.
    items=DatabaseTable(
        "boats",
        columns={"name": str, "built": int, "length_m": float, "harbour": str, "text": str},
    ),
    key="name",
    prompt="{text}",
    system=__doc__,
    label="{name} in {harbour}",
    write_to="boats.good_for=use",
    index="{name} {text}",
)
