"""Search on the page: what the command finds."""

import html
import json
from collections.abc import Callable, Iterator

import pytest

from tests.lab import Workspace
from tests.page import Page

SEARCH = "/api/tasks/experts/search"
FOUL = "<script>alert(1)</script>"


@pytest.fixture
def found(workspace: Workspace, people: Callable[[int], list[str]], begun: Callable[..., None]) -> Iterator[Page]:
    """A page on three people in two builds."""

    def prepare() -> None:
        """Tag, build, change one of them, and build again."""
        people(3)
        workspace.ran("tag", MODE="live")
        workspace.ran("index")
        workspace.change("UPDATE experts SET bio = :bio WHERE username = 'person-0002'", bio=f"Casts bells {FOUL}")
        workspace.ran("index")

    begun(prepare)
    with Page(workspace) as page:
        yield page


def test_the_page_finds_what_the_command_finds(found: Page, workspace: Workspace) -> None:
    """With the same filters; the page shows the marked words, as text."""
    told = {"q": "who casts bells", "k": "2", "tag": "", "where": "username != 'person-0000'"}
    got = found.get(SEARCH, params=told).json()
    args = ("who casts bells", "-k", "2", "--where", told["where"], "--json")
    assert got["hits"] == json.loads(workspace.ran("search", *args).stdout)
    assert (got["build"], got["hits"][0]["username"], len(got["hits"])) == (2, "person-0002", 2)
    before = found.get(SEARCH, params={"q": "bells", "build": 1, "rank": "words"}).json()
    assert (before["build"], before["hits"]) == (1, [])
    page = found.get("/search", params={"q": "bells script", "min_score": "", "rank": "words"})
    assert "<mark>bells</mark>" in page.text
    assert html.escape(FOUL) in page.text.replace("<mark>", "").replace("</mark>", "")
    assert FOUL not in page.text
    like = found.get("/search", params={"like": "person-0001"}).text
    assert ("key=person-0000" in like, "key=person-0001" in like) == (True, False)
    workspace.change("UPDATE experts SET bio = 'Sings.' WHERE username = 'person-0001'")
    workspace.ran("index")
    got = found.get(SEARCH, params=told).json()
    assert (got["build"], got["behind"]) == (3, 0)
    workspace.ran("tags", EXPERT="person-0001", ADD="singing")
    assert found.get(SEARCH, params=told).json()["behind"] == 1


def test_what_cannot_be_asked_keeps_what_was_asked(found: Page) -> None:
    """The message and the form as it was; other builds and columns than there are, too."""
    for asked, said in (
        ({"where": "rate <"}, "WHERE"),
        ({"build": "9"}, "no build 9"),
        ({"rank": "words", "q": "?"}, "no words"),
    ):
        got = found.get("/search", params={"q": "law", **asked})
        assert (got.status_code, said in got.text, 'value="law"' in got.text or "q" in asked) == (422, True, True), (
            got.text
        )
    assert found.get(SEARCH, params={"q": "law", "build": 9}).json()["exit_code"] == 2
