"""How the house may grow: rooms, floors and arrows between them, and how long modules and functions are.

The limits hold for `pipeline`, `jobs`, `emulator` and `web`; `make house` prints the figures.
"""

from statistics import median

from tests.house import ABOVE, arrows, circles, floors, is_down, loose, modules, share

ROOMS = 18
FLOORS = 10
ARROWS = 105
LONGEST = 400
MEDIAN = 150
FUNCTION_MEDIAN = 8
FUNCTION_MOST = 20  # of nine in ten
TAKERS = 120  # functions that take the whole workspace


def test_rooms_floors_and_arrows_stay_few() -> None:
    """No arrow leads up or aside, no circle is left, and no module stands loose."""
    known = modules()
    found = arrows(known)
    assert not [arrow for arrow in found if not is_down(arrow)]
    assert not circles(found)
    assert not loose()
    assert len({module.room for module in known.values()} - {"", ABOVE}) <= ROOMS
    assert floors(found) <= FLOORS
    assert len(found) <= ARROWS


def test_modules_and_functions_stay_short() -> None:
    """In `pipeline` a module is a page or two, and a function does one thing."""
    inside = [module for module in modules().values() if module.name.startswith("pipeline.")]
    assert not [module.name for module in inside if module.lines() > LONGEST]
    assert median(module.lines() for module in inside) <= MEDIAN
    functions = [lines for module in inside for lines in module.functions()]
    assert share(functions, 0.5) <= FUNCTION_MEDIAN
    assert share(functions, 0.9) <= FUNCTION_MOST


def test_few_functions_take_the_whole_workspace() -> None:
    """The others say by their arguments what they need of it."""
    assert sum(module.takers() for module in modules().values()) <= TAKERS
