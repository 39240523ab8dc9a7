"""The user's own models: catalog/ID.yaml beside the stack files, read like the ones that ship."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from cli.changes import touched_stacks
from cli.load import load_plan
from stacks.catalog import load
from stacks.catalog.loader import problems
from stacks.errors import CatalogError
from tests.support.stacks import ROOT


def _own(root: Path, name: str, like: str = "qwen2.5-0.5b-instruct", **changes: object) -> Path:
    document = json.loads(load().model(like).model_dump_json(by_alias=True)) | changes
    path = root / "catalog" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def test_without_the_folder_there_are_the_shipped_models_only(tmp_path: Path) -> None:
    assert load(tmp_path) is load(tmp_path)
    assert all(model.shipped for model in load(tmp_path).models.values())


def test_a_model_of_ones_own_stands_beside_the_shipped_ones_and_is_marked(tmp_path: Path) -> None:
    _own(tmp_path, "my-model")
    catalog = load(tmp_path)
    assert not catalog.model("my-model").shipped
    assert catalog.model("qwen3-8b").shipped
    assert len(catalog.models) == len(load().models) + 1
    with pytest.raises(CatalogError, match="did you mean my-model"):
        catalog.model("my-modle")


def test_a_new_file_is_seen_by_the_next_load(tmp_path: Path) -> None:
    _own(tmp_path, "one")
    assert "two" not in load(tmp_path).models
    _own(tmp_path, "two")
    assert "two" in load(tmp_path).models


def test_a_shipped_id_may_not_be_shadowed(tmp_path: Path) -> None:
    _own(tmp_path, "qwen3-8b")
    with pytest.raises(CatalogError, match=r"already ships a model called qwen3-8b: catalog/qwen3-8b.yaml") as caught:
        load(tmp_path)
    assert "choose another id" in caught.value.remedy


@pytest.mark.parametrize("name", ["My-Model", "a b", "-x", "x" * 81])
def test_a_file_whose_name_is_no_id_is_refused(tmp_path: Path, name: str) -> None:
    _own(tmp_path, name)
    with pytest.raises(CatalogError, match="the name is no id"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", r"catalog/bad.yaml, line \d+: is not YAML"),
        ("- a list", "holds no map"),
        ("", "holds no map"),
        ("repository: a/b", "contradicts the schema"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_broken_file_breaks_only_its_own_model_and_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "bad.yaml").write_text(text)
    catalog = load(tmp_path)
    assert catalog.model("qwen3-8b")
    with pytest.raises(CatalogError, match=said):
        catalog.model("bad")
    assert len(problems(catalog)) == 1


def test_every_fault_of_an_entry_is_said_at_once(tmp_path: Path) -> None:
    _own(tmp_path, "bad", parameters="many", quantization="magic", surprise=1)
    with pytest.raises(CatalogError) as caught:
        load(tmp_path).model("bad")
    for key in ("parameters", "quantization", "surprise"):
        assert f"  {key}: " in caught.value.message


def test_a_stack_may_name_a_model_of_its_own_project(tmp_path: Path) -> None:
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    stack = tmp_path / "Pulumi.dev.yaml"
    stack.write_text(stack.read_text().replace("model: gemma-3-270m", "model: mine"))
    with pytest.raises(CatalogError, match="no model called mine"):
        load_plan(tmp_path, "dev")
    _own(tmp_path, "mine", like="gemma-3-270m")
    assert len(load_plan(tmp_path, "dev")[1].models) == 1


def test_a_change_of_the_own_catalogue_touches_every_stack() -> None:
    assert touched_stacks(["catalog/mine.yaml"], ["one", "two"]).stacks == ("one", "two")
