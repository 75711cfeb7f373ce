"""Who is let in: with the token, from this host and this page, and no more than fits."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from tests.lab import Workspace
from tests.page import ACCESS, HOST, TOKEN, Page

ADD = "/api/admin/experts"
ADA = {"username": "ada"}
PAGES = (
    *("/", "/items", "/people/new", "/search", "/passages", "/images", "/index", "/batches", "/costs"),
    "/settings",
)


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
