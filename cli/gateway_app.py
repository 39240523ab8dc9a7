"""`lab endpoint`, `lab keys`, `lab trust` and `lab verify`: a stack's address, its clients, and whether it is closed to
others.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import ROOT, Json, Stack


class KeyAction(StrEnum):
    """What `lab keys` does."""

    ls = "ls"
    add = "add"
    rotate = "rotate"
    revoke = "revoke"


def register(app: typer.Typer) -> None:
    """Adds the commands."""

    @app.command()
    def endpoint(stack: Stack, json: Json = False) -> None:
        """Print how to call a stack: the URL, where keys come from, and settings to paste for clients."""
        from cli.commands.endpoint import run

        run(ROOT, stack, as_json=json)

    @app.command()
    def keys(
        stack: Stack,
        action: Annotated[
            KeyAction, typer.Argument(help="ls, add, rotate or revoke.", metavar="ACTION")
        ] = KeyAction.ls,
        name: Annotated[str | None, typer.Argument(help="The client, such as my-laptop.", metavar="[NAME]")] = None,
        model: Annotated[
            list[str] | None,
            typer.Option(
                help="add: a model, adapter or alias that it may ask; again for more. Default: all.", metavar="M"
            ),
        ] = None,
        json: Json = False,
    ) -> None:
        """List, add, rotate or revoke keys of a stack's gateway; a new key is printed once, and works at once."""
        from cli.commands.keys import run

        run(ROOT, stack, action.value, name, models=model or (), as_json=json)

    @app.command()
    def trust(
        stack: Stack,
        pem: Annotated[bool, typer.Option("--pem", help="Print the certificate alone.")] = False,
        json: Json = False,
    ) -> None:
        """Print how clients come to trust the certificate of a stack's gateway, on each system; changes nothing."""
        from cli.commands.trust import run

        run(ROOT, stack, pem=pem, as_json=json)

    @app.command()
    def verify(
        stack: Stack,
        json: Json = False,
        junit: Annotated[
            Path | None, typer.Option(help="Write the outcomes as JUnit XML, for CI.", metavar="FILE")
        ] = None,
    ) -> None:
        """Try to get past a running stack's gateway in every way that is known; exits with 1 where one works."""
        from cli.commands.verify import run

        run(ROOT, stack, as_json=json, junit=junit)
