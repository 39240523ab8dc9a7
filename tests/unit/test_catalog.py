"""The catalogue: typed, sourced, and helpful when asked for what it does not have."""

from typing import Any

import pytest
import yaml

from stacks.catalog import Fact, load
from stacks.catalog.entries import Unread
from stacks.catalog.schema import Flag, Image
from stacks.errors import CatalogError
from stacks.planning.engines.vllm.networks import network
from tests.support.stacks import ROOT


def _numbers_without_source(value: Any, path: str, covered: bool) -> list[str]:
    """Numbers that stand neither in a {value, kind, ref} fact nor in a map that names its own source."""
    if isinstance(value, dict):
        covered = covered or "source" in value or {"kind", "ref"} <= set(value)
        return [
            p
            for k, v in value.items()
            for p in _numbers_without_source(v, f"{path}.{k}", covered or f"{k}Source" in value)
        ]
    if isinstance(value, list):
        return [p for n, v in enumerate(value) for p in _numbers_without_source(v, f"{path}[{n}]", covered)]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) and not covered else []


@pytest.mark.parametrize("name", ["hardware", "models", "images", "compatibility", "flags", "gateways"])
def test_every_number_has_a_source(name: str) -> None:
    document = yaml.safe_load((ROOT / "stacks" / "catalog" / f"{name}.yaml").read_text())
    assert _numbers_without_source(document, name, covered=False) == []


def test_an_unknown_card_is_refused_with_the_nearest_names_and_where_all_of_them_are() -> None:
    with pytest.raises(CatalogError) as caught:
        load().gpu("rtx-2060")
    assert "no GPU called rtx-2060" in str(caught.value)
    assert "did you mean rtx-2060-12gb, rtx-2060-6gb or rtx-2060-super?" in caught.value.remedy
    assert "./lab gpus" in caught.value.remedy


def test_every_constant_that_the_planner_reads_is_a_fact() -> None:
    for group, entries in load().constants.items():
        for name in entries:
            values = (
                [f"{group}.{name}"]
                if "value" in entries[name]
                else [f"{group}.{name}.{inner}" for inner in entries[name]]
            )
            for path in values:
                assert isinstance(load().fact(path), Fact)


def test_an_image_without_a_digest_says_why() -> None:
    for name, image in load().images.items():
        assert image.digest_source if image.digest else image.digest_note, name
        assert image.tag not in ("", "latest"), name


@pytest.mark.parametrize("version", [None, "", "newest"])
def test_an_image_of_an_engine_names_a_version_that_can_be_read(version: str | None) -> None:
    image = load().images["vllm-cuda"].model_dump(by_alias=True)
    with pytest.raises(ValueError, match="Invalid version"):
        Image.model_validate({**image, "engineVersion": version})


def test_a_model_without_a_revision_says_why() -> None:
    for name, model in load().models.items():
        assert model.revision or model.revision_note, name


def test_every_model_has_a_network_with_a_cache_and_a_trained_length() -> None:
    for name, model in load().models.items():
        shape = network(model)
        assert shape.caches or shape.encoder, name
        assert shape.max_positions > 0, name


LAZY = """# a comment
models:
  # of the first
  one:
    since: "1.0"
    source: a
  two: # of the second
    since: "1.0"
    source: b
    more: c
"""


def test_an_entry_is_read_when_it_is_asked_for_and_a_broken_one_breaks_only_itself() -> None:
    found = Unread(Flag, LAZY, "models", "models.yaml")
    assert (list(found), len(found), "two" in found, "three" in found) == (["one", "two"], 2, True, False)
    assert found["one"].source == "a" and found["one"] is found["one"]
    with pytest.raises(CatalogError, match="two contradicts the schema"):
        found["two"]
    with pytest.raises(KeyError):
        found["three"]


def test_an_error_names_the_line_of_the_file_and_two_of_one_id_are_refused() -> None:
    broken = Unread(Flag, LAZY.replace("source: b", "source: [b"), "models", "models.yaml")
    with pytest.raises(CatalogError, match=r"models\.yaml, line 1[01]: is not YAML"):
        broken["two"]
    with pytest.raises(CatalogError, match="two entries are called one"):
        Unread(Flag, LAZY.replace("  two:", "  one:"), "models", "models.yaml")


@pytest.mark.parametrize(("name", "key"), [("hardware", "gpus"), ("models", "models"), ("images", "images")])
def test_what_is_read_entry_by_entry_is_what_the_whole_file_says(name: str, key: str) -> None:
    whole = yaml.safe_load((ROOT / "stacks" / "catalog" / f"{name}.yaml").read_text())[key]
    found = getattr(load(), key)
    assert list(found) == list(whole)
    for ident, document in whole.items():
        assert found[ident] == type(found[ident]).model_validate(document)
