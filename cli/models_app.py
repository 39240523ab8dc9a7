"""`lab models` and `lab model`: what the planner knows, and models of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import ROOT, Json, Sources

models = typer.Typer(help="List the models that the planner knows.", rich_markup_mode=None)
model = typer.Typer(help="Models of your own.", no_args_is_help=True, rich_markup_mode=None)


@models.callback(invoke_without_command=True)
def models_list(context: typer.Context, json: Json = False, sources: Sources = False) -> None:
    """List the models that the planner knows, yours among them."""
    if context.invoked_subcommand is None:
        from cli.commands.models import run

        run(ROOT, as_json=json, sources=sources)


@model.command("add")
def model_add(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder with the model's files, or OWNER/NAME on the Hugging Face Hub.", metavar="SOURCE"
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What stack files call it; default: the repository's name.", metavar="ID")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="A commit, branch or tag; default: main, pinned.", metavar="REVISION")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an entry of the same id.")] = False,
    json: Json = False,
) -> None:
    """Describe a model in catalog/ID.yaml, from its config.json and the sizes of its weights; downloads no weights."""
    from cli.commands.model_add import run

    run(ROOT, source, name=name, revision=revision, force=force, as_json=json)
