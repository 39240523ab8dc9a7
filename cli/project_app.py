"""The commands of those who work on the project or review a change, and those that lead to plain Pulumi."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import ROOT


def register(app: typer.Typer) -> None:
    """Adds the commands."""

    @app.command()
    def schema(
        check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file is out of date.")] = False,
    ) -> None:
        """Write the JSON Schema of stack files, which editors use to complete and check them."""
        from cli.commands.schema import run

        run(ROOT, check=check)

    @app.command()
    def review(
        base: Annotated[
            str, typer.Option(help="The git revision to compare with.", metavar="REVISION")
        ] = "origin/main",
        output: Annotated[
            Path | None, typer.Option(help="Write the Markdown here instead of printing it.", metavar="FILE")
        ] = None,
    ) -> None:
        """Validate and plan the stacks that a change touches, as one pull-request comment."""
        from cli.commands.review import run

        run(ROOT, base=base, output=output)

    @app.command()
    def env() -> None:
        """Print the exports with which plain `pulumi` sees the same stacks: eval "$(./lab env)"."""
        from cli.commands.env import run

        run(ROOT)

    @app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )
    def pulumi(context: typer.Context) -> None:
        """Run the Pulumi CLI itself with the same stacks: lab pulumi stack history -s dev."""
        from cli.commands.env import run_pulumi

        run_pulumi(ROOT, context.args)

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def test(
        context: typer.Context,
        everything: Annotated[
            bool, typer.Option("--all", help="What builds and starts clusters too; CI runs that.")
        ] = False,
        fast: Annotated[bool, typer.Option("--fast", help="Only what matters while working, under a minute.")] = False,
        only: Annotated[
            str | None, typer.Option(help="One step: lint, format (in place), types or docs.", metavar="STEP")
        ] = None,
    ) -> None:
        """Run the project's checks; anything else after it goes to pytest."""
        from cli.commands.test import run

        run(ROOT, context.args, everything=everything, fast=fast, only=only)
