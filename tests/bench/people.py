"""Fictional people for the measurements, by seed: the same rows, tags and vectors for the same number in every run.

A biography has about 600 characters and a person three to eight tags, as in the directories the product is for. No
person here exists: names, firms and sentences are drawn from short lists.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 4
DIM = 768
COLUMNS = (
    *("username", "first_name", "last_name", "job_title", "company", "bio", "hourly_rate", "currency"),
    *("profile_url", "profile_url_utm", "category"),
)
NAMES = {
    "First Name": "first_name",
    "Last Name": "last_name",
    "Job Title": "job_title",
    "Company": "company",
    "Bio": "bio",
    "Currency": "currency",
    "Profile URL": "profile_url",
    "Profile URL with UTM": "profile_url_utm",
    "category": "category",
}  # of text in an index's metadata, with their columns

_FIRST = ("Ada", "Bruno", "Chiara", "Dmitri", "Esra", "Femi", "Greta", "Hiro", "Ines", "Jonas", "Kalinda", "Lucía")
_LAST = ("Alder", "Brook", "Castell", "Dünbar", "Eastwick", "Fenn", "Garrow", "Hollis", "Ivers", "Juniper", "Kestrel")
_WORK = ("engineer", "lawyer", "consultant", "researcher", "teacher", "planner", "auditor", "designer", "keeper")
FIELDS = (
    *("water law", "beekeeping", "soil science", "machine learning", "tax law", "timber framing"),
    *("harbour pilotage", "type design", "glaciology", "cheese making", "railway signalling", "patent law"),
    *("bridge inspection", "plant breeding", "organ building", "data protection", "cold chains", "acoustics"),
    *("seed banking", "tide tables", "wind loads", "bookbinding", "dry stone walls", "night trains"),
)
_SENTENCES = (
    "I have spent {years} years in {field}, first in small workshops and later for whole regions.",
    "Towns call me when their plans for {field} do not fit the ground they stand on.",
    "My last project brought {field} and {other} together under one roof and within its budget.",
    "I write about {field} for people who have to decide by Friday and have not slept much.",
    "Before that I taught {other} at evening schools and learned more from it than I gave.",
    "Ask me about {field} if you want a plain answer, and about {other} if you have the whole day.",
    "I keep records of every case, and half of what I know of {other} comes from reading them again.",
)


def rows(count: int, *, seed: int = SEED) -> Iterator[tuple[Any, ...]]:
    """Yield `count` people as rows of `experts` in the order of `COLUMNS`, all of them with a biography."""
    dice = random.Random(seed)  # noqa: S311 - the same people each time
    for number in range(count):
        field, other = dice.choice(FIELDS), dice.choice(FIELDS)
        first, last = dice.choice(_FIRST), dice.choice(_LAST)
        said = dice.choices(_SENTENCES, k=7)
        bio = " ".join(one.format(years=2 + number % 38, field=field, other=other) for one in said)
        name = f"{first}-{last}-{number:06d}".lower()
        url = f"https://people.example/{number:06d}"
        yield (
            name,
            first,
            last,
            f"{field} {dice.choice(_WORK)}" if number % 10 else None,
            f"{last} & {dice.choice(_LAST)}",
            f"{bio} File {number}.",
            float(40 + number % 200) if number % 7 else None,
            "EUR" if number % 3 else "USD",
            url,
            f"{url}?utm_source=directory",
            field,
        )


def described(row: Mapping[str, Any], loads: Callable[[str], Any]) -> dict[str, Any]:
    """Return a row of `experts` under the names that readers of an index know; `loads` parses JSON."""
    said = {name: row[column] or "" for name, column in NAMES.items()}
    return {
        "id": row["id"],
        "username": row["username"],
        **said,
        "Hourly Rate": row["hourly_rate"],
        "tags": loads(row["tags"] or "[]"),
        "findability_score": row["findability_score"],
    }


def tags(number: int, *, seed: int = SEED) -> list[str]:
    """Return the tags of person `number`, from 0: three to eight, each once."""
    dice = random.Random(seed * 1_000_003 + number)  # noqa: S311 - the same tags each time
    return dice.sample(FIELDS, k=dice.randint(3, 8))


def vectors(texts: Sequence[str]) -> "NDArray[np.float32]":
    """Return a vector for each text, float32 (len(texts), 768), rows of unit length; equal texts have equal ones."""
    import numpy as np

    made = np.empty((len(texts), DIM), dtype=np.float32)
    for place, text in enumerate(texts):
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        made[place] = np.random.default_rng(seed).standard_normal(DIM, dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made
