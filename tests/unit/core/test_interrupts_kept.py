"""An error that a library made of an interrupt is one; any other error stays what it is."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pipeline.core.errors import UnavailableError, interrupts_kept


@contextmanager
def _stumbling() -> Iterator[None]:
    """Be a library that cannot clean up after whatever strikes it, and says so."""
    try:
        yield
    finally:
        raise ValueError("the connection cannot be put back")


@contextmanager
def _translating() -> Iterator[None]:
    """Be one that names a cause of its own."""
    try:
        yield
    except ValueError as error:
        raise UnavailableError("no answer") from error


def test_what_was_made_of_an_interrupt_is_one() -> None:
    """However many errors stand between, or none."""
    with pytest.raises(KeyboardInterrupt), interrupts_kept(), _translating(), _stumbling():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        raise KeyboardInterrupt


def test_an_error_without_an_interrupt_stays_one() -> None:
    """With what it came from."""
    with pytest.raises(UnavailableError) as raised, interrupts_kept(), _translating(), _stumbling():
        raise KeyError
    assert isinstance(raised.value.__cause__, ValueError)


def test_an_error_on_the_way_out_of_an_earlier_interrupt_stays_one() -> None:
    """Who cleans up after an interrupt, and expects that it may fail, goes on with what else there is to clean up."""
    cleaned_up = []
    with pytest.raises(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        finally:
            with suppress(UnavailableError), interrupts_kept(), _translating(), _stumbling():
                cleaned_up.append("one")
            cleaned_up.append("the other")
    assert cleaned_up == ["one", "the other"]
