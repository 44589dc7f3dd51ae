"""The page: three tabs around one desk."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from lpnsr import __version__
from lpnsr.apps.jobs.settings import mebibytes
from lpnsr.apps.web import texts
from lpnsr.apps.web.desk import Desk
from lpnsr.apps.web.tabs.batch import BatchTab
from lpnsr.apps.web.tabs.components import QUICK
from lpnsr.apps.web.tabs.photo import PhotoTab
from lpnsr.apps.web.tabs.thoughts import ThoughtsTab

_HERE = Path(__file__).parent
_SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # nothing to be fetched
_MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "monospace")
_LOOK = 3.0  # seconds between two looks at the queue


def theme() -> gr.themes.Base:
    soft = gr.themes.Soft(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="md", font=_SYSTEM, font_mono=_MONO
    )
    return soft.set(  # so that white on it can be read
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        checkbox_label_background_fill_selected="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_background_fill="*neutral_50",
        block_border_width="1px",
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
    )


def head(server: str) -> str:
    """Style and script of the page. server: what no other process has; as css, Gradio would rewrite the style."""
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "head.js"))
    return f"<style>{style}</style><script>{script.replace('SERVER', server)}</script>"


def make_page(desk: Desk) -> gr.Blocks:
    """The page's components and handlers. The queue of devices is shown on top, and by each job."""
    age = max(1, int(desk.limits.ttl))
    with gr.Blocks(title="lpnsr", analytics_enabled=False, delete_cache=(60, age), fill_width=True) as page:
        with gr.Row(elem_classes="lp-top"):
            gr.HTML(
                f"<h1>lpnsr <small>{__version__}</small></h1><p>4x super-resolution of photographs in four "
                "diffusion steps with predicted noise.</p>",
                scale=3,
                min_width=280,
            )
            queue = gr.HTML(elem_id="queue", scale=2, min_width=220)
        with gr.Tabs():
            with gr.Tab("Photo", id="photo"):
                PhotoTab(desk, queue)
            with gr.Tab("Batch", id="batch"):
                BatchTab(desk, queue)
            with gr.Tab("Advanced", id="thoughts"):
                ThoughtsTab(desk, queue)
        limits = desk.limits
        gr.HTML(
            f'<p class="lp-foot">Up to {mebibytes(limits.max_upload)} and {limits.max_pixels / 1e6:g} million pixels '
            f"per photograph. Uploads are kept for {texts.spoken(limits.ttl)}, results for at most that time or until "
            "this page is closed. They leave this server only when you download them.</p>"
        )
        gr.on([page.load, gr.Timer(_LOOK).tick], lambda: texts.queues(desk.fleet), None, queue, **QUICK)
        page.unload(_leaving(desk))
    page.queue(default_concurrency_limit=None, api_open=False)
    return page


def _leaving(desk: Desk):  # type: ignore[no-untyped-def]
    def leave(request: gr.Request) -> None:
        desk.leave(request)

    return leave
