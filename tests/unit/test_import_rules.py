"""The walls of the house: which folder may import what (docs/architecture.md)."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.stacks import ROOT, STACKS

FOLDERS = ("stacks", "components", "host", "probes", "cli")
STACK_TYPES = ("stacks.plan", "stacks.names", "stacks.errors", "stacks.found_machine")
ALLOWED_OWN = {
    "stacks": ("stacks",),
    "components": ("components", *STACK_TYPES, "stacks"),  # `from stacks import names`; narrowed below
    "host": ("host", "probes", *STACK_TYPES, "stacks"),
    "probes": ("probes", *STACK_TYPES, "stacks"),
    "cli": FOLDERS,
    "__main__": tuple(f for f in FOLDERS if f != "cli"),
}
ALLOWED_OTHERS = {
    "stacks": ("packaging", "pydantic", "pydantic_core", "yaml"),
    "components": ("pulumi", "pulumi_kubernetes", "pulumi_command"),
    "host": ("httpx", "pydantic", "yaml", "cryptography"),
    "probes": ("httpcore", "httpx", "websockets", "yaml"),
    "cli": ("typer", "rich", "yaml"),
    "__main__": ("pulumi",),
}


def _sources() -> list[Path]:
    return [ROOT / "__main__.py", *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")))]


def _imports(path: Path) -> set[str]:
    """Dotted names that a file imports; `from stacks import names` counts as stacks.names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in prefixes)


@pytest.mark.parametrize("path", _sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_what_its_folder_may(path: Path) -> None:
    import sys

    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in _imports(path):
        top = name.split(".")[0]
        if top in FOLDERS:
            assert _is_below(name, ALLOWED_OWN[part]), f"{path} imports {name}"
            if part in ("components", "host", "probes") and top == "stacks":
                assert _is_below(name, STACK_TYPES), (
                    f"{path} may take only Plan types, found machines, names and errors, not {name}"
                )
            if part == "cli" and top == "components":
                assert _is_below(name, ("components.rendered",)), f"{path}: everything else there needs Pulumi: {name}"
        else:
            assert top in sys.stdlib_module_names or top in ALLOWED_OTHERS[part] or top == "__future__", (
                f"{path} imports {name}"
            )


PURE = [ROOT / "components" / "rendered.py", *sorted((ROOT / "components").rglob("*_manifests.py"))]


@pytest.mark.parametrize("path", PURE, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_made_from_the_plan_alone_needs_no_pulumi(path: Path) -> None:
    import sys

    for name in _imports(path):
        allowed = _is_below(name, ("stacks.names", "stacks.plan")) or (
            name.startswith("components.") and "_manifests" in name
        )
        assert allowed or name.split(".")[0] in (*sys.stdlib_module_names, "__future__"), f"{path} imports {name}"


@pytest.mark.parametrize("path", _sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_stack_is_known_by_name_in_the_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for stack in STACKS:
                assert node.value != stack and f"Pulumi.{stack}.yaml" not in node.value, (
                    f"{path}:{node.lineno} names stack {stack}"
                )
                assert len(stack) < 4 or not re.search(rf"\b{re.escape(stack)}\b", node.value), (
                    f"{path}:{node.lineno} names stack {stack}"
                )


COMPONENTS = [p for p in sorted((ROOT / "components").rglob("*.py")) if not p.stem.endswith("_manifests")]


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda p: p.name)
def test_a_component_module_stays_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", sorted((ROOT / "probes").rglob("*.py")), ids=lambda p: p.name)
def test_a_probe_never_writes(path: Path) -> None:
    writers = {
        "write_text",
        "write_bytes",
        "unlink",
        "mkdir",
        "rmdir",
        "rename",
        "replace",
        "rmtree",
        "remove",
        "touch",
        "chmod",
        "symlink_to",
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in writers, f"{path}:{node.lineno} {node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            assert len(node.args) < 2 and not node.keywords, f"{path}:{node.lineno} opens a file to write"


SUBPROCESS = {
    "host/system/command.py",
    "host/system/process_guard.py",
    "cli/commands/test.py",
    "probes/exec_credential.py",  # a kubeconfig's own credential plugin, which every client of that cluster runs
}


@pytest.mark.parametrize("path", _sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_one_module_runs_the_machines_programs(path: Path) -> None:
    if str(path.relative_to(ROOT)) in SUBPROCESS:
        return
    tree = ast.parse(path.read_text())
    typing_only = {n for node in ast.walk(tree) if isinstance(node,
    ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" for n in ast.walk(node)}  # fmt: skip
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node,
        ast.ImportFrom) else []  # fmt: skip
        assert "subprocess" not in names or node in typing_only, f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in ("system", "popen", "spawnv", "posix_spawn"), f"{path}:{node.lineno}"
