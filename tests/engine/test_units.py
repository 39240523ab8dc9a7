"""Paths, comparison and quantities by themselves."""

from __future__ import annotations

import pytest

from engine.diff import compare, covers, keep_old, parse_path, render_path
from engine.kinds.quantity import canonical


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("spec.ports[0].name", ("spec", "ports", 0, "name")),
        ('labels["app.kubernetes.io/name"]', ("labels", "app.kubernetes.io/name")),
        ("triggers[*]", ("triggers", "*")),
    ],
)
def test_property_paths_are_read_and_written(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path
    if "*" not in path:
        assert render_path(path) == text


def test_a_pattern_covers_what_lies_below_it_and_not_what_holds_it() -> None:
    assert covers(("triggers", "*"), ("triggers", 0, "x"))
    assert not covers(("triggers", "*"), ("triggers",))


def test_comparison_goes_down_to_the_leaf_and_keeps_booleans_apart_from_numbers() -> None:
    old = {"a": [1, {"x": 1}], "b": True, "gone": 1}
    new = {"a": [1, {"x": 2}, 3], "b": 1, "new": 1}
    assert compare(old, new) == {("a", 1, "x"): "update", ("a", 2): "add", ("b",): "update", ("gone",): "delete", ("new",): "add"}


def test_old_values_are_kept_also_behind_wildcards_and_where_they_are_missing() -> None:
    old = {"items": [{"n": 1, "m": 1}, {"n": 2, "m": 2}]}
    new = {"items": [{"n": 8, "m": 8}, {"n": 9, "m": 9}], "added": 1}
    assert keep_old(old, new, ("items", "*", "n")) == {"items": [{"n": 1, "m": 8}, {"n": 2, "m": 9}], "added": 1}
    assert keep_old(old, new, ("added",)) == {"items": new["items"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1024Mi", "1Gi"), ("24576Mi", "24Gi"), ("1.5Gi", "1536Mi"), ("100Mi", "100Mi"), ("1000Mi", "1000Mi"), ("0.5", "500m"),
        ("1500m", "1500m"), ("1000m", "1"), (1, "1"), ("1000", "1k"), ("0", "0"), ("2G", "2G"), ("none", "none"), (True, True),
    ],
)  # fmt: skip
def test_quantities_become_canonical(given: object, expected: object) -> None:
    assert canonical(given) == expected
