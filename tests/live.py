"""One live call from a test that has no event loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pipeline.gemini.client import Client


def generated(client: Client, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask one question and return the raw reply document."""

    async def ask() -> dict[str, Any]:
        """Ask within a loop of its own."""
        async with client.live() as live:
            return await live.generate(model, request)

    return asyncio.run(ask())
