"""Who is let in: with the token, from this host and this page, and no more than fits."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount
from starlette.testclient import TestClient

from tests.lab import Workspace
from tests.page import ACCESS, HOST, TOKEN, Page, readonly
from web.app import HERE
from web.views import VIEWS

ADD = "/api/admin/experts"
ADA = {"username": "ada"}
PAGES = (
    *("/", "/items", "/people/new", "/search", "/judge", "/passages", "/images", "/index", "/batches", "/costs"),
    "/settings",
)


def addresses() -> Iterator[tuple[str, str]]:
    """Yield every method and address of the page: those of views, of files, and some that there are none of."""
    for view in VIEWS:
        for route in view.router.routes:
            assert isinstance(route, APIRoute)
            path = re.sub(r"\{.*?\}", "1", route.path)
            yield from ((method, path) for method in route.methods or ())
    yield from (("GET", f"/static/{one.name}") for one in (HERE / "static").iterdir())
    yield from (("GET", path) for path in ("/api/openapi.json", "/docs", "/none", "/api/none", "/static/none"))


@pytest.mark.sampled(0)
def test_without_the_token_every_address_is_refused(page: Page) -> None:
    """401 everywhere, whatever is sent in its place; the list of addresses is the application's own."""
    mounted = {one.path for one in page.routes() if isinstance(one, Mount)}
    assert mounted == {"/static"}
    stranger = TestClient(page.guard, base_url=f"http://{HOST}", follow_redirects=False)
    wrong: tuple[dict[str, str], ...] = (
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": f"findable={TOKEN[:-1]}"},
        {"cookie": "findable"},
        {"x-csrf-token": page.desk.access.csrf},
    )
    with stranger:
        for method, path in addresses():
            assert stranger.request(method, path, params={"token": "x"}).status_code == 401, (method, path)
        for headers in wrong:
            assert stranger.get("/api/status", headers=headers).status_code == 401, headers
        assert "make web" in stranger.get("/", headers={"accept": "text/html"}).text


@pytest.mark.sampled(0)
def test_the_first_address_sets_a_cookie(page: Page) -> None:
    """The token goes from the address into a cookie that no script and no other site gets; a code is good once."""
    browser = TestClient(page.guard, base_url=f"http://{HOST}", follow_redirects=False)
    entered = browser.get("/search", params={"q": "a&b=c", "token": TOKEN})
    assert (entered.status_code, entered.headers["location"]) == (303, "/search?q=a%26b%3Dc")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(entered.headers["set-cookie"].split("; "))
    assert browser.get("/").status_code == 200
    code = page.desk.access.codes.new()
    for status in (303, 401):
        other = TestClient(page.guard, base_url=f"http://{HOST}", follow_redirects=False)
        assert other.get("/items", params={"code": code}).status_code == status
    assert other.get("/", params={"code": ""}).status_code == 401


@pytest.mark.sampled(0)
def test_another_site_changes_and_reads_nothing(page: Page) -> None:
    """A foreign host or origin is refused with the cookie and with the token, a form of another site as well."""
    browser, csrf = page.browser(), {"x-csrf-token": page.desk.access.csrf}
    for client in (page, browser):
        assert client.get("/api/status", headers={"host": "findable.example"}).status_code == 421
        assert client.get("/api/status", headers={"origin": "http://findable.example"}).status_code == 403
        assert client.get("/api/status", headers={"origin": "null"}).status_code == 403
        assert client.post(ADD, json=ADA, headers={**csrf, "sec-fetch-site": "cross-site"}).status_code == 403
    assert browser.post(ADD, json=ADA).status_code == 403
    assert browser.post(ADD, json=ADA, headers={"x-csrf-token": TOKEN}).status_code == 403
    assert browser.get("/api/tasks/experts/items").json()["items"] == []
    assert browser.post(ADD, json=ADA, headers={**csrf, "origin": f"http://{HOST}"}).status_code == 201


@pytest.mark.sampled(0)
def test_what_only_reads_changes_nothing(workspace: Workspace) -> None:
    """READONLY: each address that changes something says 403, and the page shows no button that would."""
    changing = [(method, path) for method, path in addresses() if method not in {"GET", "HEAD"}]
    assert changing
    with Page(workspace.begin(), readonly()) as page:
        for method, path in changing:
            assert page.request(method, path, json=ADA).status_code == 403
        assert [path for path in PAGES if "hx-post" in (said := page.get(path).text) or "data-post" in said] == []


@pytest.mark.sampled(0)
def test_a_long_body_is_refused_unread(page: Page) -> None:
    """By the length that it says, or where it goes on and on; a length that is none is refused, too."""
    assert page.post(ADD, content=b" " * ((1 << 20) + 1)).status_code == 413
    pieces = (b" " * 65_536 for _ in range(17))
    assert page.post(ADD, content=pieces).status_code == 413
    assert page.post(ADD, content=b"{}", headers={"content-length": "-2"}).status_code == 400


@pytest.mark.sampled(0)
def test_every_answer_has_the_strict_headers_and_no_page_an_inline_script(page: Page) -> None:
    """Also errors; a page's scripts and styles come from files, so that the policy can forbid all others."""
    for path in (*PAGES, "/none", "/api/none", "/static/style.css", "/static/none", "/api/tasks/none/items"):
        got = page.get(path)
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:", got.text), path


@pytest.mark.sampled(0)
def test_an_error_is_a_problem_with_a_hint(page: Page) -> None:
    """Programs get problem+json with the command's own message and hint, readers a page."""
    got = page.get("/api/tasks/experts/search", params={"q": "bees"})
    assert (got.status_code, got.headers["content-type"]) == (422, "application/problem+json")
    found = got.json()
    assert {"type", "title", "status", "detail", "hint", "exit_code"} == set(found)
    assert "make index" in found["hint"]
    assert found["detail"] in page.get("/search", params={"q": "bees"}).text
    assert page.get("/api/tasks/nobody/items").json()["status"] == 404
    assert page.get("/api/costs", params={"by": "moon"}).json()["field"] == "by"
    assert page.get("/api/work/7").status_code == 404
    for path in ("/images?find=%00", "/parts/judge?task=experts&qid=%00", "/passage?key=a%00", "/search?q=b%00"):
        assert page.get(path).status_code == 422, path
    assert page.get("/api/people/a%00b/tags").status_code == 422


@pytest.mark.sampled(0)
def test_a_document_that_is_known_is_not_sent_again(page: Page) -> None:
    """304 with an empty body while nothing changed; another document has another tag."""
    first = page.get("/api/tasks/experts/items")
    again = page.get("/api/tasks/experts/items", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    page.post(ADD, json=ADA)
    now = page.get("/api/tasks/experts/items", headers={"if-none-match": first.headers["etag"]})
    assert (now.status_code, len(now.json()["items"])) == (200, 1)
    assert now.headers["etag"] != first.headers["etag"]


@pytest.mark.sampled(0)
def test_a_password_or_a_proxy_lets_readers_in(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password gives the cookie, as the token does; a proxy's header counts from its own address alone."""
    monkeypatch.setattr("web.guard.WRONG_S", 0.0)
    access = replace(ACCESS, password="pä ss", proxy=("x-user", frozenset({"10.0.0.5"})))  # noqa: S106 - of a test
    with Page(workspace.begin(), access) as page:
        browser = TestClient(page.guard, base_url=f"http://{HOST}", follow_redirects=False)
        assert 'name="password"' in browser.get("/", headers={"accept": "text/html"}).text
        for wrong in ("", "pä s", TOKEN):
            assert browser.post("/login", data={"password": wrong}).status_code == 401
        assert browser.post("/login", content=b"password=" + b"x" * 5000).status_code == 413
        foreign = {"origin": "http://x.example"}
        assert browser.post("/login", data={"password": "pä ss"}, headers=foreign).status_code == 403
        assert browser.get("/").status_code == 401
        assert browser.post("/login", data={"password": "pä ss"}).status_code == 303
        assert browser.get("/").status_code == 200
        for address, status in (("10.0.0.5", 200), ("10.0.0.6", 401)):
            other = TestClient(page.guard, base_url=f"http://{HOST}", client=(address, 4000))
            assert other.get("/api/status", headers={"x-user": "ada"}).status_code == status
            assert other.get("/api/status").status_code == 401
            assert other.get("/api/status", headers={"x-user": " "}).status_code == 401
            program = {"x-user": "ada", "authorization": f"Bearer {TOKEN}"}
            assert other.post(ADD, json={}, headers=program).status_code == 422
            assert other.post(ADD, json=ADA, headers={"x-user": "ada"}).status_code == (403 if status == 200 else 401)
    assert Page(workspace).post("/login", data={"password": ""}).status_code == 401
    away = page.request("GET", f"http://{HOST}//x.example/a", params={"token": TOKEN})
    assert away.headers["location"] == "/x.example/a"


@pytest.mark.sampled(0)
def test_no_other_machine_is_served_without_a_lock(workspace: Workspace) -> None:
    """Another host without password and proxy, and a proxy without its addresses, end with 3; nothing is served."""
    workspace.begin()
    for options in (("--host", "0.0.0.0"), ("--proxy-header", "x-user"), ("--host", "::", "--proxy-from", "10.0.0.5")):  # noqa: S104 - refused
        assert "nothing is served" in workspace.ran("web", "--no-open", "--port", "0", *options, code=3).stderr
