"""How many prompt tokens the API itself counts: a sample of requests is counted there, and all are scaled by it.

Counting costs nothing and uses none of the quotas of answers.
"""

import asyncio
import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipeline import preparing
from pipeline.engine.questions import Line, RequestBuilder
from pipeline.errors import InputError, KeyRefusedError, MissingError, RemoteError
from pipeline.gemini import requests
from pipeline.preparing import Wanted
from pipeline.runtime import Runtime

MOST = 20  # ours: requests in a sample, spread evenly over all
AT_ONCE = 5  # ours


class Sample(NamedTuple):
    """How many requests the API counted, and how many tokens it counts for one that we count."""

    requests: int
    scale: float


def count(rt: Runtime, items: int, *, limit: int | None) -> Sample:
    """Let the API count a sample of the requests about so many items; what it fails at is left out of the sample.

    Raises:
        ConfigurationError: no key is set.
        RemoteError: it counted none of them.
        InputError: nobody is left to be asked.
    """
    with rt.store.read() as tx:
        lines = preparing.lines(tx, RequestBuilder(rt.task, rt.model), Wanted(limit))
        sample = list(islice(lines, 0, None, math.ceil(items / MOST)))[:MOST]
    if not sample:
        raise InputError("nobody is left to ask, so there is nothing to count")
    counts = asyncio.run(_counted(rt, sample))
    told = [(one.usage.prompt, found) for one, found in zip(sample, counts, strict=True) if isinstance(found, int)]
    if not told:
        raise next(one for one in counts if isinstance(one, RemoteError))
    return Sample(len(told), sum(found for _, found in told) / sum(ours for ours, _ in told))


async def _counted(rt: Runtime, sample: Sequence[Line]) -> list[int | RemoteError]:
    """Return how many tokens the API counts in each, or why it did not; a key that is refused ends it."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(live: Any, line: Line) -> int | RemoteError:
        """Count one request."""
        async with room:
            try:
                tokens: int = await live.count_tokens(rt.model.name, requests.object_of(line.data))
            except (KeyRefusedError, MissingError):
                raise
            except RemoteError as error:
                return error
            return tokens

    async with rt.client.live() as live:
        return await asyncio.gather(*(one(live, line) for line in sample))
