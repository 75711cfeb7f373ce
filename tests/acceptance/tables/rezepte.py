"""Was kommt in ein Gericht, und was ist in welcher Reihenfolge zu tun?"""

from typing import Literal

from pydantic import BaseModel, Field

from findable import Quote, Task


class Zutat(BaseModel):
    """Was gebraucht wird."""

    name: str
    menge: float | None = Field(default=None, ge=0)
    einheit: Literal["g", "ml", "l", "kg", "Stück", "EL", "TL", "nach Belieben"]


class Handgriff(BaseModel):
    """Ein Teil eines Schritts."""

    verb: str
    zutaten: list[Zutat] = Field(max_length=5)


class Schritt(BaseModel):
    """Was zusammen getan wird."""

    beleg: Quote = Field(description="Quote: die Stelle im Rezept, wörtlich")
    minuten: int | None = Field(default=None, ge=0, le=2000)
    handgriffe: list[Handgriff] = Field(min_length=1, max_length=3)


class Rezept(BaseModel):
    """Ein Rezept, in seine Teile zerlegt."""

    gericht: Literal["Hauptgericht", "Beilage", "Nachtisch", "Gebäck", "Getränk"]
    schritte: list[Schritt] = Field(min_length=1, max_length=8)
    ohne_ofen: bool


task = Task(
    answer=Rezept,
    items="rezepte.csv",
    key="row",
    prompt="Rezept „{Titel}“:\n{Text}",
    quotes_in="Text",
)
