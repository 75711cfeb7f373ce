"""Check, export and move passages and their concepts, for the commands that keep a workspace."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.hooks import CheckResult, ExportRows, ExportWanted, Hooks
from pipeline.core.settings import Settings
from pipeline.core.task import Task, VersionCounts
from pipeline.passages import best as preferred
from pipeline.passages import table
from pipeline.passages.adopt import adopt
from pipeline.passages.collection import PassagesCollection
from pipeline.passages.schema import PassagesShape, tables_of
from pipeline.passages.task import ConceptsRows
from pipeline.store import live_calls, pilots, statistics, versions

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy import Connection, Table

    from pipeline.passages.evidence import GroundedConcepts
    from pipeline.quality.figures import Bound, Quality
    from pipeline.tables.grid import Grid


class PassagesHooks(Hooks):
    """The tables of passages and concepts; see `pipeline.core.hooks` for what each member promises."""

    how_to_index = "`make index TASK=passages` embeds those that have concepts, and builds their index"
    export_word = "concept"
    export_choices = frozenset({"best", "extractor"})
    export_formats: Mapping[str, str] = {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".parquet": "parquet",
    }

    def __init__(self, shape: PassagesShape, settings: Settings, label: str, skips: tuple[str, ...] | None) -> None:
        """Keep how the tables are, what is set of them, and what says which passages are open; see `ConceptsRows`."""
        self._shape, self._settings = shape, settings
        self._label, self._skips = label, skips

    def begin_index(self) -> PassagesCollection:
        """Return what of the passages is indexed."""
        return PassagesCollection(self._shape)

    def grid(self, tx: "Connection") -> "Grid":
        """Return what lists passages."""
        from pipeline.passages.grid import passages_grid

        return passages_grid(tx, self._shape, table.item_table(self._shape, skip=self._skips, label=self._label))

    @property
    def bounds(self) -> "Sequence[Bound]":
        """Return the gates of concepts."""
        from pipeline.passages.quality import BOUNDS

        return BOUNDS

    def quality(self, tx: "Connection", extractor: str | None) -> "Quality":
        """Return what the concepts of one extractor are like."""
        from pipeline.passages.quality import measure_concepts

        return measure_concepts(tx, self._shape, extractor)

    def stored_json(self, answer: "BaseModel", *, applied: bool) -> str:
        """Return how many concepts there are where they stand in their table; else the whole answer."""
        if not applied:
            return answer.model_dump_json()
        concepts = cast("GroundedConcepts", answer).concepts
        located = sum(one.evidence is not None for one in concepts)
        return json.dumps({"concepts": len(concepts), "located": located})

    def kept_model(self, asked: "type[BaseModel]") -> "type[BaseModel]":  # noqa: ARG002 - what was made of it
        """Return the model of concepts with what proves them."""
        from pipeline.passages.evidence import GroundedConcepts

        return GroundedConcepts

    def written_answers(self, tx: "Connection", extractor: str, ids: Sequence[str]) -> "Mapping[str, BaseModel]":
        """Return the concepts of these passages as they were answered, without those that were changed since."""
        from pipeline.passages.evidence import concepts_in

        label, _, model = extractor.partition("/")
        found = table.stored_concepts(tx, self._shape, ids, version=label, model=model)
        read = {key: concepts_in(rows) for key, rows in found.items()}
        return {key: answer for key, answer in read.items() if answer is not None}

    def new_version(self, tx: "Connection", task: Task, label: str | None) -> Task:
        """Return the task under a version of its own: `label`, or `passage-concepts@n` with the next free number.

        Free is what no backfill was made under, nor anything else but a pilot, and what no row of another program has.
        """
        if label is None:
            begun = versions.list_versions(tx, table.TASK)
            backfills = live_calls.latest_runs(tx, table.TASK, mode=live_calls.BACKFILL)
            taken = table.versions_present(tx, self._shape) - {one.label for one in begun}
            taken |= {one.extractor.partition("/")[0] for one in backfills}
            taken |= {
                one.label
                for one in begun
                if statistics.count_answered(tx, table.TASK, one.extractor) > pilots.pilot_items(tx, one.extractor)
            }
            label = next(one for one in map(f"{table.TASK}@{{}}".format, itertools.count(1)) if one not in taken)
        rows = ConceptsRows(self._shape, label, (label,))
        hooks = PassagesHooks(self._shape, self._settings, label, (label,))
        return replace(task, label=label, skips=(label,), rows=rows, hooks=hooks)

    def versions(self, tx: "Connection") -> list[VersionCounts]:
        """Return every version that has concepts here, other programs' too."""
        return table.concept_versions(tx, self._shape)

    def roll_back(self, tx: "Connection", label: str, *, model: str) -> int:
        """Delete the concepts of a version."""
        return table.roll_back_concepts(tx, self._shape, label, model=model)

    def tables(self, tx: "Connection") -> "Sequence[Table]":
        """Return the two tables."""
        return tables_of(self._shape.passages.name).moved(tx)

    def make_tables(self, tx: "Connection", there: "Connection") -> None:
        """Make the two tables and the view of the best concepts."""
        for one in self.tables(tx):
            one.create(there)
        adopt(there, replace(self._settings, task="passages"))

    def check(self, tx: "Connection") -> CheckResult | None:
        """Compare every quotation with its passage, and the concepts with the answers that were applied."""
        from pipeline.passages.verify import verify_quotes

        return verify_quotes(tx, self._shape)

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
        """Return the concepts of one extractor, or the best of each name, by passage."""
        from pipeline.passages import export

        encode = export.encode_concepts

        if wanted.best and wanted.extractor:
            raise InputError(
                "BEST= and EXTRACTOR= exclude each other; nothing was written", hint="PREFER_VERSIONS= chooses"
            )
        found = table.concept_versions(tx, self._shape)
        if wanted.best:
            preference = preferred.preference_of(self._settings)
            best = preferred.best_concepts(tx, self._shape, preference)
            return ExportRows(best, encode, versions=table.shares(found))
        there = {table.named(one): one for one in sorted(found, key=_is_newest_last, reverse=True)}
        among = [one for one in there if wanted.extractor is None or versions.is_of(one, wanted.extractor)]
        if not among and wanted.extractor is not None:
            raise InputError(
                f"there is no concept of {wanted.extractor!r}; nothing was written",
                hint="`make versions` lists whose concepts there are",
            )
        chosen = min(among, key=versions.ranks(tx, table.TASK, prefer=wanted.prefer), default=None)
        rows = preferred.all_concepts(tx, self._shape, of=None if chosen is None else there[chosen][:2])
        return ExportRows(rows, encode, extractor=chosen, versions=table.shares(found, chosen=chosen))


def _is_newest_last(one: VersionCounts) -> str:
    """Return what puts versions in the order of their last concepts; text, for so another program's times may be."""
    return str(one.last or "")
