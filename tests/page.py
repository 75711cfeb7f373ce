"""Serve the page of a test's workspace in this process, without a port."""

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from askrows.jobs.command import make_page_commands
from askrows.pipeline.core import settings
from askrows.web.app_state import AppState
from askrows.web.guard import AccessRules
from askrows.web.serve import create_app
from tests.lab import Workspace

HOST = "127.0.0.1:8765"
TOKEN = "token-that-must-never-be-seen-anywhere"  # noqa: S105 - of tests
# A busy machine may be slow; no test waits for the end of this time.
LONG_S = 120.0
ACCESS = AccessRules(TOKEN, frozenset({HOST}))


class Page(TestClient):
    """A client with the token; `desk` is the AppState of the application."""

    def __init__(self, workspace: Workspace, access: AccessRules = ACCESS) -> None:
        """Serve the page of an existing workspace, without background work."""
        environ = {**workspace.environ, "ASKROWS_CALL_TIMEOUT": f"{LONG_S}"}
        self.desk = AppState(
            settings.load_settings(environ),
            access,
            max_answer_wait_s=LONG_S,
            max_save_wait_s=LONG_S,
            page_commands=make_page_commands(),
        )
        self.guard = create_app(self.desk)
        super().__init__(self.guard, base_url=f"http://{HOST}", follow_redirects=False)
        self.headers["authorization"] = f"Bearer {access.token}"

    def __exit__(self, *failure: object) -> None:
        """Close the application and its workspaces."""
        super().__exit__(*failure)
        self.desk.stop(within_s=LONG_S)
        self.desk.close()

    def settle(self) -> None:
        """Wait until all running jobs end."""
        for work in self.desk.background_work.list_jobs():
            assert work.thread is not None
            work.thread.join()

    def routes(self) -> list[BaseRoute]:
        """Return every route of the application, including documents and files."""
        app = self.guard._app
        assert isinstance(app, FastAPI)
        return app.routes

    def browser(self, *, access: AccessRules = ACCESS) -> TestClient:
        """Return a reader's browser that opened the address with the token."""
        test_client = TestClient(self.guard, base_url=f"http://{HOST}", follow_redirects=False)
        test_client.get("/", params={"token": access.token})
        test_client.headers["sec-fetch-site"] = "same-origin"
        return test_client
