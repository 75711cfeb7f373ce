"""Rebuild the search index (`pipeline.building` does it), or put the previous build back.

Whoever searches meanwhile has the old build or the new one, never a mixture.
"""

from dataclasses import dataclass

from pipeline import building
from pipeline.errors import UnavailableError
from pipeline.runtime import Runtime
from pipeline.store import builds
from pipeline.store.leases import LeaseLostError


@dataclass(frozen=True)
class Report(building.Built):
    """What is in service now: a new build, or with `rolled_back` the one before."""

    rolled_back: bool = False


def run(rt: Runtime) -> Report:
    """Build and promote an index of every entry of the collection.

    Raises:
        InputError: there is no entry yet.
        InconsistentError: the build did not verify, or this process keeps standing still; the one in service stays.
    """
    return Report(**vars(building.build(rt)))


def roll_back(rt: Runtime) -> Report:
    """Put the previous build back in service.

    Raises:
        InputError: there is none.
        UnavailableError: somebody else built while this process stood still; which build is meant now is to be seen.
    """
    with rt.waited_lease(building.LEASE, waiting=building.WAITING) as lease:
        try:
            manifest = rt.builds.rollback(fence=lambda: building.fence(rt, lease))
        except LeaseLostError as error:
            raise UnavailableError(error.message, hint="look at `make status`, then run it again") from error
        with rt.store.write() as tx:
            builds.note_in_service(tx, manifest.number, why="rolled back", at=rt.now())
    return Report(manifest.number, manifest.count, 0, 0, manifest.model, manifest.dim, rolled_back=True)
