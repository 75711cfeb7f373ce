"""Packages import only packages of lower floors; tests/limits.py limits the figures."""

from tests.house import arrows, circles, is_down, loose, modules


def test_arrows_lead_down() -> None:
    """No arrow leads up or aside, no cycle exists, and no module is loose."""
    known_modules = modules()
    room_arrows = arrows(known_modules)
    assert not [arrow for arrow in room_arrows if not is_down(arrow)]
    assert not circles(room_arrows)
    assert not loose()
