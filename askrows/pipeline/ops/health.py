"""Serve the health and metrics of `work` by HTTP: /healthz, /readyz, and Prometheus' /metrics."""

import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from askrows.pipeline.core.errors import AskrowsError

# The content type of the Prometheus text format.
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# Gauges of the /metrics page by name, without the prefix `askrows_`: help text and label names.
GAUGES = {
    "rows": ("Rows, by state.", ("task", "state")),
    "batches": ("Batches and live runs, by state.", ("state",)),
    "batch_wait_seconds": ("Longest time that a batch has waited at the API.", ()),
    "spent_usd": ("Known cost, and estimated cost of running and of lost requests.", ("what",)),
    "errors": ("Failed units of work in this process.", ("unit",)),
}


def start_health_server(
    server_socket: socket.socket,
    *,
    is_ready: Callable[[], bool],
    get_metrics: Callable[[], bytes],
) -> None:
    """Start a daemon thread that serves /healthz, /readyz and /metrics, and return.

    /healthz always replies 200. /readyz replies 200 if `is_ready` returns True, else 503. A page
    whose function raises AskrowsError replies 503 with the error's message. Other paths reply 404.
    Requests are not logged. The server runs until the process ends.

    Args:
        server_socket: A bound and listening socket, which the server takes over.
        is_ready: Called for each request of /readyz, in a thread of that request.
        get_metrics: Called for each request of /metrics, likewise; returns the body.
    """

    def make_page(path: str) -> tuple[int, bytes]:
        """Return the code and the body of the page at a path; 404 for an unknown path."""
        if path == "/healthz":
            return 200, b"ok\n"
        if path == "/metrics":
            return 200, get_metrics()
        if path != "/readyz":
            return 404, b"not found\n"
        return (200, b"ready\n") if is_ready() else (503, b"not ready\n")

    class Handler(BaseHTTPRequestHandler):
        """Replies to GET requests with one of the pages."""

        def do_GET(self) -> None:
            """Send the page of the path; 404 if there is none, 503 if it raises AskrowsError."""
            try:
                code, body = make_page(self.path)
            except AskrowsError as error:
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


def render_metrics(
    status_documents: Mapping[str, Mapping[str, Any]], error_counts: Mapping[str, int]
) -> bytes:
    """Return the body of the /metrics page in the Prometheus text format.

    The figures are those of `status`: rows of each task; batches, longest wait and money of all.

    Args:
        status_documents: The document of `status` of each task to measure, by its name.
        error_counts: The number of failed units of work in this process, by the unit's name.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"askrows_{name}", description, label_names, registry=registry)
        for name, (description, label_names) in GAUGES.items()
    }
    for task_name, document in status_documents.items():
        for state, row_count in document[task_name].items():
            gauges["rows"].labels(task_name, state).set(row_count)
        for state, batch_count in document["batches"].items():
            gauges["batches"].labels(state).set(batch_count)
        for kind, amount in document["spent"].items():
            gauges["spent_usd"].labels(kind).set(amount)

        waits_s = [wait["elapsed_s"] for wait in document.get("waiting", ())]
        gauges["batch_wait_seconds"].set(max(waits_s, default=0))
    for unit_name, error_count in error_counts.items():
        gauges["errors"].labels(unit_name).set(error_count)
    return generate_latest(registry)
