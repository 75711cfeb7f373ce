"""Serve a worker's health and metrics by HTTP: /healthz, /readyz, and Prometheus' /metrics."""

import math
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline.batch.budget import QUEUED_STATES
from pipeline.core.errors import FindableError
from pipeline.core.states import OPEN_STATES, BatchState
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.store import batches, money

# The content type of the Prometheus text format.
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# Gauges of the /metrics page by name, without the prefix `findable_`: help text and label names.
GAUGES = {
    "rows": ("Rows, by state.", ("task", "state")),
    "batches": ("Batches that are not ingested, by state.", ("task", "state")),
    "batch_age_seconds": ("Age of the oldest batch in a state.", ("task", "state")),
    "lag_seconds": ("Age of the oldest result that is not ingested.", ("task",)),
    "quota_tokens": ("Queued tokens at the API, and their limit.", ("model", "what")),
    "spent_usd": ("Known cost, and estimated cost of running batches.", ("what",)),
    "errors": ("Failed units of work in this process.", ("unit",)),
}


def serve_health(
    server_socket: socket.socket,
    *,
    is_ready: Callable[[], bool],
    get_metrics: Callable[[], bytes],
) -> None:
    """Start a daemon thread that serves /healthz, /readyz and /metrics, and return.

    /healthz always replies 200. /readyz replies 200 if `is_ready` returns True, else 503. A page
    whose function raises FindableError replies 503 with the error's message. Other paths reply 404.
    Requests are not logged. The server runs until the process ends.

    Args:
        server_socket: A bound and listening socket, which the server takes over.
        is_ready: Called for each request of /readyz, in a thread of that request.
        get_metrics: Called for each request of /metrics, likewise; returns the body.
    """
    pages: dict[str, Callable[[], tuple[int, bytes]]] = {
        "/healthz": lambda: (200, b"ok\n"),
        "/readyz": lambda: (200, b"ready\n") if is_ready() else (503, b"not ready\n"),
        "/metrics": lambda: (200, get_metrics()),
    }

    class Handler(BaseHTTPRequestHandler):
        """Replies to GET requests with one of the pages."""

        def do_GET(self) -> None:
            """Send the page of the path; 404 if there is none, 503 if it raises FindableError."""
            try:
                page = pages.get(self.path)
                code, body = page() if page else (404, b"not found\n")
            except FindableError as error:
                code = 503
                body = f"{error.message}\n".encode()

            self.send_response(code)
            self.send_header("Content-Type", METRICS_CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - library's name
            """Print nothing about a request."""

    address = server_socket.getsockname()[:2]
    server = ThreadingHTTPServer(address, Handler, bind_and_activate=False)
    # The server created a socket of its own, which is not bound.
    server.socket.close()
    server.socket = server_socket
    threading.Thread(target=server.serve_forever, daemon=True).start()


def render_metrics(sessions: Iterable[WorkspaceSession], error_counts: Mapping[str, int]) -> bytes:
    """Read the database and return the body of the /metrics page in the Prometheus text format.

    Args:
        sessions: An open session for each task to measure.
        error_counts: The number of failed units of work in this process, by the unit's name.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"findable_{name}", description, label_names, registry=registry)
        for name, (description, label_names) in GAUGES.items()
    }
    for ws in sessions:
        _measure_task(ws, gauges)
    for unit_name, error_count in error_counts.items():
        gauges["errors"].labels(unit_name).set(error_count)
    return generate_latest(registry)


def _measure_task(ws: WorkspaceSession, gauges: Mapping[str, Any]) -> None:
    """Set the gauges to the figures of the session's task, which are read from one snapshot.

    The figures are the rows by state, the open batches, the queued tokens of the task's model with
    their limit, and the spending in USD. The spending is that of the whole workspace: the known
    cost, and the estimated cost of running batches. An unknown limit is infinity.
    """
    task_name = ws.task.subject
    model_name = ws.model.name
    with ws.store.read() as tx:
        row_counts = ws.task.rows.table(tx).count_states(tx)
        open_batches = batches.batches_in_states(tx, *OPEN_STATES, task=ws.task.name)
        queued_batches = batches.batches_in_states(tx, *QUEUED_STATES)
        spending = money.sum_spending(tx)

    for state, row_count in row_counts.items():
        gauges["rows"].labels(task_name, state).set(row_count)
    _measure_batches(ws.task, open_batches, gauges, now=ws.now())

    queued_tokens = sum(batch.estimated_in for batch in queued_batches if batch.model == model_name)
    max_tokens = ws.model.max_enqueued_tokens(ws.settings.tier)
    quota_gauge = gauges["quota_tokens"]
    quota_gauge.labels(model_name, "used").set(queued_tokens)
    quota_gauge.labels(model_name, "limit").set(max_tokens or math.inf)
    gauges["spent_usd"].labels("known").set(spending.known_usd)
    gauges["spent_usd"].labels("under_way").set(spending.under_way_usd)


def _measure_batches(
    task: Task,
    open_batches: Iterable[batches.BatchRow],
    gauges: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """Set the gauges of the number and greatest age of `open_batches` by state, and of the lag.

    Ages and lags are in seconds. The lag is how long the oldest downloaded batch has waited since
    it ended at the API. It is 0 if no batch waits for its ingest.
    """
    task_name = task.subject
    batches_by_state = defaultdict[str, list[batches.BatchRow]](list)
    lags_s = list[float]()
    for batch in open_batches:
        batches_by_state[str(batch.state)].append(batch)
        if batch.state is BatchState.DOWNLOADED:
            lags_s.append((now - (batch.over_at or now)).total_seconds())

    for state, state_batches in batches_by_state.items():
        oldest = min(batch.created_at for batch in state_batches)
        max_age_s = max(0.0, (now - oldest).total_seconds())
        gauges["batches"].labels(task_name, state).set(len(state_batches))
        gauges["batch_age_seconds"].labels(task_name, state).set(max_age_s)
    gauges["lag_seconds"].labels(task_name).set(max(lags_s, default=0))
