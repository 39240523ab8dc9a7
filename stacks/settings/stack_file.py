"""Reads Pulumi.yaml and Pulumi.<stack>.yaml into the same configuration map that Pulumi hands a program.

The YAML rules are those of Pulumi's reader (see stack_yaml). A recorded `pulumi config --json` holds the two together
in the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stacks.errors import LabError, Problem, SettingsError, shown
from stacks.settings import PROJECT, SECRET_KEYS, Settings, stack_yaml
from stacks.settings.machine import DETECTABLE
from stacks.settings.problems import UNDECLARED

SECRET_PLACEHOLDER = "[secret]"  # noqa: S105  (stands for one)
_STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_STACK_FILE = re.compile(rf"Pulumi\.({_STACK_NAME.pattern})\.yaml")
_LARGEST = 2**20  # bytes; a file with 256 models has about 50 kB
SECRET_FILE_KEYS = ("encryptionsalt", "secretsprovider", "encryptedkey")
"""Top-level keys that Pulumi writes, and without which the file's secrets cannot be read."""
_TOP_LEVEL = ("config", *SECRET_FILE_KEYS, "environment")
_PREFIX = f"{PROJECT}:"
_EXAMPLE = "begin it with `config:`, as other stack files do; to see them, type: head -n 20 Pulumi.*.yaml"
_FOREIGN = ("pulumi:", "kubernetes:", "command:")


@dataclass(frozen=True)
class StackConfig:
    """One stack's configuration: `flat` as a language host receives it, `own` without the project prefix and parsed."""

    stack: str
    file: str
    flat: Mapping[str, str]
    own: Mapping[str, Any]
    secret_keys: frozenset[str]
    sealed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Ciphertexts by key of `flat`, as `pulumi config set --secret` writes them."""
    salt: str = ""
    """The `encryptionsalt` of the file; empty where `pulumi stack init` was never run."""

    @property
    def own_secret_keys(self) -> frozenset[str]:
        """Names of our own secret keys, without the project prefix."""
        return frozenset(k.removeprefix(_PREFIX) for k in self.secret_keys if k.startswith(_PREFIX))


def is_stack_name(name: str) -> bool:
    """Whether Pulumi.NAME.yaml may be called so."""
    return bool(_STACK_NAME.fullmatch(name))


def stack_names(root: Path) -> list[str]:
    """The stacks that have a file in `root`, sorted."""
    return sorted(
        m.group(1) for p in root.glob("Pulumi.*.yaml") if (m := _STACK_FILE.fullmatch(p.name)) and p.is_file()
    )


def stack_path(root: Path, stack: str) -> Path:
    """The file of `stack`; raises LabError with the stacks there are."""
    path = root / f"Pulumi.{stack}.yaml"
    if not _STACK_NAME.fullmatch(stack) or not path.is_file():
        known = stack_names(root)
        name = shown(f"Pulumi.{stack}.yaml")
        remedy = f"use one of: {', '.join(known)}" if known else f"write {name}; see README.md"
        error = LabError(f"there is no stack file {name}", remedy=remedy)
        error.exit_code = 2
        raise error
    return path


def read_stack(root: Path, stack: str) -> StackConfig:
    """The configuration of `stack`, with `[secret]` in the place of encrypted values. Raises SettingsError or
    LabError.
    """
    path = stack_path(root, stack)
    document = _read_map(path)
    config = document.get("config")
    if not isinstance(config, dict) or not config:
        raise SettingsError([Problem(path.name, "config", "the file has no `config:` map", _EXAMPLE)])
    found = _Found(path.name)
    for key in document:
        if key not in _TOP_LEVEL:
            found.problem(shown(key), "no such top-level key", "remove it, or indent it below `config:`")
    for raw, value in config.items():
        found.take(raw, value)
    if found.problems:
        raise SettingsError([*found.problems, *found.settings_problems()])
    salt = document.get("encryptionsalt")
    return StackConfig(
        stack,
        path.name,
        found.flat,
        found.own,
        frozenset(found.secrets),
        found.sealed,
        salt if isinstance(salt, str) else "",
    )


@dataclass
class _Found:
    """What the `config:` map holds, key by key, and everything that is wrong with its keys and its secrets."""

    file: str
    flat: dict[str, str] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    sealed: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, path, message, remedy))

    def take(self, raw: str, value: object) -> None:
        """One entry of the map, under the key that Pulumi makes of `raw`: `machine` is `local-ai-lab:machine`."""
        key = re.sub(r"^([^:]*):config:([^:]*)$", r"\1:\2", raw) if ":" in raw else f"{_PREFIX}{raw}"
        if key in self.flat:
            self.problem(shown(key), f"stands twice: {shown(raw)} is the same key", "keep one of the two")
            return
        if not key.startswith((_PREFIX, *_FOREIGN)) or key.count(":") != 1:
            self.problem(shown(key), "belongs to no part of this project", f"write {_PREFIX}..., or remove it")
        places = list(_secure_places(value))
        self._check_secrets(key, places)
        if places:
            self.secrets.add(key)
            if isinstance(value, dict) and _is_secure(value):
                self.sealed[key] = value["secure"]
            value = _without_secrets(value)
        if key.startswith(_PREFIX):
            self.own[key.removeprefix(_PREFIX)] = value
        self.flat[key] = _text(value)

    def _check_secrets(self, key: str, places: list[str]) -> None:
        name = key.removeprefix(_PREFIX)
        for place in places:
            path = f"{shown(key)}{place}"
            if name not in SECRET_KEYS:
                self.problem(path, UNDECLARED, f"write it in clear, or type: pulumi config rm {shown(name)}")
            elif place:
                message = "holds a secret inside a list or map, and this one is a single text"
                self.problem(path, message, f"type: pulumi config set --secret {name}")

    def settings_problems(self) -> list[Problem]:
        """What Settings would say too, so that nobody corrects a file in rounds; places already spoken of are
        left out.
        """
        declared = frozenset(k.removeprefix(_PREFIX) for k in self.secrets) & set(SECRET_KEYS)
        try:
            detected = dict.fromkeys(DETECTABLE, 1)  # what may be missing is no problem
            Settings.from_config(self.own, file=self.file, secret_keys=declared, detected=detected)
        except SettingsError as error:
            known = {problem.path for problem in self.problems}
            return [problem for problem in error.problems if problem.path not in known]
        return []


def _read_map(path: Path) -> dict[str, Any]:
    def refuse(message: str, remedy: str, line: int = 0) -> SettingsError:
        return SettingsError([Problem(path.name, f"line {line}" if line else "", message, remedy)])

    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise refuse(
                f"is {size:,} bytes large, and at most {_LARGEST:,} are read",
                "keep only the settings of one machine in it",
            )
        text = path.read_text(encoding="utf-8-sig")  # Pulumi, too, skips a byte order mark
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}", f"type: ls -l {path.name}") from None
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{error.object[error.start]:02x}"
        raise refuse(
            f"is not UTF-8 text: {byte}", f"save it as UTF-8; to see what it is, type: file {path.name}"
        ) from None
    document, faults = stack_yaml.load(text)
    if faults:
        raise SettingsError(
            [Problem(path.name, f"line {f.line}", f.message, f.remedy.replace("FILE", path.name)) for f in faults]
        )
    if document is None:
        raise refuse("the file is empty", _EXAMPLE)
    if not isinstance(document, dict):
        raise refuse("holds no map", _EXAMPLE, line=1)
    return document


def _text(value: object) -> str:
    """A value as Pulumi hands it on: a text as it is, nothing as an empty text, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _is_secure(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"} and isinstance(value["secure"], str)


def _secure_places(value: object, path: str = "") -> Iterator[str]:
    if _is_secure(value):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secure_places(inner, f"{path}.{shown(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secure_places(inner, f"{path}[{index}]")


def _without_secrets(value: object) -> object:
    if _is_secure(value):
        return SECRET_PLACEHOLDER
    if isinstance(value, dict):
        return {k: _without_secrets(v) for k, v in value.items()}
    return [_without_secrets(v) for v in value] if isinstance(value, list) else value
