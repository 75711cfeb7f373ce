"""An interrupt at any moment of a transaction: it stays one, nothing is half done, and none waits for its lock."""

import gc
import itertools
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy import text

from pipeline.core.errors import FindableError
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import add_note, noted

LOOKED_AT = ("/sqlalchemy/", "/psycopg/", "/pipeline/store/")
STRIDE = 1 if os.environ.get("FAULTS") == "all" else 41  # between two moments that are tried
LEAST = 4  # moments of a transaction, or the strokes do not fall where they should
PATIENCE_S = 1.0


@pytest.fixture(name="url", params=["file", "server"])
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of one table with two rows."""
    (tmp_path / "data").mkdir()
    url = (
        f"sqlite:///{tmp_path / 'people.db'}" if request.param == "file" else postgresql.database_of(tmp_path / "data")
    )
    with noted(url) as store, store.write() as tx:
        add_note(tx, "two")
    return url


def _reads(store: Store) -> None:
    with store.read() as tx:
        tx.execute(text("SELECT note FROM notes")).all()


def _writes(store: Store) -> None:
    """Change both rows in two statements, and look at them in between."""
    with store.write() as tx:
        for old in ("one", "two"):
            tx.execute(text("UPDATE notes SET note = note || '!' WHERE note LIKE :old"), {"old": f"{old}%"})
            tx.execute(text("SELECT note FROM notes")).first()


class Stroke:
    """Raises KeyboardInterrupt at a moment at which Python lets a signal in: a call, or the end of one in C."""

    def __init__(self, moment: int) -> None:
        """Choose the moment, counted from 1."""
        self.left = moment
        self.where = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        """Count, and strike."""
        if event not in {"call", "c_return"} or not any(part in frame.f_code.co_filename for part in LOOKED_AT):
            return
        self.left -= 1
        if not self.left:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event} {arg}"
            sys.setprofile(None)
            raise KeyboardInterrupt


def _struck(stroke: Stroke, work: Callable[[Store], None], store: Store) -> None:
    """Do the work up to the stroke; no collector runs in it, for a destructor would have the interrupt to itself."""
    gc.disable()
    sys.setprofile(stroke)
    try:
        work(store)
    finally:
        sys.setprofile(None)
        gc.enable()


@pytest.mark.filterwarnings("ignore:.* was deleted while still open:ResourceWarning")  # struck as it closed
@pytest.mark.parametrize("work", [pytest.param(_reads, marks=pytest.mark.full), _writes])
def test_wherever_it_strikes(url: str, work: Callable[[Store], None]) -> None:
    """KeyboardInterrupt comes out, all or nothing was written, and on the way out the lease can be given back."""
    moments = 0
    for moment in itertools.count(1, STRIDE):
        stroke = Stroke(moment)
        with closing(Store(url)) as store:
            _reads(store)  # so that there is a connection to look at and to use again
            try:
                _struck(stroke, work, store)
            except KeyboardInterrupt:
                with store.write(patience_s=PATIENCE_S) as tx:
                    found = tx.execute(text("SELECT note FROM notes ORDER BY note")).scalars().all()
                    tx.execute(text("DELETE FROM notes"))
                    tx.execute(text("INSERT INTO notes VALUES ('one'), ('two')"))
            except FindableError as error:
                raise AssertionError(stroke.where) from error
        if not stroke.where:
            break
        assert [len(note) for note in found] in ([3, 3], [4, 4]), stroke.where
        moments += 1
    assert moments > LEAST
