"""Ctrl-C inside an event loop: signals reach a callback instead of ending the loop.

Signals reach the main thread alone. What works in another one is told by `interrupt_thread` of what came.
"""

import asyncio
import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable, Iterator

_loops: dict[int, Callable[[], object]] = {}  # by the threads in which loops run: what an interrupt calls


def interrupt_thread(number: int) -> None:
    """Do in the thread with this id what Ctrl-C does in the main one: a loop ends in order, all else at once."""
    if tell := _loops.get(number):
        tell()
    else:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(number), ctypes.py_object(KeyboardInterrupt))


@contextlib.contextmanager
def on_interrupt(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` for each SIGINT and SIGTERM during a block, in the loop that runs it.

    What is ignored stays ignored. In another thread than the main one, it is called for each `interrupt_thread`.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        number = threading.get_ident()
        _loops[number] = lambda: loop.call_soon_threadsafe(on_signal)
        try:
            yield
        finally:
            del _loops[number]
        return
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
