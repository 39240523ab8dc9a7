"""The recorder in the place of Pulumi's engine: it must see what the engine would, and fail where it would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recording import Program, record
from tests.support.registrations import SECRET, UNKNOWN, Record

HEAD = """import pulumi
import pulumi_kubernetes as k8s
from pulumi import ResourceOptions as Opts
from pulumi_command import local
"""
NONE: frozenset[str] = frozenset()


def _run(folder: Path, text: str, config: dict[str, str] | None = None, secrets: frozenset[str] = NONE) -> Record:
    main = folder / "__main__.py"
    main.write_text(HEAD + text)
    return record(Program(main, "sample", "dev", config or {}, secrets))


def test_what_only_up_can_know_is_seen_in_the_inputs_that_take_it(tmp_path: Path) -> None:
    shown = _run(
        tmp_path,
        "first = local.Command('first', create='date')\n"
        "local.Command('second', create='cat', stdin=first.stdout, environment={'A': first.create})\n"
        "pulumi.export('told', first.stdout)\n",
    )
    assert shown.ok, shown.diagnostics
    second = next(s for s in shown.steps if s.name == "second")
    assert second.inputs == {"create": "cat", "stdin": UNKNOWN, "environment": {"A": "date"}}
    first = "urn:pulumi:dev::sample::command:local:Command::first"
    assert second.property_dependencies["stdin"] == second.dependencies == (first,)
    assert shown.outputs == {"told": UNKNOWN}


def test_parents_provider_timeouts_and_options_are_kept(tmp_path: Path) -> None:
    shown = _run(
        tmp_path,
        "outer = pulumi.ComponentResource('lab:a:Outer', 'outer')\n"
        "inner = pulumi.ComponentResource('lab:a:Inner', 'inner', None, Opts(parent=outer))\n"
        "made = local.Command('made', create='x', opts=Opts(parent=inner, version='9.9.9'))\n"
        "own = k8s.Provider('own', kubeconfig='/k', opts=Opts(depends_on=[made]))\n"
        "k8s.core.v1.Namespace('space', opts=Opts(provider=own, deleted_with=made, delete_before_replace=True,\n"
        "    custom_timeouts=pulumi.CustomTimeouts(create='5m')))\n",
        {"pulumi:disable-default-providers": '["kubernetes"]'},
    )
    assert shown.ok, shown.diagnostics
    steps = {s.name: s for s in shown.steps}
    assert steps["made"].urn == "urn:pulumi:dev::sample::lab:a:Outer$lab:a:Inner$command:local:Command::made"
    assert steps["made"].options == {"replaceOnChanges": ["triggers[*]"], "version": "9.9.9"}
    assert steps["own"].dependencies == (steps["made"].urn,)
    assert steps["space"].provider == f"{steps['own'].urn}::{UNKNOWN}"
    assert (steps["space"].deleted_with, steps["space"].timeouts) == (steps["made"].urn, {"create": "5m"})
    assert steps["space"].options["deleteBeforeReplace"] is True
    assert [s.name for s in shown.steps] == ["sample-dev", "outer", "inner", "made", "own", "space"]
    assert (steps["inner"].custom, steps["made"].custom, steps["sample-dev"].parent) == (False, True, "")


def test_numbers_are_as_written_and_a_secret_is_never_shown(tmp_path: Path) -> None:
    shown = _run(
        tmp_path,
        "key = pulumi.Config().require_secret('key')\n"
        "inputs = {'whole': 5, 'half': 0.5, 'yes': True, 'deep': [{'key': key}], 'words': key.apply(len)}\n"
        "pulumi.ComponentResource('lab:a:B', 'b', inputs)\n"
        "print('canary-7'); pulumi.export('key', key)\n",
        {"sample:key": "canary-7"},
        frozenset({"sample:key"}),
    )
    assert shown.ok
    assert shown.steps[1].inputs == {"whole": 5, "half": 0.5, "yes": True, "deep": [{"key": SECRET}], "words": SECRET}
    assert isinstance(shown.steps[1].inputs["whole"], int)
    assert shown.outputs == {"key": SECRET}
    assert [m.message for m in shown.diagnostics] == [SECRET]
    assert "canary-7" not in str(shown.to_json())


FAILURES = {
    "a URN twice": ("local.Command('a', create='x'); local.Command('a', create='y')\n", "is registered twice"),
    "no provider": ("k8s.core.v1.Namespace('a')\n", "names no provider"),
    "a lookup": (
        "k8s.core.v1.Namespace.get('a', 'b', opts=Opts(provider=k8s.Provider('p')))\n",
        "reads kubernetes:core/v1:Namespace a",
    ),
    "a function": ("pulumi.runtime.invoke('kubernetes:yaml:decode', {})\n", "calls kubernetes:yaml:decode"),
    "an apply": ("local.Command('a', create='x').create.apply(lambda text: text.none)\n", "has no attribute 'none'"),
    "an output in a text": ("local.Command('a', create=f\"{local.Command('b', create='x').create}\")\n", "__str__"),
    "a logged error": ("pulumi.log.error('it is broken')\n", "it is broken"),
    "a refusal": ("raise pulumi.RunError('so it is refused')\n", "so it is refused"),
    "an exit": ("import sys; sys.exit(3)\n", "exited with 3"),
    "a defect": ("local.Command('b', create='x'); 1 / 0\n", "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_program_that_the_engine_would_stop_is_stopped_with_a_message(name: str, tmp_path: Path) -> None:
    text, words = FAILURES[name]
    shown = _run(tmp_path, text, {"pulumi:disable-default-providers": '["kubernetes"]'})
    assert not shown.ok
    assert words in "\n".join(m.message for m in shown.diagnostics if m.severity == "error")


def test_one_run_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    text = "local.Command('a', create='x')\npulumi.export('mine', pulumi.Config().get('b') or 'nothing')\n"
    assert _run(tmp_path, text + "1 / 0\n", {"sample:b": "1"}).ok is False
    assert _run(tmp_path, text, {"sample:b": "2"}).outputs == {"mine": "2"}
    assert _run(tmp_path, text).outputs == {"mine": "nothing"}
