"""Search and judging on the page: what the commands find, with why, beside another build, and blind."""

import html
import json
from collections.abc import Callable, Iterator

import pytest

from tests.lab import Workspace
from tests.page import Page

SEARCH = "/api/tasks/experts/search"
JUDGING = "/api/tasks/experts/judging"
FOUL = "<script>alert(1)</script>"


@pytest.fixture
def found(workspace: Workspace, people: Callable[[int], list[str]], begun: Callable[..., None]) -> Iterator[Page]:
    """A page on three people in two builds, with two questions in the lab."""

    def prepare() -> None:
        """Tag, build, change one of them, build again, and import the questions."""
        people(3)
        workspace.ran("tag", MODE="live")
        workspace.ran("index")
        workspace.change("UPDATE experts SET bio = :bio WHERE username = 'person-0002'", bio=f"Casts bells {FOUL}")
        workspace.ran("index")
        questions = "".join(
            f"{json.dumps({'qid': f'q{at}', 'text': text})}\n" for at, text in enumerate(("law", "bells"))
        )
        (path := workspace.data.with_name("q.jsonl")).write_text(questions)
        workspace.ran("lab-import", "--queries", str(path))

    begun(prepare)
    with Page(workspace) as page:
        yield page


def test_the_page_finds_what_the_command_finds(found: Page, workspace: Workspace) -> None:
    """With the same filters; the page shows the marked words, the arithmetic, and what is beside it, as text."""
    told = {"q": "who casts bells", "k": "2", "why": "1", "tag": "", "where": "username != 'person-0000'"}
    got = found.get(SEARCH, params=told).json()
    args = ("who casts bells", "-k", "2", "--why", "--where", told["where"], "--json")
    assert got["hits"] == json.loads(workspace.ran("search", *args).stdout)
    assert (got["build"], got["hits"][0]["username"], len(got["hits"])) == (2, "person-0002", 2)
    before = found.get(SEARCH, params={"q": "bells", "build": 1, "rank": "words"}).json()
    assert (before["build"], before["hits"]) == (1, [])
    page = found.get("/search", params={"q": "bells script", "beside": "1", "min_score": "", "rank": "words"})
    assert "<mark>bells</mark>" in page.text
    assert "only here" in page.text
    assert html.escape(FOUL) in page.text.replace("<mark>", "").replace("</mark>", "")
    assert "bell in title company bio name: idf" in page.text
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
        ({"beside": "9"}, "no build 9"),
        ({"rank": "words", "q": "?"}, "no words"),
    ):
        got = found.get("/search", params={"q": "law", **asked})
        assert (got.status_code, said in got.text, 'value="law"' in got.text or "q" in asked) == (422, True, True), (
            got.text
        )
    assert found.get(SEARCH, params={"q": "law", "build": 9}).json()["exit_code"] == 2


def test_judging_goes_on_where_it_was_and_tells_no_variant(found: Page, workspace: Workspace) -> None:
    """Pooled, judged by one key each, taken back; a card that is not next any more changes nothing."""
    assert found.get(JUDGING).json() == {"card": None, "left": 0}
    assert found.post(f"{JUDGING}/pool", params={"variants": "/etc/passwd"}).status_code == 422
    begun = found.post(f"{JUDGING}/pool", params={"variants": "words,vectors"})
    assert begun.status_code == 202
    found.desk.running.stop(within_s=60)
    assert found.get(begun.headers["location"]).json()["result"] == {"pooled": 6}
    first = found.get(JUDGING).json()
    assert (set(first["card"]), first["left"]) == (
        {"qid", "item_id", "question", "name", "text", "done", "total"},
        6,
    )
    card = {"qid": first["card"]["qid"], "item": first["card"]["item_id"]}
    second = found.post(JUDGING, params={**card, "grade": 2}).json()
    assert second["left"] == 5
    assert found.post(JUDGING, params={**card, "grade": 0}).status_code == 409
    assert found.post(f"{JUDGING}/undo").json() == first
    page = found.get("/judge").text
    assert all(word in page for word in ('data-key="2"', html.escape(first["card"]["question"])))
    assert not any(word in page for word in ("vectors", "bm25", "hybrid"))
    assert 'name="who"' in page
    assert "/judge?task=experts" in found.get("/reports").text
    graded = {"task": "experts", **card, "grade": 1}
    assert found.post("/parts/judge", params=graded, data={"who": "x" * 201}).status_code == 422
    shown = found.post("/parts/judge", params=graded, data={"who": "Ünal"}).text
    assert "1 of 6" in shown
    assert workspace.scalar("SELECT judge FROM findable_lab_judgements") == "Ünal"
    assert 'value="Ünal"' in found.get("/judge").text
    assert found.post("/parts/judge", params={"task": "experts", **card}).status_code == 409
    assert workspace.query("SELECT qid, grade FROM findable_lab_judgements") == [(card["qid"], 1)]
    assert found.post("/parts/judge/undo", params={"task": "experts"}).text != shown
