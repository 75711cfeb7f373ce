"""Serve a worker's health and figures to what watches it: /healthz, /readyz, and /metrics as Prometheus reads them."""

import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline.batch.budget import QUEUED_STATES
from pipeline.core.errors import FindableError
from pipeline.core.states import OPEN_STATES, BatchState
from pipeline.engine.session import WorkspaceSession
from pipeline.store import batches, money

Kind = tuple[str, str, tuple[str, ...]]  # name, what it is, labels
Figures = Mapping[Any, float]  # by the values of the labels


def serve_health(
    listening: socket.socket, *, is_ready: Callable[[], bool], metrics: Callable[[], bytes]
) -> None:
    """Serve at a socket that listens, in a thread of its own."""
    pages: dict[str, Callable[[], tuple[int, bytes]]] = {
        "/healthz": lambda: (200, b"ok\n"),
        "/readyz": lambda: (200, b"ready\n") if is_ready() else (503, b"not ready\n"),
        "/metrics": lambda: (200, metrics()),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                code, body = pages.get(self.path, lambda: (404, b"not found\n"))()
            except FindableError as error:
                code = 503
                body = f"{error.message}\n".encode()
            self.send_response(code)
            self.send_header(
                "Content-Type", "text/plain; version=0.0.4; charset=utf-8"
            )  # as Prometheus has it
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Print no line for a look."""

    server = ThreadingHTTPServer(listening.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    threading.Thread(target=server.serve_forever, daemon=True).start()


def exposition(opened: Iterable[WorkspaceSession], errors: Mapping[str, int]) -> bytes:
    """Return the figures of tasks, each with its workspace open, and how many units failed here, by unit."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    found: dict[Kind, dict[Any, float]] = defaultdict(dict)
    for ws in opened:
        for kind, figures in _figures(ws):
            found[kind].update(figures)
    found["errors", "Units that failed in this process.", ("unit",)] = {
        (one,): n for one, n in errors.items()
    }
    registry = CollectorRegistry()
    for (name, told, labels), values in found.items():
        gauge = Gauge(f"findable_{name}", told, labels, registry=registry)
        for key, value in values.items():
            gauge.labels(*key).set(value)
    return generate_latest(registry)


def _figures(ws: WorkspaceSession) -> Iterator[tuple[Kind, Figures]]:
    """Yield what there is to see of a task: (name, what it is, its labels) with the values."""
    task = ws.task.subject
    model = ws.model.name
    now = ws.now()
    with ws.store.read() as tx:
        rows = ws.task.table(tx).counts(tx)
        held = batches.batches_in_states(tx, *OPEN_STATES, task=ws.task.name)
        waiting = batches.batches_in_states(tx, *QUEUED_STATES)
        spent = money.sum_spending(tx)
    ages = defaultdict[tuple[str, ...], float](float)
    for one in held:
        key = (task, str(one.state))
        ages[key] = max(ages[key], (now - one.created_at).total_seconds())
    over = [
        (now - (one.over_at or now)).total_seconds()
        for one in held
        if one.state is BatchState.DOWNLOADED
    ]
    of_state = ("task", "state")
    yield (
        ("rows", "Rows, by state.", of_state),
        {(task, state): count for state, count in rows.items()},
    )
    counted = Counter(str(one.state) for one in held)
    yield (
        ("batches", "Batches that are not ingested, by state.", of_state),
        {(task, one): n for one, n in counted.items()},
    )
    yield ("batch_age_seconds", "Age of the oldest batch in a state.", of_state), ages
    yield (
        ("lag_seconds", "Since the oldest result came that is not ingested.", ("task",)),
        {(task,): max(over, default=0)},
    )
    quota = {
        (model, "used"): float(sum(one.estimated_in for one in waiting if one.model == model)),
        (model, "believed"): float(ws.model.enqueued(ws.settings.tier) or "inf"),
    }
    yield (
        ("quota_tokens", "Tokens that may wait at the API, and that do.", ("model", "what")),
        quota,
    )
    sums = {("known",): spent.known, ("under_way",): spent.under_way}
    yield ("spent_usd", "Spent in all, and under way at its estimate.", ("what",)), sums
