"""How a task is indexed and searched."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from askrows.pipeline.core.ranking import Entry, Ranking


@dataclass(frozen=True, kw_only=True)
class IndexedTask:
    """How a task is indexed and searched; each answered row is an entry."""

    task: str
    # Folder of the builds below DATA/index; empty for the task with stable paths in DATA.
    folder: str = ""
    # Members of `shown` by column heading of the printed table.
    columns: Mapping[str, str]
    # Weights of an entry's fields, and of words relative to vectors.
    ranking: Ranking
    # Returns the number of entries.
    count_entries: Callable[[Connection], int]
    # Yields the entries of a snapshot by ascending id; `among` limits them to some ids.
    read_entries: Callable[..., Iterable[Entry]]
    # Member of the metadata that names an entry in judged queries.
    key: str = "id"
    # Returns the texts of an entry, from its content, that phrases and snippets are taken from. The
    # last is the whole text.
    list_texts: Callable[[Mapping[str, Any]], Sequence[str]] = lambda content: [content["text"]]
    # Raises InputError if the source has no column of one of these names.
    check_columns: Callable[[Connection, Sequence[str]], None] = lambda _tx, _names: None
    # Returns the tags of an entry from its content.
    tags_of: Callable[[Mapping[str, Any]], Sequence[str]]
    # Returns the members of a hit from the content of its entry, the key first.
    hit_fields: Callable[[Mapping[str, Any]], dict[str, Any]]
    # Yields the rows without an answer that only their words find, by ascending id.
    read_untagged: Callable[[Connection], Iterable[Entry]] = lambda _tx: ()
    # Commands keep the index up to date only after `index` built it once.
    is_on_request: bool = False

    def get_entry_name(self, metadata: Mapping[str, Any]) -> str:
        """Return the name of an entry in judged queries: its key, or the id if that is blank."""
        return str(metadata[self.key] or metadata["id"])

    def make_hit_document(
        self,
        rank: int,
        similarity: float | None,
        content: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return a hit as a JSON document: rank, key, similarity, then its other members.

        Args:
            similarity: Cosine; 1.0 for the same direction.
            content: The entry's metadata and what else is stored of it.
        """
        fields = self.hit_fields(content)
        key_name = next(iter(fields))
        cosine = None if similarity is None else round(float(similarity), 4)
        return {"rank": rank, key_name: fields[key_name], "similarity": cosine, **fields}
