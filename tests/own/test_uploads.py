"""Images that are too large for a request: uploaded once, named in requests, deleted when nothing needs them."""

import pytest

from tests.lab import Workspace
from tests.own.test_images import ROUND, asked, counts, put, put_images, saved

UPLOADS = "SELECT state, count(*) FROM findable_uploads GROUP BY state"


@pytest.fixture(autouse=True)
def _tiny(workspace: Workspace) -> None:
    workspace.environ |= {"FINDABLE_INLINE_MAX": "1KB", "FINDABLE_ASK_EACH": "1"}


def test_an_image_is_uploaded_once_for_all_that_ask_about_it(workspace: Workspace) -> None:
    """Live and in a batch; rows with one image and other prompts name one upload, which is deleted after both."""
    rows = put_images(red=saved("red"), blue=saved("blue"), again=saved("red"))
    put(workspace, {**rows, "third": "red.jpg"})
    workspace.ran("tag-live", LIMIT="1")
    assert dict(workspace.query(UPLOADS)) == {"dropped": 1}
    workspace.ran_each(*ROUND[:1])
    assert dict(workspace.query(UPLOADS)) == {"dropped": 1, "uploaded": 2}
    parts = [line["request"]["contents"][0]["parts"][0] for line in asked(workspace)]
    assert all("/files/" in part["fileData"]["fileUri"] for part in parts)
    workspace.ran_each(*ROUND[1:])
    assert counts(workspace) == {"answered": 4}
    assert dict(workspace.query(UPLOADS)) == {"dropped": 3}
