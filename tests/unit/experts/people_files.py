"""Small files of people to read, for the tests beside this one."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.experts.import_ import People, Person
from pipeline.tables.findings import Finding

HEADER = (
    "Username,First Name,Last Name,Job Title,Company,Bio,Hourly Rate,Currency,Profile URL,Profile URL with UTM,category"
)


def record(
    username: str, *, bio: str = "Knows water.", company: str = "Acme", rate: str = "100", money: str = ""
) -> str:
    """Return one line of a CSV file as it stands there, without its line end; the cells are not quoted here."""
    return f"{username},Ann,Lee,CTO,{company},{bio},{rate},{money},,,Speaker"


def written(path: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    """Write a CSV file with the product's header before these lines, and return its path."""
    path.write_bytes("".join(line + end for line in (HEADER, *lines)).encode(encoding))
    return path


def read(path: Path) -> tuple[list[Person], list[Finding], People]:
    """Return the people in a file, the rows that do not go in, and the reader with its notes."""
    file = People(path)
    rows = list(file.people())
    return [row for row in rows if isinstance(row, Person)], [row for row in rows if isinstance(row, Finding)], file


def usernames(people: Sequence[Person]) -> list[str]:
    """Return the usernames of people, in order."""
    return [person.username for person in people]
