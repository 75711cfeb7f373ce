"""Hold a build against the one in service, on the judged questions of the lab, before it is promoted.

Both are asked as search asks them. Nothing is paid for it: where a service embeds, the vectors of the questions are
those that a run of the lab left in the cache.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import FindableError, GateError
from pipeline.core.ranking import Rank
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index.builds import Builds
from pipeline.index.lab.intervals import Comparison, compare_paired
from pipeline.index.lab.judged import Judged, stored_judged
from pipeline.index.lab.lab_build import LabBuild, lab_build_of
from pipeline.index.lab.measures import MAIN, measure_rankings
from pipeline.index.manifest import Staged, seal_manifest
from pipeline.index.reader import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 50  # judged questions, below which no difference is told from chance
FIRST = 10  # entries of each ranking that the measure looks at


class _Measured(NamedTuple):
    """What a staged build reached on the judged questions, and the one in service, by its number."""

    questions: int
    reached: float
    number: int
    before: float
    compared: Comparison

    def __str__(self) -> str:
        """Return both in words."""
        reached = f"{MAIN} is {self.reached:.3f}, and {self.before:.3f} in build {self.number}"
        return f"on {self.questions} judged questions {reached}"

    def as_json(self) -> dict[str, Any]:
        """Return the figures as a manifest has them."""
        before = {"number": self.number, MAIN: self.before}
        difference = self.compared.difference._asdict()
        return {"questions": self.questions, MAIN: self.reached, "before": before, "difference": difference}


class PromotionGate:
    """What holds builds of the task in use against the one in service."""

    def __init__(self, ws: OpenWorkspace) -> None:
        """Measure nothing yet."""
        self._ws = ws

    def check(self, staged: Staged, *, worse_ok: bool) -> None:
        """Measure a staged build where that can be, and keep the figures in its manifest.

        Raises:
            GateError: it is worse by more than chance, and `worse_ok` does not allow it; the one in service stays.
        """
        display, found = self._ws.display, None
        try:
            found = self._measured(staged)
        except FindableError as error:
            display.say(f"not compared with the build in service on judged questions: {error.message}")
        if found is None:
            return
        staged.manifest = replace(staged.manifest, judged=found.as_json())
        seal_manifest(staged.directory, staged.manifest)
        if not found.compared.is_worse:
            display.say(str(found))
            return
        mean, low, high = found.compared.difference
        worse = f"{found}, which is in service: worse by {-mean:.3f} [{-high:.3f}, {-low:.3f}]"
        if not worse_ok:
            raise GateError(
                f"build {staged.manifest.number} was not promoted: {worse}",
                hint=f"`{self._ws.task.words.make('index')} WORSE_OK=1` promotes it all the same",
            )
        display.warn(worse)

    def _measured(self, staged: Staged) -> _Measured | None:
        """Return what both reached; None where none is in service, or too few questions are judged, or it would cost.

        Raises:
            FindableError: they cannot be compared.
        """
        ws, judged = self._ws, stored_judged(self._ws.store, self._ws.task)
        builds = Builds(ws.data, ws.collection.folder)
        if len(judged.questions) < FEWEST or builds.current() is None:
            return None
        with Index(staged.directory) as new, builds.open() as before:
            ours, theirs = (_values(lab_build_of(ws, one), judged) for one in (new, before))
            number = before.manifest.number
        if ours is None or theirs is None:
            make = ws.task.words.make("lab-run")
            ws.display.say(f"not compared with the build in service: `{make}` embeds the judged questions, which costs")
            return None
        compared = compare_paired(ours, theirs)
        return _Measured(len(judged.questions), float(ours.mean()), number, float(theirs.mean()), compared)


def _values(build: LabBuild, judged: Judged) -> "NDArray[Any] | None":
    """Return what a build reaches on each question, asked with its own model; None where that would be paid for."""
    if not build.is_free(judged.texts):
        return None
    ranked = build.rank(Rank.HYBRID, judged.texts, depth=FIRST)
    return measure_rankings(dict(zip(judged.qids, ranked, strict=True)), judged.grades, judged.qids)[MAIN]
