"""The engine on one port, so that it can be killed and started again under the commands."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.lab import Api

LAG_S = 0.25  # how late a new batch shows up in the list


class Engine(Api):
    """A running engine, steered as `Api` steers one; keeps across restarts which faults struck."""

    def __init__(self, folder: Path) -> None:
        """Start it, with its state under `folder`."""
        super().__init__(folder, settings={"list_lag_seconds": LAG_S})
        self.struck: Counter[str] = Counter()
        self.restarts = 0
        self._counted: dict[str, int] = {}
        self.start()

    def script(self, faults: list[dict[str, Any]]) -> None:
        """Let these faults, and no others, strike from now on, also after a restart."""
        self.collect()
        self._faults = faults
        self.clear_faults()
        self._control("faults", faults)

    def collect(self) -> None:
        """Keep which faults struck since the last time."""
        for fault in self.faults()["faults"]:
            self.struck[fault["fault"]] += fault["fired"] - self._counted.get(fault["id"], 0)
            self._counted[fault["id"]] = fault["fired"]

    def restart(self) -> None:
        """Kill the process and start another on the same state and port."""
        self.collect()
        self.kill()
        self.restarts += 1
        self._counted = {}
        self.start()
