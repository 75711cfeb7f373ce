"""Rewrite stored answers after a task's vocabulary renamed terms; all else of an answer stays."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Table, or_, select, update

from pipeline.store.answers import FORGOTTEN_ANSWER, PERSON, has_version
from pipeline.store.database import PAGE_ROWS, update_rows
from pipeline.store.schema import answers, batches, partial_answers


def rewrite_answers(
    tx: Connection,
    task: str,
    labels: Sequence[str],
    rewrite: Callable[[str], str],
) -> int:
    """Rewrite the JSON of a task's answers under some prompt versions, and of all its corrections.

    Answers of forgotten rows, which have no content any more, are left alone. Runs in the caller's
    transaction.

    Args:
        labels: Prompt versions, such as `reviews@1`; the answers of all their models are rewritten.
        rewrite: Returns the new JSON of an answer's JSON.

    Returns:
        The number of answers and corrections that changed.
    """
    is_selected = or_(
        answers.c.extractor == PERSON,
        *(has_version(answers.c.extractor, label) for label in labels),
    )
    last_id = 0
    changed_count = 0
    while True:
        query = (
            select(answers.c.id, answers.c.answer)
            .where(answers.c.task == task, answers.c.id > last_id, is_selected)
            .where(answers.c.answer != FORGOTTEN_ANSWER)
            .order_by(answers.c.id)
            .limit(PAGE_ROWS)
        )
        page = [tuple(row) for row in tx.execute(query)]
        if not page:
            return changed_count

        rewritten = [(rewrite(text), answer_id) for answer_id, text in page]
        changed = [row for row, (_, text) in zip(rewritten, page, strict=True) if row[0] != text]
        changed_count += update_rows(tx, answers, ["answer"], changed)
        last_id = page[-1][0]


def replace_fingerprint(tx: Connection, task: str, former: str, current: str) -> None:
    """Replace a fingerprint of a task in all its answers, partial answers and batches.

    A partial answer may keep the former name of a term: it is an alias when the answer is joined.
    """
    tables: tuple[Table, ...] = (answers, partial_answers, batches)
    for table in tables:
        is_former = (table.c.task == task) & (table.c.fingerprint == former)
        tx.execute(update(table).where(is_former).values(fingerprint=current))
