"""The API follows its OpenAPI document; schemathesis generates the requests."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.lab import Workspace
from tests.page import TOKEN, Page

# Requests of each address.
FEW_EXAMPLES = 2
MANY_EXAMPLES = 50
# The full run is split into this number of tests.
PARTS = 4
REQUEST_PARTS = {"method", "url", "headers", "params", "json", "content"}
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("examples", "part"),
    [
        (FEW_EXAMPLES, slice(None)),
        *(
            pytest.param(MANY_EXAMPLES, slice(part, None, PARTS), marks=pytest.mark.full)
            for part in range(PARTS)
        ),
    ],
)
@pytest.mark.alike
@pytest.mark.timeout(1800)
def test_no_request_breaks_the_api(workspace: Workspace, examples: int, part: slice) -> None:
    """No valid request gets a 500, and every error is a problem document."""
    # This import takes half a second, and only this test needs it.
    import schemathesis

    with Page(workspace.begin()) as page:
        page.post("/api/admin/experts", json={"username": "ada"})
        schema = schemathesis.openapi.from_dict(page.get("/api/openapi.json").json())
        results = schema.get_all_operations()
        operations = [operation.ok() for operation in results]  # type: ignore[union-attr]
        assert len(operations) >= 10
        for operation in operations[part]:
            send_requests(page, operation, examples)


def send_requests(page: Page, operation: Any, examples: int) -> None:
    """Send generated requests to an address, and check the answers."""

    @settings(
        max_examples=examples,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def send_request(data: st.DataObject) -> None:
        """Send a request."""
        case = data.draw(operation.as_strategy())
        request_parts = case.as_transport_kwargs(base_url=str(page.base_url), headers=HEADERS)
        # The bytes of a file.
        request_parts["content"] = request_parts.pop("data", None)
        arguments = {
            name: part
            for name, part in request_parts.items()
            if name in REQUEST_PARTS and part is not None
        }
        response = page.request(**arguments)

        assert response.status_code < 500, (case.method, case.formatted_path, response.text)
        if response.status_code >= 400:
            assert response.json()["status"] == response.status_code
            assert response.headers["content-type"] == "application/problem+json"

    send_request()
