"""One live call from a test that has no event loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pipeline.gemini.client import Client


def generated(client: Client, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask one question and return the raw reply document."""
    return asyncio.run(client.generate(model, request))
