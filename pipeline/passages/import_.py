"""Import passages from a file of any length in one transaction: JSON lines, a JSON list, CSV by its header, or Parquet.

A row is `{"id", "text", "source"?, "metadata"?}`; other fields go into the metadata. A text is taken exactly as given.
A passage with concepts keeps its text, because their quotations are slices of it; another text is refused. One that is
being asked about takes a new text, and the answer is not applied; a parked one with another text goes again.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import first_few
from pipeline.engine.workspace import WorkspaceSession
from pipeline.passages import table
from pipeline.passages.table import OPTIONAL, PassagesShape, read_shape
from pipeline.store import claims, workspace
from pipeline.store.database import Connection
from pipeline.tables.cells import cell_words, compact_json, loaded
from pipeline.tables.columns import ColumnLayout, MappedFile
from pipeline.tables.read import SourceRow, parse_json
from pipeline.tables.row_import import (
    PLAIN,
    Finding,
    FindingKind,
    ImportOptions,
    ImportReport,
    SoundRow,
    excerpt,
    import_rows,
    key_of,
    rejected,
)

ANSWERED = "has concepts, and another text here; the one that is stored stays"
BLOCK = 2000  # passages written at a time
HINT = 'one passage a line: {"id": "…", "text": "…", "source": "…", "metadata": {…}}; or CSV with these columns'
MAX_ID = 500  # characters: below what an index of PostgreSQL takes (2,704 bytes), and of a key the API must carry back
MAX_LINE = (
    16 << 20
)  # characters; a text of 100,000 characters has 1.2 million at the most, escaped as it may be
OURS = ("id", "text", "source", "metadata")
_REMEMBERED = 1000  # names of keys, for a note


class PassagesFile(MappedFile):
    """The passages of one file; ids are as the table of a `shape` has them, and InputError where one does not fit in.

    A source or metadata that are None leave what is stored alone.
    """

    layout = ColumnLayout(
        "id",
        {name: name for name in OURS},
        HINT,
        "import-passages",
        "passages",
        default="jsonl",
        max_line=MAX_LINE,
    )
    shape: PassagesShape | None = None

    def __init__(self, *told: Any, **more: Any) -> None:
        """Find out what the file is."""
        super().__init__(*told, **more)
        self.others = dict[str, None]()  # names that went into the metadata

    def last_notes(self) -> Iterator[str]:
        """Yield what went into the metadata."""
        if self.others:
            yield f"taken into the metadata: {first_few([excerpt(one) for one in self.others], 10)}"

    def judged(self, row: SourceRow) -> SoundRow | Finding:
        """Return the passage of a row, or why it holds none."""
        value = row.values
        key, why = key_of(value.get("id"), most=MAX_ID)
        text = value.get("text")
        if why or not isinstance(text, str):
            column, found = ("id", value.get("id", "")) if why else ("text", text or "")
            why = why or ("missing" if text is None else "no text")
            return rejected(row.line, why, found, column=column, key=key or None)
        changes: list[Finding] = []

        def note(
            column: str, reason: str, found: object, kind: FindingKind = FindingKind.CHANGED
        ) -> None:
            changes.append(Finding(row.line, column, reason, excerpt(found), kind, key))

        source = value.get("source")
        metadata = value.get("metadata")
        if isinstance(metadata, str) and self.format in {
            "csv",
            "xlsx",
            "parquet",
        }:  # an empty cell says nothing
            metadata = _metadata_in(metadata)
        if source is not None and not isinstance(source, str):
            note("source", "no text, dropped", source)
            source = None
        if metadata is not None and not isinstance(metadata, dict):
            note("metadata", "no object, dropped", metadata)
            metadata = None
        if others := {name: one for name, one in value.items() if name not in OURS}:
            self.others |= dict.fromkeys(others) if len(self.others) < _REMEMBERED else {}
            metadata = {**others, **(metadata or {})}
        if not text.strip():
            note("text", "empty: kept, and never asked about", "", FindingKind.NOTED)
        there = key if self.shape is None else _key_there(self.shape, key, row.line)
        return SoundRow(
            there, {"text": text, "source": source, "metadata": metadata}, row.line, tuple(changes)
        )


def _metadata_in(cell: str) -> object:
    try:
        return cell if "\\u0000" in cell else parse_json(cell) if cell.strip() else None
    except ValueError:
        return cell


class PassagesImportReport(ImportReport):
    """What an import of passages did: an updated one has another text, source or metadata."""

    FIELDS = (
        "path",
        "lines",
        "dry",
        "added",
        "updated",
        "unchanged",
        "released",
        "refused",
        "notes",
        "report",
    )
    KINDS = (FindingKind.REJECTED, FindingKind.CHANGED, FindingKind.NOTED)
    NAMES = ("line", "field", "reason", "value", "kind", "id")
    NO_KEY = ""
    WORD = "passage"


check_file = PassagesFile.check


def run(ws: WorkspaceSession, path: Path, options: ImportOptions = PLAIN) -> PassagesImportReport:
    """Import the passages in a file.

    A report says what happened also where nothing went in; `ImportReport.check` raises then. Where it is only to say
    what would go in (`dry`), the tables need not be there yet, and any task may be in use.

    InputError where the file cannot be read, an id in it does not fit into the table,
    or the list cannot be written. Nothing was changed.
    """
    file, done = PassagesFile.begun(path, options, PassagesImportReport)
    with ws.store.read() as tx:
        file.shape = shape = read_shape(tx, passages=ws.settings.passages_table)
    write = partial(_write, shape)
    import_rows(
        ws.store,
        ws.display,
        file,
        done,
        write=write,
        task=table.TASK,
        at=ws.now(),
        block=BLOCK,
        long="text",
    )
    if missing := [f"`{name}`" for name in OPTIONAL if name not in shape.names]:
        done.notes.append(
            f"`{shape.passages.name}` has no column for {' and '.join(missing)}; not kept"
        )
    return done


def _key_there(shape: PassagesShape, key: str, line: int) -> str:
    if (there := shape.ids.key(key)) is not None:
        return there
    most = f" of at most {shape.ids.length} characters" if shape.ids.length else ""
    raise InputError(
        f"line {line}: the id {excerpt(key)!r} does not fit into the column `id` of "
        f"`{shape.passages.name}`, which holds {shape.ids.kind}{most}; nothing was written",
        hint=f"give every line an id of that kind, or name another table with {OptionHint('passages_table')}",
    )


def _write(
    shape: PassagesShape, tx: Connection, passages: Sequence[SoundRow], done: PassagesImportReport
) -> list[Finding]:
    """Write some passages, and count them; return what else is to be told. Of a `dry` import nothing is written."""
    items = table.item_table(shape)
    ids = [one.key for one in passages]
    known = {} if shape.passages.name in shape.missing else items.rows(tx, ids, shape.names)
    there = [(one, known[one.key]) for one in passages if one.key in known]
    other = [one.key for one, row in there if cell_words(row["text"]) != one.values["text"]]
    has_any = table.has_concepts(shape, None)
    answered = (
        set() if shape.concepts.name in shape.missing else items.ids_among(tx, other, has_any)
    )
    new = [_row(one, {}) for one in passages if one.key not in known]
    changed = [
        _row(one, row)
        for one, row in there
        if one.key not in answered and (one.key in other or _is_described(shape, one, row))
    ]
    texts = [key for key in other if key not in answered]
    free = set(texts) - set(claims.claimed_among(tx, table.TASK, texts))
    done.released += len(
        (claims.unparkable if done.dry else claims.unpark)(tx, table.TASK, ids=sorted(free))
    )
    if not done.dry:
        table.put_passages(tx, shape, new, changed)
        if new or texts:
            workspace.touch_revision(tx, table.TASK)
    done.added += len(new)
    done.updated += len(changed)
    done.unchanged += len(passages) - len(new) - len(changed) - len(answered)
    kept = (one for one in passages if one.key in answered)
    return [
        rejected(
            one.line,
            ANSWERED,
            one.values["text"],
            column="text",
            key=one.key,
            cells={"id": one.key, **one.values},
        )
        for one in kept
    ]


def _row(one: SoundRow, row: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the cells of a passage, where there is a row of it already; what the file does not say stays."""
    text, source, metadata = (one.values[name] for name in ("text", "source", "metadata"))
    if source is None and row.get("source") is not None:
        source = cell_words(row["source"])
    metadata = loaded(row.get("metadata")) if metadata is None else metadata
    told = None if metadata is None else compact_json(metadata)
    return {"id": one.key, "text": text, "source": source, "metadata": told}


def _is_described(shape: PassagesShape, one: SoundRow, row: Mapping[str, Any]) -> bool:
    """Return whether a passage has another source or other metadata than its row."""
    there = {"source": row.get("source"), "metadata": loaded(row.get("metadata"))}
    return any(
        one.values[name] not in (None, there[name]) for name in OPTIONAL if name in shape.names
    )
