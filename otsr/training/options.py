"""The options of an original option file: which were read, which are left, and our recipe as it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from otsr.training.plain_yaml import ConfigError, Key
from otsr.training.recipe import Places, Recipe

# Keys that say what holds here in any case, or that say nothing to a training.
_SILENT = {
    "model", "distortion", "use_tb_logger", "datasets.train.name", "datasets.val.name", "datasets.val.mode",
    "datasets.train.use_shuffle", "network_G.upscale", "network_G.scale", "path.root",
}  # fmt: skip
_REASONS = {
    "gpu_ids": "devices are chosen by the machine; for several: torchrun --nproc-per-node N -m otsr train ...",
    "benckmark": "has no effect in the original either (it is misspelt)",
    "path.pretrain_model_D": "the critic starts afresh",
    "path.resume_state": "checkpoints of theirs cannot be resumed; ours: otsr train --resume",
    "path.strict_load": "weights must fit the network",
    "path.models": "weights are kept in the folder of the run",
    "path.val_images": "pictures are kept in TensorBoard",
    "train.clear_state": "Adam's state is kept at a restart",
    "train.restarts": "restarts follow from the periods",
}
_MISSPELT = {"gp_weigth": "gp_weight", "benchmark": "benckmark"}
_RENAMED = {"dataroot_HR": "dataroot_GT", "dataroot_LR": "dataroot_LQ", "HR_size": "GT_size"}


@dataclass
class Original:
    """A recipe in our words.

    Attributes:
        recipe: our keys, with the lines of theirs.
        notes: what has no counterpart, or another one than one might think; a line each, with its place.
    """

    recipe: Recipe
    notes: list[str] = field(default_factory=list)


class Options:
    """Their options by dotted names, such as "train.lr_G", and the recipe of ours that is made of them.

    Attributes:
        values: of theirs, misspelt and older names put right.
        read: names of those that were used.
        ours: what has become of them.
    """

    def __init__(self, theirs: Recipe) -> None:
        self.places = theirs.places
        self.values: dict[str, Any] = {}
        self._keys: dict[str, Key] = {}
        self._flatten(theirs.values, ())
        self.read: set[str] = set()
        self.ours = Original(Recipe({}, Places({(): theirs.places.of(())})))

    def _flatten(self, part: dict[str, Any], above: Key) -> None:
        for name, value in part.items():
            key = (*above, name)
            if isinstance(value, dict):
                self._flatten(value, key)
            else:
                last = _RENAMED.get(name, _MISSPELT.get(name, name))
                dotted = ".".join([*map(str, above), last])
                self.values[dotted] = value
                self._keys[dotted] = key

    def take(self, key: str, default: Any = None) -> Any:
        """A value of theirs. What is empty counts as not given; 5e3 is a whole number."""
        self.read.add(key)
        value = self.values.get(key)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return default if value is None else value

    def put(self, ours: str, value: Any, theirs: str) -> None:
        """Set one of our keys; errors about it lead to theirs."""
        part = self.ours.recipe.values
        *above, last = ours.split(".")
        for name in above:
            part = part.setdefault(name, {})
        part[last] = value
        key = self._keys.get(theirs, tuple(theirs.split(".")))
        self.ours.recipe.places.known[tuple(ours.split("."))] = self.places.of(key)

    def move(self, theirs: str, ours: str) -> None:
        """Give a value another name, if it is there."""
        value = self.take(theirs)
        if value is not None:
            self.put(ours, value, theirs)

    def note(self, key: str, words: str) -> None:
        self.ours.notes.append(f"{self.place(key)}: {key} {words}")

    def error(self, key: str, words: str) -> ConfigError:
        return ConfigError(f"{self.place(key)}: {key} {words}")

    def place(self, key: str) -> str:
        return self.places.of(self._keys.get(key, tuple(key.split("."))))

    def list_unread(self, *, adversarial: bool) -> None:
        """A note on everything that is given and was not read."""
        for key, value in self.values.items():
            if value is None or key in self.read or key in _SILENT:
                continue
            if not adversarial and (key.startswith("network_D.") or key.endswith("_D")):
                continue
            reason = _REASONS.get(key, _REASONS.get(key.split(".")[-1], ""))
            self.note(key, "has no counterpart" + (f": {reason}" if reason else ""))
