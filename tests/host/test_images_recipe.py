"""The image's tag is the hash of what it is made of, and knowing it costs nothing."""

from __future__ import annotations

import builtins
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from host.artifacts.images import envoy, recipe, recipe_reference
from stacks.errors import HostError


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(recipe.RECIPES, tmp_path / "recipes")
    return tmp_path / "recipes"


@pytest.mark.parametrize("ingredient", recipe.INGREDIENTS)
def test_every_ingredient_changes_the_tag(copy: Path, ingredient: str) -> None:
    before = recipe.load(recipes=copy).reference
    file = copy / "vllm-cpu" / ingredient
    file.write_text(file.read_text() + "\n")
    recipe.load.cache_clear()
    assert recipe.load(recipes=copy).reference != before


def test_a_new_builder_version_changes_the_tag(copy: Path) -> None:
    assert recipe.load(recipes=copy, builder=recipe.BUILDER_VERSION + 1).digest != recipe.load(recipes=copy).digest


def test_inputs_of_the_locks_do_not_change_the_tag(copy: Path) -> None:
    before = recipe.load(recipes=copy).reference
    (copy / "vllm-cpu" / "python.in").write_text("vllm-cpu\n")
    recipe.load.cache_clear()
    assert recipe.load(recipes=copy).reference == before


def test_the_reference_reads_the_recipe_only_and_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.load.cache_clear()
    opened: list[str] = []
    real = Path.open

    def watch(self: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(self.name)
        return real(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", watch)
    monkeypatch.setattr("host.system.command.subprocess.run", lambda *a, **k: pytest.fail("a plan runs no program"))
    reference = recipe_reference()
    assert re.fullmatch(r"lab\.local/vllm-cpu:0\.32\.0-[0-9a-f]{12}", reference)
    assert set(opened) <= set(recipe.INGREDIENTS)
    assert builtins.open is open


def test_a_missing_ingredient_names_the_way_back(copy: Path) -> None:
    (copy / "vllm-cpu" / "debian.lock").unlink()
    with pytest.raises(HostError, match=r"not complete.*debian\.lock") as caught:
        recipe.load(recipes=copy)
    assert "from git" in caught.value.remedy


def test_locks_hold_hashes_and_versions_and_no_addresses() -> None:
    for lock in sorted(recipe.RECIPES.glob("*/*.lock")):
        text = lock.read_text()
        assert "://" not in text and "index" not in text.replace("model-index", ""), lock
        if lock.name != "debian.lock":
            pins = re.findall(r"^\S+==\S+", text, re.MULTILINE)
            assert pins and text.count("--hash=sha256:") >= len(pins), lock
            assert all(re.search(re.escape(pin) + r"[^\n]*\\\n\s+--hash=", text) for pin in pins), lock


def test_every_included_package_is_pinned() -> None:
    wanted = recipe.load()
    assert set(wanted.document["include"]) <= set(wanted.debian)
    assert all(re.fullmatch(r"[0-9A-Za-z.+:~-]+", version) for version in wanted.debian.values())


def test_the_image_starts_as_the_official_one_and_not_as_root() -> None:
    config = recipe.load().document["config"]
    assert config["Entrypoint"] == ["vllm", "serve"]
    assert config["User"] == "2000:2000"
    assert {"HOME=/tmp", "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1"} <= set(config["Env"])


def test_the_catalogue_names_envoy_s_recipe_and_both_are_of_one_version() -> None:
    from stacks.catalog import load

    images = load().images
    assert images["envoy-embedded"].reference == envoy.reference()
    assert images["envoy"].tag == f"distroless-v{images['envoy-embedded'].tag.partition('-')[0]}"
    assert images["envoy-embedded"].pull_policy == "Never"


def test_the_catalogue_names_this_recipe() -> None:
    from stacks.catalog import load

    image = load().images["vllm-cpu-embedded"]
    if image.tag == image.engine_version:
        pytest.skip("the catalogue does not carry the tag of the recipe yet")
    assert image.reference == recipe_reference(), (
        "write the tag of `python -m host.artifacts.images reference` into stacks/catalog/images.yaml"
    )
    assert json.loads((recipe.RECIPES / "vllm-cpu" / "image.json").read_text())["version"] == image.engine_version


def test_envoy_s_tag_changes_with_its_recipe_and_another_one_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "recipes"
    shutil.copytree(recipe.RECIPES, copy)
    lock = copy / "envoy" / "python.lock"
    lock.write_text(lock.read_text().replace("1.39.1", "1.39.2"))
    assert envoy.reference(copy) != envoy.reference()
    with pytest.raises(HostError, match="this release makes"):
        envoy.ensure(envoy.reference(copy), tmp_path)
    assert not envoy.stands(tmp_path)
