"""Judge figures by their gates, with bounds that a user may set: `GATES="evidence=0.95,concepts=3..16"`.

A gate with one bound takes one number, one with two takes `low..high`, where either may be left out; `off` switches a
gate off. Shares lie between 0 and 1.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pipeline.core.errors import ConfigurationError, GateError
from pipeline.quality.figures import Gate, Quality, Verdict, shown

PILOT = 200  # items of one of usual size, where a share of 1 % that fails is two of them
HOW = 'write it like GATES="evidence=0.95,concepts=3..16,divergence=off"'


class Bounds(NamedTuple):
    """What a user set of one gate, as it was typed and as numbers; `single` where one number stands for its bound."""

    text: str
    low: float | None
    high: float | None
    single: bool = False
    off: bool = False


def parse_bounds(overrides: str) -> dict[str, Bounds]:
    """Return what is set of which gate.

    Raises:
        ConfigurationError: it is not written as it should be, or a number is none.
    """
    found: dict[str, Bounds] = {}
    for part in filter(None, (one.strip() for one in overrides.split(","))):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not text:
            raise ConfigurationError(f"GATES: {part!r} says nothing of a gate", hint=HOW)
        if name in found:
            raise ConfigurationError(f"GATES: {name} stands there twice", hint=HOW)
        found[name] = _bounds(name, text)
    return found


def judge_figures(
    quality: Quality, overrides: str = "", *, others: Collection[str] = (), fewest: int | None = None
) -> list[Verdict]:
    """Judge every figure by its gate, with what is set in its place; `others` are passed over.

    A small pilot judges from `fewest` items on what a pilot of usual size would.

    Raises:
        ConfigurationError: there is no gate of a name that is set, or a number cannot be its bound.
    """
    set_here = check_overrides(quality, overrides, others=others)
    return [_judged(_lowered(gate, fewest), set_here) for gate in quality.gates]


def check_overrides(quality: Quality, overrides: str, *, others: Collection[str] = ()) -> dict[str, Bounds]:
    """Return what is set of which gate, where all of it can be; `others` are passed over.

    Raises:
        ConfigurationError: there is no gate of a name that is set, or a number cannot be its bound.
    """
    set_here = parse_bounds(overrides)
    known = {gate.name: gate for gate in quality.gates}
    for name, bounds in set_here.items():
        if name in known and not bounds.off:
            _with(known[name], bounds)
        if name not in known and name not in others:
            raise ConfigurationError(
                f"GATES: there is no gate {name!r}", hint=f"the gates are {', '.join(known) or 'none'}"
            )
    return set_here


def failed_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts on the gates that failed."""
    return [one for one in verdicts if one.passed is False]


def ensure_gates_passed(verdicts: Sequence[Verdict], *, report: str) -> None:
    """Make sure that no gate failed; `report` says where more is told.

    Raises:
        GateError: one did.
    """
    wrong = failed_verdicts(verdicts)
    if wrong:
        count = "a quality gate" if len(wrong) == 1 else f"{len(wrong)} quality gates"
        said = "; ".join(one.said for one in wrong)
        raise GateError(
            f"{count} failed: {said}; the answers are stored",
            hint=f"read {report}; then a better prompt or model under a new version, or other bounds with GATES=",
        )


def describe_gate(gate: Gate) -> str:
    """Return what a gate demands, in words."""
    unit = gate.figure.unit
    if gate.low is None and gate.high is None:
        return "anything"
    if gate.high is None:
        return f"at least {shown(gate.low, unit)}"
    if gate.low is None:
        return f"at most {shown(gate.high, unit)}"
    return f"{shown(gate.low, unit)} to {shown(gate.high, unit)}"


def missed_bound(gate: Gate) -> float | None:
    """Return the bound that a gate's figure does not keep, None where it keeps both."""
    value = gate.figure.value
    if value is not None and gate.low is not None and value < gate.low:
        return gate.low
    return gate.high if value is not None and gate.high is not None and value > gate.high else None


def _lowered(gate: Gate, fewest: int | None) -> Gate:
    """Return a gate as a small pilot judges it."""
    if fewest is None or gate.at_least > PILOT:
        return gate
    return gate._replace(at_least=min(gate.at_least, fewest))


def _judged(gate: Gate, set_here: Mapping[str, Bounds]) -> Verdict:
    bounds = set_here.get(gate.name)
    if bounds is not None and bounds.off:
        return _unjudged(gate, "switched off by GATES")
    if bounds is not None:
        gate = _with(gate, bounds)
    figure = gate.figure
    if figure.value is None:
        return _unjudged(gate, "nothing to measure")
    if figure.items < gate.at_least:
        return _unjudged(gate, f"measured on {figure.items:,}, judged from {gate.at_least:,} on")
    said = f"{gate.name} is {shown(figure.value, figure.unit, bound=missed_bound(gate))}, wanted: {describe_gate(gate)}"
    return Verdict(gate, figure.value, missed_bound(gate) is None, said)


def _unjudged(gate: Gate, why: str) -> Verdict:
    return Verdict(gate, gate.figure.value, None, f"{gate.name} was not judged: {why}")


def _with(gate: Gate, bounds: Bounds) -> Gate:
    """Return a gate with other bounds."""
    both = gate.low is not None and gate.high is not None
    if bounds.single and both:
        raise ConfigurationError(
            f"GATES: {gate.name} has two bounds", hint=f"write {gate.name}={gate.low:g}..{gate.high:g}"
        )
    for number in (bounds.low, bounds.high):
        if number is not None and gate.figure.unit == "share" and not 0 <= number <= 1:
            raise ConfigurationError(
                f"GATES: {gate.name} is a share, and {number:g} does not lie between 0 and 1",
                hint=f"for 95 % write {gate.name}=0.95",
            )
    if not bounds.single:
        return gate._replace(low=bounds.low, high=bounds.high)
    return gate._replace(high=bounds.low) if gate.low is None else gate._replace(low=bounds.low)


def _bounds(name: str, text: str) -> Bounds:
    if text.lower() == "off":
        return Bounds(text, None, None, off=True)
    if ".." not in text:
        return Bounds(text, _number(name, text), None, single=True)
    ends = [_number(name, one) if one.strip() else None for one in text.split("..")]
    if len(ends) != 2 or ends == [None, None]:  # noqa: PLR2004 - low and high
        raise ConfigurationError(f"GATES: {name}={text} are no bounds", hint=HOW)
    low, high = ends
    if low is not None and high is not None and low > high:
        raise ConfigurationError(f"GATES: {name}={text} lets nothing through: {low:g} is more than {high:g}", hint=HOW)
    return Bounds(text, low, high)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"GATES: {name}={text} is no number", hint=HOW)
    return number
