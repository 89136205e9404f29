"""How good is a network? Six metrics on many pictures, with intervals, and differences picture by picture.

    scenes = degraded(photos("test"), phone_degradation(cleanup=2))
    table = evaluate({"realsr-df2k": weights.load("realsr-df2k")}, scenes)
    print(markdown(table, against="bicubic"))

Rooms: `scenes` (what is evaluated), `measuring` (the metrics and the loop), `report` (tables for people and programs).
"""

from otsr.evaluation.measuring import (
    BICUBIC,
    METRICS,
    EvaluationError,
    Metric,
    NothingMeasured,
    Table,
    evaluate,
)
from otsr.evaluation.report import markdown, monotony, to_json
from otsr.evaluation.scenes import (
    Pair,
    Scene,
    degraded,
    failing,
    middle,
    paired,
    phone_degradation,
    without_truth,
)

__all__ = [
    "BICUBIC", "METRICS", "EvaluationError", "Metric", "NothingMeasured", "Pair", "Scene", "Table",
    "degraded", "evaluate", "failing", "markdown", "middle", "monotony", "paired", "phone_degradation",
    "to_json", "without_truth",
]  # fmt: skip
