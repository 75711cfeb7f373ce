"""Build the index of a task, promote it, and roll it back.

A build takes these steps: embed missing texts, write all files from a single snapshot, verify them,
promote. Searches meanwhile use either the old or the new build, never a mixture.

An entry is a row of the indexed task in a build. The share of words is the weight of the word score
in a score by words and vectors. A meaningless query is one of the nonsense queries in
`nonsense.txt`; the floor is the scores that most of them do not reach, and hits below it are weak.
The position of the database is a counter that grows with each change of a task's rows.

Vectors are cached by content. Texts are embedded under a lock of their own, so that no text is paid
for twice. Other processes wait for the index lock only for texts that arrived after that step.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from askrows.pipeline.core.errors import (
    ConfigurationError,
    InconsistentError,
    InputError,
    RemoteError,
)
from askrows.pipeline.core.progress import NoProgress, ProgressBar
from askrows.pipeline.core.ranking import Entry
from askrows.pipeline.core.report import Report, format_counts
from askrows.pipeline.core.text import join_first, make_short_repr, plural
from askrows.pipeline.index.builds import INDEX_LOCK, Builds
from askrows.pipeline.index.indexed_tasks import require_indexed_task
from askrows.pipeline.index.manifest import Manifest, RefusedText, hash_entry_content
from askrows.pipeline.index.vector_cache import Vectors
from askrows.pipeline.index.vectors import Embedder
from askrows.pipeline.index.write import (
    BuildInput,
    EntryPage,
    load_meaningless_queries,
    verify_and_mark_build,
    write_build,
)
from askrows.pipeline.provider.service import Service
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.store.database import Connection, split_into_pages
from askrows.pipeline.store.locks import Lock
from askrows.pipeline.store.workspace import insert_build, read_workspace, update_task_record
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Beginning of the name of the lock of a task's texts.
EMBED_LOCK = "embed"
# Question in the hint that names the command of a search.
EXAMPLE_QUESTION = "words of a question"
# Share of words in a score with Gemini's vectors; that for the local engine is in `IndexedTask`.
GEMINI_WORD_SHARE = 0.3


@dataclass(frozen=True)
class IndexReport:
    """Result of a build or rollback."""

    # The build that is now in service, or that was deleted (then `count` is 0).
    number: int
    # Its entries.
    count: int
    # Texts that this command embedded, and entries whose vectors were in the cache.
    embedded: int
    cached: int
    # Embedding model and width.
    model: str
    dim: int
    # New names of foreign files that were in the place of the links in DATA.
    moved_aside: tuple[str, ...] = ()
    rolled_back: bool = False
    # Rows of the task.
    out_of: int = 0
    # Rows without an entry by state.
    left_out: Mapping[str, int] = field(default_factory=dict)
    # Why the embedding model refused an entry's text, by the entry's id; such entries are not in
    # the build.
    refused: Mapping[str, str] = field(default_factory=dict)

    __repr__ = make_short_repr

    def to_report(
        self,
        workspace: OpenWorkspace,
        task: Task,
        typed_settings: Mapping[str, str],
    ) -> Report:
        """Return the report of `index`: the build in service, and its counts.

        The counts are entries, texts that were embedded now, texts whose vectors were cached, and
        rows without an entry by state. After a rollback the title has the earlier build, which is
        in service again, without the counts of texts. A note names the command that searches.
        Warnings name moved files and refused texts. If no row has an entry, the title only says
        that the build was deleted, and there is no note.

        Args:
            task: The indexed task of the build.
            typed_settings: Settings that were typed with the command. A search needs them, too.
        """
        report = Report(asdict(self))
        report.warnings += [
            f"a file had the name of a link of the index; it was moved to {moved_name}"
            for moved_name in self.moved_aside
        ]
        if self.refused:
            report.warnings.append(self.describe_refused_texts(workspace, task))
        if not self.count:
            report.title = f"build {self.number} deleted; the search has no index now"
            return report

        entries = plural(self.count, task.nouns.singular, task.nouns.plural)
        report.title = f"build {self.number} is in service: {entries}"
        report.title += f", {self.embedded:,} embedded, {self.cached:,} cached"
        if self.rolled_back:
            report.title = f"build {self.number} is in service again: {entries}"
        if self.left_out:
            report.title += f"; without an entry: {format_counts(self.left_out)}"
        search_command = task.nouns.command("search", q=EXAMPLE_QUESTION, **typed_settings)
        report.notes.append(f"`{search_command}` searches the index")
        return report

    def describe_refused_texts(self, workspace: OpenWorkspace, task: Task) -> str:
        """Return a warning: the number of refused texts, the first names, and the first reason.

        A row without a name is named by its id. At least one text must have been refused.
        """
        with workspace.store.read() as tx:
            task_rows = task.rows
            names_by_id = task_rows.read_names(tx, list(self.refused))
        row_names = [names_by_id.get(row_id, row_id) for row_id in self.refused]
        first_reason = next(iter(self.refused.values()))
        texts = plural(len(self.refused), "text")
        return f"{texts} left out of the index: {join_first(row_names)} ({first_reason})"


def build_index(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    *,
    worse_ok: bool = False,
) -> IndexReport:
    """Build an index of all entries of the task in use, and promote it.

    Prints the price of paid embeddings. Entries whose text the model refuses are left out and
    reported.

    Args:
        service: The service that embeds texts.
        task: The indexed task.
        worse_ok: Promote also if the database is an older copy than the one of the build in
            service. If there are no entries, delete all builds.

    Raises:
        InputError: There are no entries, or INDEX_COLUMNS= names an unknown column.
        InconsistentError: The database is an older copy, or the verification failed.
        RemoteError: An embedding call failed; vectors of finished calls are kept.
    """
    return _IndexBuilder(
        workspace, service, task, worse_ok=worse_ok
    ).build_and_promote_or_delete_all()


def roll_back_index(workspace: OpenWorkspace, task: Task) -> IndexReport:
    """Put the newest intact build that is older than the one in service back in service.

    Nothing is deleted or embedded, unlike the command `rollback`, which deletes answers. A second
    call goes back further. The link `current` and the record in the database are changed under the
    index lock, for which this waits. Before that it corrects the link, as `Builds.correct_link`
    does.

    Raises:
        InputError: The task is not indexed, or there is no older build.
        InconsistentError: All older builds are damaged.
    """
    builds = Builds(workspace.data, require_indexed_task(workspace, task).folder)
    with workspace.wait_for_lock(INDEX_LOCK) as lock:
        builds.correct_link(workspace.store)
        record_promotion = partial(
            _record_promotion_and_index_columns,
            workspace,
            task,
            lock,
            "rolled back",
        )
        manifest = builds.roll_back(record_promotion=record_promotion)
    return IndexReport(
        number=manifest.number,
        count=manifest.count,
        embedded=0,
        cached=0,
        model=manifest.model,
        dim=manifest.dim,
        rolled_back=True,
    )


def _record_promotion_and_index_columns(
    workspace: OpenWorkspace,
    task: Task,
    lock: Lock,
    reason: str,
    manifest: Manifest,
) -> None:
    """Record in the database that a build of a task is in service.

    If the setting INDEX_COLUMNS is set, its value is recorded, too: later builds use it if the
    setting is not set. Writes in its own transaction.

    Args:
        lock: The index lock, which the caller holds.
        reason: Text that is recorded with the build, for example `rolled back`.

    Raises:
        LockLostError: The index lock was lost; nothing is written.
    """
    lock.raise_if_lost()
    now = workspace.now()
    index_columns = workspace.settings.index_columns
    with workspace.store.write() as tx:
        if index_columns is not None:
            update_task_record(tx, task.name, index_columns=index_columns)
        insert_build(tx, manifest.number, position=manifest.position, reason=reason, now=now)


class _IndexBuilder:
    """A run of the command `index`."""

    def __init__(
        self,
        workspace: OpenWorkspace,
        service: Service,
        task: Task,
        *,
        worse_ok: bool,
    ) -> None:
        self._workspace = workspace
        self._service = service
        self._task = task
        self._indexed_task = require_indexed_task(workspace, task)
        self._worse_ok = worse_ok
        self._builds = Builds(workspace.data, self._indexed_task.folder)
        self._embedder = Embedder(workspace, service, self._task)
        self._embedded_count = 0

    def build_and_promote_or_delete_all(self) -> IndexReport:
        """Embed missing texts, write a build, verify it and promote it.

        Texts that the model refused in earlier runs are sent again. Waits for the index lock after
        the texts are embedded. The floor of a build is learned from meaningless queries, and hits
        below it are called weak. If the service fails to embed these queries, the build gets no
        floor.

        If there are no entries, all builds are deleted if the user set `worse_ok` and a build is in
        service; otherwise InputError is raised.

        Raises:
            InputError: There are no entries to index and no builds are deleted, or INDEX_COLUMNS=
                names an unknown column.
            AskrowsError: The database is an older copy than the build in service (not checked with
                `worse_ok`), an embedding call failed, or a check of the build failed.
        """
        # Check the position before anything is paid for.
        with self._workspace.store.read() as tx:
            self._read_position_or_raise_if_older(tx)
            self._indexed_task.check_columns(tx, self._workspace.settings.index_columns or ())
            has_entries = self._indexed_task.count_entries(tx) > 0
        if not has_entries:
            return self._delete_all_builds_if_allowed()

        self._embed_missing_texts()
        meaningless_vectors: Vectors | None = None
        # If the service does not embed them, the build gets no floor.
        with suppress(RemoteError, ConfigurationError):
            meaningless_vectors = self._embedder.embed_queries(load_meaningless_queries())

        with self._workspace.wait_for_lock(INDEX_LOCK) as lock:
            number = self._builds.choose_next_number()
            with self._builds.open_staging_directory(number) as staging_dir:
                return self._write_verify_and_promote_build(
                    lock,
                    meaningless_vectors,
                    number,
                    staging_dir,
                )

    def _delete_all_builds_if_allowed(self) -> IndexReport:
        """Delete all builds if the user allowed it, because the task has no entries.

        Waits for the index lock before it deletes. Cached vectors are kept. The report has the
        number of the build that was in service, and 0 entries.

        Raises:
            InputError: `worse_ok` is not set, or no build is in service; nothing is deleted.
        """
        nouns = self._task.nouns
        current = self._builds.read_current_manifest_if_intact()
        if current is not None and self._worse_ok:
            with self._workspace.wait_for_lock(INDEX_LOCK):
                self._builds.delete_all_builds_and_links()
            return IndexReport(
                current.number,
                0,
                0,
                0,
                current.model,
                current.dim,
            )

        message = f"there is nothing to index: no {nouns.singular} is {nouns.answered}"
        hint = f"run `{nouns.command('tag')}` first"
        if current is not None:
            message += "; the index in service was not changed"
            hint += f"; `{nouns.command('index', worse_ok=True)}` removes the index in service"
        raise InputError(message, hint=hint)

    def _embed_missing_texts(self) -> None:
        """Embed all texts that are not cached, and count them in `_embedded_count`.

        Shows the progress, and waits for the lock of the task's texts. If the backend is paid, a
        price that is not rounded to $0.00 is printed first. Nobody has to confirm it.

        Raises:
            AskrowsError: A call failed. Vectors of earlier calls are in the cache.
        """
        workspace = self._workspace
        indexed_task = self._indexed_task
        entries = indexed_task.read_entries
        embedder = self._embedder
        with workspace.store.read() as tx:
            count = indexed_task.count_entries(tx)
            has_missing_texts = True
            if embedder.is_embedding_paid():
                with workspace.display.bar("reading", count) as bar:
                    estimate = embedder.estimate_embedding_cost(entries(tx), bar=bar)
                has_missing_texts = estimate.text_count > 0
                # No budget limits this cost, so it is announced.
                if round(estimate.usd, 2) > 0:
                    workspace.display.say(
                        f"embedding {plural(estimate.text_count, 'text')}, "
                        f"about {estimate.tokens:,} tokens, ${estimate.usd:,.2f}",
                    )
            if has_missing_texts:
                # A text that two processes need at the same time is embedded once.
                lock_name = f"{EMBED_LOCK}-{indexed_task.folder or self._task.name}"
                with (
                    workspace.wait_for_lock(lock_name),
                    workspace.display.bar("embedding", count) as bar,
                ):
                    self._embedded_count += embedder.embed_missing_texts(entries(tx), bar=bar)

    def _write_verify_and_promote_build(
        self,
        lock: Lock,
        meaningless_vectors: Vectors | None,
        number: int,
        staging_dir: Path,
    ) -> IndexReport:
        """Write the build from a snapshot, verify it and promote it.

        To promote a build is to point the link `current` to it and to record that; a wrong link is
        corrected first. Entries whose text the model refused are left out, and the report has their
        reasons.

        Args:
            lock: The index lock, taken by the caller.
            meaningless_vectors: Vectors of `load_meaningless_queries`, or None for a build without
                a floor.
            number: Number of the new build.
            staging_dir: An empty staging directory.

        Raises:
            InconsistentError: A check of the build failed. Also, without `worse_ok`, if the
                database is older than the build in service.
            RemoteError: An embedding call failed, or the model refused the text of an entry that
                was new since the embedding of all entries.
        """
        workspace = self._workspace
        indexed_task = self._indexed_task
        self._builds.correct_link(workspace.store)
        ranking = indexed_task.ranking
        if not self._service.embedding_model.local:
            ranking = replace(ranking, share=GEMINI_WORD_SHARE)
        with workspace.store.read() as tx:
            position = self._read_position_or_raise_if_older(tx)
            refused_texts = self._find_entries_refused_in_this_run(tx)
            count = indexed_task.count_entries(tx) - len(refused_texts)
            table = self._task.rows
            state_counts = table.count_all_rows_by_state(tx)
            with workspace.display.bar("building", count) as bar:
                staged = write_build(
                    staging_dir,
                    BuildInput(
                        self._iterate_embedded_pages(indexed_task.read_entries(tx), bar),
                        count=count,
                        ranking=ranking,
                        position=position,
                        refused_texts=refused_texts,
                        untagged_rows=indexed_task.read_untagged(tx),
                    ),
                    self._embedder.cache,
                    number=number,
                    built_at=workspace.now(),
                    meaningless_vectors=meaningless_vectors,
                )

        verify_and_mark_build(staged, count=count)

        reason = f"promoted with {count} entries"
        record_promotion = partial(
            _record_promotion_and_index_columns,
            workspace,
            self._task,
            lock,
            reason,
        )
        moved_files = self._builds.promote_and_list_moved_files(
            staged, record_promotion=record_promotion
        )
        return IndexReport(
            number=number,
            count=count,
            embedded=self._embedded_count,
            cached=max(0, count - self._embedded_count),
            model=staged.cache.model,
            dim=staged.cache.dim,
            moved_aside=moved_files,
            out_of=state_counts.total,
            left_out={
                table.find_state_word(state): state_counts.count(state)
                for state in table.source_states
                if state is not RowState.ANSWERED and state_counts.count(state)
            },
            refused={entry_id: refused.reason for entry_id, refused in refused_texts.items()},
        )

    def _iterate_embedded_pages(
        self,
        entries: Iterable[Entry],
        bar: ProgressBar,
    ) -> Iterator[EntryPage]:
        """Yield (entries, their keys, their vectors) page by page, without refused entries.

        Entries that arrived since `_embed_missing_texts`, and entries with damaged vectors, are
        embedded now. A page with only refused entries is skipped. The progress bar advances by all
        entries, also the refused ones.

        Raises:
            RemoteError: An embedding call failed, or the model refused the text of such an entry.
        """
        entry_count = 0
        refused_keys = self._embedder.refusal_reasons
        for all_entries in split_into_pages(entries):
            all_keys = self._embedder.make_keys(all_entries)
            keys = [key for key in all_keys if key not in refused_keys]
            page = [
                entry
                for entry, key in zip(all_entries, all_keys, strict=True)
                if key not in refused_keys
            ]
            if page:
                add_vectors = partial(self._embed_late_entries, page)
                yield page, keys, self._embedder.cache.read_or_add_vectors(keys, add_vectors)
            entry_count += len(all_entries)
            bar.show(entry_count)

    def _embed_late_entries(self, page: Sequence[Entry], _missing_positions: list[int]) -> None:
        """Embed the missing entries of a page.

        Raises:
            RemoteError: The model refused a text. The count of entries is already fixed, so such a
                text cannot be left out any more.
        """
        refused_before = len(self._embedder.refusal_reasons)
        self._embedded_count += self._embedder.embed_missing_texts(page, bar=NoProgress())
        if len(self._embedder.refusal_reasons) > refused_before:
            raise RemoteError(
                "the embedding model refused a text that was added during the build; "
                "the index in service was not changed",
                hint=f"`{self._task.nouns.command('index')}` builds it without that text",
            )

    def _find_entries_refused_in_this_run(self, tx: Connection) -> dict[str, RefusedText]:
        """Return {entry id: hash and reason} of the texts that the model refused in this run.

        If no text was refused, it reads no entries; otherwise it reads all.
        """
        reasons_by_key = self._embedder.refusal_reasons
        if not reasons_by_key:
            return {}

        refused_texts: dict[str, RefusedText] = {}
        for page in split_into_pages(self._indexed_task.read_entries(tx)):
            for entry, key in zip(page, self._embedder.make_keys(page), strict=True):
                if key in reasons_by_key:
                    refused_texts[entry.id] = RefusedText(
                        content=hash_entry_content(entry),
                        reason=reasons_by_key[key],
                    )
        return refused_texts

    def _read_position_or_raise_if_older(self, tx: Connection) -> int:
        """Return the position of the database, which grows with each change of a task's rows.

        Raises:
            InconsistentError: The build in service was made at a later position, so the database is
                an older copy, and `worse_ok` is not set.
        """
        # The build is read before the snapshot begins. Positions then only decrease if the whole
        # database was replaced.
        current = self._builds.read_current_manifest_if_intact()
        position = read_workspace(tx).position
        if current is not None and current.position > position and not self._worse_ok:
            raise InconsistentError(
                f"the database is at position {position}, but build {current.number} in service "
                f"was read at position {current.position}: the database is an older copy; "
                "nothing was built",
                hint="put the newer database back, or build without the newer entries: "
                f"`{self._task.nouns.command('index', worse_ok=True)}`",
            )
        return position
