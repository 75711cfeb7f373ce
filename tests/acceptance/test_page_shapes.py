"""The views of the page are complete for tasks, rows and answers of every shape."""

import re
from html import unescape

import httpx2
import pytest

from tests.acceptance.product import BATCH_COMMANDS, Workspace, write_declaration
from tests.outside.answers import Json
from tests.outside.server import Outside

ROWS = "id,text\n1,It boils fast.\n2,It hums.\n3,\n"
FIELDS_BY_SHAPE = {
    "a choice": {"tone": "Literal['praise', 'blame']"},
    "a list": {"names": "list[str]"},
    "all": {
        "tone": "Literal['praise', 'blame']",
        "is_good": "bool",
        "name": "str",
        "names": "list[str]",
        "stars": "int | None = None",
        "why": "Quote",
    },
}
VALUES = {
    "tone": ("praise", "blame"),
    "is_good": (True, "false"),
    "name": ("lamp", "kettle"),
    "names": (["lamp"], "kettle"),
    "stars": (None, "4"),
    "why": ("It", "boils"),
}
NOTES = {"task": "notes"}
VIEWS = ("/", "/runs", "/quality", "/question", "/add")


def declare(workspace: Workspace, outside_server: Outside, shape: str, items: str = ROWS) -> None:
    """Write a task whose answers have the fields of a shape, and its table."""
    fields = FIELDS_BY_SHAPE[shape]

    def answer(_: Json) -> Json:
        """Return a valid answer."""
        return {name: VALUES[name][0] for name in fields}

    outside_server.answerer = answer
    workspace.task = "notes"
    workspace.url = outside_server.url
    workspace.settings["YES"] = "1"
    workspace.write_file("tasks/notes.csv", items)
    declaration = write_declaration(
        fields,
        prompt="{text}",
        items="notes.csv",
        extra_arguments=['quotes_in="text"'] if "why" in fields else [],
    )
    workspace.write_file("tasks/notes.py", declaration)


def open_all(client: httpx2.Client) -> str:
    """Open every view and each row; return their text. Any bug ends the test."""
    rows = [f"/row?task=notes&key={key}&raw=1" for key in (1, 2, 3)]
    parts = ["position?key=1&", "state?", "facets?", "next?"]
    views = [f"{path}?task=notes" for path in VIEWS]
    addresses = [*views, *rows, *(f"/parts/{part}task=notes" for part in parts)]
    responses = [client.get(address) for address in addresses]
    assert [response.status_code for response in responses] == [200] * len(addresses)
    return " ".join(response.text for response in responses)


def act(client: httpx2.Client, key: int, **form: str) -> str:
    """Send a form of a row's page, and return the part that htmx shows."""
    response = client.post(
        "/parts/row",
        params={**NOTES, "key": str(key)},
        data=form,
        headers={"hx-request": "true"},
    )
    assert response.status_code == 200, response.text
    return unescape(response.text)


def read_state(client: httpx2.Client, key: int) -> str:
    """Return the state of the answer that the page of a row shows."""
    text = client.get("/row", params={**NOTES, "key": str(key)}).text
    return str(re.findall(r'name="state" value="(\w+)"', text)[0])


@pytest.mark.alike
@pytest.mark.parametrize("shape", FIELDS_BY_SHAPE)
def test_views_are_complete_in_every_shape(
    workspace: Workspace, outside_server: Outside, shape: str
) -> None:
    """All views are rendered before answers, with them, after a conflict, and read-only."""
    declare(workspace, outside_server, shape)
    workspace.run_command(BATCH_COMMANDS[0])
    with workspace.serve_page() as client:
        assert "None yet." in open_all(client)
    workspace.run_commands(*BATCH_COMMANDS[1:])

    with workspace.serve_page() as client:
        open_all(client)
        state = read_state(client, 1)
        for name in FIELDS_BY_SHAPE[shape]:
            seen = {"act": "correct", "field": name, "state": state, "value": VALUES[name][1]}
            if name == "names":
                seen |= {"value": "", "value.0": VALUES[name][1]}
            if name == "is_good":
                del seen["value"]
            first_part = act(client, 1, who="Ada", **{**seen, "state": read_state(client, 1)})
            assert "Saved" in first_part, name
            # Another person saw the answer before.
            refused = act(client, 1, who="Bea", **seen)
            assert "'Ada' changed this answer meanwhile" in refused
            # The page that was shown before can be sent again as it is now.
            assert "Not changed" in act(
                client, 1, who="Bea", **{**seen, "state": read_state(client, 1)}
            )
            assert client.get("/parts/cell", params={**NOTES, "key": "1", "field": name}).is_success
        # An invalid value, a missing name, and a row without an answer are refused in words.
        assert "Type your name" in act(client, 2, act="review", who=" ")
        assert 'role="alert"' in act(client, 3, act="review", who="Ada")
        reviewed = client.post(
            "/parts/row",
            params={**NOTES, "key": "2"},
            data={"act": "review", "who": "Ada", "state": read_state(client, 2)},
            headers={"hx-request": "true"},
        )
        assert reviewed.headers["hx-redirect"] == "/review?task=notes&after=2&reviewed=2"
        next_path = client.get(reviewed.headers["hx-redirect"]).headers["location"]
        assert "is marked as checked" in client.get(next_path).text
        open_all(client)
    with workspace.serve_page(readonly=True) as client:
        assert "hx-post" not in open_all(client)
