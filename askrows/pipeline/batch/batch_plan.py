"""Select the requests of a file within every limit, and plan the batches of a selection.

- A draft of a request file stops at the limits of a file, a budget or the quota of queued tokens.
- A row is skipped if its input is already asked about, and gets the answer of an equal row if there
  is one.
- Requests are built page by page, so memory use is constant.
- Nothing here writes to the database or a file, or calls the API.

Terms of this module:

- A claimable row is neither empty, claimed, answered nor parked.
- A control request is an invented request whose right reply is known. It shows whether a result
  gives replies to the wrong requests.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.budget import Calibration
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.progress import ProgressBar
from askrows.pipeline.core.states import Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider.control_requests import (
    CONTROL_KEYS,
    ControlRequest,
    make_control_requests,
)
from askrows.pipeline.provider.usage import NO_USAGE, Usage, calculate_cost, sum_usage
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.database import Connection, Store, split_into_pages
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.equal_rows import EarlierRequests, find_waiting_rows_and_equal_answers
from askrows.pipeline.tasks.request_builder import PlannedRequest, RequestBuilder
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import RequestOutcome, RowsById, TaskNouns

# Our choice: the share of the API's queued tokens that one batch may have. A batch over the limit
# would always be refused.
MAX_QUEUE_SHARE = 0.8
# Our choice: a batch with at least this number of rows has control requests.
MIN_CONTROLLED_ROWS = 20
# Our choice, because the API documents no limit of requests: the default of BATCH_ROWS. It includes
# control requests, unlike BATCH_ROWS.
MAX_FILE_REQUESTS = 50_000
# Our choice: requests in a live batch, so that answers are stored every few seconds.
LIVE_BATCH_ROWS = 256
# The same if the task sends images, whose replies take longer.
LIVE_BATCH_IMAGES = 24
# Requests that are compared with earlier requests in a query.
LOOKUP_PAGE_REQUESTS = 500
# The approximate size of such a page.
LOOKUP_PAGE_BYTES = 4_000_000


class DraftEnd(StrEnum):
    """Why no further request goes into a file, or why no further file is written."""

    FULL = "the file is full"
    BUDGET = "a budget has no room"
    QUOTA = "the quota of queued tokens is used up"
    NO_ROWS_LEFT = "no row is left"


@dataclass
class RequestDraft:
    """A request file that is being filled.

    A row is skipped and stays open if its input is already asked about, in a batch or a live call,
    or by this draft. It gets the answer of an equal row if there is one.
    """

    run: Run
    mode: Mode
    calibration: Calibration
    # Rows that may be asked, or None for no limit.
    max_rows: int | None
    # Ask about each row, even if another row has the same input.
    asks_each: bool = False
    # Prompt tokens that the API still accepts, or None for no limit.
    quota_tokens: int | None = None
    # USD that budgets have left, or None for no limit.
    budget_usd: float | None = None
    # Requests of a live batch, which are sealed when they are claimed.
    requests: list[PlannedRequest] = field(default_factory=list)
    # The sealed file of a batch for the Batch API.
    file: files.SealedFile | None = None
    # Claims of the rows in this draft, in the order of the lines.
    row_claims: list[RowClaim] = field(default_factory=list)
    # Hashes of the rows' input hashes, which need a tenth of the memory.
    input_keys: set[int] = field(default_factory=set)
    # Answers of equal rows that are not stored yet.
    equal_answers: list[RequestOutcome] = field(default_factory=list)
    # Rows that were asked, skipped or got the answer of an equal row.
    seen_rows: int = 0
    # The last of these rows.
    last_id: str = ""
    # Requests in the file, and its bytes on the wire.
    file_rows: int = 0
    file_bytes: int = 0
    # Tokens of the file, as counted from the text.
    counted_usage: Usage = NO_USAGE
    # The same, corrected by past answers, and with the control requests of the file.
    expected_usage: Usage = NO_USAGE

    def __post_init__(self) -> None:
        """Set the limits of one file: rows, bytes and expected prompt tokens.

        The limits of a batch for the Batch API come from the settings, the API's limits of a file
        and MAX_QUEUE_SHARE of the API's queued tokens. Live batches have LIVE_BATCH_ROWS rows at
        most (LIVE_BATCH_IMAGES if the task sends images), or BATCH_ROWS if that is less.
        """
        settings = self.run.workspace.settings
        provider = self.run.workspace.provider
        self._max_file_tokens = settings.batch_tokens
        if self.mode is Mode.BATCH:
            self._max_file_rows = settings.batch_rows
            if provider.max_batch_requests is not None:
                control_room = provider.max_batch_requests - len(CONTROL_KEYS)
                self._max_file_rows = min(self._max_file_rows, control_room)
            self._max_file_bytes = min(settings.batch_bytes, provider.max_file_bytes)
            max_queued_tokens = self.run.workspace.store.query(
                budget.find_max_queued_tokens, self.run.model, settings
            )
            if max_queued_tokens is not None:
                queue_share = int(max_queued_tokens * MAX_QUEUE_SHARE)
                self._max_file_tokens = max(1, min(self._max_file_tokens, queue_share))
        else:
            live_rows = LIVE_BATCH_IMAGES if self.run.task.record.image_columns else LIVE_BATCH_ROWS
            self._max_file_rows = min(live_rows, settings.batch_rows)
            self._max_file_bytes = provider.max_file_bytes

    def add_requests_until_limit(
        self,
        tx: Connection,
        requests: Sequence[PlannedRequest],
    ) -> tuple[list[PlannedRequest], DraftEnd | None]:
        """Add requests to the draft, in their order, until a limit is reached.

        Each request is handled in one of these ways, and is then counted in `seen_rows`:

        - If its input was answered before, its row gets the answer of an equal row in
          `equal_answers`.
        - If a running batch, a live call or an earlier request of this draft has the same input, it
          is skipped. Its row stays open.
        - Otherwise it is added. If the draft's `asks_each` is set, every request is added.

        The caller writes the added requests to the file.

        Returns:
            The added requests, and why the next request was neither handled nor counted; None if
            all were handled. The reason is NO_ROWS_LEFT if the draft has `max_rows` requests
            already, else FULL, BUDGET or QUOTA.
        """
        earlier = EarlierRequests()
        if not self.asks_each:
            earlier = find_waiting_rows_and_equal_answers(
                tx, self.run.task, self.run.version, requests
            )

        added: list[PlannedRequest] = []
        for request in requests:
            row = request.row
            input_key = hash(row.input_hash)
            if row.id in earlier.equal_answers:
                self.equal_answers.append(earlier.equal_answers[row.id])
            elif row.id not in earlier.running_ids and (
                self.asks_each or input_key not in self.input_keys
            ):
                if self.max_rows is not None and len(self.row_claims) >= self.max_rows:
                    return added, DraftEnd.NO_ROWS_LEFT
                draft_end = self._count_request_if_it_fits(request)
                if draft_end is not None:
                    return added, draft_end
                added.append(request)
                self.input_keys.add(input_key)
                self.row_claims.append(
                    RowClaim(
                        row.id,
                        row.input_hash,
                        len(self.row_claims) + 1,
                    )
                )
            self.seen_rows += 1
            self.last_id = row.id
        return added, None

    @property
    def control_requests(self) -> tuple[ControlRequest, ...]:
        """Return the control requests that the file has with its rows."""
        return self._select_controls(self.file_rows)

    def _select_controls(self, row_count: int) -> tuple[ControlRequest, ...]:
        """Return the control requests for this number of rows; () below MIN_CONTROLLED_ROWS."""
        return self._possible_controls if row_count >= MIN_CONTROLLED_ROWS else ()

    @cached_property
    def _possible_controls(self) -> tuple[ControlRequest, ...]:
        """Make the control requests that the file gets if it has enough rows.

        A live batch has none. Neither has a batch of decisions, which is only planned for an
        estimate: decisions are live calls.
        """
        if self.mode is not Mode.BATCH or self.run.model.kind != "generate":
            return ()
        builder = RequestBuilder(self.run.task, self.run.model)
        return make_control_requests(builder.settings)

    @cached_property
    def _possible_control_bytes(self) -> int:
        """Return the bytes of these control requests on the wire."""
        return sum(self._measure_line(control.line) for control in self._possible_controls)

    def _measure_line(self, line: bytes) -> int:
        """Return the bytes of a request line on the wire."""
        return self.run.service.measure_wire_bytes(self.run.model, line)

    def reset_file_totals(self) -> None:
        """Count the following requests as the first of another file."""
        self.file_rows = 0
        self.file_bytes = 0
        self.counted_usage = NO_USAGE
        self.expected_usage = NO_USAGE

    def _count_request_if_it_fits(self, request: PlannedRequest) -> DraftEnd | None:
        """Count a request in the file's totals if it fits, else return why it does not fit.

        If it does not fit, nothing changes. The first request of a file may exceed the limits of a
        file, but not a budget or a quota.

        Returns:
            None if it was counted, FULL at a limit of the file (requests, bytes, expected prompt
            tokens), else BUDGET or QUOTA.
        """
        rows = self.file_rows + 1
        size = self.file_bytes + self._measure_line(request.line)
        counted_usage = self.counted_usage + request.usage
        controls = self._select_controls(rows)
        expected_usage = self.calibration.correct_usage(counted_usage, request_count=rows)
        expected_usage += sum_usage(control.usage for control in controls)
        is_over_limit = (
            rows > self._max_file_rows
            or rows + len(controls) > max(MAX_FILE_REQUESTS, self._max_file_rows)
            or size + (self._possible_control_bytes if controls else 0) > self._max_file_bytes
            or expected_usage.prompt > self._max_file_tokens
        )
        if rows > 1 and is_over_limit:
            return DraftEnd.FULL

        draft_end = self.find_exceeded_limit(expected_usage)
        if draft_end is None:
            self.file_rows = rows
            self.file_bytes = size
            self.counted_usage = counted_usage
            self.expected_usage = expected_usage
        return draft_end

    def find_exceeded_limit(self, usage: Usage, *, slack: float = 0.0) -> DraftEnd | None:
        """Return which limit a file with this expected usage exceeds: BUDGET, QUOTA or None.

        The budget is exceeded if the cost with its reserve is more than the budgets have left. The
        API limits the prompt tokens in its queue. The quota is exceeded if the file has more prompt
        tokens than this limit leaves. The budget is checked before the quota. Nothing is changed.

        Args:
            slack: How much the cost may exceed the remaining money, as a share of this money: 0.1
                allows 10 % more.
        """
        if self.budget_usd is not None:
            reserved_cost = budget.add_reserve(self.calculate_price(usage))
            if reserved_cost > self.budget_usd * (1 + slack):
                return DraftEnd.BUDGET
        if self.quota_tokens is not None and usage.prompt > self.quota_tokens:
            return DraftEnd.QUOTA
        return None

    def calculate_price(self, usage: Usage) -> float:
        """Return the price of `usage` in USD, at today's rates."""
        return calculate_cost(
            self.run.model,
            usage,
            self.mode.facts.tier,
            day=self.run.workspace.now().date(),
        )


@dataclass(frozen=True)
class BatchPlan:
    """Counts, expected tokens and cost of the batches that a command would send."""

    # Rows, including rows with the same input as another.
    rows: int = 0
    batches: int = 0
    # Requests; rows with the same input share a request.
    requests: int = 0
    # Prompt tokens before calibration.
    counted_prompt_tokens: int = 0
    # Expected tokens of the rows' requests.
    usage: Usage = NO_USAGE
    # In USD, with the cost of control requests.
    cost: float = 0.0
    control_requests: int = 0
    # In USD.
    control_cost: float = 0.0

    def __add__(self, other: "BatchPlan") -> "BatchPlan":
        """Return the plan of the batches of both plans."""
        sums = {name: figure + getattr(other, name) for name, figure in vars(self).items()}
        return BatchPlan(**sums)

    def describe_rows(self, nouns: TaskNouns) -> str:
        """Return the number of rows in words, and how many of them are equal to another row.

        If the plan has no request at all, the text ends with "no request", and equal rows are not
        counted.

        Args:
            nouns: The task's word for a row, in singular and plural.
        """
        rows = plural(self.rows, nouns.singular, nouns.plural)
        if not self.requests:
            return f"{rows}, no request"
        equal_count = self.rows - self.requests
        if not equal_count:
            return rows
        equal_rows = plural(
            equal_count,
            "is equal to another and costs nothing",
            "are equal to another and cost nothing",
        )
        return f"{rows}, of which {equal_rows}"


@dataclass(frozen=True)
class Selection:
    """Which open rows to ask about."""

    # Rows at most, or None for no limit.
    limit: int | None = None
    # Row ids to leave out.
    excluded_ids: Collection[str] = ()
    # Only these row ids. A trial asks about them even if they are not open.
    row_ids: Sequence[str] | None = None

    def count_claimable_rows(self, store: Store, task: Task) -> int:
        """Return the number of selected rows that are claimable, at most the limit.

        Excluded ids are not subtracted.
        """
        if self.row_ids is None:
            row_count = store.query(claiming.count_claimable, task)
        else:
            row_count = len(store.query(claiming.filter_claimable_ids, task, self.row_ids))
        return row_count if self.limit is None else min(row_count, self.limit)


def plan_batches(
    run: Run,
    selection: Selection,
    *,
    bar: ProgressBar,
    rows_mode: Mode = Mode.BATCH,
    calibration: Calibration | None = None,
) -> BatchPlan:
    """Return how many requests, batches, tokens and USD a submit of the selected rows needs.

    Only claimable rows count: they are neither empty, claimed, answered nor parked. Every request
    is built, its tokens are estimated without the API, and the progress is shown. Nothing is
    written. It does not matter what budgets and quotas have left.

    Args:
        run: The run.
        selection: The rows.
        bar: Shows the progress.
        rows_mode: With TRIAL the rows that the selection names count in any state.
        calibration: Corrections of the tokens; if None, those from the answers of the version.

    Returns:
        The plan. `requests`, tokens and cost count the requests that would be sent, at most
        `selection.limit`; the cost includes control requests, which `control_requests` counts
        apart. `rows` counts them, and the rows before the limit that need no
        request because they get the answer of an equal row or wait for the request of an equal row.
    """
    full_files = 0
    counted_usage = NO_USAGE
    controls: list[ControlRequest] = []
    with run.workspace.store.read() as tx:
        if calibration is None:
            calibration = budget.measure_calibration(tx, run.version, run.task.fingerprint)
        draft = RequestDraft(run, Mode.BATCH, calibration, selection.limit)
        for page in read_request_pages(tx, run, selection, rows_mode):
            remaining = page
            draft_end = None
            while remaining and draft_end is not DraftEnd.NO_ROWS_LEFT:
                seen_before = draft.seen_rows
                added, draft_end = draft.add_requests_until_limit(tx, remaining)
                draft.equal_answers.clear()
                remaining = remaining[draft.seen_rows - seen_before :]
                counted_usage += sum_usage(request.usage for request in added)
                if draft_end is DraftEnd.FULL:
                    full_files += 1
                    controls += draft.control_requests
                    draft.reset_file_totals()
            bar.show(draft.seen_rows)
            if draft_end is DraftEnd.NO_ROWS_LEFT:
                break

    controls += draft.control_requests
    control_cost = draft.calculate_price(sum_usage(control.usage for control in controls))
    request_count = len(draft.row_claims)
    expected_usage = calibration.correct_usage(counted_usage, request_count=request_count)
    return BatchPlan(
        rows=draft.seen_rows,
        batches=full_files + bool(draft.file_rows),
        requests=request_count,
        counted_prompt_tokens=counted_usage.prompt,
        usage=expected_usage,
        cost=draft.calculate_price(expected_usage) + control_cost,
        control_requests=len(controls),
        control_cost=control_cost,
    )


def read_request_pages(
    tx: Connection,
    run: Run,
    selection: Selection,
    mode: Mode,
    *,
    after_row_id: str | None = None,
) -> Iterator[list[PlannedRequest]]:
    """Build the requests of the selected rows, and yield them page by page.

    The requests are in the order of the task's rows, or of the ids that the selection names. A page
    has up to LOOKUP_PAGE_REQUESTS requests or about LOOKUP_PAGE_BYTES bytes, so memory use is
    constant. `selection.limit` is not applied.

    Only claimable rows are read: they are neither empty, claimed, answered nor parked. A trial that
    names its rows reads them in any state. Rows in `selection.excluded_ids` are left out.

    Args:
        mode: Only TRIAL makes a difference.
        after_row_id: Begin after the row with this id. If the selection names its rows, it must be
            among them.
    """
    task = run.task
    builder = RequestBuilder(run.task, run.model)
    row_pages: Iterator[RowsById] = claiming.read_claimable_rows(
        tx, task, after_row_id=after_row_id
    )
    if selection.row_ids is not None:
        row_pages = _read_named_rows(
            tx,
            task,
            selection.row_ids,
            mode,
            after_row_id=after_row_id,
        )

    page = list[PlannedRequest]()
    page_bytes = 0
    for rows in row_pages:
        selected_rows = {
            row_id: row for row_id, row in rows.items() if row_id not in selection.excluded_ids
        }
        for request in builder.build_requests(tx, selected_rows):
            page.append(request)
            page_bytes += request.size_bytes
            if len(page) == LOOKUP_PAGE_REQUESTS or page_bytes >= LOOKUP_PAGE_BYTES:
                yield page
                page = []
                page_bytes = 0
    if page:
        yield page


def _read_named_rows(
    tx: Connection,
    task: Task,
    row_ids: Sequence[str],
    mode: Mode,
    *,
    after_row_id: str | None,
) -> Iterator[RowsById]:
    """Yield the named rows that are claimable, by id and in the order of `row_ids`, in pages.

    The mode TRIAL gets all named rows, claimable or not. Rows that do not exist are left out. Each
    page is read from the database when it is requested.

    Args:
        row_ids: The ids of the named rows.
        after_row_id: Begin after this id, which must be among `row_ids`.
    """
    is_trial = mode is Mode.TRIAL
    first_index = 0
    if after_row_id is not None:
        first_index = row_ids.index(after_row_id) + 1
    for id_page in split_into_pages(row_ids[first_index:]):
        readable_ids = id_page if is_trial else claiming.filter_claimable_ids(tx, task, id_page)
        rows = task.read_rows(tx, readable_ids)
        yield {row_id: rows[row_id] for row_id in readable_ids if row_id in rows}
