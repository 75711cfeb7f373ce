"""Does the backend know our key, our models and our batches, and does it hold any of ours that we do not know?"""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pipeline.batch import reconcile, uploads
from pipeline.core.errors import (
    KeyRefusedError,
    MissingError,
    RefusedError,
    RemoteError,
    StateConflictError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.states import BatchState
from pipeline.ops.checks.files import fail_lost_batch
from pipeline.ops.checks.finding import CheckFinding, Mend, WorkspaceChecks, notice
from pipeline.store import batches, workspace
from pipeline.store.batches import Batch, name_prefix
from pipeline.store.database import Store
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.gemini.client import Client
    from pipeline.gemini.operations import RemoteBatch


T = TypeVar("T")
NUMBER = re.compile(r"-(\d+)-[0-9a-f]{16}$")  # of a batch, in the prefix of its remote name
NO_LIST = "nothing, where this server keeps no such list"


class RemoteChecks(WorkspaceChecks):
    """The checks that ask the backend."""

    def models(self) -> Iterator[CheckFinding]:
        """Does the key work, and can it reach the models that are set?

        Raises:
            RemoteError, ConfigurationError: the key is refused, or the backend cannot be reached.
        """
        if self._ws.backend == "local" and not self._ws.is_bound:
            return
        settings = self._ws.settings
        wanted = {"FINDABLE_MODEL": settings.model, "FINDABLE_EMBEDDING_MODEL": settings.embedding_model}
        there = _listed_by(self._ws.client.list_models)
        if isinstance(there, RefusedError):
            why = "whether the models that are set are there shows only when they are asked"
            said = f"the list of models cannot be had: {there.message}"
            yield notice("models", said, why, next=NO_LIST)
            return
        for setting, name in wanted.items():
            if name not in there:
                said = f"{name} ({setting}) is not in the server's list of models"
                yield notice("models", said, "asking it may be refused", next=f"set {setting}")

    def leftover_uploads(self) -> Iterator[CheckFinding]:
        """Does the API keep uploads of ours that no batch needs any more?

        Raises:
            RemoteError, ConfigurationError: the key is refused, or the backend cannot be reached.
        """
        with self._store.read() as tx:
            if not batches.batches_in_states(tx):
                return
        left = _listed_by(lambda: uploads.left_uploads(self._store, self._ws.client))
        if isinstance(left, RefusedError):
            why = "uploads may be left there until the API forgets them"
            said = f"the list of files cannot be had: {left.message}"
            yield notice("uploads", said, why, next=NO_LIST)
            return
        for one in left:
            mended = ""
            if self._mend.on:
                self._ws.client.delete_upload(one.file.name)
                mended = "deleted"
            said = f"{one.file.name} ({one.file.size:,} bytes) was left behind by batch {one.batch}"
            why = "people's data stays there for up to 48 hours more"
            yield notice("uploads", said, why, mendable=True, mended=mended, next="make clean")

    def remote_batches(self, unknown: set[int]) -> Iterator[CheckFinding]:
        """Ask the backend about every batch of this workspace; the numbers of those not known here go to `unknown`.

        Raises:
            RemoteError, ConfigurationError: the key is refused, or the backend cannot be reached.
        """
        with self._store.read() as tx:
            everyone = batches.batches_in_states(tx)
        if not everyone and not self._ws.is_bound:
            return
        listing = self._ws.client.list_batches()
        with self._store.read() as tx:  # after the list: whatever is in it was recorded before it was created
            everyone = batches.batches_in_states(tx)
        yield from self._submitted(everyone)
        yield from self._unclear(everyone, listing)
        yield from self._listed(everyone, listing, unknown)

    def _submitted(self, everyone: list[Batch]) -> Iterator[CheckFinding]:
        """Is every submitted batch there, under a name of ours?"""
        for batch in everyone:
            if batch.state is not BatchState.SUBMITTED:
                continue
            cancel = f"make batch-cancel BATCH={batch.number}"
            try:
                remote = self._ws.client.get_batch(batch.remote_name or "")
            except MissingError as error:
                said = f"batch {batch.number} is not to be seen there any more ({error.message})"
                question = "is not to be seen there. Give it up, and let its items be asked again?"
                mended = ""
                left = reconcile.hidden_for(batch, self._ws.settings, now=self._ws.now())
                if not left and self._mend.may(f"Batch {batch.number} {question}"):
                    with contextlib.suppress(RemoteError):  # should it be there all the same
                        self._ws.client.cancel_batch(batch.remote_name or "")
                    mended = fail_lost_batch(self._ws, batch, why=error.message, has_lost_files=False)
                why = "its items stay claimed, and its result may never come"
                ways = f"wait {left:.0f} s, it may be shown late" if left else f"the key of its project, or {cancel}"
                yield CheckFinding("backend", said, why, mendable=not left, mended=mended, next=ways)
                continue
            if remote.display_name and name_prefix(remote.display_name) not in _name_prefixes(self._store, batch):
                called = f"{remote.name}, which is called {remote.display_name!r} there"
                said = f"batch {batch.number} is recorded as {called}"
                yield CheckFinding("backend", said, "its result would be another batch's", next=cancel)

    def _unclear(self, everyone: list[Batch], listing: "list[RemoteBatch]") -> Iterator[CheckFinding]:
        """Is a batch whose create is unclear in the list?"""
        for batch in everyone:
            if batch.state is not BatchState.SUBMITTING:
                continue
            there = {name_prefix(one.display_name) for one in listing} & _name_prefixes(self._store, batch)
            mended = ""
            if there and self._mend.on:
                with (
                    contextlib.suppress(StateConflictError, LeaseLostError),
                    self._ws.lease(f"batch:{batch.number}") as lease,
                ):
                    if lease is not None and reconcile.reconcile(self._ws, batch, lease, listing).adopted:
                        mended = "adopted"
            found = "is" if there else "is not"
            said = f"batch {batch.number} was being created when a run died, and {found} in the list"
            why = "until it is clear its items are not asked again"
            submit = self._ws.task_of(batch.task).words.make("batch-submit")
            yield notice("backend", said, why, mendable=bool(there), mended=mended, next=submit)

    def _listed(self, everyone: list[Batch], listing: "list[RemoteBatch]", unknown: set[int]) -> Iterator[CheckFinding]:
        """Is everything that carries this workspace's id known here, and once?"""
        with self._store.read() as tx:
            ours = f"findable-{workspace.get_workspace(tx).workspace_id}-"
            cancelled = {twin["remote_name"] for twin in batches.all_duplicates(tx) if twin["cancelled_at"]}
        owners = {prefix: batch for batch in everyone for prefix in _name_prefixes(self._store, batch)}
        for one in listing:
            if not one.display_name.startswith(ours):
                continue
            owner = owners.get(name_prefix(one.display_name))
            if owner is None:
                unknown |= {int(found[1]) for found in [NUMBER.search(name_prefix(one.display_name))] if found}
                yield _unknown_batch(self._ws.client, one, self._mend)
            elif owner.remote_name not in {None, one.name} and one.name not in cancelled:
                mended = ""
                if self._mend.on:
                    reconcile.cancel_duplicates(self._ws, owner.number, listing)
                    with self._store.read() as tx:
                        mended = "" if batches.open_duplicates(tx, owner.number) else "cancelled and recorded"
                said = f"{one.name} is a second remote batch of batch {owner.number}"
                yield CheckFinding("backend", said, "the same items are paid for twice", mendable=True, mended=mended)


def _listed_by(ask: Callable[[], T]) -> T | RefusedError:
    """Return what a server lists, or the error of one that answers and keeps no such list."""
    try:
        return ask()
    except (KeyRefusedError, ThrottledError, UnavailableError):
        raise
    except RefusedError as error:
        return error


def _unknown_batch(client: "Client", one: "RemoteBatch", mend: Mend) -> CheckFinding:
    """Return the finding about a remote batch of this workspace that no batch here knows; one that is over is past."""
    mended, is_going_on = "", not one.state.is_over
    if is_going_on and mend.may(f"Cancel {one.name}, which no batch here knows?"):
        with contextlib.suppress(MissingError):  # it was deleted meanwhile
            client.cancel_batch(one.name)
            mended = "cancelled"
    said = f"{one.name} ({one.display_name}, {one.word}) is of this workspace, and no batch here knows it"
    why = "it is paid for, and its answers will not be fetched; perhaps the database is an older copy"
    next_ = "restore a newer backup"
    return CheckFinding("backend", said, why, is_going_on, mendable=is_going_on, mended=mended, next=next_)


def _name_prefixes(store: Store, batch: Batch) -> frozenset[str]:
    """Return what the display names of a batch's tries begin with."""
    with store.read() as tx:
        return batches.name_prefixes(tx, batch.number)
