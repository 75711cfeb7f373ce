"""Judge rankings question by question, by the measures of trec_eval, which ir-measures computes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAIN = "nDCG@10"  # what variants are compared by; gains are the grades themselves
JUDGED = "judged@10"  # the share of the first ten of which it was judged how good they are
MEASURES = (MAIN, "MRR", "P@5", "R@10", "R@50", "R@100", JUDGED)
DEPTH = 100  # entries of a ranking that are looked at
_THEIRS = {"MRR": "RR", JUDGED: "Judged@10"}


def measure_rankings(
    rankings: Mapping[str, Sequence[str]], grades: Mapping[str, Mapping[str, int]], qids: Sequence[str]
) -> "dict[str, NDArray[Any]]":
    """Return by measure its value for each of `qids`, float64 (len(qids),), in their order.

    `rankings` maps questions to names, best first, `grades` to the grades of judged names; a question without a ranking
    scores zero.

    Raises:
        ConfigurationError: there is no trec_eval for this machine.
    """
    import ir_measures
    import numpy as np

    if not ir_measures.pytrec_eval.is_available():
        raise ConfigurationError(
            "the measures need pytrec-eval-terrier, which has no package for this machine; nothing was measured",
            hint="pip install pytrec-eval-terrier, which needs a C compiler",
        )
    measures = {ir_measures.parse_measure(_THEIRS.get(name, name)): name for name in MEASURES}
    run = {qid: {name: -float(place) for place, name in enumerate(rankings.get(qid, ()))} for qid in qids}
    found = {name: np.zeros(len(qids)) for name in MEASURES}
    place = {qid: at for at, qid in enumerate(qids)}
    judged = {qid: dict(grades[qid]) for qid in qids}
    for metric in ir_measures.iter_calc(list(measures), judged, {qid: names for qid, names in run.items() if names}):
        found[measures[metric.measure]][place[metric.query_id]] = metric.value
    return found
