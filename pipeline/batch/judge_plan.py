"""Select the answers that a decision model judges, and build the requests about them.

To judge an answer is to ask a decision model how probable it is that the row's text supports each
of its values.

- Of the answers to a row, only the one that counts is judged: that of the preferred version. If a
  person corrected the row, the correction counts, and the row is left out.
- A field is judged if it has a value, and no probability of a model that answered it by a decision.
- A row that changed after its answer is left out, because its text may support another answer.
- Nothing here writes to the database or a file, or calls the API.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeline.core.errors import InputError
from pipeline.engine import judge_questions
from pipeline.engine.judge_questions import has_value
from pipeline.engine.request_builder import PlannedRequest
from pipeline.engine.task import Task
from pipeline.engine.task_parts import TaskRow
from pipeline.gemini.models import Model
from pipeline.gemini.requests import Prompt
from pipeline.quality import pilot
from pipeline.store import judgements
from pipeline.store.database import Connection, split_into_pages
from pipeline.store.judgements import JudgedAnswer

# Reasons why an answer of the selection is not judged.
CHANGED_REASON = "the row changed after its answer, or is gone"
TOO_LONG_REASON = "the text or the number of values is too large for a decision"


@dataclass(frozen=True)
class JudgeSelection:
    """Which answers to judge."""

    # Names of the fields.
    fields: tuple[str, ...]
    # Ids of the sample's rows in ascending order; None for all rows.
    row_ids: Sequence[str] | None = None


def read_answer_pages(
    tx: Connection,
    task: Task,
    selection: JudgeSelection,
    *,
    after: str = "",
) -> Iterator[Sequence[JudgedAnswer]]:
    """Yield the answers of the selected rows that can be judged, page by page, by row id.

    Each row has at most one: the answer of a model in its preferred version. A row without an
    answer, or with a person's correction, is left out.

    Args:
        after: Begin after the row with this id.
    """
    preference = task.rows.preference(tx)
    if selection.row_ids is not None:
        later_ids = [row_id for row_id in selection.row_ids if row_id > after]
        for id_page in split_into_pages(later_ids):
            answers_by_id = judgements.read_counting_answers(tx, preference, id_page)
            yield [answers_by_id[row_id] for row_id in id_page if row_id in answers_by_id]
        return

    while page := judgements.read_counting_answers_page(tx, preference, after=after):
        yield page
        after = page[-1].row_id


def list_judgeable_values(
    task: Task,
    answer: JudgedAnswer,
    field_names: Iterable[str],
) -> dict[str, Any]:
    """Return the values of an answer that a decision model can judge, by field.

    A field is left out if it has no value, or if a decision model answered it. Fields that were
    judged before are included. The values are as in a model's reply, before they were converted to
    be stored.

    Args:
        field_names: Only these fields.
    """
    values = task.answers.to_model_answer(json.loads(answer.answer))
    judgeable_values = {}
    for name in field_names:
        confidence = answer.confidences.get(name)
        is_decided = confidence is not None and not confidence.is_judged
        if not is_decided and has_value(values.get(name)):
            judgeable_values[name] = values[name]
    return judgeable_values


def draw_sample(
    tx: Connection,
    task: Task,
    field_names: tuple[str, ...],
    *,
    size: int,
    seed: int,
) -> list[str]:
    """Return the ids of a random sample of the task's rows whose answers can be judged, sorted.

    Rows whose answers were judged before can be drawn, too. So a command that is repeated after a
    crash draws the same rows. Memory use does not grow with the table.

    Args:
        field_names: A row can be drawn if its answer has a value to judge in one of these fields.
        size: The number of rows. If there are fewer, all are returned.
        seed: An equal seed draws the same rows, if the same rows can be drawn.
    """

    def iterate_ids() -> Iterator[str]:
        for page in read_answer_pages(tx, task, JudgeSelection(field_names)):
            for answer in page:
                if list_judgeable_values(task, answer, field_names):
                    yield answer.row_id

    return sorted(pilot.draw_row_ids(iterate_ids(), size=size, seed=seed))


@dataclass
class JudgePlanner:
    """Builds the requests about the selected answers that have no probability yet."""

    task: Task
    # The decision model.
    model: Model
    selection: JudgeSelection
    # Selected answers up to now that have a value to judge, judged before or not.
    selected_count: int = 0
    # Rows that get no request, by reason.
    left_out: Counter[str] = field(default_factory=Counter)
    # Values in all requests up to now.
    question_count: int = 0

    @cached_property
    def _descriptions(self) -> Mapping[str, str]:
        """Return the descriptions of the fields by name."""
        fields = self.task.prompt.answer_model.model_fields
        return {name: described.description or "" for name, described in fields.items()}

    def plan_requests(self, tx: Connection, *, after: str = "") -> Iterator[PlannedRequest]:
        """Yield a request for each selected answer with an unjudged value, in order of row id.

        While it is iterated, the values in the requests are added to `question_count`. An answer
        whose row is gone or changed, or whose request would be too long, gets no request and is
        counted in `left_out` by its reason.

        Args:
            after: Begin after the row with this id.
        """
        task = self.task
        for page in read_answer_pages(tx, task, self.selection, after=after):
            values_by_id = {answer.row_id: self._list_open_values(answer) for answer in page}
            open_answers = [answer for answer in page if values_by_id[answer.row_id]]
            rows = task.rows.read(tx, [answer.row_id for answer in open_answers])
            for answer in open_answers:
                row = rows.get(answer.row_id)
                text = "" if row is None else task.prompt.make_text(row)
                if row is None or task.rows.input_hash(row, text) != answer.input_hash:
                    self.left_out[CHANGED_REASON] += 1
                    continue
                request = self._plan_request(answer, values_by_id[answer.row_id], text)
                if request is not None:
                    yield request

    def _list_open_values(self, answer: JudgedAnswer) -> dict[str, Any]:
        """Return the values of an answer that can be judged and were not judged before.

        An answer with a value that can be judged is counted as selected.
        """
        values = list_judgeable_values(self.task, answer, self.selection.fields)
        self.selected_count += bool(values)
        return {name: value for name, value in values.items() if name not in answer.confidences}

    def _plan_request(
        self,
        answer: JudgedAnswer,
        values: Mapping[str, Any],
        prompt_text: str,
    ) -> PlannedRequest | None:
        """Return the request that asks whether the text supports each value of an answer.

        It has a question about each value. The questions are added to `question_count`. If the
        request is too long for the decision model, the answer is counted in `left_out`, no question
        is counted, and None is returned.

        Args:
            answer: The answer with its row.
            values: The values to ask about, by field. A list has a question for each of its
                members.
            prompt_text: The text of the answer's row.
        """
        questions = judge_questions.build_support_questions(values, self._descriptions)
        try:
            line, usage = judge_questions.build_support_line(
                self.task.name,
                answer.row_id,
                answer.answer_id,
                model=self.model.name,
                prompt_text=prompt_text,
                questions=questions,
            )
        except InputError:
            self.left_out[TOO_LONG_REASON] += 1
            return None

        self.question_count += len(questions)
        no_prompt = Prompt("", (), 0)
        return PlannedRequest(TaskRow(answer.row_id, no_prompt, answer.input_hash), line, usage)
