"""Check, export and move passages and their concepts, for the commands that keep a workspace."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.hooks import CheckResult, ExportRows, ExportWanted, Hooks
from pipeline.core.settings import Settings
from pipeline.passages import best as preferred
from pipeline.passages import table
from pipeline.passages.adopt import adopt
from pipeline.passages.schema import OF_PASSAGES, PassagesShape, tables_as_found
from pipeline.tables.reflect import columns_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


class PassagesHooks(Hooks):
    """The tables of passages and concepts; see `pipeline.core.hooks` for what each member promises."""

    export_word = "concept"
    export_choices = frozenset({"best", "extractor"})
    export_formats: Mapping[str, str] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

    def __init__(self, shape: PassagesShape, settings: Settings, *, asked: str = "") -> None:
        """Keep how the tables are, what is set of them, and what says which passages are open."""
        self._shape = shape
        self._settings = settings
        self._asked = asked

    def tables(self, tx: "Connection") -> "Sequence[Table]":
        """Return the two tables."""
        return tables_as_found(tx, passages=self._shape.passages.name)

    def make_tables(self, tx: "Connection", there: "Connection") -> None:
        """Make the two tables and the view of the best concepts."""
        for one in self.tables(tx):
            one.create(there)
        adopt(there, replace(self._settings, task="passages"))

    def adopted_counts(self, tx: "Connection") -> str | None:
        """Return the table and what says which of its passages are open, where it has other columns than ours has."""
        name = self._shape.passages.name
        return None if columns_of(tx, name).keys() == {"id", *OF_PASSAGES} else f"{name} {self._asked}"

    def check(self, tx: "Connection") -> CheckResult | None:
        """Compare every quotation with its passage, and the concepts with the answers that were applied."""
        from pipeline.passages.verify import verify_quotes

        return verify_quotes(tx, self._shape)

    def contains_text(self, tx: "Connection", text: str) -> bool:
        """Return whether a text stands in a passage, a concept, or an answer that is kept."""
        return table.passage_text_is_stored(tx, self._shape, text)

    def check_removable(self, tx: "Connection", item_id: str) -> None:  # noqa: ARG002 - no passage is
        """Refuse to remove a passage, which other rows of the user's name.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "passages are not forgotten one by one; nothing was changed",
            hint="`make rollback` takes back what a version found in all of them",
        )

    def export_rows(self, tx: "Connection", wanted: ExportWanted) -> ExportRows:
        """Return the concepts, by passage."""
        from pipeline.passages.export import encode_concepts

        if wanted.best and wanted.extractor:
            raise InputError(
                "BEST= and EXTRACTOR= exclude each other; nothing was written", hint="PREFER_VERSIONS= chooses"
            )
        if wanted.best:
            preference = preferred.preference_of(self._settings)
            return ExportRows(preferred.best_concepts(tx, self._shape, preference), encode_concepts)
        found = preferred.all_concepts(tx, self._shape, extractor=wanted.extractor)
        first = next(found, None)
        if first is None and wanted.extractor is not None:
            raise InputError(
                f"there is no concept of {wanted.extractor!r}; nothing was written",
                hint="`make versions` lists whose concepts there are",
            )
        return ExportRows(found if first is None else itertools.chain([first], found), encode_concepts)
