"""The workspaces that are measured on, made by the product's own code: each kind and size once, and copied for a run.

No server takes part: a batch is prepared as the product prepares it and handed a result file, and what a model would
embed is in the cache already. So a time that is measured is the product's own.
"""

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tests.bench import people
from tests.bench.measure import loads

if TYPE_CHECKING:
    from pipeline.core.task import Entry
    from pipeline.engine.workspace import OpenWorkspace

PRICE_IN, PRICE_OUT = 0.15, 1.25  # USD per million tokens in a batch of it
MODEL = "gemini-3.5-flash-lite"
MODELS = Path(__file__).with_name("models.toml")  # which knows no limits of it
DUPLICATES, ERRORS, BROKEN = 0.02, 0.01, 0.002  # shares of lines: twice there, refused, answers cut in the middle
PARTS = 10  # batches of a workspace with several
CHANGED = 0.01  # of the people of an index, before it is built again
RESULT = "results.jsonl"
VECTORS = "vectors.npy"  # float32 (n, 768) in the order of ids: what an API returned, for programs without a cache
READ_ONLY_VECTORS = frozenset({"cached", "indexed"})
_BLOCK = 1000


def environ(data: Path) -> dict[str, str]:
    """Return the settings of a workspace that has a key and no person to ask.

    They are the product's own, but for the limits of tokens: a batch has none, and the third tier's are large enough
    for all at once, but for millions.
    """
    return {
        "FINDABLE_DATA": str(data),
        "FINDABLE_BATCH_TOKENS": "10000000000",
        "FINDABLE_TIER": "3",
        "GEMINI_API_KEY": "no-key-at-all",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
        "FINDABLE_RETRY_FOR": "0",
    }


def opened(data: Path, **more: str) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open a workspace as the commands do, showing nothing; `more` are settings by their bare names."""
    from pipeline.core import settings
    from pipeline.engine.workspace import open_workspace
    from tests.progress import NullProgress

    loads("pipeline.engine.declared.question", "pipeline.gemini.models")  # as nearly all commands do
    own = {f"FINDABLE_{name}": value for name, value in more.items()}
    return open_workspace(settings.load_settings({**environ(data), **own}), NullProgress())


def database(data: Path) -> Path:
    """Return where the database of a workspace is."""
    return data / "findable.db"


class Grounds:
    """The workspaces under one folder, by kind and size."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; what was made there before is used again."""
        self._folder = folder

    def copy(self, kind: str, count: int, target: Path, *, linked: bool = True) -> Path:
        """Copy the workspace of that kind with `count` people to `target`, on disk and in the page cache.

        With `linked`, vectors that no trial on this kind writes are not copied but `target` has them too.
        """
        source = self._folder / f"{kind}-{count}"
        if not source.exists():
            making = source.with_name(f"{source.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            KINDS[kind](self, making, count)
            making.rename(source)
        shutil.copytree(
            source, target, symlinks=True, copy_function=_link if linked and kind in READ_ONLY_VECTORS else _copy
        )
        return target


def _copy(source: str, target: str) -> None:
    """Copy a file and bring it to the disk, so that no run pays for writing what was copied."""
    shutil.copy2(source, target)
    with Path(target).open("rb") as file:
        os.fsync(file.fileno())


def _link(source: str, target: str) -> None:
    if Path(source).suffix in {".npy", ".vectors"}:
        os.link(source, target)
    else:
        _copy(source, target)


def _untagged(_grounds: Grounds, data: Path, count: int) -> None:
    """Make people with a biography and the score that follows from it, no person tagged."""
    from pipeline.experts.score import score

    with opened(data):
        pass
    names = ", ".join((*people.COLUMNS, "findability_score"))
    places = ", ".join("?" * (len(people.COLUMNS) + 1))
    with closing(sqlite3.connect(database(data))) as connection, connection:
        connection.executemany(
            f"INSERT INTO experts ({names}) VALUES ({places})",  # noqa: S608 - names of this module
            ((*row, score(dict(zip(people.COLUMNS, row, strict=True)))) for row in people.rows(count)),
        )
    _settle(data)


def _downloaded(grounds: Grounds, data: Path, count: int) -> None:
    """Make a workspace with one batch of all people, however many, downloaded and not ingested."""
    _copy_into(grounds, "untagged", count, data)
    with opened(data, BATCH_ROWS="10000000", BATCH_BYTES="2000000000") as ws:
        (number,) = _prepared(ws)
        _bring(ws, number, result_lines(count))
    _settle(data)


def _downloaded_in_parts(grounds: Grounds, data: Path, count: int) -> None:
    """Make a workspace with the same people in batches of a tenth each, downloaded and not ingested."""
    _copy_into(grounds, "untagged", count, data)
    size = -(-count // PARTS)
    with opened(data, BATCH_ROWS=f"{size}", BATCH_BYTES="2000000000", MODELS_FILE=str(MODELS)) as ws:
        for number, first in zip(_prepared(ws), range(0, count, size), strict=True):
            _bring(ws, number, (result_line(one) for one in range(first, min(first + size, count))))
    _settle(data)


def _passages_in_parts(_grounds: Grounds, data: Path, count: int) -> None:
    """Make passages in batches of a tenth each, downloaded and not ingested, with six concepts to each."""
    from pipeline.passages import import_
    from tests.bench.backfill import passages

    with (file := data.with_name(f"{data.name}.jsonl")).open("wb") as out:
        out.writelines(passages(count))
    with opened(data, TASK="passages") as ws:
        import_.run(ws, file)
    file.unlink()
    with opened(data, TASK="passages", BATCH_ROWS=f"{-(-count // PARTS)}", BATCH_BYTES="2000000000") as ws:
        for number in _prepared(ws):
            _bring(ws, number, _found_in(ws, number))
    _settle(data)


def _found_in(ws: "OpenWorkspace", number: int) -> Iterator[bytes]:
    """Yield the result line of each request of a batch of passages: the first long words of its text."""
    from emulator.models.concepts import quick_concepts
    from pipeline.batch import prepare

    for line in prepare.request_path(ws.data, number).read_bytes().splitlines():
        asked = orjson.loads(line)
        text = asked["request"]["contents"][0]["parts"][-1]["text"]
        yield answer_line(asked["key"], orjson.dumps({"concepts": quick_concepts(text)}).decode(), len(text))


def _prepared(ws: "OpenWorkspace") -> list[int]:
    """Prepare all batches that there are, and return their numbers."""
    from pipeline.batch import prepare

    with ws.display.bar("", None) as bar:
        return prepare.prepare_batches(ws, prepare.Selection(), bar=bar)


def _bring(ws: "OpenWorkspace", number: int, lines: Iterator[bytes]) -> None:
    """Hand a prepared batch its result, as if `batch-poll` had brought it home."""
    from pipeline.batch import prepare
    from pipeline.core import files
    from tests.delivery import bring

    with files.SealedWriter(prepare.result_path(ws.data, number)) as writer:
        for line in lines:
            writer.write_lines([line, b"\n"], 1)
        bring(ws, number, writer.seal())


def _tagged(grounds: Grounds, data: Path, count: int) -> None:
    """Make people with tags whose scores are those from before the tags; one that was missing is mended by opening."""
    _copy_into(grounds, "untagged", count, data)
    with closing(sqlite3.connect(database(data))) as connection, connection:
        connection.executemany(
            "UPDATE experts SET tags = ? WHERE id = ?",
            ((orjson.dumps(people.tags(number)).decode(), number + 1) for number in range(count)),
        )
    _settle(data)


def _scored(grounds: Grounds, data: Path, count: int) -> None:
    _copy_into(grounds, "tagged", count, data)
    from pipeline.experts import rescore

    with opened(data) as ws:
        rescore.run(ws.store)
    _settle(data)


def _cached(grounds: Grounds, data: Path, count: int) -> None:
    """Make tagged people whose vectors are all in the cache, and in a file for programs that know no cache."""
    _copy_into(grounds, "scored", count, data)
    import numpy as np

    from pipeline.index import embed

    with opened(data) as ws, ws.store.read() as tx:
        shape = (count, people.DIM)
        plain = np.lib.format.open_memmap(data / VECTORS, mode="w+", dtype=np.float32, shape=shape)  # block by block
        first = 0
        for page in pages(ws.collection.entries(tx)):
            made = people.vectors([entry.text for entry in page])
            embed.vector_cache(ws).add(embed.Embedder(ws).keys(page), made)
            plain[first : first + len(page)] = made
            first += len(page)
        plain.flush()
    _settle(data)


def _indexed(grounds: Grounds, data: Path, count: int) -> None:
    _copy_into(grounds, "cached", count, data)
    from pipeline.index import build
    from pipeline.store import workspace
    from tests.bench import product

    with opened(data) as ws:
        ws.__dict__["client"] = product.Recorded()  # which knows the questions that a floor is learnt from
        build.run(ws)
        with ws.store.write() as tx:  # its questions are asked of the local engine
            workspace.unbind_workspace(tx, at=ws.now(), why="made here")
    (data / VECTORS).unlink()
    _settle(data)


def _changed(grounds: Grounds, data: Path, count: int) -> None:
    """Make a workspace with an index in service, behind by one per cent of the people, whose vectors are not cached."""
    _copy_into(grounds, "indexed", count, data)
    chosen = random.Random(people.SEED).sample(range(count), max(1, int(count * CHANGED)))  # noqa: S311 - the same ones
    with opened(data) as ws, ws.store.write() as tx:
        from pipeline.store import workspace

        for number in sorted(chosen):
            new = orjson.dumps([*people.tags(number), "late changes"]).decode()
            tx.exec_driver_sql("UPDATE experts SET tags = ? WHERE id = ?", (new, number + 1))
        workspace.touch_revision(tx)
    _settle(data)


KINDS: dict[str, Callable[[Grounds, Path, int], None]] = {
    "untagged": _untagged,
    "downloaded": _downloaded,
    "downloaded in parts": _downloaded_in_parts,
    "passages in parts": _passages_in_parts,
    "tagged": _tagged,
    "scored": _scored,
    "cached": _cached,
    "indexed": _indexed,
    "changed": _changed,
}


def result_lines(count: int) -> Iterator[bytes]:
    """Yield the lines of a result file for people 1 to `count` in no order, as the API writes them.

    Two in a hundred stand there twice, one in a hundred is refused, and two in a thousand are cut in the middle.
    """
    dice = random.Random(people.SEED + 1)  # noqa: S311 - the same file each time
    order = list(range(count))
    order += dice.sample(order, k=int(count * DUPLICATES))
    dice.shuffle(order)
    for number in order:
        yield result_line(number)


def result_line(number: int) -> bytes:
    """Return the result line of person `number`, from 0: an answer, an error, or an answer that was cut."""
    key = f"expert-tags/{number + 1}"
    fate = random.Random(number).random()  # noqa: S311 - the same fate each time
    if fate < ERRORS:
        return orjson.dumps({"error": {"code": 13, "message": "An internal error has occurred."}, "key": key})
    text = orjson.dumps({"tags": people.tags(number)}).decode()
    if fate < ERRORS + BROKEN:
        text = text[: len(text) // 2]
    return answer_line(key, text, number)


def answer_line(key: str, text: str, number: int) -> bytes:
    """Return the result line of an answer, with tokens that differ with a number."""
    usage = {"promptTokenCount": 380 + number % 90, "candidatesTokenCount": 20 + number % 40}
    response = {
        "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            **usage,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage["promptTokenCount"]}],
            "trafficType": "ON_DEMAND",
        },
        "modelVersion": MODEL,
        "responseId": f"r-{number:012d}-Zm9ydHktdHdv",
        "createTime": "2026-11-20T08:00:00.123456Z",
    }
    return orjson.dumps({"response": response, "key": key})


def pages(entries: "Any") -> "Iterator[list[Entry]]":
    """Yield entries a thousand at a time."""
    iterator = iter(entries)
    while page := list(islice(iterator, _BLOCK)):
        yield page


def _copy_into(grounds: Grounds, kind: str, count: int, data: Path) -> None:
    data.rmdir()
    grounds.copy(kind, count, data, linked=False)


def _settle(data: Path) -> None:
    """Bring everything from the journal into the database, so that the copy is one file."""
    with closing(sqlite3.connect(database(data))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
