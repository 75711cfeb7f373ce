"""The question of a task is displayed, changed, tried beside present answers, and used."""

import re
from html import unescape

from pipeline.engine.task_parser import parse_task_file
from pipeline.engine.task_template import VOCABULARY_KIND, AnswerField
from pipeline.workflows.question_change import write_change
from tests.integration import reviews
from tests.integration.web.test_imports import press_button
from tests.integration.web.test_intake import KEY_TEXT, TONE, WHY, drop_reviews, try_question
from tests.lab import Api, Workspace
from tests.page import Page

TASK = {"task": "kettles"}
CHANGED = TONE | {"question": "Praise, blame or both?", "field0.choices": "praise\nblame\nboth"}


def create_task(page: Page, *, is_asked: bool = True) -> None:
    """Create a task from a dropped file, and ask its rows."""
    number = drop_reviews(page)
    try_question(page, number, **TONE, **WHY, **KEY_TEXT)
    press_button(page, number, keep="kettles")
    page.settle()
    if is_asked:
        page.post("/parts/import", params={"number": number}, data={"ask": "1", "mode": "live"})
        page.settle()


def change_question(page: Page, **form: str) -> str:
    """Submit a form of the question, wait for its work, and return the part of the page."""
    html = unescape(page.post("/parts/question", params=TASK, data=form).text)
    if 'role="alert"' in html:
        return html
    page.settle()
    return unescape(page.get("/parts/question", params=TASK).text)


def use_change(page: Page, mode: str = "live") -> str:
    """Press the button below the displayed trial, and return the part of the page."""
    html = page.get("/question", params=TASK).text
    trial = re.search(r'name="trial" value="(\d+)"', html)
    return change_question(page, use="1", mode=mode, trial=trial[1] if trial else "")


def test_a_change_is_tried_beside_present_answers_and_used(
    page: Page, workspace: Workspace
) -> None:
    """The file gets the next version, all rows are asked again, and former answers stay."""
    create_task(page)
    assert 'href="/question?task=kettles"' in page.get("/", params=TASK).text
    html = unescape(page.get("/question", params=TASK).text)
    for text in ("Praise or blame?", 'value="How the review sounds"', "praise\nblame</textarea>"):
        assert text in html
    path = workspace.data / "tasks/kettles.py"
    before = path.read_bytes()

    html = change_question(page, **CHANGED, **WHY)
    assert html.count('data-label="Present answer"') == 5
    assert html.count('data-label="New answer"') == 5
    assert "no answer yet" not in html
    assert "Use for all 7 rows" in html
    assert path.read_bytes() == before

    html = use_change(page)
    assert "changed to version 2" in html
    assert re.search(r'value="live"\s+checked', html), html
    assert "Ask all 7 rows" in html
    text = path.read_text(encoding="utf-8")
    assert "version=2," in text
    assert 'Literal["praise", "blame", "both"]' in text

    response = page.post("/parts/question", params=TASK, data={"ask": "1", "mode": "live"})
    assert response.headers["hx-redirect"] == "/?task=kettles"
    page.settle()
    assert "7 answered" in page.get("/parts/state", params=TASK).text
    versions = str(page.get("/api/versions", params=TASK).json())
    assert "kettles@1" in versions
    assert "kettles@2" in versions
    # The form has the new question.
    assert "Praise, blame or both?" in page.get("/question", params=TASK).text


def test_bounds_and_vocabularies_stay_editable(page: Page, workspace: Workspace) -> None:
    """A form sets bounds; it keeps the vocabulary of the file, and names no other file."""
    create_task(page, is_asked=False)
    folder = workspace.data / "tasks"
    (folder / "topics.csv").write_text("term\nlid\nhandle\n")
    path = folder / "kettles.py"
    columns = {"id": "id", "product": "product", "text": "text"}
    present = parse_task_file(path.read_text(encoding="utf-8"), path, columns)
    assert present is not None
    topic = AnswerField("topic", VOCABULARY_KIND, vocabulary="topics.csv", description="Part")
    planned = present._replace(fields=(*present.fields, topic), version=2)
    write_change(workspace.data, present, planned)

    html = unescape(page.get("/question", params=TASK).text)
    assert re.search(r'value="topics.csv"\s+data-part="vocabulary"\s+selected', html), html
    assert 'name="field2.vocabulary" value="topics.csv" readonly' in html
    stars = {"new2.name": "stars", "new2.kind": "1-5", "new2.bounds": "1 - 3"}
    vocabulary = {"field2.kind": "topics.csv", "field2.vocabulary": "topics.csv"}
    form = CHANGED | WHY | {"field2.name": "topic", **vocabulary, **stars}
    html = change_question(page, **form | {"field2.vocabulary": "../../secret.csv"})
    assert "Name another vocabulary in the task's file" in html
    html = change_question(page, **form | {"new2.bounds": "three"})
    assert "'stars' needs two whole numbers" in html

    change_question(page, **form)
    use_change(page)
    text = path.read_text(encoding="utf-8")
    assert "version=3," in text
    assert "    stars: Annotated[int, Field(ge=1, le=3)]  # a whole number\n" in text
    assert 'topic: Annotated[str, Vocabulary("topics.csv")]  #' in text
    html = unescape(page.get("/question", params=TASK).text)
    assert 'value="1-3"' in html
    assert parse_task_file(text, path, columns) is not None


def test_a_trial_is_measured_on_corrected_rows_before_it_is_used(page: Page) -> None:
    """Present and new answers are counted against corrections, beside the button that uses them."""
    create_task(page)
    body = {"value": "praise", "count": 7, "who": "Bea"}
    # The local engine's answers differ by row, so some rows are set to one value and some to
    # another.
    for value in ("praise", "blame"):
        path = "/api/tasks/kettles/items/set"
        response = page.post(path, params={"field": "tone"}, json={**body, "value": value})
        assert response.status_code == 202, response.text
        page.settle()
    html = change_question(page, **CHANGED, **WHY)
    _, _, tried = html.partition('id="tried"')
    assert "Right on corrected and reviewed rows" in tried
    assert re.search(r'data-label="present question">\d of 5<', tried), tried
    assert re.search(r'data-label="new question">\d of 5<', tried)
    assert 'data-label="difference">could be chance<' in tried
    assert "Use for all 7 rows" in tried

    html = use_change(page)
    assert re.search(r'id="question-version"[^>]*hx-swap-oob="true"[^>]*>version 2 ', html), html


def test_a_change_without_answers_is_tried(page: Page) -> None:
    """Rows without a present answer are tried as well."""
    create_task(page, is_asked=False)
    html = change_question(page, **CHANGED)
    assert html.count("no answer yet") == 5


def test_a_refused_change_stays_in_its_form(page: Page, workspace: Workspace) -> None:
    """The message is beside the control; an unchanged question is not tried."""
    create_task(page, is_asked=False)
    html = change_question(page, **TONE, **WHY)
    assert "Change the question or a field first" in html.partition('id="question-message"')[2]
    html = change_question(page, **CHANGED | {"field0.name": "my tone"})
    assert "'my tone' is not a name" in html.partition('id="field0-message"')[2]
    assert 'value="my tone"' in html
    assert "praise\nblame\nboth</textarea>" in html
    refused = page.post("/parts/question", params=TASK, data={"use": "1"})
    assert "No change was tried" in refused.text
    assert "version=2," not in (workspace.data / "tasks/kettles.py").read_text().replace(
        "# version=2,", ""
    )


def test_a_trial_is_displayed_again_after_a_reload(page: Page) -> None:
    """Typed text and tried answers stay until the change is discarded."""
    create_task(page)
    change_question(page, **CHANGED, **WHY)
    for _ in range(2):
        html = unescape(page.get("/question", params=TASK).text)
        assert "Praise, blame or both?</textarea>" in html
        assert "Use for all 7 rows" in html

    page.post("/parts/question", params=TASK, data={"discard": "1", **CHANGED})
    html = unescape(page.get("/question", params=TASK).text)
    assert "Praise or blame?</textarea>" in html
    assert "Use for all" not in html


def test_a_second_tab_keeps_its_text_and_the_trial_of_the_first(page: Page, api: Api) -> None:
    """A change that is refused while another one is tried stays in its form with the reason."""
    create_task(page)
    api.script_fault("slow_reply", times=5, path=":generateContent", args={"seconds": 1})
    page.post("/parts/question", params=TASK, data=CHANGED)
    second = CHANGED | {"question": "What does the second tab ask?"}
    html = unescape(page.post("/parts/question", params=TASK, data=second).text)
    assert "What does the second tab ask?</textarea>" in html
    assert "being tried" in html.partition('id="question-message"')[2].partition("</p>")[0]
    # A poll has no form, so it replaces no typed text.
    assert "<textarea" not in page.get("/parts/question", params=TASK).text
    page.settle()

    # A wrong field is refused as well, and the trial of the first tab can still be used.
    html = change_question(page, **second | {"field0.name": "my tone"})
    assert "What does the second tab ask?</textarea>" in html
    assert "Use for all 7 rows" in html
    first_trial = re.search(r'name="trial" value="(\d+)"', html)
    assert first_trial is not None

    # The first tab displays answers that are not those of the latest trial.
    change_question(page, **second)
    refused = change_question(page, use="1", mode="live", trial=first_trial[1])
    assert "Another change was tried meanwhile" in refused
    assert "changed to version 2" in use_change(page)


def test_the_text_of_a_change_stays_if_the_question_was_changed_meanwhile(page: Page) -> None:
    """The trial of an outdated change is not offered any more."""
    create_task(page, is_asked=False)
    change_question(page, **CHANGED)
    change = page.desk.question_changes["kettles"]
    use_change(page)
    page.desk.question_changes["kettles"] = change
    change.step = "try"
    html = unescape(page.get("/question", params=TASK).text)
    assert "The question was changed meanwhile" in html
    assert "Praise, blame or both?</textarea>" in html
    assert "Use for all" not in html


def test_a_file_that_was_edited_meanwhile_is_not_overwritten(
    page: Page, workspace: Workspace
) -> None:
    """A person's edit after the trial is kept, and the page says so."""
    create_task(page, is_asked=False)
    change_question(page, **CHANGED)
    path = workspace.data / "tasks/kettles.py"
    edited = path.read_bytes() + b"# mine\n"
    path.write_bytes(edited)
    use_change(page)
    assert path.read_bytes() == edited
    html = unescape(page.get("/question", params=TASK).text)
    assert "Change it in an editor" in html


def test_a_file_written_by_hand_is_only_displayed(workspace: Workspace) -> None:
    """Question and fields are shown without a form; built-in tasks have no question page."""
    reviews.set_up_task(workspace).ran("preflight", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        html = unescape(page.get("/question", params={"task": "reviews"}).text)
        assert "Change it in an editor" in html
        assert "<form" not in html.partition("<main")[2]
        assert '<td data-label="Field">' in html
        response = page.post("/parts/question", params={"task": "reviews"}, data=TONE)
        assert "file is edited in an editor" in response.text
        assert page.get("/question", params={"task": "experts"}).status_code == 404
