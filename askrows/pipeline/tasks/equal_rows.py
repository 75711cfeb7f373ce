"""Give rows with equal inputs the answer of one request.

Rows with equal input hashes have the same prompt under a version. One row is asked. The others get
a free copy of its answer, after the copy was validated for each row. A copy that is invalid at
ingest is a failed attempt that counts against its row alone (charged). A later copy is dropped
without a charge, and the row is asked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from askrows.pipeline.core.states import NoAnswer, Outcome
from askrows.pipeline.provider import responses
from askrows.pipeline.store import answers, claims
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.confidences import decode_confidences
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.request_builder import PlannedRequest
from askrows.pipeline.tasks.request_outcomes import (
    Provenance,
    store_outcomes_and_end_claims,
    validate_reply,
)
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import RequestOutcome, TaskRow, WriteResult

# Ids of open rows by input hash.
OpenIdsByHash = Mapping[str, Sequence[str]]


class EarlierRequests(NamedTuple):
    """Rows that need not be asked now, because earlier requests have their inputs."""

    # Rows whose input is in a request that has no reply yet.
    running_ids: frozenset[str] = frozenset()
    # Outcomes with the answer of an equal row, not written yet, by row id.
    equal_answers: Mapping[str, RequestOutcome] = {}


def find_waiting_rows_and_equal_answers(
    tx: Connection,
    task: Task,
    version: str,
    planned_requests: Sequence[PlannedRequest],
) -> EarlierRequests:
    """Find the planned requests that need not be sent, because their input was asked before.

    If another request with the input has no reply yet, the row waits for it. Otherwise a stored
    answer is copied: that of another row with the input, or one of the row itself that was not
    applied to it. The answer must have the task's fingerprint and be valid for the row. A row that
    a person asked for again gets only copies of answers that are newer than its mark. Equal
    inputs among the planned requests themselves are not found. Writes nothing.

    Args:
        version: The version (`task@n/model`) that asks.
        planned_requests: The requests that are about to be made.

    Returns:
        The ids of the waiting rows, and the answers of equal rows by row id. A row that must be
        asked is in neither.
    """
    rows = [request.row for request in planned_requests]
    claims_by_hash = claims.find_claimed_or_answered_rows(
        tx,
        task.name,
        version,
        [row.input_hash for row in rows],
    )
    earlier_claims = {
        row.id: claims_by_hash.get(row.input_hash, claims.EarlierClaim("", row.id)) for row in rows
    }
    waiting = frozenset(
        row_id for row_id, claim in earlier_claims.items() if claim.state == claims.CLAIMED
    )

    # A row's own answer can be stored without being applied, so look for it as well.
    equal_ids = {
        row.id: (earlier_claims[row.id].row_id, row.id) for row in rows if row.id not in waiting
    }
    unique_ids = dict.fromkeys(chain.from_iterable(equal_ids.values()))
    stored_answers = answers.read_newest_answers_by_input(
        tx, task.name, version, task.fingerprint, list(unique_ids)
    )

    marked_answer_ids = claiming.read_newest_answer_ids_when_marked(
        tx, task, [row.id for row in rows]
    )
    equal_answers = dict[str, RequestOutcome]()
    for row in rows:
        for equal_id in dict.fromkeys(equal_ids.get(row.id, ())):
            stored = stored_answers.get((equal_id, row.input_hash))
            if stored is None or stored.id <= marked_answer_ids.get(row.id, 0):
                continue
            equal_outcome = _make_outcome_of_stored_answer(
                task, row, stored, is_own=equal_id == row.id
            )
            if equal_outcome is not None:
                equal_answers[row.id] = equal_outcome
                break
    return EarlierRequests(waiting, equal_answers)


def count_waiting_rows(tx: Connection, task: Task, version: str) -> int:
    """Count the claimable rows whose input is in a running request.

    They get its answer. 0 if the task stores no input hashes.
    """
    hashes = claims.list_claimed_input_hashes(tx, task.name, version)
    ids_by_hash = claiming.find_asked_row_ids_by_hash(tx, task, hashes)
    row_ids = list(chain.from_iterable(ids_by_hash.values()))
    return len(claiming.filter_claimable_ids(tx, task, row_ids))


def write_equal_answers(
    tx: Connection,
    task: Task,
    request_outcomes: Sequence[RequestOutcome],
    *,
    provenance: Provenance,
    now: datetime,
) -> int:
    """Write answers of equal rows to rows that can still be claimed, in the caller's transaction.

    Returns:
        The number of rows that were written; rows that the database refused are parked instead.
    """
    row_ids = [request_outcome.claim.row_id for request_outcome in request_outcomes]
    open_ids = set(claiming.filter_claimable_ids(tx, task, row_ids))
    open_outcomes = [
        request_outcome
        for request_outcome in request_outcomes
        if request_outcome.claim.row_id in open_ids
    ]
    write_result = store_outcomes_and_end_claims(
        tx,
        task,
        open_outcomes,
        provenance=provenance,
        now=now,
    )
    return len(open_outcomes) - len(write_result.unwritable)


def answer_or_park_equal_rows(
    tx: Connection,
    task: Task,
    request_outcomes: Sequence[RequestOutcome],
    write_result: WriteResult,
    open_ids_by_hash: OpenIdsByHash | None,
    *,
    provenance: Provenance,
    now: datetime,
) -> set[str]:
    """Answer or park open rows as the asked rows with equal inputs were, without asking them.

    - If the asked row has an answer, the answer is validated for each equal row and stored there.
      An invalid copy is stored as a failed attempt of the equal row.
    - If the asked row was parked without an answer, the equal rows are parked for the same reason.
    - Any other failure changes no equal row.

    Rows that cannot be claimed now, and rows whose input changed, are left out. Runs in the
    transaction that wrote `request_outcomes`.

    Args:
        request_outcomes: Outcomes of asked rows that were just written.
        write_result: Result of writing them; it has the rows that were parked.
        open_ids_by_hash: Ids of the equal rows, by input hash; ids of claimed and asked rows may be
            among them. If None, the rows equal to parked rows are looked up, and answers of other
            rows are not copied.

    Returns:
        The ids of the equal rows that got an answer.
    """
    if open_ids_by_hash is None:
        parked_hashes = [
            request_outcome.claim.input_hash
            for request_outcome in request_outcomes
            if request_outcome.claim.row_id in write_result.parked
        ]
        open_ids_by_hash = claiming.find_asked_row_ids_by_hash(tx, task, parked_hashes)

    ended = [
        request_outcome
        for request_outcome in request_outcomes
        if request_outcome.claim.input_hash in open_ids_by_hash
        and (
            request_outcome.answer is not None
            or request_outcome.claim.row_id in write_result.parked
        )
    ]
    equal_ids = list[str]()
    for request_outcome in ended:
        claim = request_outcome.claim
        equal_ids.extend(key for key in open_ids_by_hash[claim.input_hash] if key != claim.row_id)
    open_ids = set(claiming.filter_claimable_ids(tx, task, equal_ids))
    stored_rows = task.read_rows(tx, list(open_ids))
    open_rows = {row.id: row for row in task.make_task_rows_with_prompts(stored_rows)}

    equal_outcomes = list[RequestOutcome]()
    parked = dict[RowClaim, str]()
    for request_outcome in ended:
        claim = request_outcome.claim
        for row_id in open_ids_by_hash[claim.input_hash]:
            row = open_rows.get(row_id)
            if row is None or row.input_hash != claim.input_hash:
                continue
            del open_rows[row_id]
            row_claim = RowClaim(row_id, row.input_hash, is_of_equal_row=True)
            if request_outcome.answer is None:
                parked[row_claim] = write_result.parked[claim.row_id]
            elif request_outcome.reply is not None:
                equal_outcome = validate_reply(
                    task,
                    row_claim,
                    request_outcome.reply,
                    row=row.context,
                )
                equal_outcomes.append(
                    equal_outcome._replace(confidences=request_outcome.confidences)
                )

    equal_result = store_outcomes_and_end_claims(
        tx, task, equal_outcomes, provenance=provenance, now=now
    )
    outcomes = claims.ClaimOutcomes((), parked, ())
    claims.record_answered_or_parked(tx, task.name, provenance.version, outcomes, now=now)
    return equal_result.applied


def _make_outcome_of_stored_answer(
    task: Task,
    row: TaskRow,
    stored: answers.StoredAnswer,
    *,
    is_own: bool,
) -> RequestOutcome | None:
    """Return a stored answer as the outcome of a row; None if the row cannot use it.

    A row cannot use an answer that is unreadable or invalid for the row. If the text of the row
    supports no answer, the outcome of another row's answer has an `unsupported_reason`. Writes
    nothing.

    Args:
        stored: The stored answer, of this row or of one with the same input.
        is_own: The answer is of this row. Then it is not used either if no field of it has a value,
            if the text supports no answer, or if it was the row's answer before, because the row is
            to be asked again.
    """
    answer = responses.parse_stored_answer(stored.answer, task.stored_answer_model)
    if answer is None:
        return None
    if is_own and (stored.applied or not any(answer.model_dump().values())):
        return None

    unsupported_reason = ""
    try:
        valid_answer = task.check_and_clean_answer(answer, row.context).answer
    except NoAnswer as error:
        # A person unparked the row, so that it is asked again.
        if is_own:
            return None
        valid_answer = answer
        unsupported_reason = str(error)
    if valid_answer is None:
        return None

    claim = RowClaim(row.id, row.input_hash, is_of_equal_row=True)
    reply = responses.ParsedReply(
        Outcome.ANSWERED,
        "ok",
        model_version=stored.model_version,
        response_id=stored.response_id,
    )
    return RequestOutcome(
        claim,
        Outcome.ANSWERED,
        "ok",
        answer=valid_answer,
        reply=reply,
        unsupported_reason=unsupported_reason,
        confidences=decode_confidences(stored.confidences),
    )
