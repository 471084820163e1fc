# SPDX-License-Identifier: Apache-2.0
"""`sightline page-password`."""

from __future__ import annotations

import typer

_HELP = """Make the password hash of a user of the live page, for `page: users:` of a cameras file.

The password is asked for, or read from a pipe: printf %s "$PASSWORD" | sightline page-password. It is not kept.
"""


def register_page(app: typer.Typer) -> None:
    """Add `page-password`."""
    app.command("page-password", help=_HELP)(page_password)


def page_password() -> None:
    """See _HELP."""
    import getpass
    import sys

    from sightline.clients.page.login import MAX_PASSWORD_CHARACTERS, hash_password
    from sightline.errors import OutputError

    if sys.stdin.isatty():
        text = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != text:
            raise OutputError("the two passwords differ; try again")
    else:
        text = sys.stdin.readline(MAX_PASSWORD_CHARACTERS + 2).rstrip("\r\n")
    typer.echo(hash_password(text))
