"""How good is a network? Six metrics on many pictures, with intervals, and differences picture by picture.

    scenes = degraded(photos("test"), phone_degradation(cleanup=2))
    table = evaluate({"psnr": Upscaler.from_pretrained("psnr", precision="fp32")}, scenes)
    print(markdown(table, against="bicubic"))

Files: `scenes` (what is evaluated), `measuring` (the metrics and the loop), `report` (tables), `comparison` (one detail
of a photo, to look at).
"""

from otsr.evaluation.measuring import BICUBIC, METRICS, NothingMeasured, Table, evaluate, measure
from otsr.evaluation.report import aligned, markdown, monotony, to_json
from otsr.evaluation.scenes import EvaluationError, choose, degraded, middle, phone_degradation, rounded

__all__ = [
    "BICUBIC", "METRICS", "EvaluationError", "NothingMeasured", "Table", "aligned", "choose", "degraded", "evaluate",
    "markdown", "measure", "middle", "monotony", "phone_degradation", "rounded", "to_json",
]  # fmt: skip
