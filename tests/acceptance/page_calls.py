"""Call the page of a workspace: its jobs, its operations and all linked pages."""

import re
from html import unescape
from typing import Any

import httpx2

from tests.scratch import wait_until

ADD_PATH = "/api/admin/experts"
SCHEMA_PATH = "/api/openapi.json"
LINK = re.compile(r'href="(/[^"#]*)"')
UNFINISHED_STATES = {"waiting", "running"}


def wait_for_job(client: httpx2.Client, accepted: httpx2.Response) -> dict[str, Any]:
    """Wait until the job of an accepted request has ended, and return it."""
    assert accepted.status_code == 202, accepted.text
    location = accepted.headers["location"]
    wait_until(lambda: client.get(location).json()["state"] not in UNFINISHED_STATES)
    return dict(client.get(location).json())


def run_job(client: httpx2.Client, path: str, **request: Any) -> dict[str, Any]:
    """Post a request that starts a job, and return the ended job."""
    return wait_for_job(client, client.post(path, **request))


def read_operations(client: httpx2.Client) -> list[tuple[str, str]]:
    """Return each method and path of the API document, with each parameter replaced by 1."""
    paths = client.get(SCHEMA_PATH).json()["paths"]
    assert len(paths) > 10

    operations = []
    for path, methods in paths.items():
        concrete_path = re.sub(r"\{\w+\}", "1", path)
        operations += [(method.upper(), concrete_path) for method in methods]
    return operations


def read_linked_pages(client: httpx2.Client, *first_addresses: str) -> dict[str, str]:
    """Follow all links from the first addresses, and return the HTML by address.

    Only one address is opened for each path and set of parameter names.
    """
    pages = {}
    waiting = list(first_addresses or ["/"])
    opened_kinds = set()

    while waiting:
        path, _, query = waiting.pop(0).partition("?")
        parameter_names = sorted(word.partition("=")[0] for word in query.split("&"))
        kind = (path, *parameter_names)
        if kind in opened_kinds:
            continue
        opened_kinds.add(kind)

        address = f"{path}?{query}" if query else path
        response = client.get(address)
        right_status = 303 if path == "/review" else 200
        details = (address, response.status_code, response.text)
        assert response.status_code == right_status, details

        is_html = response.headers.get("content-type", "").startswith("text/html")
        pages[address] = response.text if is_html else ""
        waiting += map(unescape, LINK.findall(pages[address]))

    return pages


def wait_for_jobs(client: httpx2.Client) -> list[dict[str, Any]]:
    """Wait until no job is running, and return all jobs."""
    wait_until(
        lambda: all(job["state"] not in UNFINISHED_STATES for job in client.get("/api/work").json())
    )
    return list(client.get("/api/work").json())
