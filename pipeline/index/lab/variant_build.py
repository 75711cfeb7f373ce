"""Make of a variant's file a build that is never promoted, so that it is searched by the same code as any.

It is staged as a build is, where the next index sweeps it away if this process dies. It holds the entries of the build
that is measured, as they are now.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.ranking import Rank
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed
from pipeline.index.builds import Builds
from pipeline.index.lab.lab_build import LabBuild, lab_build
from pipeline.index.lab.measures import DEPTH
from pipeline.index.lab.systems import SYSTEMS, Ranks
from pipeline.index.lab.variant_file import Variant, read_variant
from pipeline.index.reader import Index

if TYPE_CHECKING:
    from pipeline.core.progress import Progress
    from pipeline.core.task import Entry


def system(ws: OpenWorkspace, name: str, build: LabBuild, stack: contextlib.ExitStack) -> Ranks:
    """Return what ranks entries as a variant does, which is built in or a file; what it holds open `stack` closes.

    Raises:
        InputError: there is no such variant, or its file is wrong.
    """
    if name in SYSTEMS:
        return SYSTEMS[name](build)
    if not {".toml", ".json"} & {Path(name).suffix.lower()}:
        hint = f"one of {', '.join(SYSTEMS)}, or a file that ends in .toml or .json"
        raise InputError(f"there is no variant {name!r}; nothing was measured", hint=hint)
    variant = read_variant(Path(name))
    settings = replace(
        ws.settings,
        embedding_model=variant.model or build.manifest.model,
        dim=variant.dim or build.manifest.dim,
    )
    mine = stack.enter_context(built_variant(replace(ws, settings=settings), variant, build))
    share = variant.ranking(ws.collection.ranking).share
    rank = Rank.WORDS if share == 1 else Rank.HYBRID if share else Rank.VECTORS
    return lambda questions: mine.rank(rank, questions, depth=DEPTH)


@contextlib.contextmanager
def built_variant(ws: OpenWorkspace, variant: Variant, build: LabBuild) -> Iterator[LabBuild]:
    """Give a variant as a build for the length of a block."""
    collection, wanted = ws.collection, set(build.ids)
    with ws.store.read() as tx:
        entries = [one for one in collection.entries(tx) if one.id in wanted]
    variant.check_fields(list(entries[0].fields or ()) if entries else ())
    entries = [variant.entry(one) for one in entries]
    embedder = embed.Embedder(ws)
    _embed(embedder, entries, ws.display)
    builds = Builds(ws.data, collection.folder)
    try:
        pairs = zip(entries, embedder.keys(entries), strict=True)
        ranking = variant.ranking(collection.ranking)
        begun = builds.begin(builds.next_number(), pairs, position=build.manifest.position, ranking=ranking)
        builds.complete(begun, embedder.cache, task_type=embed.TASK_TYPE)
        with _opened(begun.directory) as index:
            yield lab_build(ws, index)
    finally:
        builds.discard()


def _embed(embedder: embed.Embedder, entries: "Sequence[Entry]", display: "Progress") -> None:
    """Embed what is not in the cache; say before what it costs, where it costs a cent."""
    with display.bar("counting", len(entries), late=True) as bar:
        texts, tokens, cost = embedder.cost(entries, bar=bar)
    if embedder.is_paid() and round(cost, 2) > 0:
        display.say(f"embedding {texts:,} texts, about {tokens:,} tokens, ${cost:,.2f}")
    with display.bar("embedding", len(entries), late=True) as bar:
        embedder.embed_missing(entries, bar=bar)


def _opened(directory: Path) -> Index:
    """Open what was staged.

    Raises:
        InputError: another process that builds the index swept it away.
    """
    try:
        return Index(directory)
    except (FileNotFoundError, InconsistentError) as error:
        raise InputError("an index was built meanwhile; nothing was measured", hint="run it again") from error
