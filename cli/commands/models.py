"""`lab models`: the models that the planner knows, the user's own among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from cli.output import console, print_json, print_table
from stacks.catalog import Model, load
from stacks.catalog.kv import kv_bytes_per_token
from stacks.catalog.loader import OWN_FOLDER, problems
from stacks.errors import CatalogError, LabError

_TITLE = "Models. GiB of weights on the device; KV: kB (1000 bytes) of 16-bit cache a token, before sliding windows end"


def run(root: Path, *, as_json: bool, sources: bool) -> None:
    """Prints the models in the catalogue's order; an unusable entry of the user's own is said after them, with exit
    code 2.
    """
    catalog = load(root)
    wrong = problems(catalog)
    models = {name: catalog.models[name] for name in catalog.models if not _is_wrong(name, catalog.models)}
    if as_json:
        print_json(
            {name: _document(model) for name, model in models.items()}
            | ({"errors": [e.message for e in wrong]} if wrong else {})
        )
    else:
        _print(models, sources=sources)
    if wrong:
        raise _all_of(wrong)


def _is_wrong(name: str, models: Any) -> bool:
    try:
        models[name]
    except CatalogError:
        return True
    return False


def _document(model: Model) -> dict[str, Any]:
    return {
        **model.model_dump(mode="json", by_alias=True),
        "kvBytesPerToken": kv_bytes_per_token(model.config),
        "own": not model.shipped,
    }


def _print(models: dict[str, Model], *, sources: bool) -> None:
    out = console()
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=_TITLE, title_justify="left", title_style="bold"
    )
    table.add_column("model", no_wrap=True)
    for column in ("parameters", "GiB", "KV"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("quantization", "task", "licence", "repository"):
        table.add_column(column, overflow="fold", style="dim" if column == "repository" else "")
    for name, model in models.items():
        table.add_row(
            name if model.shipped else f"[cyan]{name}[/] (own)",
            model.parameters,
            f"{model.weights_gib.value:.2f}",
            f"{kv_bytes_per_token(model.config) / 1000:.1f}",
            model.quantization or "-",
            model.task,
            model.licence.replace("[", r"\["),
            model.repository.replace("[", r"\["),
        )
    print_table(out, table)
    if sources:
        out.print()
        for name, model in models.items():
            out.print(f"[bold]{name}[/]")
            for what, source in (
                (f"weights {model.weights_gib.value:g} GiB", model.weights_gib.source),
                (f"download {model.download_gib.value:g} GiB", model.download_gib.source),
                ("config", str(model.config_source)),
                (f"revision {model.revision}" if model.revision else "no revision", model.revision_note or ""),
            ):
                out.print(f"  {what}: {source}", markup=False)
        return
    own = sum(not model.shipped for model in models.values())
    mine = f", {own} of your own in {OWN_FOLDER}/" if own else ""
    out.print(
        f"{len(models)} models{mine}; where each figure comes from: ./lab models --sources", style="dim", markup=False
    )
    out.print("another one: ./lab model add REPOSITORY", style="dim", markup=False)


def _all_of(wrong: list[LabError]) -> CatalogError:
    return CatalogError(
        "\n".join(error.message for error in wrong), remedy="\n     ".join(sorted({error.remedy for error in wrong}))
    )
