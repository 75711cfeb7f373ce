"""Check, export, move and forget rows of a declared task, for the commands that keep a workspace."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.hooks import DerivedCheck, ExportRows, ExportWanted, Hooks, RowFault, VersionShare
from pipeline.core.progress import Progress
from pipeline.core.task import StaleItems
from pipeline.engine.declared import given
from pipeline.engine.declared.rows import DeclaredRows
from pipeline.store import answers, versions
from pipeline.store.rows import remove_row
from pipeline.tables.answers_export import answers_rows
from pipeline.tables.export import encoded
from pipeline.tables.item_values import value_text
from pipeline.tables.view import make_views

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.tables.grid import Grid


EXAMPLES = 3  # rows that a fault names
LONG = 12  # letters of a text below which it may stand anywhere by chance


class DeclaredHooks(Hooks):
    """The tables of a declared task; see `pipeline.core.hooks` for what each member promises."""

    how_to_index = 'index="{column}" in the task\'s file says by what text its rows are found'
    brings_items = True
    export_word = "answer"
    export_choices = frozenset({"extractor", "rows", "cost"})
    export_formats: Mapping[str, str] = {
        ".csv": "csv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".parquet": "parquet",
    }

    def __init__(self, rows: DeclaredRows) -> None:
        """Keep the rows of the task."""
        self._rows = rows

    def id_of(self, tx: "Connection", name: str) -> str:
        """Return the id of the row of that key.

        Raises:
            InputError: there is none.
        """
        task = self._rows.record.name
        if not self._rows.table(tx).ids_among(tx, [name]):
            raise InputError(f"there is no row {name!r} in {task}", hint=f"make items TASK={task} lists them")
        return name

    def grid(self, tx: "Connection") -> "Grid":
        """Return what lists rows, looked for in all their columns."""
        from pipeline.engine.declared.grid import rows_grid

        return rows_grid(tx, self._rows)

    def texts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, str]:
        """Return the values that are asked about, a line each."""
        asked = [*self._rows.record.words.get("asked", ()), *self._rows.images]
        found = self._rows.rows(tx, ids).items()
        return {one: "\n".join(value_text(row[name]) for name in asked) for one, row in found}

    def stale(self, tx: "Connection") -> StaleItems:
        """Return how many rows changed since they were answered, and since when the first of them."""
        return self._rows.stale(tx)

    def check_declared(self, fingerprint: str, what: str) -> None:
        """Refuse what was asked with another declaration than the file has now.

        Raises:
            ConfigurationError: it was.
        """
        mine = self._rows
        if fingerprint != mine.declared_fingerprint:
            raise ConfigurationError(
                f"{what} was asked with another declaration than {mine.record.path} has now; it stays as it is",
                hint="put the file back, or judge by the new declaration with ACCEPT_CHANGED=1",
            )

    def blame(self, error: BaseException, item_id: str) -> None:
        """Raise what a validator of the file's failed with, as what `check` fails with."""
        raise self._rows.judge.fault_of(error, "a validator", item_id) from error

    def make_tables(self, tx: "Connection", there: "Connection") -> None:  # noqa: ARG002 - the record tells them
        """Make the views."""
        make_views(there, self._rows.answers_spec, self._rows.record.columns)

    def check_derived(self, tx: "Connection", display: Progress) -> DerivedCheck:  # noqa: ARG002 - it takes no time
        """Tell images that cannot be asked about, and answers that other programs lack."""
        return DerivedCheck([*self._unusable(tx), *self._unwritten(tx)])

    def _unwritten(self, tx: "Connection") -> list[RowFault]:
        target, many = self._rows.row_target, self._rows.record.name
        if target is None or not (lacking := target.lacking(tx)):
            return []
        shown = ", ".join(lacking[:EXAMPLES])
        fault = RowFault(
            f"{target.name} lacks the rows of {len(lacking):,} {many} that are answered ({shown})",
            "other programs do not see what was answered",
            f"make score TASK={many}",
        )
        return [fault]

    def _unusable(self, tx: "Connection") -> list[RowFault]:
        record, mine = self._rows.record, self._rows.items_table.c
        if not self._rows.images:
            return []
        told = (mine.findable_unusable.is_not(None), mine.findable_gone_at.is_(None))
        first = tx.execute(select(mine.findable_key, mine.findable_unusable).where(*told).order_by(mine.findable_row))
        key, why = next(iter(first), (None, ""))
        if key is None:
            return []
        count = tx.execute(select(func.count()).select_from(self._rows.items_table).where(*told)).scalar_one()
        said = f"{count:,} rows of {record.name} have an image that cannot be asked about ({key}: {why})"
        listed = f"make items TASK={record.name} STATE=unusable"
        return [RowFault(said, "they are not asked until their images are others", contradiction=False, next=listed)]

    def refresh_derived(self, tx: "Connection") -> int:
        """Write what other programs lack of the answers."""
        return self._rows.row_target.restore(tx) if self._rows.row_target else 0

    def declared_in(self) -> Path | None:
        """Return the file of the task, where it is declared in one."""
        place = Path(self._rows.record.path)
        return None if given.name_in_python(place) else place

    def remove(self, tx: "Connection", item_id: str) -> None:
        """Delete a row, and what other programs were given of its answers."""
        self._rows.remove(tx, [item_id])
        remove_row(tx, self._rows.record.name, item_id)

    def export_rows(self, tx: "Connection", wanted: ExportWanted) -> ExportRows:
        """Return each answer of one extractor beside its row, or the members of a list, by the key."""
        record, spec = self._rows.record, self._rows.answers_spec
        there = answers.standing_extractors(tx, record.name)
        among = [one for one in there if wanted.extractor is None or versions.is_of(one, wanted.extractor)]
        if wanted.extractor is not None and not among:
            raise InputError(
                f"there is no answer of {wanted.extractor!r}; nothing was written",
                hint=f"`make versions TASK={record.name}` lists whose answers there are",
            )
        label = f"{record.name}@{record.version}"
        chosen = min(among, key=versions.ranks(tx, record.name, prefer=wanted.prefer, label=label), default=None)
        rows, kinds = answers_rows(
            tx, spec, record.columns, extractor=chosen or label, field=wanted.rows, cost=wanted.cost
        )
        encode = partial(encoded, kinds=kinds)
        counts = ((f"{one.label}/{one.model}", one.items) for one in answers.version_counts(tx, record.name))
        shares = [VersionShare(*one) for one in counts if one[0] in there]
        shares.sort(key=lambda one: (one.extractor != chosen, one.extractor))
        return ExportRows(rows, encode, extractor=chosen, versions=shares)
