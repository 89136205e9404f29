"""Frames of the sliders, kept beside the notebooks so that the site and the slides can move them without a kernel.

A notebook stores a slider's static twin only: all frames would make it too large. When `scripts/notebooks.py` runs
one, its sliders are written to notebooks/sliders/CELL.json: title, labels, captions, and the frames as WebP.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks" / "sliders"
STATES = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
QUALITY = 90
PAGE = """\
<div id="{id}"></div>
<script type="module">
import slider from "data:text/javascript;base64,{code}";
const state = {state};
slider.render({{ model: {{ get: (name) => state[name] }}, el: document.getElementById("{id}") }});
</script>
"""


def store(notebook: NotebookNode, folder: Path = FOLDER) -> list[Path]:
    """Write the sliders of a notebook that was run with its widget state kept; those of its earlier run go."""
    states = notebook.metadata.get("widgets", {}).get(STATES, {}).get("state", {})
    for old in folder.glob(f"{notebook.cells[0].id[:2]}-*.json"):
        old.unlink()
    written = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            model = output.get("data", {}).get(VIEW, {}).get("model_id")
            state = states.get(model, {}).get("state", {})
            if "frames" in state:
                kept = {name: state[name] for name in ("title", "labels", "captions")}
                kept["frames"] = [smaller(frame) for frame in state["frames"]]
                folder.mkdir(exist_ok=True)
                written.append(folder / f"{cell.id}.json")
                written[-1].write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def smaller(address: str) -> str:
    """A frame, as a data address, as WebP: without loss where that is smaller, as it is for drawings."""
    with urlopen(address) as file:
        picture = Image.open(io.BytesIO(file.read()))
    files = [io.BytesIO(), io.BytesIO()]
    picture.save(files[0], "WEBP", lossless=True)
    picture.save(files[1], "WEBP", quality=QUALITY, method=6)
    data = min((file.getvalue() for file in files), key=len)
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def live(cell: NotebookNode, folder: Path = FOLDER) -> str | None:
    """The slider of a cell as HTML, if its frames were kept and it still says what the notebook stores."""
    path = folder / f"{cell.get('id')}.json"
    if not path.exists():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    words = "\n".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
    return as_html(state) if all(caption in words for caption in state["captions"]) else None


def as_html(state: dict[str, Any]) -> str:
    """A live slider that needs nothing else, no kernel and no network.

    Args:
        state: title, labels, captions, and frames as addresses of pictures.
    """
    text = json.dumps(state).replace("<", "\\u003c")  # nothing in it can end the script
    code = (ROOT / "otsr" / "course" / "frame_slider.js").read_bytes()
    name = f"slider-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return PAGE.format(id=name, code=base64.b64encode(code).decode(), state=text)
