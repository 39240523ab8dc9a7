"""Reads Pulumi.yaml and Pulumi.<stack>.yaml into the same configuration map that Pulumi hands a program.

The YAML rules are those of Pulumi's reader (YAML 1.2 scalars, duplicate keys refused), so that `lab` and `pulumi` never see two
different stacks. A recorded `pulumi config --json` holds the two together in the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stacks.errors import LabError, Problem, SettingsError
from stacks.settings import PROJECT, SECRET_KEYS

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # libyaml is in every wheel; a source build may lack it, and then reading is only slower
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]

SECRET_PLACEHOLDER = "[secret]"
_STACK_NAME = re.compile(r"^Pulumi\.([A-Za-z0-9_.-]+)\.yaml$")
_OPTION_NAMESPACE = "pulumi:"


class _Loader(_BaseLoader):
    """YAML 1.2 scalars, and a duplicate key is an error."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own class protocol)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(getattr(key_node, "value", ""))
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", list("-+.0123456789")),
    ("tag:yaml.org,2002:merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # 010 is ten, as in YAML 1.2, and not eight


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


@dataclass(frozen=True)
class StackConfig:
    """One stack's configuration: `flat` as a language host receives it, `own` without the project prefix and parsed."""

    stack: str
    file: str
    flat: Mapping[str, str]
    own: Mapping[str, Any]
    secret_keys: frozenset[str]

    @property
    def own_secret_keys(self) -> frozenset[str]:
        """Names of our own secret keys, without the project prefix."""
        return frozenset(k.removeprefix(f"{PROJECT}:") for k in self.secret_keys if k.startswith(f"{PROJECT}:"))


def stack_names(root: Path) -> list[str]:
    """The stacks that have a file in `root`, sorted."""
    return sorted(m.group(1) for p in root.glob("Pulumi.*.yaml") if (m := _STACK_NAME.match(p.name)))


def stack_path(root: Path, stack: str) -> Path:
    """The file of `stack`; raises LabError with the stacks there are."""
    path = root / f"Pulumi.{stack}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", stack) or not path.is_file():
        known = stack_names(root)
        error = LabError(f"there is no stack file {path.name}", remedy=f"use one of: {', '.join(known)}" if known else f"write {path.name}; see README.md")
        error.exit_code = 2
        raise error
    return path


def read_stack(root: Path, stack: str) -> StackConfig:
    """The configuration of `stack`, with `[secret]` in the place of encrypted values. Raises SettingsError or LabError."""
    path = stack_path(root, stack)
    document = _read_map(path)
    config = document.get("config")
    if not isinstance(config, dict) or not config:
        raise SettingsError([Problem(path.name, "config", "the file has no `config:` map", "start it with `config:`; dev is an example: Pulumi.dev.yaml")])
    problems = [
        Problem(path.name, str(key), "no such top-level key", "remove it; a stack file holds `config:` and what Pulumi itself writes")
        for key in document
        if key not in ("config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment")
    ]
    flat: dict[str, str] = {}
    own: dict[str, Any] = {}
    secrets: set[str] = set()
    for raw, value in config.items():
        key = str(raw) if ":" in str(raw) else f"{PROJECT}:{raw}"
        name = key.removeprefix(f"{PROJECT}:")
        if any(_secure_places(value)):
            secrets.add(key)
            value = _without_secrets(value)
        if key.startswith(f"{PROJECT}:"):
            own[name] = value
        elif not key.startswith((_OPTION_NAMESPACE, "kubernetes:", "command:")):
            problems.append(Problem(path.name, key, "belongs to no part of this project", f"write {PROJECT}:..., or remove it"))
        flat[key] = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for place in (f"{k}{p}" for k, v in config.items() for p in _secure_places(v)):
        top = place.removeprefix(f"{PROJECT}:").split(".")[0].split("[")[0]
        if top not in SECRET_KEYS:
            problems.append(Problem(path.name, place, "holds `secure:`, but nothing secret is declared there", "write it in clear, or remove it"))
    if problems:
        raise SettingsError(problems)
    return StackConfig(stack, path.name, flat, own, frozenset(secrets))


def _read_map(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([Problem(path.name, "", f"cannot be read: {error}", "make it a UTF-8 text file that you may read")]) from None
    if not text.strip():
        raise SettingsError([Problem(path.name, "", "the file is empty", "copy Pulumi.dev.yaml and edit it")])
    tabs = [n for n, line in enumerate(text.splitlines(), 1) if "\t" in line[: len(line) - len(line.lstrip())]]
    if tabs:
        raise SettingsError([Problem(path.name, f"line {tabs[0]}", "is indented with a tab, which YAML forbids", "use spaces; type: sed -i 's/\\t/  /g' " + path.name)])
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader with stricter scalars)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        raise SettingsError([Problem(path.name, line, f"is not YAML: {getattr(error, 'problem', None) or error}", "correct that line")]) from None
    if not isinstance(document, dict):
        raise SettingsError([Problem(path.name, "", "holds no map", "start it with `config:`")])
    return document


def _is_secure(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _secure_places(value: object, path: str = "") -> Iterator[str]:
    if _is_secure(value):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secure_places(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secure_places(inner, f"{path}[{index}]")


def _without_secrets(value: Any) -> Any:
    if _is_secure(value):
        return SECRET_PLACEHOLDER
    if isinstance(value, dict):
        return {k: _without_secrets(v) for k, v in value.items()}
    return [_without_secrets(v) for v in value] if isinstance(value, list) else value
