"""The `lab` command. Each command's imports are inside it, so that `lab --help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent

app = typer.Typer(
    name="lab",
    help="A private, secured, OpenAI-compatible endpoint on your own machine, its settings proved to fit before anything is touched.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Stack = Annotated[str, typer.Argument(help="The stack: Pulumi.STACK.yaml. See them all with: lab validate", metavar="STACK")]
MaybeStack = Annotated[str | None, typer.Argument(help="The stack; the one used last without it.", metavar="STACK")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command()
def preview(
    stack: Stack,
    json: Json = False,
    manifests: Annotated[
        Path | None, typer.Option(help="Write the Kubernetes objects as YAML files into this new or empty folder.", metavar="DIR")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
) -> None:
    """Show what a stack would do to its machine and why; touches nothing and needs nothing."""
    if json and markdown:
        raise typer.BadParameter("--json and --markdown exclude each other")
    from cli.preview import run

    run(ROOT, stack, as_json=json, manifests=manifests, markdown=markdown)


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
    purge: Annotated[bool, typer.Option("--purge", help="Remove the caches and the model cache too.")] = False,
    json: Json = False,
) -> None:
    """Remove what `up` made; keep caches and models."""
    from cli.down import run

    run(ROOT, stack, yes=yes, purge=purge, as_json=json)


@app.command()
def handover(
    stack: Stack,
    output: Annotated[Path, typer.Option(help="The file for `pulumi stack import`.", metavar="FILE")] = Path("handover.json"),
    yes: Yes = False,
) -> None:
    """Give a stack to the Pulumi CLI for good."""
    from cli.handover import run

    run(ROOT, stack, yes=yes, output=output)


@app.command()
def validate(
    stacks: Annotated[list[str] | None, typer.Argument(help="Stacks to look at; all without any.", metavar="[STACK]...")] = None,
    json: Json = False,
) -> None:
    """Read and plan stack files; say everything that is wrong with them."""
    from cli.validate import run

    run(ROOT, stacks or [], as_json=json)


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
    output: Annotated[Path | None, typer.Option(help="Write the Markdown here instead of printing it.", metavar="FILE")] = None,
) -> None:
    """Validate and preview the stacks that a change touches, as one pull-request comment."""
    from cli.review import run

    run(ROOT, base=base, output=output)


@app.command()
def env() -> None:
    """Print the exports with which plain `pulumi` sees the same stacks: eval "$(./lab env)"."""
    from cli.env import run

    run(ROOT)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run the project's tests; anything after it goes to pytest."""
    from cli.test import run

    run(ROOT, context.args)


def main() -> None:
    """Runs the command line; an error of ours leaves as its message and exit code, never as a traceback."""
    try:
        app(prog_name="lab")
    except Exception as error:
        from stacks.errors import LabError

        if not isinstance(error, LabError):
            raise
        from cli.output import fail

        fail(error, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
