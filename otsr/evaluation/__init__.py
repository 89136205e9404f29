"""How good is a network? Six metrics on many pictures, with intervals, and differences picture by picture.

    scenes = degraded(photos("test"), phone_degradation(cleanup=2))
    table = evaluate({"realsr-df2k": weights.load("realsr-df2k")}, scenes)
    print(markdown(table, against="bicubic"))

Files: `protocol` (the metrics of one picture), `scenes` (what is evaluated), `data` (words of the command line to
scenes), `measuring` (the loop), `report` (tables).
"""

from otsr.evaluation.data import Data, choose, hashes
from otsr.evaluation.measuring import NothingMeasured, evaluate
from otsr.evaluation.protocol import METRICS, Metric, Scores, measure
from otsr.evaluation.report import BICUBIC, EvaluationError, Table, markdown, monotony, to_json
from otsr.evaluation.scenes import (
    Scene,
    View,
    degraded,
    failing,
    middle,
    paired,
    phone_degradation,
    with_made,
    without_truth,
)

__all__ = [
    "BICUBIC", "METRICS", "Data", "EvaluationError", "Metric", "NothingMeasured", "Scene", "Scores", "Table", "View",
    "choose", "degraded", "evaluate", "failing", "hashes", "markdown", "measure", "middle", "monotony", "paired",
    "phone_degradation", "to_json", "with_made", "without_truth",
]  # fmt: skip
