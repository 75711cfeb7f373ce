"""Find out from words whether the result of a batch gives answers to the wrong rows.

Pairs of answers and rows come from a run of lines of the request file, so that replies that moved
by some lines are still among them. `pipeline.engine.likeness` has the test. Nothing is stored: how
alike right answers are is derived from earlier answers of the same version.
"""

import json
import random
from collections.abc import Iterator, Mapping
from itertools import islice

from pipeline.core.states import Outcome
from pipeline.engine import likeness
from pipeline.engine.likeness import MAX_PAIRS, WordPair
from pipeline.engine.task import Task
from pipeline.gemini.requests import make_request_key
from pipeline.gemini.responses import parse_result_line
from pipeline.gemini.result_file import ResultFile
from pipeline.store import answers, claims
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection


def find_unlike_answers(tx: Connection, task: Task, batch: BatchRow, results: ResultFile) -> str:
    """Return in words why answers seem to be about other rows than their own; "" if they do not.

    Compares the words of up to MAX_PAIRS answers of the result with the texts of their rows. They
    are suspicious if they have no more in common than answers and shuffled rows.

    Nothing is tested, and the result is "", in these cases:

    - The result has fewer than `likeness.MIN_PAIRS` answers.
    - Earlier answers of the same version are no more like their rows either, so words show nothing.
    - The task has row codes, with which each answer is checked by itself.
    """
    if task.prompt.has_echo:
        return ""
    pairs = _read_sampled_pairs(tx, task, batch, results)
    is_mixed_up = likeness.is_mixed_up(
        pairs,
        lambda: _read_earlier_pairs(tx, task, batch.version),
        seed=batch.result_sha256 or "",
    )
    if not is_mixed_up:
        return ""
    return (
        f"the words of {len(pairs):,} compared answers are no more like their own rows "
        "than like shuffled rows"
    )


def _read_sampled_pairs(
    tx: Connection,
    task: Task,
    batch: BatchRow,
    results: ResultFile,
) -> list[WordPair]:
    """Return the words of the answers and rows of a part of a batch, from a random line on.

    The part is MAX_PAIRS consecutive rows in the order of the batch's requests, or all rows if
    there are fewer. Their replies are looked up in the result file by key. A row with no reply,
    several replies or a reply that is not an answer has no pair.

    Args:
        batch: The batch; the hash of its result is the seed, so equal results give the same rows.
        results: The result file of the batch.
    """
    randomness = random.Random(batch.result_sha256)  # noqa: S311 - it must be repeatable
    line_before = randomness.randrange(max(1, batch.requests - MAX_PAIRS + 1))
    rows = claims.claimed_rows(tx, batch.number, after=line_before, limit=MAX_PAIRS)
    keys = [make_request_key(batch.task, row.row_id) for row in rows]

    reply_texts = {}
    for row, lines in zip(rows, results.find_lines(keys), strict=True):
        replies = [parse_result_line(line) for line in lines]
        if len(replies) == 1 and replies[0].outcome is Outcome.ANSWERED:
            reply_texts[row.row_id] = replies[0].text
    return list(_iterate_word_pairs(tx, task, reply_texts))


def _read_earlier_pairs(tx: Connection, task: Task, version: str) -> list[WordPair]:
    """Return pairs of stored answers of a version and the present texts of their rows."""
    stored_answers = answers.answers_of_version(tx, task.name, version)
    return list(_iterate_word_pairs(tx, task, dict(islice(stored_answers, MAX_PAIRS))))


def _iterate_word_pairs(
    tx: Connection, task: Task, answer_texts: Mapping[str, str]
) -> Iterator[WordPair]:
    """Yield the words of each answer, with the words of its row as the prompt has it.

    Answers that are not JSON or whose row does not exist are left out.

    Args:
        answer_texts: Answers as JSON by row id.
    """
    rows = task.rows.read(tx, list(answer_texts))
    for row_id, answer_text in answer_texts.items():
        try:
            document = json.loads(answer_text)
        except (ValueError, RecursionError):
            continue
        if row_id in rows:
            answer_words = likeness.split_words("\n".join(likeness.list_texts(document)))
            yield WordPair(answer_words, likeness.split_words(task.prompt.make_text(rows[row_id])))
