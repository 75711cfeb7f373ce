"""How the house is built: arrows between rooms lead down, modules and functions are short; all else is a ratchet."""

from tests.house import arrows, circles, is_down, loose, modules, share

LONGEST = 600
FUNCTION_MEDIAN = 8
FUNCTION_MOST = 20  # of nine in ten


def test_arrows_lead_down() -> None:
    """No arrow leads up or aside, no circle is left, and no module stands loose."""
    known = modules()
    found = arrows(known)
    assert not [arrow for arrow in found if not is_down(arrow)]
    assert not circles(found)
    assert not loose()


def test_modules_and_functions_stay_short() -> None:
    """In `pipeline` a module is one thought, and a function does one thing."""
    inside = [module for module in modules().values() if module.name.startswith("pipeline.")]
    assert not [module.name for module in inside if module.lines() > LONGEST]
    functions = [lines for module in inside for lines in module.functions()]
    assert share(functions, 0.5) <= FUNCTION_MEDIAN
    assert share(functions, 0.9) <= FUNCTION_MOST
