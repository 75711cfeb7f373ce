"""A line for each request that was served: method, path, status, milliseconds. No query, where a key may stand."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AccessLog:
    """The outermost application where requests are to be seen: gives a line to `write` once each was served."""

    def __init__(self, app: ASGIApp, *, write: Callable[[str], None]) -> None:
        """Stand in front of `app`."""
        self._app = app
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the status is `-` where a fault left the client without one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = "-", time.perf_counter()

        async def noted(message: Message) -> None:
            """Send a part of the answer, and keep its status."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            took_ms = (time.perf_counter() - began) * 1000
            self._write(f"{scope['method']} {scope['path']} {status} {took_ms:.0f} ms")
