"""Does the backend know our batches, and does it hold any of ours that we do not know?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline import creating
from pipeline.checks.finding import Finding
from pipeline.errors import ConfigurationError, MissingError, RemoteError
from pipeline.states import BatchState
from pipeline.store import batches, workspace
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.gemini.client import RemoteBatch
    from pipeline.runtime import Runtime


def check_remote(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Ask the backend about every batch of this workspace; where it cannot be reached, only say so."""
    with rt.store.read() as tx:
        everyone = batches.in_states(tx)
    if not everyone and not rt.is_bound:
        return
    try:
        listing = rt.client.list_batches()
        with rt.store.read() as tx:  # after the list: whatever is in it was recorded before it was created
            everyone = batches.in_states(tx)
        yield from _submitted(rt, everyone)
        yield from _unclear(rt, everyone, listing, fix=fix)
        yield from _listed(rt, everyone, listing, fix=fix)
    except (RemoteError, ConfigurationError) as error:
        yield Finding("backend", f"could not be asked: {error.message}", contradiction=False, next=error.hint)


def _submitted(rt: "Runtime", everyone: list[Batch]) -> Iterator[Finding]:
    """Is every submitted batch there, under a name of ours?"""
    for batch in everyone:
        if batch.state is not BatchState.SUBMITTED:
            continue
        cancel = f"make batch-cancel BATCH={batch.number}"
        try:
            remote = rt.client.get_batch(batch.remote_name or "")
        except MissingError as error:
            said = f"batch {batch.number} is not to be seen there any more ({error.message})"
            yield Finding("backend", said, next=f"the key of its project, or {cancel}")
            continue
        if remote.display_name and remote.display_name not in _names(rt, batch):
            said = f"batch {batch.number} is recorded as {remote.name}, which is called {remote.display_name!r} there"
            yield Finding("backend", said, next=cancel)


def _unclear(rt: "Runtime", everyone: list[Batch], listing: "list[RemoteBatch]", *, fix: bool) -> Iterator[Finding]:
    """Is a batch whose create is unclear in the list?"""
    for batch in everyone:
        if batch.state is not BatchState.SUBMITTING:
            continue
        there = {one.display_name for one in listing} & set(_names(rt, batch))
        mended = ""
        if there and fix:
            with rt.lease(f"batch:{batch.number}") as lease:
                if lease is not None and creating.look_for(rt, batch, lease, listing).adopted:
                    mended = "adopted"
        said = f"batch {batch.number} was being created when a run died, and {'is' if there else 'is not'} in the list"
        yield Finding(
            "backend", said, contradiction=False, mendable=bool(there), mended=mended, next="make batch-submit"
        )


def _listed(rt: "Runtime", everyone: list[Batch], listing: "list[RemoteBatch]", *, fix: bool) -> Iterator[Finding]:
    """Is everything that carries this workspace's id known here, and once?"""
    with rt.store.read() as tx:
        ours = f"findable-{workspace.get(tx).workspace_id}-"
        cancelled = {twin["remote_name"] for twin in batches.all_twins(tx) if twin["cancelled_at"]}
    owners = {name: batch for batch in everyone for name in _names(rt, batch)}
    for one in listing:
        if not one.display_name.startswith(ours):
            continue
        owner = owners.get(one.display_name)
        if owner is None:
            said = f"{one.name} ({one.display_name}, {one.word}) is of this workspace, and no batch here knows it"
            yield Finding("backend", said, next="was the database put back to an older copy?")
        elif owner.remote_name not in {None, one.name} and one.name not in cancelled:
            mended = _cancel_twins(rt, owner, listing) if fix else ""
            said = f"{one.name} is a second remote batch of batch {owner.number}"
            yield Finding("backend", said, mendable=True, mended=mended)


def _cancel_twins(rt: "Runtime", batch: Batch, listing: "list[RemoteBatch]") -> str:
    """Cancel and record the twins of a batch; an empty text where one of them could not be cancelled."""
    creating.cancel_twins(rt, batch, listing)
    with rt.store.read() as tx:
        return "" if batches.open_twins(tx, batch.number) else "cancelled and recorded"


def _names(rt: "Runtime", batch: Batch) -> list[str]:
    """Return the display names of every try of a batch."""
    with rt.store.read() as tx:
        return batches.display_names(tx, batch.number)
