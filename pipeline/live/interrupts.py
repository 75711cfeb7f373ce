"""Ctrl-C inside an event loop: signals reach a callback instead of ending the loop."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_interrupt(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` for each SIGINT and SIGTERM during a block, in the loop that runs it.

    What is ignored stays ignored. Signals reach the main thread alone; in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
