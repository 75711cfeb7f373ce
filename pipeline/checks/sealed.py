"""Are the sealed files there, unchanged, and what their batches say? And what lies about that belongs to nobody?"""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files, preparing
from pipeline.checks.finding import Finding
from pipeline.errors import FindableError, InconsistentError
from pipeline.gemini.requests import key_of
from pipeline.states import BatchState
from pipeline.store import batches, claims
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.runtime import Runtime

OURS = re.compile(r"(\d{6,})-(requests|results)\.jsonl(\..+)?")
UNSENT = frozenset({BatchState.PREPARED, BatchState.SUBMITTING})


def check_requests(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Is each request file as it was sealed, and does it ask about exactly the items that are claimed?"""
    with rt.store.read() as tx:
        everyone = batches.in_states(tx)
    for batch in everyone:
        wrong = _wrong_request_file(rt, batch)
        if wrong:
            mended = _give_up(rt, batch, why=wrong) if fix and batch.state is BatchState.PREPARED else ""
            yield Finding(
                "request files",
                f"batch {batch.number} ({batch.state}): {wrong}",
                contradiction=not batch.is_over,
                mendable=batch.state is BatchState.PREPARED,
                mended=mended,
                next=f"make batch-cancel BATCH={batch.number}" if batch.state in UNSENT else "",
            )


def check_results(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Is each result file as it was sealed? One that is needed and broken is fetched again."""
    with rt.store.read() as tx:
        everyone = batches.in_states(tx)
    for batch in everyone:
        if not batch.result_file:
            continue
        wrong = _wrong_file(rt.data / batch.result_file, batch.result_sha256 or "", what="its result")
        if wrong:
            is_needed = batch.state is BatchState.DOWNLOADED
            mended = _fetch_again(rt, batch) if fix and is_needed else ""
            said = f"batch {batch.number} ({batch.state}): {wrong}"
            yield Finding("result files", said, contradiction=is_needed, mendable=is_needed, mended=mended)


def check_litter(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Are there files in the folder of batches that no batch knows?"""
    for path in litter(rt):
        mended = ""
        if fix:
            with rt.waited_lease(preparing.LEASE, waiting=preparing.WAITING):
                if path in litter(rt):  # nobody has taken it up meanwhile
                    path.unlink(missing_ok=True)
                    mended = "removed"
        said = f"{path.name} belongs to no batch: a run died over it"
        yield Finding("litter", said, contradiction=False, mendable=True, mended=mended)


def litter(rt: "Runtime") -> list[Path]:
    """Return our own kind of files that nobody needs, but none that somebody may be writing."""
    with rt.store.read() as tx:
        everyone = batches.in_states(tx)
    known = {rt.data / name for batch in everyone for name in (batch.request_file, batch.result_file) if name}
    coming = {batch.number for batch in everyone if batch.state is BatchState.SUBMITTED}
    abandoned = [path for path in sorted(rt.data.glob(f"*{files.PART}")) if files.is_abandoned(path)]
    return abandoned + [
        path for path in sorted((rt.data / preparing.FOLDER).glob("*")) if _is_litter(path, known, coming)
    ]


def _is_litter(path: Path, known: set[Path], coming: set[int]) -> bool:
    """Return whether a file in the folder of batches is ours and belongs to no batch; `coming` are being downloaded."""
    ours = OURS.fullmatch(path.name)
    if ours is None or path in known or (ours[2] == "results" and int(ours[1]) in coming):
        return False
    return ours[3] is None or files.is_abandoned(path) or path.name.endswith(f"l{files.PART}")


def _wrong_request_file(rt: "Runtime", batch: Batch) -> str:
    """Return what is wrong with a request file, or an empty text."""
    path = rt.data / batch.request_file
    wrong = _wrong_file(path, batch.request_sha256, what="its request file")
    if wrong or batch.is_over:
        return wrong
    with rt.store.read() as tx:
        items = claims.items_of(tx, batch.number)
    asked = [json.loads(line).get("key") for _, line in files.read_lines(path)]
    claimed = [key_of(batch.task, items[line]) for line in sorted(items)]
    if asked != claimed:
        return f"its request file asks {len(asked)} times, and not about the {len(claimed)} items that are claimed"
    return ""


def _wrong_file(path: Path, sha256: str, *, what: str) -> str:
    """Return what is wrong with a sealed file, or an empty text."""
    try:
        files.verify(path, sha256=sha256, what=what)
    except InconsistentError as error:
        return error.message
    return ""


def _give_up(rt: "Runtime", batch: Batch, *, why: str) -> str:
    """End a batch that was certainly not created and let its items go."""
    with rt.lease(f"batch:{batch.number}") as lease:
        if lease is None:
            return ""
        with rt.store.write() as tx:
            lease.check(tx)
            batches.mark_failed(tx, batch, why=f"given up by doctor: {why}", at=rt.now())
            free = claims.release(tx, batch.number, reason="given up by doctor")
    return f"given up, it was never sent; {len(free)} items can be asked again"


def _fetch_again(rt: "Runtime", batch: Batch) -> str:
    """Download a result once more; it is taken only when it has the bytes that were recorded."""
    path = rt.data / (batch.result_file or "")
    part = path.with_name(path.name + files.PART)
    with contextlib.suppress(FindableError), rt.lease(f"batch:{batch.number}") as lease:
        remote = rt.client.get_batch(batch.remote_name or "")
        if lease is None or not remote.result_file:
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            rt.client.download(remote.result_file, part)
            if files.sha256_of(part) == batch.result_sha256:
                files.seal_part(part, path)
                return "fetched again, with the bytes that were recorded"
        finally:
            part.unlink(missing_ok=True)
    return ""
