"""Test the page over HTTP: access, content, and acts that equal those of the commands."""

import contextlib
import json
import re
import signal
import time
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.acceptance.database import count_rows, read_schema, run_sql
from tests.acceptance.engine import LIVE_CALL, Engine
from tests.acceptance.page_calls import (
    ADD_PATH,
    SCHEMA_PATH,
    read_linked_pages,
    read_operations,
    run_job,
    wait_for_jobs,
)
from tests.acceptance.process import MAX_WAIT_S
from tests.acceptance.product import MODEL, ON_POSTGRESQL, PEOPLE, Workspace, open_page
from tests.acceptance.state import describe_workspace, list_differences, normalize
from tests.acceptance.steps import Fate
from tests.scratch import wait_until

SHOW_PATH = "/api/show"
NEXT_PATH = "/api/tasks/experts/next"
IMPORTS_PATH = "/api/imports"
MARKUP_NAME = "<script>alert(1)</script>\"'&amp;=1+1"
BIO = "I keep bees and teach water law."
ADA = {"username": "ada", "first_name": "Ada", "bio": BIO}
PROBLEM_TYPE = "application/problem+json"
INLINE_CODE = re.compile(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:")
FORM_PATHS = {"/parts/row", "/parts/import", "/parts/batch"}
EXPERTS_TASK = {"task": "experts"}
CHANGING_ELEMENT = re.compile(r"hx-(?:post|put|patch|delete)|data-(?:post|put|patch|delete)")


@contextlib.contextmanager
def open_browser(client: httpx2.Client) -> Iterator[httpx2.Client]:
    """Open the address with the token as a browser does, and yield a client with its cookie."""
    token = client.headers["authorization"].partition(" ")[2]
    with httpx2.Client(base_url=client.base_url, trust_env=False, timeout=MAX_WAIT_S) as browser:
        response = browser.get("/search", params={"q": "a&b=c", "token": token})
        assert response.status_code == 303
        assert response.headers["location"] == "/search?q=a%26b%3Dc"
        cookie_attributes = set(response.headers["set-cookie"].split("; "))
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= cookie_attributes
        yield browser


@pytest.mark.promise("page")
def test_request_without_token_or_from_another_site_is_refused(workspace: Workspace) -> None:
    """Each address refuses requests without the token, for another host or from another site."""
    workspace.import_people(1)
    with workspace.serve_page() as client, open_browser(client) as browser:
        token = client.headers["authorization"].partition(" ")[2]
        pages = read_linked_pages(client, "/", "/row?task=experts&key=person-0000")
        forms = set(re.findall(r'(?:hx|data)-post="(/parts/[^"?]*)', " ".join(pages.values())))
        assert {"/parts/row"} <= forms <= FORM_PATHS

        operations = read_operations(client)
        operations += [("POST", path) for path in forms]
        operations += [("GET", path) for path in ("/", "/runs", SCHEMA_PATH, "/docs", "/none")]
        with httpx2.Client(base_url=client.base_url, trust_env=False) as stranger:
            check_token_is_required(stranger, token, operations)

        # The token does not help on another host or with another origin.
        base = str(client.base_url).rstrip("/")
        for caller in (client, browser):
            response = caller.get("/api/status", headers={"host": "askrows.example"})
            assert response.status_code == 421
            for origin in ("http://askrows.example", "null"):
                headers = {"origin": origin}
                assert caller.get("/api/status", headers=headers).status_code == 403
                assert caller.post(ADD_PATH, json=ADA, headers=headers).status_code == 403
            for site in ("cross-site", "same-site"):
                headers = {"origin": base, "sec-fetch-site": site}
                assert caller.post(ADD_PATH, json=ADA, headers=headers).status_code == 403

        # A browser has to send its origin with a change.
        assert browser.post(ADD_PATH, json=ADA).status_code == 403
        people = client.get("/api/items").json()["rows"]
        assert [person["username"] for person in people] == ["person-0000"]
        assert browser.post(ADD_PATH, json=ADA, headers={"origin": base}).status_code == 201


def check_token_is_required(
    stranger: httpx2.Client, token: str, operations: list[tuple[str, str]]
) -> None:
    """Check that every operation, and every wrong form of the token, is answered with 401."""
    for method, path in operations:
        response = stranger.request(method, path, params={"token": "x"})
        assert response.status_code == 401, (method, path)

    wrong_headers = (f"Bearer {token}x", f"Bearer {token[:-1]}", f"Basic {token}", "Bearer", "")
    for header in wrong_headers:
        response = stranger.get("/api/status", headers={"authorization": header})
        assert response.status_code == 401

    for cookie in (token, f"askrows={token[:-1]}", "askrows", "askrows="):
        assert stranger.get("/api/status", headers={"cookie": cookie}).status_code == 401

    assert "web</code> printed" in stranger.get("/", headers={"accept": "text/html"}).text


def test_page_shows_the_output_of_commands_and_changes_nothing(
    workspace: Workspace, api: Engine
) -> None:
    """API documents equal those of the commands, and reading all linked pages changes nothing."""
    quoted_name = MARKUP_NAME.replace(chr(34), chr(34) * 2)
    people = f'ada,"{quoted_name}",{BIO}\nbob,Bob,\ncyd,Cyd,I cast bells.\n'
    workspace.write_file("people.csv", f"Username,First Name,Bio\n{people}")
    workspace.run_command("import", "people.csv")
    api.script_fault(
        "error_line", times=9, key="3$", args={"code": 3, "message": "no <b>bells</b>"}
    )
    for _ in range(2):
        workspace.run_commands("submit", "poll", "ingest")
    workspace.run_command("index")
    assert sorted(workspace.parked_reasons()) == ["cyd"]
    workspace.read_json("qc")
    tables_before = (read_schema(workspace), count_rows(workspace))
    state_before = describe_workspace(workspace)

    with workspace.serve_page() as client:
        check_documents_equal_commands(client, workspace)

        pages = read_linked_pages(
            client,
            "/",
            "/parts/facets?task=experts",
            "/parts/state?task=experts",
            "/row?task=experts&key=cyd",
        )
        check_pages_are_safe(client, pages)
        assert {"/", "/runs", "/settings", "/batch"} <= {path.partition("?")[0] for path in pages}
        assert len(pages) > 15
        page_texts = " ".join(unescape(page) for page in pages.values())
        for text in (MARKUP_NAME, "no <b>bells</b>", MODEL, "beekeeping", "set aside"):
            assert text in page_texts, text

    assert (read_schema(workspace), count_rows(workspace)) == tables_before
    assert list_differences(state_before, describe_workspace(workspace)) == []


def check_documents_equal_commands(client: httpx2.Client, workspace: Workspace) -> None:
    """Check that API documents and files equal the output of the commands."""
    parked_people = workspace.read_json("items", state="parked", fields="username")
    documents: Mapping[str, Any] = {
        "/api/status": workspace.status(),
        "/api/items": workspace.read_json("items"),
        "/api/items?state=parked&fields=username": parked_people,
        f"{SHOW_PATH}?row=ada": workspace.read_json("show", row="ada"),
        "/api/batches": workspace.read_json("batches"),
        "/api/costs?by=task": workspace.read_json("costs", by="task"),
    }
    for path, document in documents.items():
        response = client.get(path)
        assert (response.status_code, normalize(response.json())) == (200, normalize(document)), (
            path
        )
        assert response.headers["cache-control"] == "private, no-cache", path

    hits = client.get("/api/search", params={"q": "bees", "where": "findability_score > 1"}).json()
    assert hits == workspace.read_json("search", "bees", where="findability_score > 1") != []

    for format_ in ("csv", "jsonl"):
        response = client.get(f"/rows.{format_}", params={"task": "experts"})
        workspace.run_command("export", f"page-rows.{format_}")
        assert response.content == (workspace.home / f"page-rows.{format_}").read_bytes()


def check_pages_are_safe(client: httpx2.Client, pages: Mapping[str, str]) -> None:
    """Check the security headers of pages, and that they contain no inline code or markup."""
    for path, text in pages.items():
        response = client.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff", path
        assert "server" not in response.headers, path
        assert not INLINE_CODE.search(text), path
        assert "no <b>" not in text, path
        if not path.startswith("/static/"):
            assert response.headers["cache-control"] == "private, no-cache", path


def test_error_is_a_problem_document(workspace: Workspace) -> None:
    """An error is a problem document for programs and a page for readers."""
    workspace.import_people(1)
    with workspace.serve_page() as client:
        response = client.get("/api/search", params={"q": "bees"})
        assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM_TYPE)
        problem = response.json()
        assert {"type", "title", "status", "detail", "hint", "exit_code"} == set(problem)
        assert "askrows index" in problem["hint"]
        error_output = workspace.run_command("search", "bees", code=problem["exit_code"]).stderr
        assert problem["detail"] in error_output, error_output
        # The page names no folder of the server.
        search_page = client.get("/search", params={"q": "bees"}).text
        assert "The search is not prepared yet" in search_page
        assert str(workspace.home) not in search_page

        refused_paths = {
            404: (
                "/api/tasks/moon/next",
                "/api/work/7",
                "/?task=images",
                "/api/images/thumbnail?key=1",
                "/static/none",
                "/?task=moon",
            ),
            422: (
                "/api/batches/2",
                "/api/costs?by=moon",
                "/search?q=b%00",
                f"{SHOW_PATH}?row=%00",
                "/api/items?moon=1",
                "/api/items?sort=moon",
                "/api/items?fields=moon",
                "/api/items?state=asleep",
                "/rows.csv?task=experts&find=a%00",
                "/rows.csv?task=experts&where=moon",
                "/rows.moon?task=experts",
            ),
            405: ("/api/tag", "/api/qc"),
        }
        for status, paths in refused_paths.items():
            statuses = {path: client.get(path).status_code for path in paths}
            assert statuses == dict.fromkeys(paths, status)
            for path in paths:
                if path.startswith(("/api", "/rows.")):
                    assert client.get(path).headers["content-type"] == PROBLEM_TYPE, path

        # The limit of a body applies with and without a declared length.
        assert client.post(ADD_PATH, content=b" " * ((1 << 20) + 1)).status_code == 413
        body_chunks = (b" " * 65_536 for _ in range(17))
        assert client.post(ADD_PATH, content=body_chunks).status_code == 413
        for content in (b"{", b"[]", b'"bea"', b"\xff"):
            assert client.post(ADD_PATH, content=content).headers["content-type"] == PROBLEM_TYPE


@pytest.mark.promise("page")
def test_read_only_page_changes_nothing(workspace: Workspace) -> None:
    """A read-only page answers each change with 403 and shows no button for a change."""
    workspace.import_people(1)
    with workspace.serve_page(readonly=True) as client:
        operations = [operation for operation in read_operations(client) if operation[0] != "GET"]
        operations += [("POST", path) for path in FORM_PATHS]
        assert len(operations) > 5
        for method, path in operations:
            assert client.request(method, path, json=ADA).status_code == 403, path

        pages = read_linked_pages(client)
        assert [path for path, text in pages.items() if CHANGING_ELEMENT.search(text)] == []
    assert [row["name"] for row in workspace.listed_rows()] == ["Person 0000"]


def test_people_are_added_corrected_indexed_and_forgotten_on_the_page(
    workspace: Workspace,
) -> None:
    """Each act on the page has its result, and `doctor` finds nothing afterwards."""
    workspace.import_people(2)
    people = {
        "bob": {"username": "bob", "bio": "I cast bells."},
        "cy": {"username": "cy"},
        "ada": ADA,
    }

    with workspace.serve_page() as client:
        for person in people.values():
            response = client.post(ADD_PATH, json=person)
            assert response.status_code == 201, response.text
        _wait_for_tagged_people(client, 2)

        _tag_from_page(client)
        _correct_tags_on_page(client)

        for _ in range(2):
            job = run_job(client, "/api/index", params={"cost": 1}, json={})
            assert job["result"]["count"] == 4
        job = run_job(client, "/api/index", json={"rollback": "1"})
        assert job["result"]["number"] == 1
        job = run_job(client, "/api/index", json={"rollback": "1"})
        assert job["error"]["status"] == 422

        for command, status in (("index", 422), ("restore", 404), ("web", 404)):
            assert client.post(f"/api/{command}", json={"moon": "1"}).status_code == status

        _forget_bob_on_page(client)
        assert run_job(client, "/api/doctor", json={})["result"]["healthy"]

    assert workspace.state_counts() == {"tagged": 3, "no_bio": 1}


def _tag_from_page(client: httpx2.Client) -> None:
    """Tag all people with the confirmed cost; another step or too low a cost is refused."""
    proposal = client.get(NEXT_PATH).json()
    assert (proposal["command"], proposal["plan"]["rows"]) == ("tag", 2)
    assert client.post(NEXT_PATH, params={"step": "make index"}).status_code == 409

    step = proposal["next"]
    cost = proposal["plan"]["cost"]
    underpaid_job = run_job(client, NEXT_PATH, params={"step": step, "cost": cost / 2})
    assert underpaid_job["state"] == "failed"
    job = run_job(client, NEXT_PATH, params={"step": step, "cost": cost})
    assert job["result"]["left"] == 0


def _forget_bob_on_page(client: httpx2.Client) -> None:
    """Forget a person after the exact name was typed; no page shows the name after that."""
    assert "is not" in post_row_form(client, "bob", act="forget", name="Bob")
    post_row_form(client, "bob", act="forget", name="bob")
    assert [job["state"] for job in wait_for_jobs(client) if "forget" in job["kind"]] == ["done"]
    assert client.get(SHOW_PATH, params={"row": "bob"}).status_code == 422
    for path in ("/api/work", "/", "/runs"):
        assert "bob" not in client.get(path).text


def post_row_form(client: httpx2.Client, key: str, **form: str) -> str:
    """Send a form of a person's page, and return the new page as text."""
    response = client.post("/parts/row", params={**EXPERTS_TASK, "key": key}, data=form)
    return unescape(response.text)


def _correct_tags_on_page(client: httpx2.Client) -> None:
    """Correct a person's tags; invalid edits are refused."""
    editor = "Ünal"

    def correct(**edit: str) -> dict[str, Any]:
        """Run the command `correct`, and return its job."""
        body = {"row": "ada", "who": editor, **edit}
        return run_job(client, "/api/correct", params=EXPERTS_TASK, json=body)

    tags = ", ".join(correct()["result"]["answer"]["tags"])
    correct(set=f"tags={tags}, law")
    assert correct(set="moon=1")["error"]["status"] == 422
    assert correct(set=f"tags={tags}, bees")["result"]["answer"]["tags"][-1] == "bees"
    undo_result = correct(undo="2")["result"]
    assert undo_result["answer"]["tags"][-1] == "law"
    assert undo_result["edits"][-1]["undoes"] == 2
    correct(set=f"tags={tags}")

    for status, field, body in (
        (409, "username", ADA),
        (422, "hourly_rate", {"username": "x", "hourly_rate": -5}),
    ):
        response = client.post(ADD_PATH, json=body)
        problem = response.json()
        assert (response.status_code, problem["field"]) == (status, field)
        assert problem["hint"]


def test_person_added_during_an_outage_is_tagged_once_by_the_next_page(
    workspace: Workspace, api: Engine
) -> None:
    """A person added during an outage is saved, and the next page tags the person once.

    A person with a final error is sent again only by hand.
    """
    workspace.import_people(0, without_bio=1)
    errors = {"ada": {"code": 503}, "bob": {"code": 429}, "cy": {"code": 400}}
    with workspace.serve_page() as client:
        for name, error in errors.items():
            api.script_fault("status", times=100, path=LIVE_CALL, args=error)
            person = {"username": name, "bio": f"{BIO} I am {name}."}
            assert client.post(ADD_PATH, json=person).json()["tags"] is None
            api.clear_faults()
            if name != "cy":
                api.script_fault("status", times=100, path=LIVE_CALL, args=error)
    api.clear_faults()
    assert "tagged" not in workspace.state_counts()

    with workspace.serve_page() as client:
        _wait_for_tagged_people(client, 2)
        if client.get(SHOW_PATH, params={"row": "cy"}).json()["state"] != "tagged":
            post_row_form(client, "cy", act="ask")
            assert wait_for_jobs(client)[-1]["result"] == {"answered": 1, "asked": 1}

    answered_bodies = [str(call["json"]) for call in read_answered_calls(api)]
    for name in errors:
        assert sum(f"I am {name}." in body for body in answered_bodies) == 1
    assert workspace.state_counts() == {"tagged": 3, "no_bio": 1}


def read_answered_calls(api: Engine) -> list[dict[str, Any]]:
    """Return the live calls that the engine answered."""
    live_calls = [call for call in api.journal() if LIVE_CALL in call["path"]]
    return [call for call in live_calls if call["status"] == 200]


def _upload(
    client: httpx2.Client, content: str, task: str, name: str, columns: str = ""
) -> dict[str, Any]:
    """Upload a file, and return its import when the file was read."""
    parameters = {"task": task, "name": name, "map": columns}
    response = client.post(IMPORTS_PATH, params=parameters, content=content)
    assert response.status_code == 202, response.text
    return _wait_for_import(client, response.json()["number"])


def _confirm_import(client: httpx2.Client, number: int) -> httpx2.Response:
    """Press the button that imports."""
    return client.post("/parts/import", params={"number": number})


def _wait_for_import(client: httpx2.Client, number: int) -> dict[str, Any]:
    """Wait until a file was read or imported, and return its import."""
    deadline = time.monotonic() + MAX_WAIT_S
    address = f"{IMPORTS_PATH}/{number}"
    while (file_import := client.get(address).json())["state"] in {"reading", "importing"}:
        assert time.monotonic() < deadline, file_import
        time.sleep(0.01)
    return dict(file_import)


def test_page_cancels_batches_and_names_unapplied_answers(workspace: Workspace) -> None:
    """The page names an answer without a row, serves batch files, and cancels a batch once."""
    workspace.import_people(3)
    workspace.run_command("submit", limit=2)
    workspace.run_command("poll")
    run_sql(workspace, "DELETE FROM experts WHERE username = 'person-0000'")

    with workspace.serve_page() as client:
        step = client.get(NEXT_PATH).json()["next"]
        job = run_job(client, NEXT_PATH, params={"step": step})
        assert job["state"] == "done"
        reason = "the person changed after the request: person-0000"
        assert job["warnings"][0].partition(" (")[0] == f"batch 1: {reason}"

        state_html = client.get("/parts/state?task=experts").text
        assert f'<a href="/batch?number=1">batch 1</a>: {reason}' in state_html
        assert client.get("/batch?number=1").status_code == 200
        for kind in ("requests", "results"):
            sealed_bytes = (workspace.data / "batches" / f"000001-{kind}.jsonl").read_bytes()
            assert client.get(f"/api/batches/1/{kind}.jsonl").content == sealed_bytes
        assert client.get("/api/batches/7/requests.jsonl").status_code == 404

        workspace.run_command("submit")
        job = run_job(client, "/api/batch-cancel", json={"batch": "2"})
        assert job["result"]["batch"] == 2
        workspace.try_command("poll")
        workspace.run_command("ingest")
        batch = client.get("/api/batches/2").json()
        assert batch["is_over"]
        new_states = [move["new"] for move in batch["moves"] if move["new"]]
        assert new_states[:3] == ["prepared", "submitting", "submitted"]

        # A finished batch cannot be cancelled.
        job = run_job(client, "/api/batch-cancel", json={"batch": "2"})
        assert job["error"]["status"] == 422

    assert [batch["number"] for batch in workspace.batches()] == [1, 2]


def test_uploaded_file_is_imported_once_after_confirmation(workspace: Workspace) -> None:
    """An upload shows mapping, counts and findings, and is imported once after confirmation."""
    workspace.write_file("p.jsonl", '{"id": "0", "text": "Law."}\n')
    workspace.run_command("import_passages", "p.jsonl")
    rows = "Username,Biograpy,Rate\nada,Bees.,100\nbob,<b>Law</b>.,much\n,nobody,\n"

    with workspace.serve_page() as client:
        first = _upload(client, rows, "experts", "../../people.csv")
        preview = first["found"]
        assert (first["state"], first["name"]) == ("ready", "people.csv")
        assert (preview["added"], preview["rejected"]) == (2, 1)
        places = [(finding["line"], finding["column"]) for finding in preview["findings"]]
        assert places == [(3, "Hourly Rate"), (4, "Username")]

        assert client.delete(f"{IMPORTS_PATH}/{first['number']}").status_code == 204
        assert _confirm_import(client, first["number"]).status_code == 404

        assert _upload(client, rows, "experts", "people.csv", "bio=Moon")["state"] == "unreadable"

        number = _upload(client, rows, "experts", "people.csv", "bio=Biograpy")["number"]
        assert PEOPLE not in workspace.status(TASK="passages")
        _confirm_import(client, number)
        imported = _wait_for_import(client, number)
        assert (imported["state"], imported["done"]["added"]) == ("imported", 2)
        assert imported["found"] is None
        assert "imported now" in _confirm_import(client, number).text
        people = client.get("/api/items").json()["rows"]
        assert [person["username"] for person in people if person["state"] != "refused"] == [
            "ada",
            "bob",
        ]

        passage_lines = '{"id": "a", "text": "Bees."}\nno json\n'
        passages = _upload(client, passage_lines, "passages", "p.jsonl")
        assert (passages["found"]["added"], passages["found"]["rejected"]) == (1, 1)

        unknown_task = {"task": "moons", "name": "p.csv"}
        assert client.post(IMPORTS_PATH, params=unknown_task, content=b"").status_code == 422

    assert not list(workspace.data.glob("dropped/**/*.*"))
    assert [row["id"] for row in workspace.listed_rows("passages")] == ["0"]

    # A browser tab of the previous page cannot confirm its upload.
    with workspace.serve_page() as client:
        assert _confirm_import(client, passages["number"]).status_code == 404


def test_texts_and_images_are_escaped(workspace: Workspace) -> None:
    """Pages escape passages, file names and answers, and mark quotations of the text."""
    foul_text = f"Beekeeping is an old craft. {MARKUP_NAME} Bees </p> swarm in May."
    passages = [json.dumps({"id": key, "text": foul_text}) for key in ("<i>a", "b")]
    workspace.write_file("p.jsonl", "\n".join(passages) + "\n")
    workspace.run_command("import_passages", "p.jsonl")
    photos = workspace.home / "photos"
    photos.mkdir()
    Image.new("RGB", (48, 32), "navy").save(photos / "blue <b>.png")
    (photos / "cut.jpg").write_bytes(b"")
    workspace.run_command("import_images", "photos")
    for task in ("passages", "images"):
        workspace.run_command("tag", mode="live", yes=True, TASK=task)
        workspace.run_command("index", TASK=task)

    with workspace.serve_page() as client:
        passage_page = client.get("/row", params={"task": "passages", "key": "b"}).text
        quotations = re.findall(r'<mark class="h\d" data-name="[^"]+">([^<]*)</mark>', passage_page)
        assert quotations
        assert [text for text in quotations if unescape(text) not in foul_text] == []

        parameters = {"task": "images", "fields": "path,summary"}
        image_rows = client.get("/api/items", params=parameters).json()["rows"]
        (image,) = [row for row in image_rows if "blue" in row["path"]]

        thumbnail_parameters = {"key": image["id"], "side": 160}
        thumbnail = client.get("/api/images/thumbnail", params=thumbnail_parameters)
        assert thumbnail.content[:3] == b"\xff\xd8\xff"
        assert client.get("/api/images/thumbnail", params={"key": "none"}).status_code == 422

        gallery = client.get("/?task=images").text
        image_page = client.get("/row", params={"task": "images", "key": image["id"]}).text
        linked_pages = read_linked_pages(client, "/?task=passages").values()
        html = " ".join([*linked_pages, gallery, passage_page, image_page])
        assert MARKUP_NAME in unescape(html)
        for markup in ("<script>alert", "Bees </p>", "blue <b>", "<i>a"):
            assert markup not in html, markup
        assert image["summary"] in unescape(gallery)


def test_page_refuses_a_folder_without_a_workspace(workspace: Workspace) -> None:
    """The page refuses foreign folders, creates an empty workspace, and reports a lost database."""
    if not ON_POSTGRESQL:
        _check_foreign_folders_are_refused(workspace)
    else:
        workspace.import_people(1)

    with workspace.serve_page() as client:
        home_page = client.get("/").text
        # The workspace on PostgreSQL has a person.
        assert "Drop a table here" in home_page or ON_POSTGRESQL
        assert 'hx-post="/api/admin/experts"' in client.get("/add?task=experts").text
        port = client.base_url.port
        assert "in use" in workspace.run_command("web", no_open=True, port=port, code=3).stderr

        if not ON_POSTGRESQL:
            _check_lost_database_is_reported(client, workspace.data)


def _wait_for_tagged_people(client: httpx2.Client, count: int) -> None:
    """Wait until the page reports at least this number of tagged people."""
    wait_until(lambda: client.get("/api/status").json()["experts"]["tagged"] >= count)


def _check_foreign_folders_are_refused(workspace: Workspace) -> None:
    """Check that `web` creates nothing if read-only, or in a folder with other files."""
    read_only_run = workspace.run_command("web", no_open=True, port=0, readonly=True, code=3)
    assert "no workspace" in read_only_run.stderr
    assert not workspace.data.exists()

    foreign_file = workspace.write_file("data/notes.txt", "Somebody's own.")
    assert "no workspace" in workspace.run_command("web", no_open=True, port=0, code=3).stderr
    assert [*workspace.data.iterdir()] == [foreign_file]
    foreign_file.unlink()


def _check_lost_database_is_reported(client: httpx2.Client, folder: Path) -> None:
    """Delete the database of an open page; each request must report it."""
    for path in folder.glob("askrows.db*"):
        path.unlink()
    wait_until(lambda: client.get("/api/status").status_code != 200)
    response = client.get("/api/status")
    assert (response.headers["content-type"], response.json()["exit_code"]) == (PROBLEM_TYPE, 3)
    assert "no workspace" in response.json()["detail"] + client.get("/").text


@pytest.mark.parametrize("part", [2, 4])
def test_killed_page_saves_a_person_once_or_not_at_all(
    workspace: Workspace, api: Engine, part: int
) -> None:
    """A page killed during a post saves the person at most once, and commands complete it."""
    workspace.import_people(1)
    early_person = {"username": "early", "bio": "I cast bells, says early."}
    late_person = {"username": "late", "bio": "I cast bells, says late."}

    # Count the durable steps of a post.
    with (
        workspace.start_command("web", no_open=True, port=0) as running,
        open_page(running) as client,
    ):
        first_steps = len(running.steps())
        assert client.post(ADD_PATH, json=early_person).status_code == 201
        # Under load, the tags may arrive after the reply.
        _wait_for_tagged_people(client, 1)
        post_steps = len(running.steps()) - first_steps
    assert post_steps >= 5

    killed_step = first_steps + 1 + post_steps * part // 5
    with (
        workspace.start_command(
            "web", no_open=True, port=0, fate=Fate(step=killed_step)
        ) as running,
        open_page(running) as client,
    ):
        with contextlib.suppress(httpx2.TransportError):
            client.post(ADD_PATH, json=late_person)
        assert running.wait().code == -signal.SIGKILL

    workspace.try_command("add", workspace.write_file("late.json", json.dumps(late_person)))
    workspace.run_command("tag", mode="live")
    assert sorted(workspace.exported_tags()) == ["early", "late", "person-0000"]
    assert workspace.state_counts() == {"tagged": 3}
    answered_requests = [row for row in workspace.logged_requests() if row["outcome"] == "answered"]
    assert len({request["row"] for request in answered_requests}) == 3

    # Only the call that was running at the kill may be repeated.
    late_calls = sum("says late" in str(call["json"]) for call in read_answered_calls(api))
    assert 1 <= late_calls <= 2


def test_page_lists_the_rows_of_a_run_in_order(workspace: Workspace) -> None:
    """The order is not that in which the database, or a set of this process, has them."""
    names = workspace.import_people(14)
    run_sql(workspace, "UPDATE experts SET bio = bio WHERE username = :name", name=names[0])
    workspace.run_commands("submit", "poll", "ingest")
    with workspace.serve_page() as client:
        html = client.get("/batch?number=1").text
    listed_names = re.findall(r"person-\d{4}", html.partition("<h2>Rows</h2>")[2])
    assert list(dict.fromkeys(listed_names)) == names
