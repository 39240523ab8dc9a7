"""What the docs show is what the program says, and the site needs nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import pytest
import yaml

from stacks.planning.clusters import DRIVERS
from stacks.planning.engines import ENGINES
from tests.support.stacks import ROOT

REMEDY = "write them again: scripts/captures"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), *sorted((DOCS / "adr").glob("*.md"))]
GIVEN_UP = re.compile(
    r"\b(seeds?|prov(?:ed|es|en)|wish(?:es|ed)?|strangers?|motor|doors?|judges?|homeless|rungs?|the house|anew)\b",
    re.IGNORECASE,
)


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return _script("captures")


@pytest.fixture(scope="module")
def made(script: ModuleType) -> dict[str, str]:
    return script.captures()


@pytest.mark.long
def test_the_captures_are_what_the_commands_print(script: ModuleType, made: dict[str, str]) -> None:
    assert made == {path.name: path.read_text() for path in script.FOLDER.glob("*.txt")}, REMEDY
    assert script.readme(script.README.read_text(), made) == script.README.read_text(), REMEDY


@pytest.mark.long
def test_a_capture_is_at_most_80_columns_wide_where_a_line_can_be_folded(made: dict[str, str]) -> None:
    for name, text in made.items():
        for line in text.splitlines():
            assert len(line) <= 80 or re.fullmatch(r" *(\$ )?\S{40,} *\\?", line), (name, line)


def test_every_capture_is_shown_somewhere(script: ModuleType, made: dict[str, str]) -> None:
    text = "".join(page.read_text() for page in PAGES)
    shown = set(re.findall(r'--8<-- "([^"]+\.txt)"', text)) | {f"{n}.txt" for n in re.findall(r"capture: (\S+)", text)}
    recorded = {f"recorded/{path.name}" for path in script.FOLDER.glob("recorded/*.txt")}
    assert recorded
    assert shown == set(made) | recorded


def test_the_tables_of_troubleshooting_are_the_signatures(script: ModuleType) -> None:
    text = script.PAGE.read_text()
    assert script.page(text) == text, REMEDY


def test_the_tables_of_nvidias_layers_are_the_signatures(script: ModuleType) -> None:
    text = script.LAYERS.read_text()
    assert script.nvidia_page(text) == text, REMEDY
    assert text.count("\n| driver |") + text.count("\n| toolkit |") > 10


def test_the_table_of_the_page_of_plain_docker_is_the_signatures(script: ModuleType) -> None:
    text = script.DOCKER_PAGE.read_text()
    assert script.docker_page(text) == text, REMEDY
    assert "another container or program has the endpoint's port" in text


def test_the_table_of_the_page_of_minikube_is_what_its_driver_says(script: ModuleType) -> None:
    text = script.MINIKUBE.read_text()
    assert script.minikube_page(text) == text, REMEDY


@pytest.mark.parametrize(("mark", "registry"), [("drivers", DRIVERS), ("engines", ENGINES)])
def test_the_tables_of_the_architecture_are_the_registries(mark: str, registry: dict) -> None:
    _, _, rest = (DOCS / "architecture.md").read_text().partition(f"<!-- {mark} -->\n")
    table, _, _ = rest.partition(f"<!-- /{mark} -->")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    assert [row[:2] for row in rows] == [[f"`{name}`", entry.title] for name, entry in registry.items()]
    for row in rows:
        entry = registry[row[0].strip("`")]
        assert row[2] == ("yes" if getattr(entry, "deployable", True) else "planned and previewed"), row


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.glob("*.md"):
        assert f" {page.name}\n" in navigation, page.name
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_path_that_a_page_names_is_there() -> None:
    path = re.compile(r"`((?:stacks|components|host|probes|cli|tests|scripts|research|requirements)/[\w./-]+)`")
    for page in (p for p in PAGES if p.name != "CHANGELOG.md"):
        for named in path.findall(page.read_text()):
            if not re.search(r"[A-Z]{4,}", named.removesuffix("README.md")):  # DRIVER stands for a name
                assert (ROOT / named).exists(), f"{page.name}: {named}"


def test_every_command_that_a_page_types_exists(made: dict[str, str]) -> None:
    known = set(re.findall(r"^  (\w[\w-]*)  ", made["commands.txt"].partition("Commands:")[2], re.MULTILINE))
    assert {"plan", "up", "model"} <= known
    for page in PAGES:
        for command in re.findall(r"\./lab ([a-z][\w-]*)", page.read_text()):
            assert command in known, f"{page.name}: ./lab {command}"


def test_no_page_uses_words_that_the_project_gave_up() -> None:
    for page in PAGES:
        text = page.read_text()
        assert not GIVEN_UP.search(text), (page.name, GIVEN_UP.search(text))


@pytest.mark.parametrize(
    "html",
    [
        '<link rel="stylesheet" href="https://fonts.example/css?family=Roboto">',
        "<script src='//cdn.example/x.js'></script>",
        '<img alt="badge" src="https://badge.example/x.svg">',
        '<pre class="mermaid"><code>flowchart LR</code></pre>',
    ],
)
def test_a_page_that_loads_from_another_host_is_found(html: str) -> None:
    assert _script("offline").loaded(f"<html>{html}</html>")


def test_a_page_that_loads_its_own_files_is_fine() -> None:
    own = '<script src="../x.js"></script><img src="samples/plan.svg"><a href="https://www.pulumi.com/">Pulumi</a>'
    assert _script("offline").loaded(own) == []


def test_the_site_is_built_strictly_and_without_fonts_of_others() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert (settings["strict"], settings["theme"]["font"]) == (True, False)
    assert settings["hooks"] == ["docs/offline.py"]
