"""Check, export, move and forget experts, for the commands that keep a workspace."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core.hooks import DerivedCheck, ExportRows, ExportWanted, Hooks, RowFault, VersionShare
from pipeline.core.progress import Progress
from pipeline.experts import adopt, table
from pipeline.experts.schema import experts
from pipeline.experts.score import score
from pipeline.store import answers, asks, by_hand
from pipeline.tables import item_table
from pipeline.tables.cells import list_of, number_of, text_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from pipeline.quality.figures import Bound, Quality
    from pipeline.tables.grid import Grid

SCORES = "scores that do not follow from their row"
TAGS = "tags that another program changed after they were written"
TEXT = "text that is no UTF-8, read with gaps"
GAP = "\N{REPLACEMENT CHARACTER}"
EXAMPLES = 3


class ExpertsHooks(Hooks):
    """The table `experts`; see `pipeline.core.hooks` for what each member promises."""

    derives = True
    export_word = "expert"
    export_formats: Mapping[str, str] = {
        ".csv": "csv",
        ".json": "json",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".parquet": "parquet",
    }

    def id_of(self, tx: "Connection", name: str) -> str:
        """Return the id of the person of that username."""
        return str(table.by_username(tx, name)["id"])

    def grid(self, tx: "Connection") -> "Grid":
        """Return what lists people."""
        from pipeline.experts.grid import people_grid

        return people_grid(tx)

    @property
    def bounds(self) -> "Sequence[Bound]":
        """Return the gates of tags."""
        from pipeline.experts.quality import BOUNDS

        return BOUNDS

    def quality(self, tx: "Connection", extractor: str | None) -> "Quality":
        """Return what the tags of one extractor are like."""
        from pipeline.experts.quality import measure_tags

        return measure_tags(tx, extractor)

    def tables(self, tx: "Connection") -> "Sequence[Table]":  # noqa: ARG002 - it is the same everywhere
        """Return the table."""
        return (experts,)

    def make_tables(self, tx: "Connection", there: "Connection") -> None:  # noqa: ARG002 - it is the same everywhere
        """Make the table."""
        adopt.adopt(there)

    def highest_id(self, tx: "Connection", table_: "Table") -> int:  # noqa: ARG002 - there is one
        """Return the highest id that was ever asked about."""
        return asks.highest_id(tx, table.TASK)

    def check_derived(self, tx: "Connection", display: Progress) -> DerivedCheck:
        """Compare scores with their rows, and tags with the answers that were applied."""
        wrong: dict[str, list[str]] = {SCORES: [], TAGS: [], TEXT: []}
        applied = answers.current_answers(tx, table.TASK)
        rules = by_hand.rules_in_force(tx, table.TASK)
        with display.bar("checking people", table.people(tx).total(tx), late=True) as bar:
            for number, row in enumerate(table.all_experts(tx), start=1):
                key = str(row["id"])
                for kind in _wrong(row, applied.pop(key, None), rules):
                    wrong[kind].append(text_of(row["username"]))
                bar.show(number)
        return DerivedCheck([_fault(kind, names) for kind, names in wrong.items() if names], sorted(applied))

    def refresh_derived(self, tx: "Connection") -> int:
        """Bring scores up to date."""
        adopt.settle_foreign(tx)
        return table.SCORES.refresh(tx)

    def settle_foreign(self, tx: "Connection") -> None:
        """Park the rows whose tags are text that is no JSON list, and let those go whose tags were mended."""
        adopt.settle_foreign(tx)

    def check_removable(self, tx: "Connection", item_id: str) -> None:
        """See that a person's row can be deleted, by deleting it and taking that back."""
        item_table.check_removable(tx, table.people(tx), item_id)

    def remove(self, tx: "Connection", item_id: str) -> None:
        """Delete a person's row."""
        item_table.remove_row(tx, table.people(tx), item_id)

    def export_rows(self, tx: "Connection", wanted: ExportWanted) -> ExportRows:  # noqa: ARG002 - all there are
        """Return every row, by id; there is nothing to choose from: tags are what the table holds, of any version."""
        from pipeline.experts import export

        told = [VersionShare(*row) for row in table.tagged_by(tx)]
        return ExportRows(table.all_experts(tx), export.encode_experts, table.people(tx).total(tx), versions=told)


def _wrong(row: Mapping[Any, Any], answer: str | None, rules: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with one row, whose tags may have been merged."""
    if score(row) != number_of(row["findability_score"]):
        yield SCORES
    if answer is not None:
        said = json.loads(answer).get("tags")
        if list_of(row["tags"]) != (said and by_hand.merged(said, rules)):
            yield TAGS
    if any(GAP in text_of(row[column]) for column in ("username", *table.INPUT_COLUMNS)):
        yield TEXT


def _fault(kind: str, names: list[str]) -> RowFault:
    said = f"{kind}: {len(names)} ({', '.join(names[:EXAMPLES])}{', …' if len(names) > EXAMPLES else ''})"
    if kind == SCORES:
        return RowFault(said, "a list sorted by it is in a wrong order", "make score")
    if kind == TAGS:
        why = "what they came from cannot be told any more"
        return RowFault(said, why, "nothing, where that was meant", contradiction=False)
    why = "it is asked about and found with gaps; it is never written back"
    return RowFault(said, why, "mend the text in the table", contradiction=False)
