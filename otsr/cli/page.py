"""`otsr app`: a page in the browser for people who do not program."""

import os
import tempfile
import time
from pathlib import Path

import typer
from typer import Option

from otsr.cli.options import DeviceName, Weights
from otsr.cli.root import app, refuse
from otsr.cli.upscale import build_upscaler

_ADDRESS = "127.0.0.1"


@app.command("app")
def page(
    weights: Weights = None,
    device: DeviceName = "auto",
    port: int | None = Option(None, min=0, max=65535, help="Of the page.  [default: the first free one from 7860 on]"),
    browser: bool = Option(True, "--browser/--no-browser", help="Open the page in the browser."),
) -> None:
    """Enlarge photos on a page in the browser, by hand.

    The page is for this computer alone, and photos stay on it. Ctrl-C ends it and removes its temporary files.

    \b
    Example:
      otsr app
    """
    with tempfile.TemporaryDirectory(prefix="otsr-app-") as folder:
        direct = f"{os.environ.get('no_proxy') or os.environ.get('NO_PROXY') or ''},{_ADDRESS}"
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "no_proxy": direct}
        try:
            import gradio
        except ImportError:
            refuse("the page needs gradio, which is not installed: pip install gradio")
        from otsr import Upscaler
        from otsr.cli.layout import Page
        from otsr.weights import DEFAULT, partner

        name = weights or DEFAULT
        build_upscaler(name, device=device)  # says what is wrong with the options

        def load(ot_weight: float) -> Upscaler:
            return Upscaler.from_pretrained(name, ot_weight=ot_weight, device=device)

        shown = Page(load, Path(folder), blend=partner(name) is not None)
        try:
            _, address, _ = shown.blocks.launch(
                server_name=_ADDRESS, server_port=port, inbrowser=browser, share=False, quiet=True, show_error=True,
                prevent_thread_lock=True, footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )  # fmt: skip
        except OSError:
            refuse(f"port {port or '7860 and so on'}: in use; name another with --port")
        typer.echo(f"The page is at {address} (Ctrl-C ends it)")
        try:
            while True:  # Windows interrupts no wait without end
                time.sleep(1)
        finally:
            shown.stop()
            shown.blocks.close(verbose=False)
