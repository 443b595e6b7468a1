"""The page and its server, which is for this machine alone and asks no other one for anything."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pipeline.demo import (
    caption_search,
    classification,
    image_search,
    masked,
    questions,
    segmentation,
    statements,
)
from pipeline.demo.answering import note
from pipeline.demo.models import Models
from pipeline.utils import ports

TABS = (
    questions,
    image_search,
    caption_search,
    statements,
    classification,
    segmentation,
    masked,
)
LARGEST_UPLOAD = "100mb"
FONTS = ("system-ui", "sans-serif")  # what the machine has
# The browser takes nothing from elsewhere, whatever the page asks for.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'"
)
CSS = Path(__file__).with_name("page.css")


def prepare(temporary: str) -> None:
    """Keep Gradio, before it is imported, from asking other machines; its files go to a folder."""
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": temporary,
        "HF_HUB_OFFLINE": "1",
    }


def page_of(models: Models) -> Any:
    """The page, a `gradio.Blocks`."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False, title="VL-BEiT") as blocks:
        gr.Markdown("# VL-BEiT")
        gr.HTML(note(_introduction(models)), padding=False)
        for number, tab in enumerate(TABS):
            with gr.Tab(tab.TITLE) as opened:
                # the first tab is open when the page is loaded
                opening = [opened.select] if number else [opened.select, blocks.load]
                tab.build(models, opening)
    return blocks


class Restricted:
    """An ASGI application whose every answer carries the policy."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app = app

    async def __call__(
        self, scope: Any, receive: Any, send: Callable[..., Awaitable[None]]
    ) -> None:
        async def restricted(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        await self.app(scope, receive, restricted)


def _introduction(models: Models) -> str:
    return (
        f"The models of the scale {models.scale}, on this machine alone. Each tab begins with "
        "examples that its model was not trained on, and says what the model was trained on."
    )


def serve(app: Any, port: int) -> None:
    """Serve the page until the process is interrupted; browsers that still show it are not waited
    for."""
    import uvicorn

    uvicorn.run(app, host=ports.LOCAL, port=port, log_level="critical", timeout_graceful_shutdown=1)


def app_of(models: Models) -> Any:
    """The page as an ASGI application."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[ports.LOCAL, "localhost"])
    app.add_middleware(Restricted)
    return gr.mount_gradio_app(
        app,
        page_of(models),
        path="/",
        theme=gr.themes.Soft(font=FONTS, font_mono=("ui-monospace", "monospace")),
        css_paths=[CSS],
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        max_file_size=LARGEST_UPLOAD,
    )
