"""How many live calls are under way at once."""

from pipeline.live.backpressure import MOST, STALL_S, Concurrency


def test_as_many_as_the_limit_needs() -> None:
    """Those that begin in the time of one call, between the first number and the most; 1 stays 1."""
    one = Concurrency(5, rpm=600, at=0.0)
    assert one.now == 5
    for at in range(40):
        one.answered(took_s=2.0, at=float(at))
    assert one.now == 20
    for at in range(100):
        one.answered(took_s=60.0, at=float(at))
    assert one.now == MOST
    for alone in (Concurrency(1, rpm=6000, at=0.0), Concurrency(1, rpm=None, at=0.0)):
        alone.answered(took_s=9.0, at=1.0)
        assert alone.now == 1


def test_one_alone_while_nothing_comes_back() -> None:
    """It is told once, only where calls wait in vain, and an answer ends it."""
    one = Concurrency(5, rpm=60, at=0.0)
    assert not one.look(in_flight=0, at=2 * STALL_S)
    one.begun(in_flight=0, at=2 * STALL_S)
    assert not one.look(in_flight=3, at=2.5 * STALL_S)
    assert one.look(in_flight=3, at=3 * STALL_S)
    assert (one.look(in_flight=3, at=4 * STALL_S), one.now) == (False, 1)
    assert one.answered(took_s=1.0, at=4 * STALL_S)
    assert one.now == 5
