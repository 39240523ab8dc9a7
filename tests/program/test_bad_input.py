"""Whatever is wrong in a stack file: `lab` and the program refuse it with a message, and nothing is registered."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.load import load_plan
from stacks.errors import LabError, PlanError
from tests.support.mutations import Case, cases_of_all
from tests.support.recording import STACK_TYPE
from tests.support.stacks import ROOT, STACKS, configuration, preview, run

PROJECT = "local-ai-lab"
NOT_FOR_USERS = (
    "traceback",
    "pydantic",
    "tuple",
    "input should",
    "discriminator",
    "dict_type",
    "model_type",
    "validation error",
    "expected_tags",
)
seen: Counter[str] = Counter()


def _first(**machine: str) -> str:
    """A shipped stack with such a machine."""
    return next(s for s in STACKS if machine.items() <= configuration(s)["machine"].items())


CPU, GPU = _first(kind="cpu"), _first(kind="nvidia", platform="wsl2")


def _by_hand(name: str, stack: str, edit: Callable[[dict[str, Any]], object], *names: str) -> Case:
    own = configuration(stack, lambda c: edit(c) and None)
    return Case(f"by hand: {name}", {f"{PROJECT}:{key}": value for key, value in own.items()}, names)


def _model(**wishes: object) -> dict[str, Any]:
    return {"name": "another", "model": "gemma-3-270m", "contextTokens": 2048, "port": 30090, **wishes}


BY_HAND = [
    _by_hand(
        "a card that the catalogue does not know",
        GPU,
        lambda c: c["machine"].update(gpu="rtx-9999"),
        "machine.gpu",
        "rtx-9999",
    ),
    _by_hand(
        "a model that the catalogue does not know",
        CPU,
        lambda c: c["models"][0].update(model="gpt-9"),
        "models[0].model",
        "gpt-9",
    ),
    _by_hand(
        "two unknown models at once",
        CPU,
        lambda c: c["models"].append(_model(model="b")) or c["models"][0].update(model="a"),
        "models[0].model",
        "models[1].model",
    ),
    _by_hand(
        "a name twice",
        CPU,
        lambda c: c["models"].append(_model(name=c["models"][0]["name"])),
        "local-ai-lab:models[1].name",
        "models[0]",
    ),
    _by_hand(
        "the default port twice",
        CPU,
        lambda c: c["models"].append(_model(port=30080)),
        "local-ai-lab:models[1].port",
        "port: 30081",
    ),
    _by_hand(
        "a port below the endpoint ports",
        CPU,
        lambda c: c["models"][0].update(port=80),
        "local-ai-lab:models[0].port",
        "30080 to 30095",
    ),
    _by_hand(
        "a port above the endpoint ports",
        CPU,
        lambda c: c["models"][0].update(port=32768),
        "local-ai-lab:models[0].port",
        "30080 to 30095",
    ),
    _by_hand(
        "a name of 41 characters",
        CPU,
        lambda c: c["models"][0].update(name="a" * 41),
        "local-ai-lab:models[0].name",
        "at most 40",
    ),
    _by_hand(
        "the name vllm", CPU, lambda c: c["models"][0].update(name="vllm"), "local-ai-lab:models[0].name", "VLLM_PORT"
    ),
    _by_hand(
        "257 models",
        CPU,
        lambda c: c["models"].extend(_model() for _ in range(256)),
        "local-ai-lab:models",
        "257 entries",
    ),
    _by_hand(
        "an embedded cluster for a GPU",
        GPU,
        lambda c: c.update(cluster={"driver": "embedded"}),
        "local-ai-lab:cluster.driver",
        "minikube",
    ),
    _by_hand(
        "minikube without a GPU",
        CPU,
        lambda c: c.update(cluster={"driver": "minikube"}),
        "local-ai-lab:cluster.driver",
        "embedded",
    ),
    _by_hand(
        "WSL memory without WSL",
        GPU,
        lambda c: c["machine"].update(platform="linux"),
        "local-ai-lab:machine.wslMemoryGiB",
        "platform: wsl2",
    ),
    _by_hand(
        "more WSL memory than memory",
        GPU,
        lambda c: c["machine"].update(wslMemoryGiB=17),
        "local-ai-lab:machine.wslMemoryGiB",
        "memoryGiB is 16",
    ),
    _by_hand(
        "a cache in /etc",
        CPU,
        lambda c: c.update(modelCache={"path": "/etc/models"}),
        "local-ai-lab:modelCache.path",
        "~/models",
    ),
    _by_hand(
        "a cache behind ..",
        CPU,
        lambda c: c.update(modelCache={"path": "/srv/../etc"}),
        "local-ai-lab:modelCache.path",
        "~/models",
    ),
    _by_hand(
        "a cache on a Windows drive",
        GPU,
        lambda c: c.update(modelCache={"path": "/mnt/c/models"}),
        "local-ai-lab:modelCache.path",
    ),
    _by_hand(
        "a declared secret in clear text",
        CPU,
        lambda c: c.update(apiKey="sk-in-clear"),
        "local-ai-lab:apiKey",
        "pulumi config set --secret apiKey",
    ),
    _by_hand(
        "a declared secret as a map",
        CPU,
        lambda c: c.update(huggingFaceToken={"a": "b"}),
        "local-ai-lab:huggingFaceToken",
    ),
    _by_hand(
        "more context than the model was trained for",
        CPU,
        lambda c: c["models"][0].update(contextTokens=16_777_216),
        "contextTokens",
    ),
    _by_hand("more replicas than cards", GPU, lambda c: c["models"][0].update(replicas=64), "64 x phi-3-mini"),
    _by_hand("less disk than the image", GPU, lambda c: c["machine"].update(diskFreeGiB=1), "disk"),
    _by_hand(
        "a GPU share without a GPU",
        CPU,
        lambda c: c["models"][0].update(pin={"gpuMemoryUtilization": 0.5}),
        "gpuMemoryUtilization",
    ),
    _by_hand(
        "a memory limit that is too small",
        CPU,
        lambda c: c["models"][0].update(pin={"memoryLimitGiB": 1}),
        "memoryLimitGiB",
    ),
]


def _varied() -> list[str]:
    """A stack for each driver, and one whose engines share a card: what others have besides is more of the same
    models.
    """
    found: dict[str, str] = {}
    for stack in sorted(STACKS, key=lambda name: (len(configuration(name)["models"]), name)):
        own = configuration(stack)
        found.setdefault("sharing" if "gpu" in own else own["cluster"]["driver"], stack)
    return list(found.values())


CASES = [*BY_HAND, *cases_of_all(_varied())]
every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: case.name.encode("ascii", "backslashreplace").decode()
)


def _folder(folder: Path, content: str | bytes, stack: str = "wrong") -> Path:
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    (folder / f"Pulumi.{stack}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def _readable(message: str) -> None:
    lowered = message.lower()
    assert not [word for word in NOT_FOR_USERS if word in lowered], message
    assert len(message) < 20_000, "a message that nobody can read"
    assert all(c == "\n" or c.isprintable() for c in message), "a terminal would obey this"


@every_case
def test_lab_refuses_the_file_and_says_where(case: Case, tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        load_plan(_folder(tmp_path, case.yaml), "wrong")
    seen["refused by lab"] += 1
    message = str(caught.value)
    assert caught.value.exit_code == 2
    if case.unreadable:
        assert "Pulumi.wrong.yaml: line " in message
    else:
        assert [n for n in case.names if n not in message] == [], message
        assert "Pulumi.wrong.yaml" in message or case in BY_HAND
    assert "->" in message or isinstance(caught.value, PlanError), "a remedy is missing"
    _readable(message)


@every_case
def test_the_program_refuses_the_configuration_and_registers_nothing(case: Case) -> None:
    result = run("wrong", case.config)
    errors = [d.message for d in result.diagnostics if d.severity == "error"]
    registered = [step for step in result.steps if step.type != STACK_TYPE]
    seen["refused by the program"] += not result.ok
    seen["registrations"] += len(registered)
    seen["tracebacks"] += sum("Traceback" in d.message for d in result.diagnostics)
    assert registered == []
    assert not result.ok
    assert len(errors) == 1
    named = tuple(re.split(r"[.\[]", n)[0] for n in case.names) if case.infinite else case.names
    assert [n for n in named if n not in errors[0]] == [], errors[0]
    _readable(errors[0])


BAD_FILES: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "an empty file": ("", ("the file is empty",)),
    "a file of comments": ("# nothing\n---\n", ("the file is empty",)),
    "a file of blanks": ("  \n\n", ("the file is empty",)),
    "a list instead of a map": ("- config\n", ("line 1", "holds no map")),
    "a text instead of a map": ("config\n", ("line 1", "holds no map")),
    "no config": ("encryptionsalt: v1:x\n", ("config", "no `config:` map")),
    "an empty config": ("config:\n", ("config", "no `config:` map")),
    "config as a list": ("config: [1]\n", ("config", "no `config:` map")),
    "config as a text": ("config: all\n", ("config", "no `config:` map")),
    "config without entries": ("config: {}\n", ("config", "no `config:` map")),
    "a tab": ("config:\n\tmachine: {}\n", ("line 2", "indented with a tab", "sed -i 's/\\t/  /g' Pulumi.wrong.yaml")),
    "binary": (b"\x7fELF\x02\x01\xff\xfe", ("is not UTF-8 text", "file Pulumi.wrong.yaml")),
    "UTF-16": ("config:\n".encode("utf-16"), ("is not UTF-8 text: byte 0 is 0xff",)),
    "Latin-1": ("# gr\xfc\xdfe\nconfig: {}\n".encode("latin-1"), ("is not UTF-8 text",)),
    "NUL": ("config:\n  a: \x00\n", ("line 2", "control character")),
    "an escape character": ("config:\n  a: \x1b[31m\n", ("line 2", "control character")),
    "an unclosed quote": ('config:\n  a: "b\n', ("is not YAML",)),
    "an unclosed bracket": ("config:\n  a: [1, 2\n", ("is not YAML",)),
    "a colon too many": ("config:\n  a: b: c\n", ("line 2", "is not YAML")),
    "a key twice": (
        "config:\n  machine: {kind: cpu}\n  machine: {kind: cpu}\n",
        ("line 3", "sets machine a second time; the first is on line 2"),
    ),
    "a nested key twice": ("config:\n  machine: {kind: cpu, 'kind': cpu}\n", ("line 2", "sets kind a second time")),
    "a key with and without prefix": (
        "config:\n  machine: {}\n  local-ai-lab:machine: {}\n",
        ("local-ai-lab:machine", "stands twice"),
    ),
    "a key that is a number": ("config:\n  machine: {1: 2}\n", ("line 2", "the key 1, which is not a text", '"1":')),
    "a key that is true": ("config:\n  machine: {true: 2}\n", ("line 2", "the key true, which is not a text")),
    "a key that is a list": ("config:\n  ? [1]\n  : 2\n", ("line 2", "a list or a map as a key")),
    "two documents": ("config: {}\n---\nconfig: {}\n", ("line 2", "begins a second document")),
    "an alias of nothing": ("config:\n  a: *b\n", ("line 2", "alias")),
    "an alias of itself": (
        "config: &a\n  machine: *a\n",
        ("line 1", "line 2", "an anchor (&name) or an alias (*name)"),
    ),
    "a merge": (
        "config:\n  machine:\n    <<: {a: 1}\n",
        ("line 3", "holds <<, which YAML readers take for different things"),
    ),
    "a Python object": (
        "config:\n  machine: !!python/object/apply:os.system [id]\n",
        ("line 2", "the tag !!python/object/apply:os.system"),
    ),
    "a binary tag": ("config:\n  machine: !!binary aGk=\n", ("line 2", "the tag !!binary")),
    "a set": ("config:\n  machine: !!set {a, b}\n", ("line 2", "the tag !!set")),
    "a false tag": ("config:\n  machine: !!int abc\n", ("line 2", "the tag !!int")),
    "a false truth": ("config:\n  machine: !!bool maybe\n", ("line 2", "the tag !!bool")),
    "a date": ("config:\n  machine: 2024-01-01\n", ("line 2", 'in quotes: "2024-01-01"')),
    "an unknown top-level key": (
        "config:\n  machine: {kind: cpu}\nconfg: {}\n",
        ("confg", "no such top-level key", "local-ai-lab:models"),
    ),
    "a foreign namespace": ("config:\n  aws:region: x\n", ("aws:region", "belongs to no part of this project")),
    "too many colons": ("config:\n  a:b:c: x\n", ("a:b:c", "belongs to no part of this project")),
    "billion laughs": (
        "config:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)),
        ("line 2", "uses an anchor (&name)"),
    ),
    "a hundred thousand brackets": (
        "config: " + "[" * 100_000 + "]" * 100_000,
        ("line 1", "nested more than 32 levels"),
    ),
    "a hundred thousand braces": (
        "config: " + "{a: " * 100_000 + "}" * 100_000,
        ("line 1", "nested more than 32 levels"),
    ),
    "a hundred thousand hyphens": ("config:\n  " + "- " * 100_000 + "x\n", ("line 2", "nested more than 32 levels")),
    "deep indentation": (
        "config:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 400)),
        ("line 33", "nested more than 32 levels"),
    ),
    "a megabyte and more": ("config:\n" + "# x\n" * 300_000, ("bytes large",)),
    "a hundred thousand values": ("config:\n  a: [" + "1," * 100_000 + "]\n", ("more than 20000 values",)),
    "secure at the top level": (
        "config:\n  machine: {secure: v1:abcd}\n",
        ("local-ai-lab:machine", "nothing secret is declared there"),
    ),
    "secure inside a map": (
        "config:\n  machine: {gpu: {secure: v1:abcd}}\n",
        ("local-ai-lab:machine.gpu", "nothing secret is declared there"),
    ),
    "secure inside a list": (
        "config:\n  models: [{name: {secure: v1:abcd}}]\n",
        ("local-ai-lab:models[0].name", "nothing secret is declared there"),
    ),
    "a secret inside a secret": (
        "config:\n  apiKey: [{secure: v1:abcd}]\n",
        ("local-ai-lab:apiKey[0]", "pulumi config set --secret apiKey"),
    ),
    "secure without a text": ("config:\n  apiKey: {secure: 5}\n", ("local-ai-lab:apiKey",)),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_lab_refuses_a_file_that_is_no_stack_file(name: str, tmp_path: Path) -> None:
    content, words = BAD_FILES[name]
    with pytest.raises(LabError) as caught:
        load_plan(_folder(tmp_path, content), "wrong")
    seen["refused by lab"] += 1
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "Pulumi.wrong.yaml" in message
    assert [word for word in words if word not in message] == [], message
    assert "v1:abcd" not in message
    _readable(message)


@pytest.mark.parametrize("stack", ["nowhere", "../etc/passwd", "", "a/b", "a\x00b", "\x1b[31m", "x" * 101, "-", "名"])
def test_lab_refuses_a_stack_that_has_no_file(stack: str, tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        load_plan(_folder(tmp_path, "config: {}\n", "here"), stack)
    assert caught.value.exit_code == 2
    assert "there is no stack file" in str(caught.value)
    assert "use one of: here" in str(caught.value)
    _readable(str(caught.value))


@pytest.fixture(scope="module")
def copy_of_the_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "lab"
    folder.mkdir()
    for name in ("Pulumi.yaml", "__main__.py", "stacks", "components", "host", "probes", "cli"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


COMMAND_LINES = {
    "a wrong type": (BY_HAND[5].yaml, ("local-ai-lab:models[0].port", "80 is too small")),
    "an unknown model": (BY_HAND[1].yaml, ("models[0].model", "gpt-9")),
    "a plan that cannot work": (BY_HAND[-5].yaml, ("contextTokens",)),
    "a bomb": (BAD_FILES["billion laughs"][0], ("uses an anchor (&name)",)),
    "brackets without end": (BAD_FILES["a hundred thousand brackets"][0], ("nested more than 32 levels",)),
    "binary": (BAD_FILES["binary"][0], ("is not UTF-8 text",)),
    "an unprintable key": ('config:\n  "\\e[31m\\u202e": x\n', ("no such setting",)),
}


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_the_command_line_exits_2_with_a_message_and_writes_nothing(
    name: str, copy_of_the_project: Path, tmp_path: Path
) -> None:
    content, words = COMMAND_LINES[name]
    _folder(copy_of_the_project, content)
    before = _listing(copy_of_the_project)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(copy_of_the_project),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C",
    }
    command = [sys.executable, "-P", "-m", "cli", "plan", "wrong"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    error = done.stderr.decode()
    assert done.returncode == 2, error
    assert done.stdout == b""
    assert error.startswith("error: ")
    assert [word for word in words if word not in error.replace("\n", " ")] == [], error
    _readable(error)
    assert _listing(copy_of_the_project) == before
    assert list(tmp_path.iterdir()) == []


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_the_shipped_stacks_are_accepted_both_ways(tmp_path: Path) -> None:
    for stack in STACKS:
        load_plan(_folder(tmp_path, (ROOT / f"Pulumi.{stack}.yaml").read_bytes(), stack), stack)
        assert preview(stack).ok


def test_hundreds_of_cases_were_tried_and_none_registered_anything_or_ended_in_a_traceback() -> None:
    assert len(CASES) >= 300
    print(
        f"\n{len(CASES)} wrong configurations and {len(BAD_FILES)} wrong files: {seen['refused by lab']} refused by "
        f"lab, {seen['refused by the program']} by the program; {seen['registrations']} registrations, "
        f"{seen['tracebacks']} tracebacks"
    )
    assert seen["registrations"] == seen["tracebacks"] == 0
