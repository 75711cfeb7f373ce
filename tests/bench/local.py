"""The local engine: through HTTP and the SDK as the product uses it, and its models called directly."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.bench import grounds, people
from tests.bench.measure import Said, Timed, held
from tests.bench.outcomes import digest

CALL = 100  # texts in one embedding call


def batch(data: Path) -> Timed:
    """A batch of all people: uploaded, created, followed until it is over, its result on disk."""
    from pipeline.batch import create, poll, prepare

    ws = engine(data)
    warm()
    with ws.display.bar("", None) as bar:
        (number,) = prepare.prepare_batches(ws, prepare.Selection(), bar=bar)
    ws.client.list_batches()

    def run() -> Said:
        create.send_batch(ws, number)
        report = poll.run(ws, wait=True)
        assert report.downloaded == [number]
        lines = map(orjson.loads, prepare.result_path(ws.data, number).open("rb"))
        texts = {line["key"]: line["response"]["candidates"][0]["content"]["parts"][0]["text"] for line in lines}
        found = (json.loads(texts[f"expert-tags/{one + 1}"])["tags"] for one in range(len(texts)))
        return {"tags": digest(found)}

    return run


def tagger(data: Path) -> Timed:
    """The tagger called for one text after the other."""
    from emulator.models import tagger as model

    warm()
    texts = [f"{row[3] or ''}\n{row[5]}" for row in _people(data)]
    return lambda: {"tags": digest([model.tags(text, at_least=1, at_most=8) for text in texts])}


def embeddings(data: Path, at_once: str) -> Timed:
    """Vectors of biographies through HTTP and the SDK, so many texts a call."""
    ws = engine(data)
    warm()
    ask = functools.partial(ws.client.embed, ws.embedding_model, dim=people.DIM, query=False)
    return _embedding(data, ask, int(at_once))


def in_process(data: Path) -> Timed:
    """The same vectors as the product makes them, in its own process."""
    from pipeline.gemini.local_embeddings import embed_locally

    ws = engine(data)
    warm()
    return _embedding(data, functools.partial(embed_locally, ws.embedding_model, dim=people.DIM, query=False), CALL)


def encoder(data: Path) -> Timed:
    """The engine's encoder called directly with a hundred texts at a time."""
    from emulator.models import encoder as model

    warm()
    return _embedding(data, model.encode, CALL)


def _embedding(data: Path, embed: Callable[[list[str]], Any], at_once: int) -> Timed:
    """Return the work of embedding every text, so many at once; the first one is embedded beforehand."""
    texts = _texts(data)
    embed(texts[:1])

    def run() -> Said:
        total = 0.0
        for start in range(0, len(texts), at_once):
            total += float(embed(texts[start : start + at_once])[:, 0].astype(float).sum())
        return {"sum": round(total, 3)}

    return run


def wordllama(data: Path) -> Timed:
    """The library whose vectors the encoder begins with, by itself; its vectors are others, so nothing is compared."""
    import wordllama as library

    inside = Path(library.__file__).parent
    embed = library.WordLlama.load(cache_dir=inside, disable_download=True).embed
    return _embedding(data, embed, CALL)


def warm() -> None:
    """Have the engine's models loaded."""
    from emulator.models import encoder, tagger

    encoder.encode(["something to begin with"])
    tagger.tags("zither and quiet", at_least=3, at_most=3)


def _people(data: Path) -> Iterator[tuple[Any, ...]]:
    return people.rows(int(data.name.rpartition("-")[2]))


def _texts(data: Path) -> list[str]:
    return [str(row[5]) for row in _people(data)]


def engine(data: Path) -> Any:
    """Open the workspace on the local engine, which runs in this process; waits between looks are short."""
    from pipeline.core import settings
    from pipeline.engine.workspace import open_workspace
    from tests.progress import NullProgress

    environ = {name: value for name, value in grounds.environ(data).items() if not name.startswith("G")}
    environ |= {"FINDABLE_BACKEND": "local", "FINDABLE_POLL_FIRST": "0.02", "FINDABLE_POLL_MOST": "0.1"}
    ws = held(open_workspace(settings.load_settings(environ), NullProgress()))
    ws.client  # noqa: B018 - starts the engine
    return ws
