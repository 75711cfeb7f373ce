"""Does the backend know our key, our models and our batches, and does it hold any of ours that we do not know?"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.batch import reconcile, uploads
from pipeline.core.errors import (
    KeyRefusedError,
    MissingError,
    RefusedError,
    StateConflictError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.states import BatchState
from pipeline.ops.checks.finding import CheckFinding, Mend
from pipeline.store import batches, claims, workspace
from pipeline.store.batches import Batch, name_prefix
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.gemini.operations import RemoteBatch


NO_LIST = "nothing, where this server keeps no such list"


def check_models(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding]:  # noqa: ARG001 - the shape of every check
    """Does the key work, and can it reach the models that are set?

    Raises:
        RemoteError, ConfigurationError: the key is refused, or the backend cannot be reached.
    """
    if ws.backend == "local" and not ws.is_bound:
        return
    wanted = {"FINDABLE_MODEL": ws.settings.model, "FINDABLE_EMBEDDING_MODEL": ws.settings.embedding_model}
    try:
        there = set(ws.client.list_models())
    except (KeyRefusedError, ThrottledError, UnavailableError):
        raise
    except RefusedError as error:  # a server that speaks to us, and not of its models
        why = "whether the models that are set are there shows only when they are asked"
        said = f"the list of models cannot be had: {error.message}"
        yield CheckFinding("models", said, why, contradiction=False, next=NO_LIST)
        return
    for setting, name in wanted.items():
        if name not in there:
            said = f"{name} ({setting}) is not in the server's list of models"
            yield CheckFinding("models", said, "asking it may be refused", contradiction=False, next=f"set {setting}")


def check_uploads(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding]:
    """Does the API keep uploads of ours that no batch needs any more?

    Raises:
        RemoteError, ConfigurationError: the key is refused, or the backend cannot be reached.
    """
    with ws.store.read() as tx:
        if not batches.batches_in_states(tx):
            return
    try:
        left = uploads.left_uploads(ws.store, ws.client)
    except (KeyRefusedError, ThrottledError, UnavailableError):
        raise
    except RefusedError as error:  # a server that keeps no list of files
        why = "uploads may be left there until the API forgets them"
        said = f"the list of files cannot be had: {error.message}"
        yield CheckFinding("uploads", said, why, contradiction=False, next=NO_LIST)
        return
    for one in left:
        mended = ""
        if mend.on:
            ws.client.delete_upload(one.file.name)
            mended = "deleted"
        said = f"{one.file.name} ({one.file.size:,} bytes) was left behind by batch {one.batch}"
        why = "people's data stays there for up to 48 hours more"
        yield CheckFinding("uploads", said, why, contradiction=False, mendable=True, mended=mended, next="make clean")


def check_remote(ws: "OpenWorkspace", *, mend: Mend) -> Iterator[CheckFinding]:
    """Ask the backend about every batch of this workspace.

    Raises:
        RemoteError, ConfigurationError: the key is refused, or the backend cannot be reached.
    """
    with ws.store.read() as tx:
        everyone = batches.batches_in_states(tx)
    if not everyone and not ws.is_bound:
        return
    listing = ws.client.list_batches()
    with ws.store.read() as tx:  # after the list: whatever is in it was recorded before it was created
        everyone = batches.batches_in_states(tx)
    yield from _submitted(ws, everyone, mend=mend)
    yield from _unclear(ws, everyone, listing, mend=mend)
    yield from _listed(ws, everyone, listing, mend=mend)


def _submitted(ws: "OpenWorkspace", everyone: list[Batch], *, mend: Mend) -> Iterator[CheckFinding]:
    """Is every submitted batch there, under a name of ours?"""
    for batch in everyone:
        if batch.state is not BatchState.SUBMITTED:
            continue
        cancel = f"make batch-cancel BATCH={batch.number}"
        try:
            remote = ws.client.get_batch(batch.remote_name or "")
        except MissingError as error:
            said = f"batch {batch.number} is not to be seen there any more ({error.message})"
            mended = ""
            if mend.may(f"Batch {batch.number} is not to be seen there. Give it up, and let its items be asked again?"):
                mended = _give_up(ws, batch, why=f"given up by doctor: {error.message}")
            why = "its items stay claimed, and its result may never come"
            yield CheckFinding(
                "backend", said, why, mendable=True, mended=mended, next=f"the key of its project, or {cancel}"
            )
            continue
        if remote.display_name and name_prefix(remote.display_name) not in _stems(ws, batch):
            said = f"batch {batch.number} is recorded as {remote.name}, which is called {remote.display_name!r} there"
            yield CheckFinding("backend", said, "its result would be somebody else's", next=cancel)


def _unclear(
    ws: "OpenWorkspace", everyone: list[Batch], listing: "list[RemoteBatch]", *, mend: Mend
) -> Iterator[CheckFinding]:
    """Is a batch whose create is unclear in the list?"""
    for batch in everyone:
        if batch.state is not BatchState.SUBMITTING:
            continue
        there = {name_prefix(one.display_name) for one in listing} & _stems(ws, batch)
        mended = ""
        if there and mend.on:
            with contextlib.suppress(StateConflictError, LeaseLostError), ws.lease(f"batch:{batch.number}") as lease:
                if lease is not None and reconcile.reconcile(ws, batch, lease, listing).adopted:
                    mended = "adopted"
        said = f"batch {batch.number} was being created when a run died, and {'is' if there else 'is not'} in the list"
        yield CheckFinding(
            "backend",
            said,
            "until it is clear its items are not asked again",
            contradiction=False,
            mendable=bool(there),
            mended=mended,
            next=ws.task_of(batch.task).words.make("batch-submit"),
        )


def _listed(
    ws: "OpenWorkspace", everyone: list[Batch], listing: "list[RemoteBatch]", *, mend: Mend
) -> Iterator[CheckFinding]:
    """Is everything that carries this workspace's id known here, and once?"""
    with ws.store.read() as tx:
        ours = f"findable-{workspace.get_workspace(tx).workspace_id}-"
        cancelled = {twin["remote_name"] for twin in batches.all_duplicates(tx) if twin["cancelled_at"]}
    owners = {stem: batch for batch in everyone for stem in _stems(ws, batch)}
    for one in listing:
        if not one.display_name.startswith(ours):
            continue
        owner = owners.get(name_prefix(one.display_name))
        if owner is None:
            yield _stranger(ws, one, mend=mend)
        elif owner.remote_name not in {None, one.name} and one.name not in cancelled:
            mended = _cancel_twins(ws, owner, listing) if mend.on else ""
            said = f"{one.name} is a second remote batch of batch {owner.number}"
            yield CheckFinding("backend", said, "the same items are paid for twice", mendable=True, mended=mended)


def _cancel_twins(ws: "OpenWorkspace", batch: Batch, listing: "list[RemoteBatch]") -> str:
    """Cancel and record the twins of a batch; an empty text where one of them could not be cancelled."""
    reconcile.cancel_duplicates(ws, batch.number, listing)
    with ws.store.read() as tx:
        return "" if batches.open_duplicates(tx, batch.number) else "cancelled and recorded"


def _stranger(ws: "OpenWorkspace", one: "RemoteBatch", *, mend: Mend) -> CheckFinding:
    """Return the finding about a remote batch of this workspace that no batch here knows; one that is over is past."""
    mended = ""
    if not one.state.is_over and mend.may(f"Cancel {one.name}, which no batch here knows?"):
        mended = _cancel(ws, one)
    return CheckFinding(
        "backend",
        f"{one.name} ({one.display_name}, {one.word}) is of this workspace, and no batch here knows it",
        "it is paid for, and nobody will fetch its answers; was the database put back to an older copy?",
        contradiction=not one.state.is_over,
        mendable=not one.state.is_over,
        mended=mended,
        next="restore a newer backup",
    )


def _cancel(ws: "OpenWorkspace", one: "RemoteBatch") -> str:
    """Cancel a remote batch that no batch here knows; an empty text where it is gone meanwhile."""
    try:
        ws.client.cancel_batch(one.name)
    except MissingError:
        return ""
    return "cancelled"


def _give_up(ws: "OpenWorkspace", batch: Batch, *, why: str) -> str:
    """End a batch that the API does not show and let its items go; an empty text where somebody works on it."""
    with ws.lease(f"batch:{batch.number}") as lease:
        if lease is None:
            return ""
        with ws.store.write() as tx:
            lease.check(tx)
            batches.mark_failed(tx, batch, why=why, at=ws.now())
            free = claims.release_claims(tx, batch.number, reason="given up by doctor")
    uploads.drop_upload(ws.client, batch.upload)
    return f"given up; {len(free)} items can be asked again"


def _stems(ws: "OpenWorkspace", batch: Batch) -> frozenset[str]:
    """Return what the display names of a batch's tries begin with."""
    with ws.store.read() as tx:
        return batches.name_prefixes(tx, batch.number)
