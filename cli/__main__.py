"""The `lab` command. Each command's imports are inside it, so that `lab --help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.gateway_app import register as register_gateway
from cli.models_app import model, models
from cli.options import ROOT, Json, MaybeStack, Sources, Stack, Yes
from cli.project_app import register as register_project

app = typer.Typer(
    name="lab",
    help="A private, secured, OpenAI-compatible endpoint on your own machine, its settings checked to fit before "
    "anything is touched.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(models, name="models")
app.add_typer(model, name="model")


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda asked: _version() if asked else None, help="Print the version."
        ),
    ] = False,
) -> None:
    """A private, secured, OpenAI-compatible endpoint on your own machine, its settings checked to fit before anything
    is touched.
    """


def _version() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sys.stdout.write(f"lab {project['version']}\n")
    raise typer.Exit


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(help="The stack's name: writes Pulumi.NAME.yaml.", metavar="[NAME]")
    ] = None,
    yes: Yes = False,
    driver: Annotated[str | None, typer.Option(help="What runs it, such as minikube.")] = None,
    model: Annotated[str | None, typer.Option(help="A model of the catalogue: ./lab models.")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the processors, even where there is a card.")] = False,
    context: Annotated[
        str | None,
        typer.Option(help="A context of ~/.kube/config: for a cluster that is there already.", metavar="NAME"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there; keep its secrets.")] = False,
    json: Json = False,
) -> None:
    """Look at this machine and write a stack file for it that fits, every value explained; changes nothing else."""
    from cli.commands.init import Wanted, run

    run(ROOT, Wanted(name, driver, model, cpu, context, yes, force), as_json=json)


@app.command()
def doctor(
    stack: MaybeStack = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without losing anything; asks.")] = False,
    yes: Yes = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write a support bundle: a .tar.gz without keys, tokens and names.", metavar="FILE"),
    ] = None,
    json: Json = False,
) -> None:
    """Look at every layer of this machine, and of a stack: what is wrong, how that is known, and what to type."""
    from cli.commands.doctor import run

    run(ROOT, stack, fix=fix, yes=yes, bundle=bundle, as_json=json)


@app.command()
def preview(stack: Stack, json: Json = False) -> None:
    """Show what Pulumi would do for a stack, and why; touches nothing. Gets Pulumi into the cache where it is
    missing.
    """
    from cli.commands.preview import run

    run(ROOT, stack, as_json=json)


@app.command()
def up(stack: MaybeStack = None, yes: Yes = False, json: Json = False) -> None:
    """Make a stack on this machine and check that its models answer."""
    from cli.commands.up import run

    run(ROOT, stack, yes=yes, as_json=json)


@app.command()
def check(stack: MaybeStack = None, json: Json = False) -> None:
    """Ask every model of a stack for a completion; name the first broken hop."""
    from cli.commands.check import run

    run(ROOT, stack, as_json=json)


@app.command()
def learn(
    stack: MaybeStack = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="Read this log instead of the running engine's.", metavar="FILE")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model of the log.", metavar="NAME")] = None,
    json: Json = False,
) -> None:
    """Lay what an engine's start printed beside the plan, and keep it for the next plan in measured/STACK.yaml."""
    from cli.commands.learn import run

    run(ROOT, stack, log=log, model=model, as_json=json)


@app.command()
def status(stack: MaybeStack = None, json: Json = False) -> None:
    """Say what runs, where, since when, and how to call it."""
    from cli.commands.status import run

    run(ROOT, stack, as_json=json)


@app.command()
def down(
    stack: MaybeStack = None,
    yes: Yes = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the caches and the stack's weights too.")] = False,
    json: Json = False,
) -> None:
    """Remove what `up` made; keep caches and models."""
    from cli.commands.down import run

    run(ROOT, stack, yes=yes, purge=purge, as_json=json)


@app.command()
def refresh(stack: MaybeStack = None, json: Json = False) -> None:
    """Let Pulumi look at every resource of a stack and correct its state; changes nothing on the machine."""
    from cli.commands.refresh import run

    run(ROOT, stack, as_json=json)


register_gateway(app)


@app.command()
def validate(
    stacks: Annotated[
        list[str] | None, typer.Argument(help="Stacks to look at; all without any.", metavar="[STACK]...")
    ] = None,
    json: Json = False,
) -> None:
    """Read and plan stack files; say everything that is wrong with them."""
    from cli.commands.validate import run

    run(ROOT, stacks or [], as_json=json)


@app.command()
def gpus(json: Json = False, sources: Sources = False) -> None:
    """List the cards that the planner knows."""
    from cli.commands.gpus import run

    run(ROOT, as_json=json, sources=sources)


@app.command()
def plan(
    stack: Annotated[str | None, typer.Argument(help="The stack; every stack without one.", metavar="[STACK]")] = None,
    json: Json = False,
    why: Annotated[
        bool, typer.Option("--why", help="Show every setting with its reason, not only those that matter most.")
    ] = False,
    sources: Sources = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Draw the plan as a picture for a pull request.", metavar="FILE")
    ] = None,
    manifests: Annotated[
        Path | None,
        typer.Option(help="Write the Kubernetes objects as YAML files into this new or empty folder.", metavar="DIR"),
    ] = None,
) -> None:
    """Show a stack's budgets, every setting and why, and what `up` would do to the machine; needs no Pulumi and no
    network.
    """
    from cli.commands.plan import run

    run(ROOT, stack, as_json=json, svg=svg, manifests=manifests, why=why, sources=sources)


@app.command(name="what-if")
def what_if(
    stack: Annotated[
        str | None, typer.Argument(help="The stack; the only one with a GPU without one.", metavar="[STACK]")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Another card, such as rtx4090.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Another model, as the catalogue names it or how it begins.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Another contextTokens.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Another concurrentRequests.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Another number of engines.")] = None,
    kv_cache_dtype: Annotated[str | None, typer.Option(help="auto, fp8 or fp8_e5m2.")] = None,
    objective: Annotated[str | None, typer.Option(help="throughput, latency, context or replicas.")] = None,
    shared_card: Annotated[bool, typer.Option("--shared-card", help="Let engines share a card.")] = False,
    place: Annotated[int, typer.Option(min=0, help="Which model of the stack file the options are for, from 0.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any line of the stack file: models[0].tensorParallel=2.", metavar="PATH=VALUE"),
    ] = None,
    json: Json = False,
) -> None:
    """Show what other hardware or settings would change; touches nothing."""
    from cli.commands.what_if import Question, run

    asked = Question(
        gpu, model, context, concurrency, replicas, kv_cache_dtype, objective, shared_card, place, tuple(setting or ())
    )
    run(ROOT, stack, asked, as_json=json)


@app.command()
def fit(
    gpu: Annotated[str, typer.Option(help="The card, such as rtx4090.")],
    platform: Annotated[str, typer.Option(help="linux or wsl2.")] = "linux",
    display: Annotated[bool, typer.Option("--display", help="A desktop draws on the card.")] = False,
    context: Annotated[int, typer.Option(help="The least context that is wanted, in tokens.")] = 4096,
    concurrency: Annotated[int, typer.Option(help="Requests at once.")] = 8,
    everything: Annotated[bool, typer.Option("--all", help="Show what does not fit too, and why.")] = False,
    json: Json = False,
) -> None:
    """Show what a card can run, ranked: the largest model first, each with the longest context that fits."""
    from cli.commands.fit import run

    run(
        gpu,
        platform=platform,
        display=display,
        context=context,
        requests=concurrency,
        everything=everything,
        as_json=json,
    )


register_project(app)


def main() -> None:
    """Runs the command line."""
    from cli.guarded import run_guarded

    run_guarded(app)


if __name__ == "__main__":
    main()
