"""The page under readers and editors, and one search of it beside its scan and its look-up of words alone.

The server is a process of its own, and the local engine in it embeds the questions.
"""

import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx2

from tests.bench import grounds, people
from tests.bench.driver import anonymous_bytes, cpu_seconds
from tests.bench.measure import Said, Timed, held, loads
from tests.bench.product import QUERIES

READERS, EDITORS, EDITED = 200, 5, 50  # people who are edited
FOUND = 1000  # of either side, as the product fuses
PAUSE_S, LASTS_S = 5.0, 20.0  # in which one reads what was asked for, or thinks of the next edit; how long all go on
REST_S = 0.5  # without any work
WORDS = [f"question {number} about the law of bees" for number in range(QUERIES)]
PEOPLE = "/api/tasks/experts"


def search(data: Path) -> Timed:
    """One question after the other to the page; the time of one, the median, and the server's CPU for each."""
    base, token, pid = held(_served(data))
    client = held(httpx2.Client(base_url=base, headers=token, trust_env=False, timeout=60))
    _wait_for_rest(pid)
    _timed(client, f"{PEOPLE}/search", {"q": WORDS[0]})

    def run() -> Said:
        before = cpu_seconds(pid)
        walls = [_timed(client, f"{PEOPLE}/search", {"q": words}) for words in WORDS]
        return {"wall": statistics.median(walls), "cpu": (cpu_seconds(pid) - before) / len(WORDS)}

    return run


def look_up(data: Path) -> Timed:
    """The same questions to the same build: all vectors scanned, the words of each looked up, and no more."""
    from pipeline.index.builds import Builds
    from pipeline.index.terms import terms_of_question

    loads("faiss", "bm25s")
    opened = held(Builds(data).open())
    words = opened.words
    assert words is not None
    asked = list(zip(people.vectors(WORDS), map(terms_of_question, WORDS), strict=True))
    opened.nearest(asked[0][0], FOUND)
    words.scores(asked[0][1])

    def run() -> Said:
        walls, before = [], time.process_time()
        for vector, terms in asked:
            began = time.perf_counter()
            opened.nearest(vector, FOUND)
            words.scores(terms)
            walls.append(time.perf_counter() - began)
        return {"wall": statistics.median(walls), "cpu": (time.process_time() - before) / len(WORDS)}

    return run


def crowd(data: Path) -> Timed:
    """Readers who search, list and look at one person, and editors of tags, for a while; what they did is told."""
    base, token, pid = held(_served(data))
    asyncio.run(_begun(base, token))
    _wait_for_rest(pid)

    def run() -> Said:
        told = asyncio.run(_Crowd(base, token).all())
        return {**told, "server's MB": anonymous_bytes(pid) // 1_000_000}

    return run


async def _begun(base: str, token: dict[str, str]) -> None:
    """Ask the first question, for which the server and the client import what they need."""
    async with httpx2.AsyncClient(base_url=base, headers=token, trust_env=False, timeout=60) as client:
        (await client.get(f"{PEOPLE}/search", params={"q": WORDS[0]})).raise_for_status()


@contextlib.contextmanager
def _served(data: Path) -> "Iterator[tuple[str, dict[str, str], int]]":
    """Serve the page; yield its address, the header that lets a program in, and the number of its process."""
    line = [sys.executable, "-m", "jobs", "web", "--no-open", "--port", "0"]
    environ = {**os.environ, **grounds.environ(data)}
    with subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        base, _, token = server.stdout.readline().strip().partition("/?token=")
        try:
            yield base, {"Authorization": f"Bearer {token}"}, server.pid
        finally:
            server.terminate()


def _wait_for_rest(pid: int) -> None:
    """Wait until a server does nothing more: it loads what its first call will need, which would be measured, too."""
    before = -1.0
    while (now := cpu_seconds(pid)) > before:
        before = now
        time.sleep(REST_S)


def _timed(client: httpx2.Client, path: str, asked: dict[str, str]) -> float:
    began = time.perf_counter()
    client.get(path, params=asked).raise_for_status()
    return time.perf_counter() - began


class _Crowd:
    """What all of them do at once."""

    def __init__(self, base: str, token: dict[str, str]) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
        self._client = httpx2.AsyncClient(base_url=base, headers=token, trust_env=False, timeout=60, limits=limits)
        self._took: dict[str, list[float]] = defaultdict(list)
        self._refused = 0
        self._kept: dict[tuple[str, int], str] = {}  # person and editor -> the tag that the last accepted edit left
        self._edits = 0

    async def all(self) -> Said:
        """Return how many reads and edits there were, what they took, and how many accepted edits were lost."""
        async with self._client:
            found = (await self._client.get(f"{PEOPLE}/items", params={"limit": 500})).json()["items"]
            names = [one["username"] for one in found]
            self._until = time.monotonic() + LASTS_S
            readers = [self._read(random.Random(number), names) for number in range(READERS)]  # noqa: S311
            editors = [self._edit(number, names[:EDITED]) for number in range(EDITORS)]
            await asyncio.gather(*readers, *editors)
            lost = sum([await self._is_lost(name, tag) for (name, _), tag in self._kept.items()])
        reads = {name: took for name, took in self._took.items() if name != "edit"}
        p95 = {f"p95 ms of {name}": _p95(took) for name, took in sorted(self._took.items())}
        count = sum(map(len, reads.values()))
        return {"reads": count, **p95, "edits": self._edits, "refused": self._refused, "lost": lost}

    async def _read(self, dice: random.Random, names: list[str]) -> None:
        await asyncio.sleep(dice.random() * PAUSE_S)
        while time.monotonic() < self._until:
            name = dice.choice(names)
            kinds = {
                "search": (f"{PEOPLE}/search", {"q": dice.choice(WORDS)}),
                "list": (f"{PEOPLE}/items", {"find": name[:3]}),
                "item": (f"{PEOPLE}/item", {"key": name}),
            }
            kind = dice.choice(sorted(kinds))
            began = time.perf_counter()
            (await self._client.get(kinds[kind][0], params=kinds[kind][1])).raise_for_status()
            self._took[kind].append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_S)

    async def _edit(self, editor: int, names: list[str]) -> None:
        dice, number = random.Random(-editor), 0  # noqa: S311 - the same each time
        while time.monotonic() < self._until:
            name, number = dice.choice(names), number + 1
            address, tag = f"/api/people/{name}/tags", f"of {editor} number {number}"
            state = (await self._client.get(address)).headers["etag"]
            before = self._kept.get((name, editor))
            change = {"who": f"editor {editor}", "add": [tag], "remove": [before] if before else []}
            began = time.perf_counter()
            done = await self._client.patch(address, json=change, headers={"If-Match": state})
            self._took["edit"].append(time.perf_counter() - began)
            if done.status_code == 412:  # another editor was first
                self._refused += 1
            else:
                done.raise_for_status()
                self._edits += 1
                self._kept[name, editor] = tag
            await asyncio.sleep(PAUSE_S / 10)

    async def _is_lost(self, name: str, tag: str) -> bool:
        return tag not in (await self._client.get(f"/api/people/{name}/tags")).json()["tags"]


def _p95(took: list[float]) -> float:
    return round(statistics.quantiles(took, n=20)[-1] * 1000, 1)
