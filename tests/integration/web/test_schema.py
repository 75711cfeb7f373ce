"""The API does what its OpenAPI document says, whatever a program sends: schemathesis makes the requests."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.lab import Workspace
from tests.page import TOKEN, Page

FEW = 2  # requests of each address
MANY = 200
PARTS = 12
SENT = {"method", "url", "headers", "params", "json", "content"}
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("examples", "part"),
    [
        (FEW, slice(None)),
        *(
            pytest.param(MANY, slice(part, None, PARTS), marks=pytest.mark.full)
            for part in range(PARTS)
        ),
    ],
)
@pytest.mark.sampled(0)
@pytest.mark.timeout(1800)
def test_no_request_breaks_the_api(workspace: Workspace, examples: int, part: slice) -> None:
    """Every address gets requests that its document allows; none is answered with 500, and an error is a problem."""
    import schemathesis  # takes half a second, in the one process that runs this

    with Page(workspace.begin()) as page:
        page.post("/api/admin/experts", json={"username": "ada"})
        schema = schemathesis.openapi.from_dict(page.get("/api/openapi.json").json())
        operations = [get_all_operation.ok() for get_all_operation in schema.get_all_operations()]  # type: ignore[union-attr]
        assert len(operations) >= 10
        for operation in operations[part]:
            _ask(page, operation, examples)


def _ask(page: Page, operation: Any, examples: int) -> None:
    """Send some requests to one address, and look at the answers."""

    @settings(
        max_examples=examples,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        """Send one."""
        case = data.draw(operation.as_strategy())
        sent = case.as_transport_kwargs(base_url=str(page.base_url), headers=HEADERS)
        sent["content"] = sent.pop("data", None)  # the bytes of a file
        got = page.request(
            **{name: value for name, value in sent.items() if name in SENT and value is not None}
        )
        assert got.status_code < 500, (case.method, case.formatted_path, got.text)
        if got.status_code >= 400:
            assert got.json()["status"] == got.status_code
            assert got.headers["content-type"] == "application/problem+json"

    ask()
