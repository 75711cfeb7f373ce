"""The experts as they are indexed: the text that is embedded, and what stands in `metadata.json` for each."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.experts import table
from pipeline.experts.cells import number_of, tags_of, text_of
from pipeline.task import Entry

if TYPE_CHECKING:
    from pipeline.store.database import Connection


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
    """Return one row of `experts` as it is indexed.

    Other programs read `metadata.json` by these names, in this order.
    """
    tags = tags_of(row["tags"]) or []
    metadata = {
        "id": row["id"],
        "username": text_of(row["username"]),
        "First Name": text_of(row["first_name"]),
        "Last Name": text_of(row["last_name"]),
        "Job Title": text_of(row["job_title"]),
        "Company": text_of(row["company"]),
        "Bio": text_of(row["bio"]),
        "Hourly Rate": number_of(row["hourly_rate"]),
        "Currency": text_of(row["currency"]),
        "Profile URL": text_of(row["profile_url"]),
        "Profile URL with UTM": text_of(row["profile_url_utm"]),
        "tags": tags,
        "findability_score": number_of(row["findability_score"]),
        "category": text_of(row["category"]),
    }
    return Entry(id=str(row["id"]), text=index_text(metadata), metadata=metadata)


def index_text(metadata: Mapping[str, Any]) -> str:
    """Return `First Last. Title at Company. bio Domains: tag1, tag2.` of an entry, what is missing left out."""
    name = " ".join(filter(None, (metadata["First Name"], metadata["Last Name"])))
    title, company, tags = metadata["Job Title"], metadata["Company"], metadata["tags"]
    work = f"{title} at {company}" if title and company else title or (f"Works at {company}" if company else "")
    parts = [f"{name}." if name else "", f"{work}." if work else "", metadata["Bio"]]
    if tags:
        parts.append(f"Domains: {', '.join(tags)}.")
    return " ".join(filter(None, parts)) or metadata["username"]
