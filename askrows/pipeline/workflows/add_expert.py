"""Add a new person and tag the person at once with a live call.

The transaction that stores the person also marks the person as due. If the process dies before the
call, the next command asks about the person. A person is due if there is a bio that no call was
made for yet, or whose last call failed.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import ConfigurationError, TakenError
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.experts import table
from askrows.pipeline.experts.import_ import read_person, refuse_altered_values
from askrows.pipeline.rows.cells import parse_number, parse_text_list, stripped_text
from askrows.pipeline.rows.columns import parse_map
from askrows.pipeline.rows.row_findings import SoundRow
from askrows.pipeline.run.run_units import ask_single_rows
from askrows.pipeline.store import claims, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workflows.add_row import MAX_ANSWER_S, PATIENCE_S, explain_missing_answer

# Why a new person is due, as the database stores it.
DUE_REASON = "saved, not asked yet"
# Columns of a new person; see `make_table`.
PERSON_COLUMNS = "username name tags score=findability_score"


@dataclass(frozen=True)
class AddedExpert:
    """A new person as stored."""

    username: str
    # Id of the person's row.
    row_id: str
    findability_score: float
    # First and last name.
    name: str = ""
    tags: Sequence[str] = ()
    # Why there are no tags; empty if there are tags or no call was made.
    problem: str = ""
    # How long the call took, or None if no call was made.
    took_s: float | None = None
    # Why the person is not asked about again; empty if not parked.
    parked: str = ""
    # Whether a later command asks about the person.
    is_row_due: bool = False
    # Which members of the document were read as columns, and which were not.
    notes: Sequence[str] = ()

    @property
    def document(self) -> dict[str, Any]:
        """Return the person for JSON, which calls the row's id `row_id`."""
        members = asdict(self)
        return {"username": self.username, "row_id": members.pop("row_id"), **members}

    def to_report(self) -> Report:
        """Return the report of `add-expert`: the person, and whether searches find the person.

        A note has the time of the call, or a warning says why there are no tags.
        """
        report = Report(self.document, parts=[make_table([vars(self)], PERSON_COLUMNS)])
        problem = self.parked or self.problem
        if problem:
            report.warnings.append(f"{self.username} is stored without tags: {problem}")
        elif self.took_s is not None:
            report.notes.append(f"{self.username} tagged in {self.took_s:.1f} s")
        message = "Not in the index yet"
        if not self.tags:
            message = "People without tags cannot be searched"
        report.parts.append(message)
        return report


def tag_new_person(
    run: Run,
    data: bytes,
    *,
    document_name: str,
    mapping: str,
) -> AddedExpert:
    """Store the person of a JSON document; if there is a bio, make a live call for the tags.

    A person without a bio is only stored. The cost is not confirmed. If no tags come, nothing is
    raised: the result has the reason as `problem`. The person then stays due, so that the next
    command asks again, or is parked (not asked again) if the failure rules out another try. The
    call records its own failure in the database.

    Args:
        run: The run.
        data: The JSON document.
        document_name: Name of the document in messages.
        mapping: The setting MAP, which assigns names of the document to columns.

    Raises:
        InputError: The document is not one person who can be added, for example because the
            username exists; no person was added.
        ConfigurationError: There is a bio, but no key is set or the model does not exist.
        UnavailableError: Another process writes to the database for too long.
        KeyboardInterrupt: Ctrl-C during the call. The person stays stored, with tags if the reply
            was stored before.
    """
    person, notes = read_person(data, parse_map(mapping), document_name=document_name)
    saved = _store_read_person(run, person, notes, reason=DUE_REASON)
    if not saved.is_row_due:
        return reload_person(run.workspace.store, run.task, saved)

    run.workspace.display.say(f"Generating tags… {saved.username}")
    # The start of the client is no part of the call. The call reports its failure.
    with contextlib.suppress(ConfigurationError):
        run.client.open()
    started_at_s = run.workspace.monotonic()
    result = RunResult()
    ask_single_rows(
        run,
        result,
        [saved.row_id],
        patience_s=PATIENCE_S,
        deadline_s=MAX_ANSWER_S,
    )
    duration_s = run.workspace.monotonic() - started_at_s
    return reload_person(
        run.workspace.store,
        run.task,
        saved,
        problem=explain_missing_answer(result),
        took_s=duration_s,
    )


def store_person(
    run: Run,
    data: bytes,
    *,
    document_name: str,
    reason: str,
    patience_s: float,
) -> AddedExpert:
    """Store the person of a JSON document as it is, and mark a person with a bio as due for tags.

    The model is not called here: the next command that asks rows tags the people who are due. If
    there is a bio, the key and the model of the settings are checked, because the later call needs
    them. Prints how the document was read.

    Args:
        run: The run.
        data: The JSON document.
        document_name: Name of the document in messages.
        reason: Why the person is due, as recorded in the database and shown by commands.
        patience_s: How many seconds to wait for another writer.

    Raises:
        InputError: The document is not a single person, a name in it is ambiguous, the username
            exists already, or a value would be changed to fit its column.
        ConfigurationError: There is a bio, but no key is set or the model does not exist.
        UnavailableError: Another process writes for longer than `patience_s`.
    """
    person, notes = read_person(data, {}, document_name=document_name)
    refuse_altered_values(person, name=document_name)
    return _store_read_person(run, person, notes, reason=reason, patience_s=patience_s)


def _store_read_person(
    run: Run,
    person: SoundRow,
    notes: Sequence[str],
    *,
    reason: str,
    patience_s: float | None = None,
) -> AddedExpert:
    """Store a person that was read from a document, and mark a person with a bio as due for tags.

    Person and mark are written in one transaction. A person without a bio gets no mark
    (`is_row_due` of the result is false). Prints how the document was read, and a warning for each
    value that was changed to fit its column.

    Args:
        run: The run.
        person: The person, with a finding for each changed value.
        notes: How the document was read.
        reason: Why the person is due, as recorded in the database.
        patience_s: How many seconds to wait for another writer; if None, the usual time.

    Raises:
        TakenError: The username exists already.
        ConfigurationError: There is a bio, but no key is set or the model does not exist.
        UnavailableError: Another process writes for longer than `patience_s`.
    """
    for note in notes:
        run.workspace.display.say(note)
    for change in person.findings:
        run.workspace.display.warn(
            f"{change.key}: {change.column}: {change.reason} ({change.value})"
        )

    has_bio = bool(stripped_text(person.values.get("bio")))
    if has_bio:
        # A missing configuration is raised before the person is added.
        run.open_client()

    with run.workspace.store.write(patience_s=patience_s) as tx:
        row_id = _insert_person(tx, person)
        score = parse_number(table.find_person(tx, person.key)["findability_score"]) or 0.0
        if has_bio:
            claims.record_due_retry(
                tx,
                run.task.name,
                run.version,
                row_id,
                reason=reason,
                now=run.workspace.now(),
            )
    return AddedExpert(person.key, row_id, score, is_row_due=has_bio, notes=notes)


def reload_person(
    store: Store,
    task: Task,
    saved: AddedExpert,
    *,
    problem: str = "",
    took_s: float | None = None,
) -> AddedExpert:
    """Read a stored person anew; return a copy of `saved` with the values of the database.

    First and last name, tags, score, parking and due state are read. Username, id and notes stay
    those of `saved`. It writes nothing.

    Args:
        store: The database.
        task: The people task.
        saved: The person as stored before; it is found by its username.
        problem: Why there are no tags; stored in the copy.
        took_s: Duration of the call in seconds, or None if no call was made; stored in the copy.

    Raises:
        InputError: No person has this username any more.
    """
    with store.read() as tx:
        row = table.find_person(tx, saved.username)
        parked_reason = claims.find_parked_reason(
            tx,
            task.name,
            saved.row_id,
            prompt_version=task.parked_version,
        )
        is_row_due = saved.row_id in claiming.find_due_ids(tx, task)

    name_parts = (stripped_text(row["first_name"]), stripped_text(row["last_name"]))
    return replace(
        saved,
        name=" ".join(filter(None, name_parts)),
        tags=parse_text_list(row["tags"]) or [],
        findability_score=parse_number(row["findability_score"]) or 0.0,
        parked=parked_reason or "",
        is_row_due=is_row_due,
        problem=problem,
        took_s=took_s,
    )


def _insert_person(tx: Connection, person: SoundRow) -> str:
    """Insert a person in the caller's transaction; return the row id.

    Cells of the document that have no column in the table are stored beside it. The change of the
    people's rows is recorded, so that the search index counts as outdated.

    Raises:
        TakenError: The username exists already.
    """
    if table.read_rows_by_username(tx, [person.key]):
        message = f"the username {person.key!r} exists already; no person was added"
        hint = (
            f"`{CommandHint('show', expert=person.key)}` shows this person; "
            f"`{CommandHint('import')}` changes existing people"
        )
        raise TakenError(message, hint=hint, field=table.USERNAME)

    row_id = table.insert_person(tx, person.key, person.values)
    table.store_extra_cells(tx, [(row_id, person.key, person.extra_cells)])
    workspace.record_row_change(tx, table.TASK)
    return row_id
