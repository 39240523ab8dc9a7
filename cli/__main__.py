"""The `lab` command. Each command's imports are inside it, so that `lab --help` answers at once."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent

app = typer.Typer(
    name="lab",
    help="A private, secured, OpenAI-compatible endpoint on your own machine, its settings checked to fit before anything is touched.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

models = typer.Typer(help="List the models that the planner knows.", rich_markup_mode=None)
model = typer.Typer(help="Models of your own.", no_args_is_help=True, rich_markup_mode=None)
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


Stack = Annotated[
    str, typer.Argument(help="The stack: Pulumi.STACK.yaml. See them all with: lab validate", metavar="STACK")
]
MaybeStack = Annotated[str | None, typer.Argument(help="The stack: Pulumi.STACK.yaml.", metavar="STACK")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Sources = Annotated[bool, typer.Option("--sources", help="Say where each figure comes from.")]


@app.command()
def preview(stack: Stack, json: Json = False) -> None:
    """Show what Pulumi would do for a stack, and why; touches nothing. Gets Pulumi into the cache where it is missing."""
    from cli.preview import run

    run(ROOT, stack, as_json=json)


@app.command()
def up(stack: MaybeStack = None, yes: Yes = False, json: Json = False) -> None:
    """Make a stack on this machine and check that its models answer."""
    from cli.up import run

    run(ROOT, stack, yes=yes, as_json=json)


@app.command()
def check(stack: MaybeStack = None, json: Json = False) -> None:
    """Ask every model of a stack for a completion; name the first broken hop."""
    from cli.check import run

    run(ROOT, stack, as_json=json)


@app.command()
def status(stack: MaybeStack = None, json: Json = False) -> None:
    """Say what runs, where, since when, and how to call it."""
    from cli.status import run

    run(ROOT, stack, as_json=json)


@app.command()
def down(
    stack: MaybeStack = None,
    yes: Yes = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the caches and the stack's weights too.")] = False,
    json: Json = False,
) -> None:
    """Remove what `up` made; keep caches and models."""
    from cli.down import run

    run(ROOT, stack, yes=yes, purge=purge, as_json=json)


@app.command()
def refresh(stack: MaybeStack = None, json: Json = False) -> None:
    """Let Pulumi look at every resource of a stack and correct its state; changes nothing on the machine."""
    from cli.refresh import run

    run(ROOT, stack, as_json=json)


@app.command()
def validate(
    stacks: Annotated[
        list[str] | None, typer.Argument(help="Stacks to look at; all without any.", metavar="[STACK]...")
    ] = None,
    json: Json = False,
) -> None:
    """Read and plan stack files; say everything that is wrong with them."""
    from cli.validate import run

    run(ROOT, stacks or [], as_json=json)


@app.command()
def gpus(json: Json = False, sources: Sources = False) -> None:
    """List the cards that the planner knows."""
    from cli.gpus import run

    run(ROOT, as_json=json, sources=sources)


@models.callback(invoke_without_command=True)
def models_list(context: typer.Context, json: Json = False, sources: Sources = False) -> None:
    """List the models that the planner knows, yours among them."""
    if context.invoked_subcommand is None:
        from cli.models import run

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
    from cli.model_add import run

    run(ROOT, source, name=name, revision=revision, force=force, as_json=json)


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
    from cli.plan import run

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
    json: Json = False,
) -> None:
    """Show what other hardware or other wishes would change; touches nothing."""
    from cli.what_if import Question, run

    asked = Question(gpu, model, context, concurrency, replicas, kv_cache_dtype, objective, shared_card, place)
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
    from cli.fit import run

    run(
        gpu,
        platform=platform,
        display=display,
        context=context,
        requests=concurrency,
        everything=everything,
        as_json=json,
    )


@app.command()
def predict(
    cases: Annotated[Path, typer.Argument(help="One case a line, as in memory-cases.jsonl.", metavar="CASES.jsonl")],
    output: Annotated[
        Path | None, typer.Option(help="Write the answers here instead of printing them.", metavar="FILE")
    ] = None,
) -> None:
    """Predict vLLM starts: whether each fits, its KV cache and how sure that is, as JSON lines."""
    from cli.predict import run

    run(cases, output=output)


@app.command()
def schema(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file is out of date.")] = False,
) -> None:
    """Write the JSON Schema of stack files, which editors use to complete and check them."""
    from cli.schema import run

    run(ROOT, check=check)


@app.command()
def review(
    base: Annotated[str, typer.Option(help="The git revision to compare with.", metavar="REVISION")] = "origin/main",
    output: Annotated[
        Path | None, typer.Option(help="Write the Markdown here instead of printing it.", metavar="FILE")
    ] = None,
) -> None:
    """Validate and plan the stacks that a change touches, as one pull-request comment."""
    from cli.review import run

    run(ROOT, base=base, output=output)


@app.command()
def env() -> None:
    """Print the exports with which plain `pulumi` sees the same stacks: eval "$(./lab env)"."""
    from cli.env import run

    run(ROOT)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def pulumi(context: typer.Context) -> None:
    """Run the Pulumi CLI itself with the same stacks: lab pulumi stack history -s dev."""
    from cli.env import run_pulumi

    run_pulumi(ROOT, context.args)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="What builds and starts clusters too; CI runs that.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Only what matters while working, under a minute.")] = False,
    only: Annotated[
        str | None, typer.Option(help="One step: lint, format (in place) or types.", metavar="STEP")
    ] = None,
) -> None:
    """Run the project's checks; anything else after it goes to pytest."""
    from cli.test import run

    run(ROOT, context.args, everything=everything, fast=fast, only=only)


def main() -> None:
    """Runs the command line; what goes wrong leaves as its message and exit code, never as a traceback."""
    _whole_streams()
    as_json = "--json" in sys.argv
    try:
        code = app(prog_name="lab", standalone_mode=False)  # click would end with 1 on a closed pipe
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in: lab gpus | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except OSError as error:  # a full disk, a home that cannot be written
        sys.stderr.write(f"error: {error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be written shall not be tried again at the end
        sys.exit(1)
    except typer.Abort:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except Exception as error:
        from cli.output import fail, fail_usage
        from stacks.errors import LabError

        if isinstance(error, LabError):
            fail(error, as_json=as_json)
        message, show = getattr(error, "format_message", None), getattr(error, "show", None)
        if message is None or show is None:  # no wrong usage, which is all that typer knows
            raise
        if as_json:
            fail_usage(message())
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _whole_streams() -> None:
    """A closed descriptor is /dev/null from now on, and a character that a stream's encoding lacks is a question mark."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif number and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
