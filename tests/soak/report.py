"""What a soak saw: figures, as text and as JSON."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LAST_ACTIONS = 40


@dataclass
class Report:
    """Counts over all rounds, the violations, and the last actions before the end."""

    seed: int
    minutes: float = 0.0
    rounds: int = 0
    settled: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    engine_restarts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    invariants: int = 0
    violations: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the report for programs; of the actions the last ones."""
        told = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        return told | {"actions": self.actions[-LAST_ACTIONS:]}

    def text(self) -> str:
        """Return the report for people."""
        lines = [
            f"soak      {self.minutes:.1f} minutes, seed {self.seed}",
            f"rounds    {self.rounds}, and {self.settled} times all was brought to its end; {self.invariants} checks",
            f"commands  {self.commands.total()}, {self.at_once} of them beside others: {_counted(self.commands)}",
            f"ends      {_counted(self.ends)}",
            f"signals   {self.signals.total()}: {_counted(self.signals)}",
            f"emulator  restarted {self.engine_restarts} times",
            f"faults    {self.faults.total()} of {len(self.faults)} kinds: {_counted(self.faults)}",
            f"people    {_counted(self.people)}",
            f"batches   {_counted(self.batches)}",
            f"rows      {_counted(self.rows)}",
            f"violations {len(self.violations)}",
        ]
        if self.violations:
            lines += [f"  {said}" for said in self.violations]
            lines += ["the last actions:", *(f"  {action}" for action in self.actions[-LAST_ACTIONS:])]
            lines.append(f"again: make soak SEED={self.seed}")
        return "\n".join(lines)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "none"
