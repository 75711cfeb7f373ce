"""The emulator in a process of its own, on one port, so that it can be killed and started again under the commands."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from tests.lab import ROOT, Api

READY_S = 60.0
LAG_S = 0.25  # how late a new batch shows up in the list


class Engine(Api):
    """A running emulator, steered as `Api` steers one; keeps across restarts what it was asked to create."""

    def __init__(self, folder: Path) -> None:
        """Start it on a free port, with its state under `folder`."""
        self._folder = folder
        self._port = _free_port()
        self._scripted: list[dict[str, Any]] = []
        self.creates: list[str] = []
        self.struck: Counter[str] = Counter()
        self.restarts = 0
        self._program = self._start()

    @property
    def url(self) -> str:
        """Return the base URL, the same after a restart."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def created(self) -> list[dict[str, Any]]:
        """Return every batch that was ever made, oldest first."""
        found: list[dict[str, Any]] = self.batches()["batches"]
        return found

    def script(self, faults: list[dict[str, Any]]) -> None:
        """Let these faults, and no others, strike from now on, also after a restart."""
        self.collect()
        self._scripted = faults
        self._apply()

    def collect(self) -> None:
        """Keep which creates were asked for and which faults struck since the last time."""
        for entry in self.seen("POST", ":batchGenerateContent"):
            if isinstance(entry["json"], dict):  # of a sender that died over it only the beginning arrived
                self.creates.append(entry["json"]["batch"]["displayName"])
        self._control("DELETE", "journal")
        for fault in self.faults()["faults"]:
            self.struck[fault["fault"]] += fault["fired"] - self._counted.get(fault["id"], 0)
            self._counted[fault["id"]] = fault["fired"]

    def restart(self, how: signal.Signals) -> None:
        """End the process by a signal and start another on the same state and port."""
        self.collect()
        self._program.send_signal(how)
        self._program.wait(timeout=READY_S)
        self.restarts += 1
        self._program = self._start()

    def stop(self) -> None:
        """End the process."""
        with suppress(httpx2.HTTPError):
            self.collect()
        self._program.terminate()
        self._program.wait(timeout=READY_S)

    def _start(self) -> "subprocess.Popen[bytes]":
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("FINDABLE_", "GOOGLE_"))}
        environ["FINDABLE_DATA"] = str(self._folder)
        command = [sys.executable, "-W", "ignore", "-m", "jobs", "emulator", "--port", str(self._port)]
        program = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_S
        while True:
            with suppress(httpx2.TransportError):
                self._control("GET", "batches")
                break
            if program.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the emulator did not start")
            time.sleep(0.05)
        self._counted: dict[str, int] = {}
        self._apply()
        return program

    def _apply(self) -> None:
        self.configure(list_lag_seconds=LAG_S)
        self.clear_faults()
        self._control("POST", "faults", self._scripted)

    def _control(self, method: str, path: str, document: Any = None) -> None:
        httpx2.request(method, f"{self.url}/_emu/{path}", json=document, verify=False).raise_for_status()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
