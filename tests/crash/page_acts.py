"""What a reader does to the page, each in a process that serves it: `mortal` runs these as it runs commands."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import httpx2

from tests.lab import Workspace
from tests.page import Page

NAMES = ("page-post", "page-edit", "page-undo")
BIO = "I keep bees and teach water law."
THERE_ALREADY = 409


def act(name: str) -> NoReturn:
    """Do one act to the page of the workspace that the environment names, and end; doing it again is no error.

    Raises:
        SystemExit: with 1 where the page refused it.
    """
    with Page(Workspace(Path(os.environ["FINDABLE_DATA"]), dict(os.environ))) as page:
        got = _sent(page, name)
    if got.is_success or got.status_code == THERE_ALREADY:
        raise SystemExit(0)
    sys.stderr.write(got.text)
    raise SystemExit(1)


def _sent(page: Page, name: str) -> httpx2.Response:
    """Send what one act is."""
    if name == "page-post":
        return page.post("/api/admin/experts", json={"username": "ada", "bio": BIO})
    change = {"add": ["by hand"], "who": "eve"} if name == "page-edit" else {"undo": 1, "who": "bob"}
    return page.patch("/api/people/ada/tags", json=change, headers={"if-match": "*"})
