"""The page by HTTP: who is let in, what it shows, and that its acts are those of the commands."""

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

from tests.acceptance.database import counts, schema, sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S
from tests.acceptance.product import MODEL, ON_POSTGRESQL, Workspace, served
from tests.acceptance.state import differences, plain, seen
from tests.acceptance.steps import Fate

ADD = "/api/admin/experts"
SHOW = "/api/show"
NEXT = "/api/tasks/experts/next"
DROP = "/api/imports"
SCHEMA = "/api/openapi.json"
LIVE = ":generateContent"
EVIL = "<script>alert(1)</script>\"'&amp;=1+1"
BIO = "I keep bees and teach water law."
ADA = {"username": "ada", "first_name": "Ada", "bio": BIO}
PROBLEM = "application/problem+json"
LINK = re.compile(r'href="(/[^"#]*)"')
INLINE = re.compile(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:")
FORMS = {"/parts/row", "/parts/import"}
ROW = {"task": "experts"}
ACTING = re.compile(r"hx-(?:post|put|patch|delete)|data-(?:post|put|patch|delete)")
UNDER_WAY = {"waiting", "running"}


def over(client: httpx2.Client, begun: httpx2.Response) -> dict[str, Any]:
    """Wait for what a request began, and return what became of it."""
    assert begun.status_code == 202, begun.text
    deadline = time.monotonic() + LONGEST_S
    while (found := client.get(begun.headers["location"]).json())["state"] in UNDER_WAY:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return dict(found)


def operations(client: httpx2.Client) -> list[tuple[str, str]]:
    """Return every method and address of the API, as its document has them, with something in the place of names."""
    paths = client.get(SCHEMA).json()["paths"]
    assert len(paths) > 10
    return [
        (method.upper(), re.sub(r"\{\w+\}", "1", path))
        for path, methods in paths.items()
        for method in methods
    ]


def pages(client: httpx2.Client, *first: str) -> dict[str, str]:
    """Return every page that links lead to from the first ones, by its address; each must answer well.

    Of addresses that ask for the same with other values one is opened.
    """
    found = {}
    waiting = list(first or ["/"])
    kinds = set()
    while waiting:
        path, _, asked = waiting.pop(0).partition("?")
        if (kind := (path, *sorted(word.partition("=")[0] for word in asked.split("&")))) in kinds:
            continue
        kinds.add(kind)
        got = client.get(address := f"{path}?{asked}" if asked else path)
        assert got.status_code in {200, 422 if "like=" in asked else 200}, (
            address,
            got.status_code,
            got.text,
        )
        found[address] = got.text if got.headers["content-type"].startswith("text/html") else ""
        waiting += map(unescape, LINK.findall(found[address]))
    return found


@contextlib.contextmanager
def browser(client: httpx2.Client) -> Iterator[httpx2.Client]:
    """Be a reader's browser that opened the address with the token; it has the cookie and nothing else."""
    token = client.headers["authorization"].partition(" ")[2]
    with httpx2.Client(base_url=client.base_url, trust_env=False, timeout=LONGEST_S) as found:
        entered = found.get("/search", params={"q": "a&b=c", "token": token})
        assert (entered.status_code, entered.headers["location"]) == (303, "/search?q=a%26b%3Dc")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(
            entered.headers["set-cookie"].split("; ")
        )
        yield found


def test_nobody_is_let_in_without_the_token_or_from_another_site(workspace: Workspace) -> None:
    """401, 421 and 403 at every address, whatever is sent in the token's place; nothing is changed by it."""
    workspace.people(1)
    with workspace.page() as client, browser(client) as reader:
        token = client.headers["authorization"].partition(" ")[2]
        texts = " ".join(pages(client, "/", "/row?task=experts&key=person-0000").values())
        forms = set(re.findall(r'(?:hx|data)-post="(/parts/[^"?]*)', texts))
        assert {"/parts/row"} <= forms <= FORMS
        every = [
            *operations(client),
            *(("POST", path) for path in forms),
            *(("GET", path) for path in ("/", "/runs", SCHEMA, "/docs", "/none")),
        ]
        with httpx2.Client(base_url=client.base_url, trust_env=False) as stranger:
            for method, path in every:
                assert stranger.request(method, path, params={"token": "x"}).status_code == 401, (
                    method,
                    path,
                )
            for wrong in (
                f"Bearer {token}x",
                f"Bearer {token[:-1]}",
                f"Basic {token}",
                "Bearer",
                "",
            ):
                assert (
                    stranger.get("/api/status", headers={"authorization": wrong}).status_code == 401
                )
            for wrong in (token, f"findable={token[:-1]}", "findable", "findable="):
                assert stranger.get("/api/status", headers={"cookie": wrong}).status_code == 401
            assert "web</code> printed" in stranger.get("/", headers={"accept": "text/html"}).text
        base = str(client.base_url).rstrip("/")
        for one in (client, reader):
            assert one.get("/api/status", headers={"host": "findable.example"}).status_code == 421
            for origin in ("http://findable.example", "null"):
                assert one.get("/api/status", headers={"origin": origin}).status_code == 403
                assert one.post(ADD, json=ADA, headers={"origin": origin}).status_code == 403
            for site in ("cross-site", "same-site"):
                both = {"origin": base, "sec-fetch-site": site}
                assert one.post(ADD, json=ADA, headers=both).status_code == 403
        assert reader.post(ADD, json=ADA).status_code == 403
        assert [one["username"] for one in client.get("/api/items").json()["items"]] == [
            "person-0000"
        ]
        assert reader.post(ADD, json=ADA, headers={"origin": base}).status_code == 201


def test_it_shows_what_the_commands_say_and_looking_changes_nothing(
    workspace: Workspace, api: Engine
) -> None:
    """Documents of the API are the commands' own; every page that links lead to answers, and holds them as text."""
    people = f'ada,"{EVIL.replace(chr(34), chr(34) * 2)}",{BIO}\nbob,Bob,\ncyd,Cyd,I cast bells.\n'
    workspace.put("people.csv", f"Username,First Name,Bio\n{people}")
    workspace.do("import", "people.csv")
    api.fault("error_line", times=9, key="3$", args={"code": 3, "message": "no <b>bells</b>"})
    for _ in range(2):
        workspace.each("submit", "poll", "ingest")
    workspace.do("index")
    assert sorted(workspace.parked()) == ["cyd"]
    workspace.read("qc")
    before = (schema(workspace), counts(workspace), seen(workspace))
    with workspace.page() as client:
        same: Mapping[str, Any] = {
            "/api/status": workspace.status(),
            "/api/items": workspace.read("items"),
            "/api/items?state=parked&fields=username": workspace.read(
                "items", state="parked", fields="username"
            ),
            f"{SHOW}?item=ada": workspace.read("show", item="ada"),
            "/api/batches": workspace.read("batches"),
            "/api/costs?by=task": workspace.read("costs", by="task"),
        }
        for path, document in same.items():
            got = client.get(path)
            assert (got.status_code, plain(got.json())) == (200, plain(document)), path
            assert got.headers["cache-control"] == "private, no-cache", path
        hits = client.get("/api/search", params={"q": "bees", "min_score": "1"}).json()
        assert hits == workspace.read("search", "bees", min_score=1) != []
        listed = client.get("/items.csv", params={"task": "experts", "fields": "username,name"})
        workspace.do("items", fields="username,name", to="items.csv")
        assert listed.content == (workspace.home / "items.csv").read_bytes()
        found = pages(
            client,
            "/",
            "/parts/facets?task=experts",
            "/parts/state?task=experts",
            "/row?task=experts&key=cyd",
        )
        for path, text in found.items():
            got = client.get(path)
            assert "default-src 'none'" in (policy := got.headers["content-security-policy"]), path
            assert "unsafe" not in policy
            assert (got.headers["x-content-type-options"], "server" in got.headers) == (
                "nosniff",
                False,
            ), path
            assert not INLINE.search(text), path
            assert "no <b>" not in text, path
            if not path.startswith("/static/"):
                assert got.headers["cache-control"] == "private, no-cache", path
        assert {"/", "/runs", "/settings", "/batch"} <= {path.partition("?")[0] for path in found}
        assert len(found) > 15
        texts = " ".join(unescape(found[path]) for path in found)
        for said in (EVIL, "no <b>bells</b>", MODEL, "beekeeping", "set aside"):
            assert said in texts, said
    assert (schema(workspace), counts(workspace)) == before[:2]
    assert differences(before[2], seen(workspace)) == []


def test_an_error_is_a_problem(workspace: Workspace) -> None:
    """Programs get a command's own message and hint, readers a page; 413 past the limit."""
    workspace.people(1)
    with workspace.page() as client:
        got = client.get("/api/search", params={"q": "bees"})
        assert (got.status_code, got.headers["content-type"]) == (422, PROBLEM)
        problem = got.json()
        assert {"type", "title", "status", "detail", "hint", "exit_code"} == set(problem)
        assert "findable index" in problem["hint"]
        assert problem["detail"] in (
            said := workspace.do("search", "bees", code=problem["exit_code"]).err
        ), said
        assert problem["detail"] in client.get("/search", params={"q": "bees"}).text
        moon = "/api/tasks/moon/next"
        assert "/api/tasks" in client.get(moon).json()["hint"]
        gone = client.get("/", params={"task": "moon"}).text
        assert (
            "GET /api" not in gone,
            all(f'href="/{one}"' in gone for one in ("runs", "settings")),
        ) == (True, True)
        refused = {
            404: (
                moon,
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
                f"{SHOW}?item=%00",
                "/api/items?moon=1",
            ),
            405: ("/api/tag", "/api/qc"),
        }
        for status, paths in refused.items():
            assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(
                paths, status
            )
        for wrong in ("state=asleep", "sort=moon", "fields=moon", "min_score=nan", "find=a%00"):
            for path in ("/api/items?", "/items.csv?task=experts&"):
                assert client.get(path + wrong).status_code == 422, wrong
        assert client.post(ADD, content=b" " * ((1 << 20) + 1)).status_code == 413
        assert client.post(ADD, content=(b" " * 65_536 for _ in range(17))).status_code == 413
        for content in (b"{", b"[]", b'"bea"', b"\xff"):
            assert client.post(ADD, content=content).headers["content-type"] == PROBLEM
        assert client.post(ADD, json={"username": "ada"}).status_code == 201
        sql(workspace, "INSERT INTO experts (username) VALUES ('another-program')")
        workspace.do("add", workspace.put("p.json", '{"username": "by-command"}'))
        assert len(client.get("/api/items").json()["items"]) == 4  # nothing that stays open is old
    assert not (tables := {"passages", "assets"} & counts(workspace).keys()), tables


def test_readonly_changes_nothing(workspace: Workspace) -> None:
    """Each address that changes something says 403, and no page has a button that would."""
    workspace.people(1)
    with workspace.page(readonly=True) as client:
        changing = [one for one in operations(client) if one[0] != "GET"] + [
            ("POST", path) for path in FORMS
        ]
        assert len(changing) > 5
        for method, path in changing:
            assert client.request(method, path, json=ADA).status_code == 403, path
        assert [path for path, text in pages(client).items() if ACTING.search(text)] == []
    assert [one["name"] for one in workspace.rows()] == ["Person 0000"]


def test_its_acts_are_those_of_the_commands(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """What is added, edited, undone, built, cancelled and forgotten here is the same as where commands did it."""
    other = Workspace(tmp_path / "other", api.url)
    for one in (workspace, other):
        one.people(2)
    about = {
        "bob": {"username": "bob", "bio": "I cast bells."},
        "cy": {"username": "cy"},
        "ada": ADA,
    }
    with workspace.page() as client:
        for row in about.values():
            got = client.post(ADD, json=row)
            found = got.json()
            assert (got.status_code, found["ok"], found["retrying"], found["notes"]) == (
                201,
                True,
                False,
                [],
            ), found
            assert bool(found["tags"]) == ("bio" in row)
        planned = client.get(NEXT).json()
        assert (planned["command"], planned["plan"]["items"]) == ("tag", 2)
        assert client.post(NEXT, params={"step": "make index"}).status_code == 409
        less = over(
            client,
            client.post(
                NEXT, params={"step": planned["next"], "cost": planned["plan"]["cost"] / 2}
            ),
        )
        assert less["state"] == "failed"
        agreed = {"step": planned["next"], "cost": planned["plan"]["cost"]}
        assert over(client, client.post(NEXT, params=agreed))["result"]["left"] == 0
        _edit(client)
        for _ in range(2):
            assert (
                over(client, client.post("/api/index", params={"cost": 1}, json={}))["result"][
                    "count"
                ]
                == 4
            )
        assert (
            over(client, client.post("/api/index", json={"rollback": "1"}))["result"]["number"] == 1
        )
        assert (
            over(client, client.post("/api/index", json={"rollback": "1"}))["error"]["status"]
            == 422
        )
        for wrong, status in (("index", 422), ("restore", 404), ("web", 404)):
            assert client.post(f"/api/{wrong}", json={"moon": "1"}).status_code == status
        assert "is not" in acted(client, "bob", act="forget", name="Bob")
        acted(client, "bob", act="forget", name="bob")
        assert [one["state"] for one in settled(client) if "forget" in one["kind"]] == ["done"]
        assert client.get(SHOW, params={"item": "bob"}).status_code == 422
        assert (
            "bob"
            not in client.get("/api/work").text + client.get("/").text + client.get("/runs").text
        )
        assert over(client, client.post("/api/doctor", json={}))["result"]["healthy"]
    for name, row in about.items():
        other.do("add", other.put(f"{name}.json", json.dumps(row)))
    other.do("tag", mode="flex", yes=True)
    was = ", ".join(other.read("correct", "ada")["answer"]["tags"])
    for edit in (
        {"set": f"tags={was}, law"},
        {"set": f"tags={was}, bees"},
        {"undo": 2},
        {"set": f"tags={was}"},
    ):
        other.do("correct", "ada", who="Ünal", **edit)
    other.each("index", "index")
    other.do("index", rollback=True)
    other.do("forget", "bob", yes=True)
    assert differences(seen(other), seen(workspace)) == []


def acted(client: httpx2.Client, key: str, **form: str) -> str:
    """Send a form of a person's page, and return what is shown then."""
    return unescape(client.post("/parts/row", params={**ROW, "key": key}, data=form).text)


def settled(client: httpx2.Client) -> list[dict[str, Any]]:
    """Wait until nothing that was begun is under way, and return all of it."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        found: list[dict[str, Any]] = client.get("/api/work").json()
        if all(one["state"] not in UNDER_WAY for one in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def _edit(client: httpx2.Client) -> None:
    """Correct a person's tags on the page and by the command; what is late, or no edit, is refused."""
    shown = client.get("/row", params={**ROW, "key": "ada"}).text
    state = re.findall(r'"state": "(\w+)"', shown)[0]
    who = "Ünal"

    def sent(**body: str) -> dict[str, Any]:
        """Carry out the command."""
        return over(
            client,
            client.post("/api/correct", params=ROW, json={"item": "ada", "who": who, **body}),
        )

    was = ", ".join(sent()["result"]["answer"]["tags"])
    said = {"act": "correct", "field": "tags", "state": state, "who": who}
    assert "law</ins>" in acted(client, "ada", value=f"{was}, law", **said)
    assert "changed meanwhile" in acted(client, "ada", value="art", **said)
    for wrong in (
        {"set": "moon=1"},
        {"set": "tags=[" + ", ".join(['"<b"'] * 90) + "]"},
        {"undo": "7"},
    ):
        assert sent(**wrong)["error"]["status"] == 422, wrong
    assert client.post("/api/correct", json={"moon": "1"}).headers["content-type"] == PROBLEM
    assert sent(set=f"tags={was}, bees")["result"]["answer"]["tags"][-1] == "bees"
    undone = sent(undo="2")["result"]
    assert (undone["answer"]["tags"][-1], undone["edits"][-1]["undoes"]) == ("law", 2)
    sent(set=f"tags={was}")
    for status, field, body in (
        (409, "username", ADA),
        (422, "hourly_rate", {"username": "x", "hourly_rate": -5}),
    ):
        got = client.post(ADD, json=body)
        assert (got.status_code, got.json()["field"], bool(got.json()["hint"])) == (
            status,
            field,
            True,
        )


def test_a_person_is_saved_while_gemini_is_down_and_tagged_once_by_the_next_page(
    workspace: Workspace, api: Engine
) -> None:
    """Those who wait are asked by the page that is started next; who is parked is asked again by hand, once."""
    workspace.people(0, without_bio=1)
    people = {"ada": {"code": 503}, "bob": {"code": 429}, "cy": {"code": 400}}
    with workspace.page() as client:
        for name, args in people.items():
            api.fault("status", times=100, path=LIVE, args=args)
            found = client.post(ADD, json={"username": name, "bio": f"{BIO} I am {name}."}).json()
            assert (found["ok"], found["tags"], found["findability_score"] > 0) == (
                True,
                None,
                True,
            )
            api.clear_faults()
            if name != "cy":
                api.fault("status", times=100, path=LIVE, args=args)
    api.clear_faults()
    assert "tagged" not in workspace.states()
    with workspace.page() as client:
        deadline = time.monotonic() + LONGEST_S
        while client.get("/api/status").json()["experts"]["tagged"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if client.get(SHOW, params={"item": "cy"}).json()["state"] != "tagged":
            acted(client, "cy", act="ask")
            assert settled(client)[-1]["result"] == {"answered": 1, "asked": 1}
        assert "nothing to be asked about" in acted(client, "person-0000", act="ask")
    answered = [
        one["json"] for one in api.journal() if LIVE in one["path"] and one["status"] == 200
    ]
    assert [sum(f"I am {name}." in str(one) for one in answered) for name in people] == [1, 1, 1]
    assert workspace.states() == {"tagged": 3, "no_bio": 1}


def test_a_batch_is_cancelled_here_and_what_went_wrong_in_one_is_told(workspace: Workspace) -> None:
    """Its moves and counts add up; once it is over there is nothing to cancel; what is not applied is named."""
    workspace.people(3)
    workspace.do("submit", limit=2)
    workspace.do("poll")
    sql(workspace, "DELETE FROM experts WHERE username = 'person-0000'")
    with workspace.page() as client:
        done = over(client, client.post(NEXT, params={"step": client.get(NEXT).json()["next"]}))
        assert (done["state"], done["warnings"][0].partition(" (")[0]) == (
            "done",
            "batch 1: 1 answer not applied",
        )
        shown = client.get("/parts/state?task=experts").text
        assert '<a href="/batch?number=1">batch 1</a>: 1 answer not applied' in shown
        assert "1 answer is not applied" in client.get("/batch?number=1").text
        for which in ("requests", "results"):
            sealed = (workspace.data / "batches" / f"000001-{which}.jsonl").read_bytes()
            assert client.get(f"/api/batches/1/{which}.jsonl").content == sealed
        assert client.get("/api/batches/7/requests.jsonl").status_code == 404
        workspace.do("submit")
        cancelled = client.post("/api/batch-cancel", json={"batch": "2"})
        assert over(client, cancelled)["result"]["batch"] == 2
        workspace.run("poll")
        workspace.do("ingest")
        found = client.get("/api/batches/2").json()
        assert found["is_over"]
        assert [one["new"] for one in found["moves"] if one["new"]][:3] == [
            "prepared",
            "submitting",
            "submitted",
        ]
        assert (
            over(client, client.post("/api/batch-cancel", json={"batch": "2"}))["error"]["status"]
            == 422
        )
    assert [one["number"] for one in workspace.batches()] == [1, 2]


def test_a_file_is_shown_before_it_goes_in(workspace: Workspace) -> None:
    """Mapping, counts and findings; nothing is written before it is confirmed, once; what is given up is gone."""
    workspace.put("p.jsonl", '{"id": "0", "text": "Law."}\n')
    workspace.do("import_passages", "p.jsonl")
    rows = "Username,Biograpy,Rate\nada,Bees.,100\nbob,<b>Law</b>.,much\n,nobody,\n"

    def drop(
        client: httpx2.Client, content: str, task: str, name: str, columns: str = ""
    ) -> dict[str, Any]:
        """Send a file, and wait until it was read."""
        asked = {"task": task, "name": name, "map": columns}
        got = client.post(DROP, params=asked, content=content)
        assert got.status_code == 202, got.text
        return read(client, got.json()["number"])

    def confirm(client: httpx2.Client, number: int) -> httpx2.Response:
        """Press the button that imports."""
        return client.post("/parts/import", params={"number": number})

    def read(client: httpx2.Client, number: int) -> dict[str, Any]:
        """Wait until what was begun with a file is over."""
        deadline = time.monotonic() + LONGEST_S
        while (found := client.get(f"{DROP}/{number}").json())["state"] in {"reading", "importing"}:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return dict(found)

    with workspace.page() as client:
        first = drop(client, rows, "experts", "../../people.csv")
        at = f"{DROP}/{first['number']}"
        assert (
            first["state"],
            first["name"],
            first["found"]["added"],
            first["found"]["rejected"],
        ) == (*("ready", "people.csv", 2, 1),)
        assert [(one["line"], one["column"]) for one in first["found"]["findings"]] == [
            *((3, "Hourly Rate"), (4, "Username")),
        ]
        shown = client.get("/add", params={"task": "experts", "number": first["number"]}).text
        assert all(
            one in shown
            for one in ("would be added", "goes to Hourly Rate", "kept beside", "Bees.")
        )
        assert "<b>Law" not in shown
        client.delete(at)
        refused = drop(client, rows, "experts", "people.csv", "bio=Moon")
        assert (refused["state"], "no column 'Moon'" in refused["error"]["detail"]) == (
            "unreadable",
            True,
        )
        assert str(workspace.home) not in str(refused)
        assert "unreadable now" in confirm(client, refused["number"]).text
        number = drop(client, rows, "experts", "people.csv", "bio=Biograpy")["number"]
        assert workspace.states() == {}
        confirm(client, number)
        done = read(client, number)
        assert (done["state"], done["done"]["added"], done["found"]) == ("imported", 2, None)
        assert "imported now" in confirm(client, number).text
        assert [one["username"] for one in client.get("/api/items").json()["items"]] == [
            "ada",
            "bob",
        ]
        texts = drop(client, '{"id": "a", "text": "Bees."}\nno json\n', "passages", "p.jsonl")
        assert (texts["found"]["added"], texts["found"]["rejected"]) == (1, 1)
        given_up = drop(client, rows, "experts", "again.csv")
        assert client.delete(f"{DROP}/{given_up['number']}").status_code == 204
        assert confirm(client, given_up["number"]).status_code == 404
        assert (
            client.post(DROP, params={"task": "moons", "name": "p.csv"}, content=b"").status_code
            == 422
        )
    assert not list(workspace.data.glob("dropped/**/*.*"))
    assert [one["id"] for one in workspace.rows("passages")] == ["0"]
    with workspace.page() as client:  # a tab that stayed open
        assert confirm(client, texts["number"]).status_code == 404


def test_texts_and_images_are_shown_as_text(workspace: Workspace) -> None:
    """No passage, file name or answer is markup on its page; what is quoted makes up the text."""
    foul = f"Beekeeping is an old craft. {EVIL} Bees </p> swarm in May."
    workspace.put(
        "p.jsonl", "".join(f"{json.dumps({'id': key, 'text': foul})}\n" for key in ("<i>a", "b"))
    )
    workspace.do("import_passages", "p.jsonl")
    (workspace.home / "photos").mkdir()
    Image.new("RGB", (48, 32), "navy").save(workspace.home / "photos" / "blue <b>.png")
    (workspace.home / "photos" / "cut.jpg").write_bytes(b"")
    workspace.do("import_images", "photos")
    for task in ("passages", "images"):
        workspace.do("tag", mode="live", yes=True, TASK=task)
        workspace.do("index", TASK=task)
    with workspace.page() as client:
        marked = client.get("/row", params={"task": "passages", "key": "b"}).text
        quoted = re.findall(r'<mark class="h\d" data-name="[^"]+">([^<]*)</mark>', marked)
        assert quoted
        assert [one for one in quoted if unescape(one) not in foul] == []
        listed = client.get(
            "/api/items", params={"task": "images", "fields": "path,summary"}
        ).json()["items"]
        (image,) = [one for one in listed if "blue" in one["path"]]
        broken = client.get("/?task=images&state=unusable").text
        assert ("0 bytes" in broken, "cut.jpg" in broken) == (True, True)
        small = client.get("/api/images/thumbnail", params={"key": image["id"], "side": 160})
        assert small.content[:3] == b"\xff\xd8\xff"
        assert client.get("/api/images/thumbnail", params={"key": "none"}).status_code == 422
        found = [
            *pages(client, "/?task=passages").values(),
            gallery := client.get("/?task=images").text,
        ]
        for task, key in (("passages", "b"), ("images", image["id"])):
            found.append(client.get("/row", params={"task": task, "key": key}).text)
        texts = " ".join(found)
        assert EVIL in unescape(texts)
        for markup in ("<script>alert", "Bees </p>", "blue <b>", "<i>a"):
            assert markup not in texts, markup
        assert image["summary"] in unescape(gallery)


def test_it_is_not_served_where_there_is_nothing_to_serve(workspace: Workspace) -> None:
    """A workspace that is not there, or in a folder of something else, says so; a new folder begins an empty one."""
    if not ON_POSTGRESQL:
        assert (
            "no workspace" in workspace.do("web", no_open=True, port=0, readonly=True, code=3).err
        )
        assert not workspace.data.exists()
        other = workspace.put("data/notes.txt", "Somebody's own.")
        assert "no workspace" in workspace.do("web", no_open=True, port=0, code=3).err
        assert [*workspace.data.iterdir()] == [other]
        other.unlink()
    else:
        workspace.people(1)
    with workspace.page() as client:
        home = client.get("/").text
        assert "Nothing is here yet" in home or ON_POSTGRESQL  # where somebody is in it
        assert 'data-post="/api/admin/experts"' in client.get("/add?task=experts").text
        assert "in use" in workspace.do("web", no_open=True, port=client.base_url.port, code=3).err
        if ON_POSTGRESQL:
            return
        for one in workspace.data.glob("findable.db*"):
            one.unlink()
        deadline = time.monotonic() + LONGEST_S
        while (got := client.get("/api/status")).status_code == 200:
            assert time.monotonic() < deadline, "a database that is gone is still read"
            time.sleep(0.05)
        assert (got.headers["content-type"], got.json()["exit_code"]) == (PROBLEM, 3)
        assert "no workspace" in got.json()["detail"] + client.get("/").text
        (workspace.data / "findable.db").write_bytes(b"no database at all" * 100)
        for path in ("/api/status", "/", "/runs"):
            got = client.get(path)
            assert got.status_code in {409, 503}, (path, got.text)
            assert "not a database" in got.text, (path, got.text)
        (workspace.data / "findable.db").unlink()


@pytest.mark.parametrize("part", [2, 4])
def test_a_page_that_is_killed_saved_a_person_once_or_not_at_all(
    workspace: Workspace, api: Engine, part: int
) -> None:
    """At a step of a post, of those from the first to the reply; what it left, commands finish."""
    workspace.people(1)
    late, early = (
        {"username": name, "bio": f"I cast bells, says {name}."} for name in ("late", "early")
    )
    with workspace.start("web", no_open=True, port=0) as running, served(running) as client:
        before = len(running.steps())
        assert client.post(ADD, json=early).json()["tags"]
        steps = len(running.steps()) - before
    assert steps >= 5
    at = before + 1 + steps * part // 5
    with (
        workspace.start("web", no_open=True, port=0, fate=Fate(at=at)) as running,
        served(running) as client,
    ):
        with contextlib.suppress(httpx2.TransportError):
            client.post(ADD, json=late)
        assert running.wait().code == -signal.SIGKILL
    workspace.run("add", workspace.put("late.json", json.dumps(late)))
    workspace.do("tag", mode="live")
    assert sorted(workspace.tags()) == ["early", "late", "person-0000"]
    assert workspace.states() == {"tagged": 3}
    assert len({one["item"] for one in workspace.asked() if one["outcome"] == "answered"}) == 3
    answered = [one for one in api.journal() if LIVE in one["path"] and one["status"] == 200]
    assert (
        1 <= sum("says late" in str(one["json"]) for one in answered) <= 2
    )  # of calls at most those under way
