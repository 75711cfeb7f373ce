"""Fixtures: the scripted server, and a client for it that never sleeps."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from askrows.pipeline.provider.gemini.client import Client
from tests.integration.gemini.scripted import KEY, Handler, Script


@pytest.fixture(name="script")
def _script() -> Iterator[Script]:
    """Serve a script on a loopback port until the test is over."""
    script = Script()
    # Each server has its own script.
    handler = type("Handler", (Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    script.test_ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(name="wait_seconds")
def _wait_seconds() -> list[float]:
    """Collect the seconds that the client asked to sleep; no test sleeps."""
    return []


@pytest.fixture(name="client")
def _client(script: Script, wait_seconds: list[float]) -> Iterator[Client]:
    """Create a client of the scripted server that only records its sleeps."""
    client = Client(api_key=KEY, base_url=script.url, trust_env=False, sleep=wait_seconds.append)
    yield client
    client.close()
