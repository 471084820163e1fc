# SPDX-License-Identifier: Apache-2.0
"""Commands of this room."""

from __future__ import annotations

import typer

from sightline.clients.events.cli import register_events
from sightline.clients.infer_cli import register_infer
from sightline.clients.page.cli import register_page
from sightline.clients.pipe.cli import register_pipe
from sightline.clients.watch_cli import register_watch


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    register_infer(app)
    register_watch(app)
    register_events(app)
    register_pipe(app)
    register_page(app)
