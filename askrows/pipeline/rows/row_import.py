"""Import the rows of a file in one transaction, and report a finding for each faulty row.

- A layout lists the columns that a task imports. The key column identifies a row: the first valid
  row of a key is imported, and later ones are rejected.
- All sound rows are imported, or none. A finding is a fault of a row, made in `row_findings`; it
  rejects the row, says that the row was changed, or asks the user to look at it.
- A CSV report of all findings is sealed right before the commit.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import (
    SealedWriter,
    check_and_resolve_file_target,
    remove_abandoned_parts,
)
from askrows.pipeline.core.text import encode_csv_line
from askrows.pipeline.rows.columns import (
    ColumnLayout,
    ColumnMapping,
    join_first_excerpts,
    parse_column_map,
)
from askrows.pipeline.rows.row_findings import (
    MAX_KEPT_FINDINGS,
    Finding,
    FindingKind,
    KeyLines,
    SoundRow,
    SourceRow,
    make_excerpt,
    make_refused_row,
    make_rejection,
)
from askrows.pipeline.rows.source import TableFile, check_column_names
from askrows.pipeline.store import claims
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.rows import FileRefusalReplacement
from askrows.pipeline.store.workspace import record_event, record_row_change
from askrows.pipeline.workspace.open_workspace import OpenWorkspace, check_and_resolve_target

# Characters of text that are written at a time, so that long texts do not fill the memory.
MAX_BLOCK_CHARS = 4 << 20
# Findings of a group that are shown.
MAX_GROUP_EXAMPLES = 3
# Takes the place of a finding's kind in the report: the file lacks a row that the table has.
GONE_ROW_KIND = "gone"
# The parts in which reasons of one group differ: a quoted value or a number.
_VARYING_PART = re.compile(r"'[^']*'|\d[\d,.]*")


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import."""

    # MAP=: which columns the names in the file mean.
    mapping: str = ""
    # How the file is read.
    reading: ReadOptions = DEFAULT_READ_OPTIONS
    # Write all findings to this CSV file.
    report: Path | None = None
    # Write nothing, and report what an import would do.
    dry: bool = False


DEFAULT_IMPORT_OPTIONS = ImportOptions()


@dataclass
class FindingGroup:
    """The findings of one kind in one column, whose reasons differ only in numbers and quotes."""

    kind: FindingKind
    column: str
    # The reason of the first; an ellipsis replaces numbers and quotes if there are several.
    reason: str
    count: int = 0
    # The first findings.
    examples: list[Finding] = field(default_factory=list)


@dataclass
class ImportReport:
    """Result of an import; of a dry run, the result that an import would have."""

    # Attributes that `document` contains.
    FIELDS: ClassVar[tuple[str, ...]] = (
        "path",
        "format",
        "encoding",
        "dry",
        "lines",
        "added",
        "updated",
        "unchanged",
        "gone",
        "released",
        "notes",
        "report",
    )

    path: str
    report: str | None = None
    dry: bool = False
    # How each name in the file was understood.
    columns: Sequence[dict[str, str]] = ()
    # Rows that were read, good or bad; blank lines do not count.
    lines: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    # Rows that were parked before, and may be asked again.
    released: int = 0
    # All findings by kind.
    counts: dict[FindingKind, int] = field(default_factory=lambda: dict.fromkeys(FindingKind, 0))
    # The first thousand findings.
    findings: list[Finding] = field(default_factory=list)
    # All findings by kind, column and reason.
    groups: dict[tuple[FindingKind, str, str], FindingGroup] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # Rows of the table that the file lacks, and the keys of the first thousand.
    gone: int = 0
    gone_keys: list[str] = field(default_factory=list)
    format: str = ""
    encoding: str = ""
    # Name of the column that identifies a row, in findings.
    key_name: str = "key"

    def __repr__(self) -> str:
        return f"<{self.path}: {self.summary}>"

    @property
    def rows_in(self) -> int:
        """How many rows of the file the table contains now, new or not."""
        return self.changes + self.unchanged

    @property
    def changes(self) -> int:
        """How many rows were written."""
        return self.added + self.updated

    @property
    def summary(self) -> str:
        """The counts in a few words, for the event that is recorded."""
        rejected_count = self.counts[FindingKind.REJECTED]
        return f"{self.added} added, {self.updated} updated, {rejected_count} rejected"

    @property
    def document(self) -> dict[str, Any]:
        """The report as JSON values, for programs."""
        fields = {name: getattr(self, name) for name in self.FIELDS}
        count_by_kind = {kind.value: self.counts[kind] for kind in FindingKind}
        names = self.finding_names
        findings = [
            dict(zip(names, finding[: len(names)], strict=True)) for finding in self.findings
        ]
        return {**fields, **count_by_kind, "findings": findings}

    @property
    def finding_names(self) -> tuple[str, ...]:
        """The names of a finding's values in `document` and in the CSV report."""
        return ("line", "column", "reason", "value", "kind", self.key_name)

    def count_and_write_findings(
        self, findings: Iterable[Finding], report_file: SealedWriter | None
    ) -> None:
        """Count and group findings, write them to the report file, and keep the first thousand.

        All this is done with copies without cells, in the order of their lines.

        Args:
            findings: The findings, in any order.
            report_file: An open CSV file with its header, or None.
        """
        without_cells = (finding._replace(cells={}) for finding in findings)
        for finding in sorted(without_cells, key=lambda finding: finding.line):
            self.counts[finding.kind] += 1
            if report_file is not None:
                cells = finding[: len(self.finding_names)]
                report_file.write(encode_csv_line([str(cell or "") for cell in cells]))
            if len(self.findings) < MAX_KEPT_FINDINGS:
                self.findings.append(finding)
            self._add_to_finding_group(finding)

    def _add_to_finding_group(self, finding: Finding) -> None:
        """Add a finding to the group of its kind, column and reason, and keep the first examples.

        Reasons that differ only in numbers and quoted values are in one group.
        """
        general_reason = _VARYING_PART.sub("…", finding.reason)
        new_group = FindingGroup(finding.kind, finding.column, finding.reason)
        group_key = (finding.kind, finding.column, general_reason)
        group = self.groups.setdefault(group_key, new_group)
        group.count += 1
        if len(group.examples) < MAX_GROUP_EXAMPLES:
            group.examples.append(finding)
        if group.reason != finding.reason:
            group.reason = general_reason

    def count_and_write_gone_key(self, key: str, report_file: SealedWriter | None) -> None:
        """Count a row that the file lacks, write it to the report file, and keep the first keys."""
        self.gone += 1
        if len(self.gone_keys) < MAX_KEPT_FINDINGS:
            self.gone_keys.append(key)
        if report_file is not None:
            report_file.write(
                encode_csv_line(
                    ["0", "", "in an earlier file, not in this file", "", GONE_ROW_KIND, key],
                ),
            )

    def require_imported_row(self) -> None:
        """Raise InputError if the import failed as a whole; called when the report is complete.

        An import whose rows were all in the table before, unchanged, did not fail.

        Raises:
            InputError: Not a single row of the file is in the table, also because the file has no
                rows.
        """
        if self.rows_in:
            return
        rejected_count = self.counts[FindingKind.REJECTED]
        hint = "the file has no rows; add rows below the header"
        if rejected_count:
            hint = "the findings name the reasons; correct the file"
        raise InputError(
            f"{self.path}: no row could be imported ({rejected_count} rejected); "
            "nothing was changed",
            hint=hint,
        )


class WrittenRows(NamedTuple):
    """Result of writing a page of sound rows; of a dry run, the result that it would have."""

    # Rows that were inserted, and rows that were updated.
    added: int
    updated: int
    # Ids of the updated rows with another text to ask about.
    changed_ids: Sequence[str]
    # A rejection for each row that was not imported.
    findings: Sequence[Finding] = ()


T = TypeVar("T")


@contextlib.contextmanager
def _open_report_file(report: ImportReport) -> Iterator[SealedWriter | None]:
    """Open the CSV file for all findings, and write its header; None if no file was requested.

    Temporary files that an interrupted import left are removed. The caller must seal the file, so
    that it replaces an earlier report. An unsealed file is discarded at the end of the block.

    Raises:
        InputError: The file cannot be written, or would replace the imported file.
    """
    if report.report is None:
        yield None
        return

    target = check_and_resolve_file_target(Path(report.report))
    if target == Path(report.path).resolve():
        raise InputError(
            f"the report would replace {report.path}; nothing was changed",
            hint="give the report another name",
        )

    try:
        remove_abandoned_parts(target)
        report_file = SealedWriter(target)
    except OSError as error:
        raise InputError(
            f"the report {report.report} cannot be written: {error.strerror}; nothing was changed"
        ) from None
    with report_file:
        report_file.write(encode_csv_line(report.finding_names))
        yield report_file


@contextlib.contextmanager
def translate_interrupt() -> Iterator[None]:
    """Replace the message of an interrupt in a block that commits nothing.

    Raises:
        KeyboardInterrupt: The block was interrupted; the message says that nothing was imported.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; nothing was imported",
            "run the same command again",
        ) from None


class MappedFile(TableFile):
    """A file whose rows are read by the columns of a layout. Each `iter` reads the file again."""

    layout: ColumnLayout

    @translate_interrupt()
    def __init__(
        self,
        path: Path,
        options: ImportOptions = DEFAULT_IMPORT_OPTIONS,
    ) -> None:
        """Detect the format of the file, match its names, and set `key_columns`.

        The key column, and columns that occur twice, are checked in all formats but JSON, whose
        objects can each have other names.

        Args:
            path: The file.
            options: How to read the file, and MAP=.

        Raises:
            InputError: The file cannot be read, MAP= does not fit the file, or a table has no key
                column or has a column twice.
            KeyboardInterrupt: The opening was interrupted; the message says that nothing was
                imported.
        """
        layout = self.layout
        mapped_names = parse_column_map(options.mapping)
        super().__init__(
            path,
            layout.file_hint,
            options=options.reading,
            is_known_column=layout.is_known_name,
        )
        self.import_options = options
        self.mapping = ColumnMapping(self.names, mapped_names, layout=layout, path=path)
        self.notes += self.mapping.notes
        self.key_columns = [self.mapping.find_file_name(layout.key)]
        # Objects of JSON can each have other names.
        if self.format not in {"json", "jsonl"}:
            self._check_key_column()
            check_column_names(self.names, source=path)

    def _check_key_column(self) -> None:
        """Raise InputError if no name in the file means the key column."""
        layout = self.layout
        if self.mapping.find_file_name(layout.key):
            return

        option = OptionHint(map=f"{layout.key}=…")
        ask_command = CommandHint("ask", from_=self.path, q="What is it about?")
        hint = f"name the column with {option}; for a table of another kind, use `{ask_command}`"
        raise InputError(
            f"{self.path} has no {layout.columns[layout.key]} column; nothing was imported. "
            f"Found: {make_excerpt(join_first_excerpts(self.names))}",
            hint=hint,
        )

    def convert_and_check_row(self, row: SourceRow) -> SoundRow | Finding:
        """Return a row by column as it is imported, or the finding that rejects it."""
        raise NotImplementedError

    def fold_key(self, key: str) -> str:
        """Return a text that is equal for keys that count as the same, such as spellings."""
        return key

    def __iter__(self) -> Iterator[SoundRow | Finding]:
        """Yield each row as it is imported, or the finding that rejects it, in the file's order.

        A row is mapped to columns, checked, and compared with the keys before it. If
        several valid rows have the same key, only the first is imported, and the others are
        rejected. A finding that rejects a row contains its cells, if the row could be split.

        Raises:
            InputError: The file cannot be read; see `TableFile.read_rows`.
        """
        self._key_lines = KeyLines()
        self._rejected_key_lines = KeyLines()
        for row in self.read_rows():
            mapped_row = (
                row if isinstance(row, Finding) else self.mapping.map_row_and_record_names(row)
            )
            outcome = (
                mapped_row
                if isinstance(mapped_row, Finding)
                else self.convert_and_check_row(mapped_row)
            )
            if isinstance(outcome, SoundRow):
                outcome = self._reject_repeated_key(outcome)
            elif outcome.key:
                self._rejected_key_lines.find_or_add_line(self.fold_key(outcome.key), outcome.line)
            if isinstance(outcome, Finding) and isinstance(row, SourceRow):
                source_row = mapped_row if isinstance(mapped_row, SourceRow) else row
                outcome = outcome._replace(cells=source_row.values)
            yield outcome

    def _reject_repeated_key(self, row: SoundRow) -> SoundRow | Finding:
        """Return a row unchanged, or reject it if an earlier sound row has its key.

        After a rejected row, a row with its key is accepted.
        """
        first_line = self._key_lines.find_or_add_line(self.fold_key(row.key), row.line_number)
        if first_line is None:
            return row

        key_column = self.layout.key
        return make_rejection(
            row.line_number,
            f"duplicate {key_column}: already on line {first_line}",
            row.key,
            column=self.layout.columns[key_column],
            key=row.key,
        )

    def has_read_key(self, key: str) -> bool:
        """Return whether the last `iter` read a row with this key, imported or rejected."""
        identity = self.fold_key(key)
        lines = (self._key_lines.find(identity), self._rejected_key_lines.find(identity))
        return lines != (None, None)


def import_rows(
    workspace: OpenWorkspace,
    file: MappedFile,
    *,
    write: Callable[[Connection, list[SoundRow], bool], WrittenRows],
    task: str,
    max_page_rows: int,
    list_gone: Callable[[Connection, ImportReport], Iterable[str]] = lambda _tx, _report: (),
) -> ImportReport:
    """Write the sound and refused rows of a file in one transaction, and return the report.

    - All findings are written to the report file, if the options name one. A bar shows progress.
    - Rejected rows are stored as refused rows. They replace the refused rows of the task from an
      earlier file of the same name.
    - Parked rows with another text to ask about are unparked, unless a batch asks them now.
    - An import event, and that rows changed, is recorded if rows were added or updated.
    - A dry run only fills the report and its file.
    - The transaction is rolled back without an error if no row of the file is in the table. The
      report and its file are complete then, too. The caller must call
      `report.require_imported_row()`, which raises the error.
    - If an error is raised here, nothing is changed.

    Args:
        file: The file, with the options of the import. Notes that are added to it later are in the
            report, too.
        write: Writes a page of rows. Its last argument says whether this is a dry run, in which
            it gets a read transaction and only counts.
        task: The task of the rows.
        max_page_rows: The maximum number of rows in a page. Long texts limit it, too.
        list_gone: Returns the keys of rows of the table that the file lacks; called after all
            rows were written. The report lists these keys.

    Raises:
        InputError: The file cannot be read to its end, the report file cannot be written, or the
            workspace depends on the file that the report would replace.
        KeyboardInterrupt: The import was interrupted while it read or wrote rows.
    """
    started_at = workspace.now()
    options = file.import_options
    if options.report is not None:
        check_and_resolve_target(Path(options.report), workspace.store, workspace.data)
    report = ImportReport(
        str(file.path),
        str(options.report) if options.report else None,
        options.dry,
        file.mapping.describe_columns(),
        format=file.format,
        encoding=file.encoding,
        notes=file.notes,
        key_name=file.layout.key,
    )
    with (
        _open_report_file(report) as report_file,
        workspace.store.read() if report.dry else workspace.store.write() as tx,
    ):
        refusals = None if report.dry else FileRefusalReplacement(tx, task, file.path.name)
        title = "reading" if report.dry else "importing"
        with translate_interrupt(), workspace.display.bar(title, None) as bar:
            for page in split_into_blocks(
                file, max_rows=max_page_rows, size_of=lambda row: len(str(row))
            ):
                findings = [row for row in page if isinstance(row, Finding)]
                sound_rows = [row for row in page if not isinstance(row, Finding)]
                for row in sound_rows:
                    findings.extend(row.findings)
                written = write(tx, sound_rows, report.dry)
                findings.extend(written.findings)
                report.added += written.added
                report.updated += written.updated
                imported_count = len(sound_rows) - len(written.findings)
                report.unchanged += imported_count - written.added - written.updated
                report.released += _unpark_or_count_rows(
                    tx, task, written.changed_ids, is_dry=report.dry
                )
                if written.added + written.updated and not report.dry:
                    record_row_change(tx, task)

                report.count_and_write_findings(findings, report_file)
                if refusals is not None:
                    refusals.insert(
                        [
                            make_refused_row(finding)
                            for finding in findings
                            if finding.kind is FindingKind.REJECTED
                        ],
                    )
                report.lines += len(page)
                bar.show(report.lines)

            for key in list_gone(tx, report):
                report.count_and_write_gone_key(key, report_file)
            if report_file is not None:
                report_file.seal()

        if not report.rows_in:
            tx.rollback()
        elif report.changes and not report.dry:
            record_event(
                tx,
                "import",
                file.path.name,
                old=None,
                new=report.summary,
                reason="import",
                now=started_at,
            )
    return report


def _unpark_or_count_rows(
    tx: Connection, task: str, row_ids: Sequence[str], *, is_dry: bool
) -> int:
    """Unpark rows and forgive their attempts, except rows that a batch asks; return how many.

    A dry run only counts.
    """
    unclaimed_ids = sorted(set(row_ids) - claims.filter_claimed_ids(tx, task, row_ids))
    unpark = claims.list_ids_user_may_unpark if is_dry else claims.unpark_and_forgive
    return len(unpark(tx, task, row_ids=unclaimed_ids))


def split_into_blocks(
    rows: Iterable[T],
    *,
    max_rows: int,
    size_of: Callable[[T], int],
    max_block_size: int = MAX_BLOCK_CHARS,
) -> Iterator[list[T]]:
    """Yield blocks of consecutive rows, limited by the number and the summed size of the rows.

    A block ends with the row that reaches `max_rows`, or by which the sum exceeds `max_block_size`.
    The last block may be empty, so at least one block is yielded.

    Args:
        rows: The rows.
        max_rows: The maximum number of rows in a block.
        size_of: Returns the size of a row.
        max_block_size: Sum of sizes that only the last row of a block may exceed.
    """
    block: list[T] = []
    block_size = 0
    for row in rows:
        block.append(row)
        block_size += size_of(row)
        if len(block) == max_rows or block_size > max_block_size:
            yield block
            block = []
            block_size = 0
    yield block
