"""How good is a network? Six metrics on many pictures, with intervals, and differences picture by picture.

    scenes = degraded(photos("test"), phone_degradation(cleanup=2))
    table = evaluate({"psnr": Upscaler.from_pretrained("psnr", precision="fp32")}, scenes)
    print(markdown(table, against="bicubic"))

Files: `scenes` (what is evaluated), `measuring` (the metrics and the loop), `report` (tables), `comparison` (one detail
of a photo, to look at).
"""

from otsr.evaluation.measuring import BICUBIC, METRICS, Metric, NothingMeasured, Table, evaluate, measure
from otsr.evaluation.report import aligned, markdown, monotony, to_json
from otsr.evaluation.scenes import (
    EvaluationError,
    Scene,
    View,
    choose,
    degraded,
    matched,
    middle,
    phone_degradation,
    rounded,
)

__all__ = [
    "BICUBIC", "METRICS", "EvaluationError", "Metric", "NothingMeasured", "Scene", "Table", "View", "aligned", "choose",
    "degraded", "evaluate", "markdown", "matched", "measure", "middle", "monotony", "phone_degradation", "rounded",
    "to_json",
]  # fmt: skip
