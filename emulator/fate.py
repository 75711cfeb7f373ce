"""What a script decided about a batch at its create; kept in the batch's row, so that every host obeys it.

`end` is the state it must end in, `partial` the share of its results it gives up then, `error` what it says;
`list_lag_seconds` keeps it out of the list; `lines` and `whole` are the faults of its result file.
"""

from collections.abc import Sequence
from typing import Any

from emulator.faults import Fault

_ENDS = {"batch_fails": "FAILED", "batch_expires": "EXPIRED", "batch_cancelled": "CANCELLED", "never_ends": "NEVER"}
_ERROR = {"code": 13, "message": "An internal error has occurred while processing the batch."}


def fate_of(faults: Sequence[Fault], *, lines: Sequence[Fault], whole: Sequence[Fault]) -> dict[str, Any]:
    """Return the fate that these faults give a new batch; of several ends the last one scripted holds."""
    fate: dict[str, Any] = {}
    for fault in faults:
        if fault.word in _ENDS:
            fate |= {"end": _ENDS[fault.word], "partial": float(fault.args.get("partial", 0))}
        if fault.word == "batch_fails":
            fate["error"] = {**_ERROR, **fault.args.get("error", {})}
        if fault.word == "never_ends":
            fate["state"] = str(fault.args.get("state", "PENDING"))
        if fault.word == "list_lag":
            fate["list_lag_seconds"] = float(fault.args.get("seconds", 30))
    for fault in (*lines, *whole):
        fault.attach()
    if lines:
        fate["lines"] = [fault.recipe() for fault in lines]
    if whole:
        fate["whole"] = [fault.recipe() for fault in whole]
    return fate
