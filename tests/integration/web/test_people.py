"""`POST /api/admin/experts`: a person is saved at once, and tagged within seconds or later."""

from importlib.resources import files
from pathlib import Path

import pytest

from tests.lab import Api, Workspace
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."
LIVE = ":generateContent"


@pytest.mark.full
def test_a_person_without_replies_is_parked_and_tagged_by_hand(page: Page, api: Api) -> None:
    """The tenth lost reply parks a person, because each may have cost money; a 503 never does."""
    api.script_fault("status", times=100, path=LIVE, args={"code": 503})
    assert page.post(ADD, json={"username": "ada", "bio": BIO}).json()["retrying"]

    # A 503 costs nothing, however many tries fail.
    for _ in range(4):
        page.desk.tagger.ask_and_wait()
    assert page.get("/api/status").json()["parked"] == {}

    api.clear_faults()
    # A lost reply may have cost money.
    api.script_fault("drop", times=100, path=LIVE)
    for _ in range(10):
        page.desk.tagger.ask_and_wait()
    before = len(api.seen("POST", LIVE))
    page.desk.tagger.ask_and_wait()
    assert len(api.seen("POST", LIVE)) == before

    (reason,) = page.get("/api/status").json()["parked"]
    assert reason.startswith("asked 10 times without a reply")
    assert page.get("/api/status").json()["due"] == []
    assert "asked 10 times without a reply" in page.get("/quality").text

    api.clear_faults()
    page.post("/parts/row", params={"task": "experts", "key": "ada"}, data={"act": "ask"})
    page.settle()
    assert page.get("/api/status").json()["experts"]["tagged"] == 1


@pytest.mark.alike
def test_a_bio_above_the_models_limit_is_refused(
    workspace: Workspace, api: Api, tmp_path: Path
) -> None:
    """The API answers 422 with the field and both counts, without a call of Gemini."""
    file_text = files("pipeline.gemini").joinpath("models.toml").read_text()
    models_file = tmp_path / "models.toml"
    small_limit = file_text.replace("input_limit = 1_048_576", "input_limit = 200", 1)
    models_file.write_text(small_limit)
    workspace.environ["FINDABLE_MODELS_FILE"] = str(models_file)

    with Page(workspace.begin()) as page:
        response = page.post(ADD, json={"username": "ada", "bio": BIO * 100})
        assert (response.status_code, response.json()["field"]) == (422, "bio")
        assert "the model accepts 200" in response.json()["detail"]
        assert page.post(ADD, json={"username": "ada", "bio": BIO}).status_code == 201
    assert len(api.seen("POST", LIVE)) == 1
