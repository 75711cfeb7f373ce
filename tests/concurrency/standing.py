"""Commands that stand still right before one of the product's own calls, or run as on another machine.

`obey` is what a program does for whom gave it an order: what it changes is changed for all its orders from there on.
"""

import functools
import os
import platform
import pydoc
import signal
import threading
from typing import Any

from pipeline.core import files
from pipeline.store import leases
from pipeline.store.leases import Lease
from tests.crash import mortal


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Run a command: on a `machine` of this name, and still before the `count`-th time that it makes a `call`."""
    if machine := order.get("machine"):
        be_elsewhere(str(machine))
    if call := order.get("call"):
        _stop_before(call, order["count"])
    return mortal.obey(order)


def be_elsewhere(machine: str) -> None:
    """Let this process believe that it runs on a machine of that name, whatever it has asked before."""
    platform.node = lambda: machine
    for known in (leases._host, leases._owner, files._machine):
        known.cache_clear()


def _stop_before(name: str, count: int) -> None:
    """Let a call of the product, given as `module.Class.method`, stop its process before the n-th time."""
    owner, _, attribute = name.rpartition(".")
    real, renew, still, left = pydoc.locate(name), Lease.renew, threading.Lock(), [count]
    assert callable(real)

    def renewing(*arguments: Any, **options: Any) -> Any:
        """Renew a lease, but not while the process is stopped: that would hold the database."""
        with still:
            return renew(*arguments, **options)

    @functools.wraps(real)
    def stopping(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            with still:
                os.kill(os.getpid(), signal.SIGSTOP)
        return real(*arguments, **options)

    Lease.renew = renewing  # type: ignore[method-assign]  # in this process alone
    setattr(pydoc.locate(owner), attribute, stopping)
