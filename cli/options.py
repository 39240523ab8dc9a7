"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

Stack = Annotated[
    str, typer.Argument(help="The stack: Pulumi.STACK.yaml. See them all with: lab validate", metavar="STACK")
]
MaybeStack = Annotated[str | None, typer.Argument(help="The stack: Pulumi.STACK.yaml.", metavar="STACK")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Sources = Annotated[bool, typer.Option("--sources", help="Say where each figure comes from.")]
