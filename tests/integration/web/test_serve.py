"""`make web`: served until it is told to stop."""

import httpx2
import pytest

from tests.lab import ON_POSTGRESQL, Workspace
from tests.page import served


@pytest.mark.sampled(0)
def test_the_page_is_served_until_a_signal(workspace: Workspace) -> None:
    """The first line on standard output is the address, which works once it is said; SIGTERM ends it with 0."""
    workspace.begin()
    seen = []

    def read(client: httpx2.Client, address: str) -> None:
        """Enter, look, and add a person."""
        assert client.get("/").status_code == 401
        entered = client.get(address)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert "Nothing is under way" in client.get("/").text
        token = address.partition("token=")[2]
        added = client.post(
            "/api/admin/experts", headers={"authorization": f"Bearer {token}"}, json={"username": "ada", "bio": "Bees."}
        )
        seen.append((address, added.json()["ok"], added.headers.get("server")))

    done = served(workspace, read)
    assert (done.exit_code, [(done.stdout.splitlines()[0], True, None)]) == (0, seen)


@pytest.mark.sampled(0)
@pytest.mark.skipif(ON_POSTGRESQL, reason="a database that is named is no new folder's own")
def test_a_new_folder_begins_an_empty_workspace(workspace: Workspace) -> None:
    """Home leads to the imports of people and of passages, and to the form of one person."""
    (workspace.data / "new").mkdir(parents=True)
    seen: list[bool] = []

    def read(client: httpx2.Client, address: str) -> None:
        """Look at home."""
        client.get(address)
        page = client.get("/").text
        seen.extend(one in page for one in ("/import?task=experts", "/import?task=passages", "/people/new"))

    done = served(workspace, read, DATA=str(workspace.data / "new"))
    assert (done.exit_code, seen) == (0, [True] * 3)
    assert "a new workspace" in done.stderr


@pytest.mark.sampled(0)
def test_it_is_not_served_where_there_is_nothing(workspace: Workspace) -> None:
    """Without a workspace that may be made, and on a port that is taken, it says so and ends with 3."""
    assert "no workspace" in workspace.ran("web", "--no-open", "--port", "0", "--readonly", code=3).stderr
    assert not workspace.data.exists()
    workspace.data.mkdir()
    other = workspace.data / "notes.txt"
    other.write_text("Somebody's own.")
    assert "no workspace" in workspace.ran("web", "--no-open", "--port", "0", code=3).stderr
    assert [*workspace.data.iterdir()] == [other]
    workspace.begin()

    def read(client: httpx2.Client, _address: str) -> None:
        """Try to serve another one on the same port."""
        with pytest.raises(AssertionError):
            workspace.ran("web", "--no-open", "--port", str(client.base_url.port), code=0)

    assert served(workspace, read).exit_code == 0
