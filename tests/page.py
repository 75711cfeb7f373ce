"""The page as tests ask it: its whole application in this process, without a port, on a workspace of a test."""

import os
import signal
import threading
from collections.abc import Callable
from unittest import mock

import httpx2
from click.testing import Result
from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from jobs.command import acts
from pipeline.core import settings
from tests.lab import Workspace
from web.app_state import AppState
from web.guard import AccessRules
from web.serve import create_app

HOST = "127.0.0.1:8765"
TOKEN = "token-that-must-never-be-seen-anywhere"  # noqa: S105 - of tests
LONG_S = 120.0  # no test waits for it to end: a busy machine may take long
ACCESS = AccessRules(TOKEN, frozenset({HOST}))


class Page(TestClient):
    """A program that has the token; `desk` is what the page works with, `routes` are all of the application's."""

    def __init__(self, workspace: Workspace, access: AccessRules = ACCESS) -> None:
        """Serve the page of a workspace that is there; what works in the background is not begun."""
        environ = {**workspace.environ, "FINDABLE_CALL_TIMEOUT": f"{LONG_S}"}
        self.desk = AppState(
            settings.load_settings(environ), access, patience_s=LONG_S, within_s=LONG_S, acts=acts()
        )
        self.guard = create_app(self.desk)
        super().__init__(self.guard, base_url=f"http://{HOST}", follow_redirects=False)
        self.headers["authorization"] = f"Bearer {access.token}"

    def __exit__(self, *failure: object) -> None:
        """Close what is open."""
        super().__exit__(*failure)
        self.desk.stop(within_s=LONG_S)
        self.desk.close()

    def settle(self) -> None:
        """Wait until all that was begun is over."""
        for work in self.desk.running.list_jobs():
            assert work.thread is not None
            work.thread.join()

    def routes(self) -> list[BaseRoute]:
        """Return every route of the application, its documents and its files among them."""
        app = self.guard._app
        assert isinstance(app, FastAPI)
        return app.routes

    def browser(self, *, access: AccessRules = ACCESS) -> TestClient:
        """Return a reader's browser that opened the address with the token."""
        test_client = TestClient(self.guard, base_url=f"http://{HOST}", follow_redirects=False)
        test_client.get("/", params={"token": access.token})
        test_client.headers["sec-fetch-site"] = "same-origin"
        return test_client


def served(
    workspace: Workspace, reader: Callable[[httpx2.Client, str], None], *options: str, **values: str
) -> Result:
    """Run the command `web` in this process until a reader is through; it gets a client and the address with the token.

    The reader is the browser that the command opens. What it raises is raised.
    """
    failed: list[BaseException] = []

    def read(address: str) -> None:
        """Read, and end the command."""
        base = address.partition("/?")[0]
        try:
            with httpx2.Client(
                base_url=base, trust_env=False, timeout=LONG_S, verify=False
            ) as client:
                reader(client, address)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def opened(address: str) -> bool:
        """Be the browser."""
        threading.Thread(target=read, args=(address,)).start()
        return True

    with mock.patch("webbrowser.open", opened):
        web_run = workspace.run("web", "--port", "0", *options, CALL_TIMEOUT=f"{LONG_S}", **values)
    if failed:
        raise failed[0]
    return web_run
