"""Say who runs a command, for the record of what was said and changed."""

import contextlib
import getpass


def this_person() -> str:
    """Return the name of the user who runs this process, as the system has it."""
    with contextlib.suppress(Exception):  # a system without accounts raises what it likes
        return getpass.getuser()
    return "unknown"
