"""The batches of a live run that judges answers.

To judge an answer is to ask a decision model how probable it is that the row's text supports each
of its values.

- A batch has sealed requests about some answers. Its replies are appended to a file, as those of
  all live batches. It claims no row.
- When its requests have replies, their probabilities and the cost are stored in one transaction,
  and the files are deleted. After a kill the next command does this with the replies that arrived.
- Answers with a probability are not asked again, so a command that was killed asks the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.batch.batch_files import OpenLiveBatch, store_judgements
from pipeline.batch.batch_plan import Selection, StopReason
from pipeline.batch.judge_plan import JudgePlanner
from pipeline.batch.live_batches import LiveBatches
from pipeline.batch.live_report import ASK_ALL_ROWS
from pipeline.batch.prepare import Preparation, Prepared
from pipeline.core.progress import NoProgress
from pipeline.core.states import Mode
from pipeline.engine.request_builder import PlannedRequest
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.store.database import Connection


def make_judge_version(task: Task, model_name: str) -> str:
    """Return the version of the batches that judge a task; estimates are measured by version."""
    return f"{task.name}@judge/{model_name}"


@dataclass(kw_only=True)
class JudgePreparation(Preparation):
    """Prepares batches that judge answers; these batches claim no rows."""

    planner: JudgePlanner

    @property
    def version(self) -> str:
        """Return the version of the batches that judge the task."""
        return make_judge_version(self.ws.task, self.ws.model.name)

    def prepare_next(self) -> Prepared | StopReason:
        """Prepare the next batch, or return why no batch is possible.

        A batch begins after the last row of the batch before, so no row is asked twice. Never waits
        for another process: only one process judges a task.

        Raises:
            InconsistentError: Another process changed the budget MAX_TRIES times.
        """
        prepared = self._prepare(after=self._last_id)
        if isinstance(prepared, Prepared):
            self._last_id = prepared.last_id
        return prepared

    def _read_request_pages(
        self,
        tx: Connection,
        after: str | None,
    ) -> Iterator[list[PlannedRequest]]:
        """Yield the requests of the planner one by one, so that no text is read in vain.

        Args:
            after: Begin after the row with this id; None begins with the first row.
        """
        for request in self.planner.plan_requests(tx, after=after or ""):
            yield [request]


class JudgeBatches(LiveBatches):
    """The batches of a run that judges answers."""

    def __init__(self, ws: WorkspaceSession, planner: JudgePlanner) -> None:
        """Prepare nothing yet.

        Args:
            ws: A session for decisions.
            planner: Builds the requests.
        """
        super().__init__(ws, Selection(), Mode.JUDGE, ASK_ALL_ROWS)
        self._preparation = JudgePreparation(
            ws,
            Selection(),
            NoProgress(),
            mode=Mode.JUDGE,
            planner=planner,
        )

    def _store_outcomes(self, open_batch: OpenLiveBatch) -> None:
        """Store the probabilities and the cost of a batch, and count its rows in the report.

        The batch is then ingested, and its files are deleted. Rows that got a probability count as
        answered, and rows with another reply or without a reply as failed. A failed row is only
        counted, with its reason; nothing about it is stored. Rows that were not asked are not
        counted.
        """
        reasons_by_id = store_judgements(
            self.ws,
            open_batch.number,
            patience_s=self._write_timeout_s,
        )
        report = self.report
        for row_id, reason in reasons_by_id.items():
            if reason:
                report.fail(row_id, reason)
            else:
                report.answered += 1
        for row_id, reason in open_batch.failure_reasons.items():
            report.fail(row_id, reason)
