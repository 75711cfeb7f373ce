"""The experts as they are indexed: the text that is embedded, and what stands in `metadata.json` for each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.experts import table
from pipeline.experts.cells import number_of, tags_of, text_of
from pipeline.task import Entry

if TYPE_CHECKING:
    from pipeline.store.database import Connection

# The keys of metadata.json that hold text, and the column behind each; other programs read them by these names
TEXT_KEYS = {
    "username": "username",
    "First Name": "first_name",
    "Last Name": "last_name",
    "Job Title": "job_title",
    "Company": "company",
    "Bio": "bio",
    "Currency": "currency",
    "Profile URL": "profile_url",
    "Profile URL with UTM": "profile_url_utm",
    "category": "category",
}


class ExpertsCollection:
    """Every tagged expert; see `pipeline.task.Collection`."""

    how_to_fill = "`make import EXPERTS=people.csv` brings people in"

    def is_empty(self, tx: "Connection") -> bool:
        """Return whether there is nobody at all."""
        return table.is_empty(tx)

    def count(self, tx: "Connection") -> int:
        """Return how many experts are tagged in this snapshot."""
        return table.count(tx, table.tagged())

    def entries(self, tx: "Connection") -> Iterator[Entry]:
        """Yield every tagged expert, by id."""
        for row in table.everyone(tx, table.tagged()):
            yield entry(row)


def entry(row: Mapping[Any, Any]) -> Entry:
    """Return one row of `experts` as it is indexed."""
    tags = tags_of(row["tags"]) or []
    metadata: dict[str, Any] = {key: text_of(row[column]) for key, column in TEXT_KEYS.items()}
    metadata |= {"id": row["id"], "Hourly Rate": number_of(row["hourly_rate"]), "tags": tags}
    metadata["findability_score"] = number_of(row["findability_score"])
    return Entry(id=str(row["id"]), text=index_text(row, tags), metadata={key: metadata[key] for key in KEYS})


KEYS = (
    "id",
    "username",
    "First Name",
    "Last Name",
    "Job Title",
    "Company",
    "Bio",
    "Hourly Rate",
    "Currency",
    "Profile URL",
    "Profile URL with UTM",
    "tags",
    "findability_score",
    "category",
)  # the order in which metadata.json has them


def index_text(row: Mapping[Any, Any], tags: Sequence[str]) -> str:
    """Return `First Last. Title at Company. bio Domains: tag1, tag2.` with what is missing left out."""
    name = " ".join(filter(None, (text_of(row["first_name"]), text_of(row["last_name"]))))
    title, company = text_of(row["job_title"]), text_of(row["company"])
    work = f"{title} at {company}" if title and company else title or (f"Works at {company}" if company else "")
    parts = [f"{name}." if name else "", f"{work}." if work else "", text_of(row["bio"])]
    if tags:
        parts.append(f"Domains: {', '.join(tags)}.")
    return " ".join(filter(None, parts)) or text_of(row["username"])
