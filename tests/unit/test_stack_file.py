"""Reading stack files: the same map as Pulumi's own reader, and a message for everything else.

The expected scalars were taken from Pulumi's Go SDK 3.243.0 (workspace.LoadProjectStackBytes, gopkg.in/yaml.v3 v3.0.1),
run by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from stacks.errors import LabError, SettingsError, shown
from stacks.settings.stack_file import StackConfig, read_stack, stack_names
from stacks.settings.stack_yaml import load

SECRET = "v1:Zm9vYmFy:c2VjcmV0"
MACHINE = "config:\n  machine: {kind: cpu, memoryGiB: 24, cpus: 2}\n  cluster: {driver: embedded}\n"
MODELS = "  models: [{name: g, model: gemma-3-270m, contextTokens: 2048}]\n"
GOOD = MACHINE + MODELS


def _write(folder: Path, content: str | bytes, stack: str = "here") -> Path:
    (folder / f"Pulumi.{stack}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def _read(folder: Path, content: str | bytes) -> StackConfig:
    return read_stack(_write(folder, content), "here")


def _refusal(folder: Path, content: str | bytes) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        _read(folder, content)
    assert caught.value.exit_code == 2
    return caught.value


def _problems(folder: Path, content: str | bytes) -> list[tuple[str, str]]:
    return [(p.path, p.message) for p in _refusal(folder, content).problems]


ALIKE: list[tuple[str, Any]] = [
    ("y", "y"), ("true", True), ("False", False), ("tRUE", "tRUE"), ("~", None), ("", None), ("Null", None), ("nULL",
    "nULL"),
    ("0", 0), ("+5", 5), ("-5", -5), ("9007199254740991", 2**53 - 1), ("24.0", 24), ("1.", 1), (".5", 0.5), ("1.10",
    1.1),
    ("0.1", 0.1), ("-1.5", -1.5), ("08.5", 8.5), ("1.5e+3", 1500), ("1.0e-3", 0.001),
    ("_1", "_1"), ("0o8", "0o8"), ("5e", "5e"), (".e3", ".e3"), ("0x1p4", "0x1p4"), (".", "."), ("581.29.1",
    "581.29.1"),
    ("4Gi", "4Gi"), ("10.0.0.1", "10.0.0.1"), ('"010"', "010"), ("'yes'", "yes"), ("!!str 5", "5"),
]  # fmt: skip

# The word, and what Pulumi's reader makes of it: PyYAML or YAML 1.2 make something else.
AMBIGUOUS: list[tuple[str, Any]] = [
    ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("=", "="), ("<<", "<<"),
    ("010", 8), ("0o10", 8), ("0O17", 15), ("-0o7", -7), ("0777", 511), ("0x10", 16), ("0X1F", 31), ("-0x10", -16),
    ("0b11", 3),
    ("0B1", 1), ("0o+7", 7), ("08", 8), ("089", 89), ("0_8", 8), ("1_000", 1000), ("1__0", 10), ("0x_1f", 31), ("1_0.5",
    10.5),
    (".1_0", 0.1), ("-.5", -0.5), ("1e3", 1000), ("12e03", 12000), ("1.5e3", 1500), ("1e400", "1e400"), ("1e21", 1e21),
    ("1.0e+21", 1e21), ("18446744073709551615", 2**64 - 1), ("99999999999999999999", 10**20), ("1" * 500, "1" * 500),
    ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("2024-13-01", "2024-13-01"),
    ("2024-01-01", "a date"), ("2024-1-1", "a date"), ("2024-01-01T10:00:00Z", "a date"), ("2024-01-01 10:00:00.5",
    "a date"),
    (".inf", "infinity"), ("-.Inf", "infinity"), ("+.INF", "infinity"), (".nan", "no number"), (".NaN", "no number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), ALIKE, ids=[t[:24] for t, _ in ALIKE])
def test_a_word_that_all_readers_take_alike_is_read(text: str, value: Any) -> None:
    read, faults = load(f"a: {text}\n")
    assert faults == []
    assert read == {"a": value}
    assert type(read["a"]) is type(value)


@pytest.mark.parametrize("text", [t for t, _ in AMBIGUOUS], ids=[t[:24] for t, _ in AMBIGUOUS])
def test_a_word_that_readers_take_for_different_things_must_be_quoted(text: str) -> None:
    (fault,) = load(f"b: 1\na: {text}\n")[1]
    assert (fault.line, fault.message) == (2, f"holds {shown(text)}, which YAML readers take for different things")
    assert fault.remedy.startswith(f'put it in quotes: "{shown(text)}"; or write ')
    assert load(f'a: "{text}"\n') == ({"a": text}, [])


@pytest.mark.parametrize(
    ("text", "meant"), [("yes", "true"), ("Off", "false"), ("0x10", "a decimal number such as 8 or 0.5")]
)
def test_an_ambiguous_word_is_told_what_it_may_have_meant(tmp_path: Path, text: str, meant: str) -> None:
    error = _refusal(tmp_path, f"config:\n  machine: [{text}]\n")
    remedy = f'put it in quotes: "{text}"; or write {meant}, if that is meant'
    assert [(p.path, p.remedy) for p in error.problems] == [("line 2", remedy)]


@pytest.mark.long
@given(
    st.one_of(
        st.text("+-._0123456789eExobXaf:ynYN~=< ", max_size=8),
        st.from_regex(r"[-+]?[0-9]{1,3}\.?[0-9]{0,2}(e[-+]?[0-9])?"),
    )
)
@example("0o+7")
def test_what_is_read_at_all_is_what_pyyaml_reads(text: str) -> None:
    text = text.strip()
    read, faults = load(f"a: {text}\n")
    if not faults:  # libyaml's loader, as the product uses it: the one in Python refuses a tab inside a text
        assert read == yaml.load(f"a: {text}\n", Loader=yaml.CSafeLoader)


def test_a_good_file_gives_the_map_that_a_language_host_gets(tmp_path: Path) -> None:
    config = _read(
        tmp_path,
        "config:\n  pulumi:disable-default-providers: [kubernetes]\n  local-ai-lab:hostChanges: allow\n  cluster: "
        "{driver: embedded, slot: 3}\n",
    )
    assert {k: v if v == "allow" else json.loads(v) for k, v in config.flat.items()} == {
        "pulumi:disable-default-providers": ["kubernetes"],
        "local-ai-lab:hostChanges": "allow",
        "local-ai-lab:cluster": {"driver": "embedded", "slot": 3},
    }
    assert config.own == {"hostChanges": "allow", "cluster": {"driver": "embedded", "slot": 3}}
    assert (config.stack, config.file, config.secret_keys) == ("here", "Pulumi.here.yaml", frozenset())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("null", ""),
        ("''", ""),
        ("true", "true"),
        ("1.50", "1.5"),
        ("24.0", "24"),
        ("[]", "[]"),
        ("[null]", "[null]"),
        ("ä", "ä"),
        ('["ä"]', '["ä"]'),
    ],
)
def test_a_value_reaches_the_program_in_pulumis_words(tmp_path: Path, value: str, text: str) -> None:
    assert _read(tmp_path, f"config:\n  machine: {value}\n").flat == {"local-ai-lab:machine": text}


@pytest.mark.parametrize("key", ["machine", "local-ai-lab:machine", "local-ai-lab:config:machine", '"machine"'])
def test_a_key_means_the_same_with_and_without_the_projects_name(tmp_path: Path, key: str) -> None:
    assert _read(tmp_path, f"config:\n  {key}: {{kind: cpu}}\n").own == {"machine": {"kind": "cpu"}}


def test_a_byte_order_mark_windows_line_ends_and_an_end_mark_do_no_harm(tmp_path: Path) -> None:
    assert _read(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode() + b"...\r\n").own["cluster"] == {
        "driver": "embedded"
    }


def test_what_pulumi_itself_writes_into_a_stack_file_is_let_through(tmp_path: Path) -> None:
    _read(tmp_path, "encryptionsalt: v1:abc\nsecretsprovider: passphrase\nencryptedkey: x\nenvironment: [dev]\n" + GOOD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  machine: &m {kind: cpu}", "uses an anchor (&name) or an alias (*name)"),
        ("  machine: *m", "uses an anchor (&name) or an alias (*name)"),
        ("  machine: [*m]", "uses an anchor (&name) or an alias (*name)"),
        ("  machine: {<<: {a: 1}}", "holds <<, which YAML readers take for different things"),
        ("  machine: !!int '010'", "has the tag !!int, which no setting needs"),
        ("  machine: !!float 5", "has the tag !!float, which no setting needs"),
        ("  machine: !mine {}", "has the tag !mine, which no setting needs"),
        ("  machine: !!set {a: }", "has the tag !!set, which no setting needs"),
        ("  models: !!omap []", "has the tag !!omap, which no setting needs"),
        ("  machine: {[a]: 1}", "has a list or a map as a key"),
        ("  machine: {~: 1}", "has the key ~, which is not a text"),
        ("  on: 1", "holds on, which YAML readers take for different things"),
        ("---", "begins a second document, and a stack file is one"),
        ("  models: [1}", "is not YAML: did not find expected ',' or ']'"),
        ("  machine: \x01", "holds a control character"),
    ],
)
def test_yaml_that_no_setting_needs_is_refused_with_its_line(text: str, message: str) -> None:
    (fault,) = load(f"config:\n  cluster: !!map {{a: !!seq [1]}}\n{text}\n")[1]
    assert (fault.line, fault.message) == (3, message)


def test_an_empty_list_stays_a_list_and_an_empty_map_a_map(tmp_path: Path) -> None:
    assert _read(tmp_path, "config:\n  models: []\n  machine: {}\n").own == {"models": [], "machine": {}}


def test_an_encrypted_value_of_a_declared_key_is_a_placeholder(tmp_path: Path) -> None:
    config = _read(
        tmp_path, GOOD + f"  local-ai-lab:apiKey:\n    secure: {SECRET}\n  huggingFaceToken: {{secure: {SECRET}}}\n"
    )
    assert config.own["apiKey"] == config.own["huggingFaceToken"] == config.flat["local-ai-lab:apiKey"] == "[secret]"
    assert config.own_secret_keys == {"apiKey", "huggingFaceToken"}
    assert config.secret_keys == {"local-ai-lab:apiKey", "local-ai-lab:huggingFaceToken"}
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("hostChanges: {secure: SECRET}", "local-ai-lab:hostChanges"),
        ("modelCache: {path: {secure: SECRET}}", "local-ai-lab:modelCache.path"),
        ("security: {a: [{b: {secure: SECRET}}]}", "local-ai-lab:security.a[0].b"),
        ("apiKey: {a: {secure: SECRET}}", "local-ai-lab:apiKey.a"),
        ("apiKey: [{secure: SECRET}]", "local-ai-lab:apiKey[0]"),
        ("aws:key: {secure: SECRET}", "aws:key"),
        ("pulumi:key: {secure: SECRET}", "pulumi:key"),
    ],
)
def test_a_secret_where_none_is_declared_is_refused_and_never_shown(tmp_path: Path, entry: str, path: str) -> None:
    error = _refusal(tmp_path, GOOD + f"  {entry.replace('SECRET', SECRET)}\n")
    assert path in [p.path for p in error.problems]
    assert SECRET not in str(error)
    assert SECRET not in repr(error.problems)


def test_a_map_that_only_looks_like_a_secret_is_clear_text_as_it_is_to_pulumi(tmp_path: Path) -> None:
    config = _read(tmp_path, "config:\n  machine: {secure: 5}\n  cluster: {secure: a, b: c}\n")
    assert config.secret_keys == frozenset()
    assert config.own == {"machine": {"secure": 5}, "cluster": {"secure": "a", "b": "c"}}


def test_everything_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    text = (
        "extra: 1\nconfig:\n  machine: {kind: cpu, memoryGiB: much, cpus: 0, zzz: 1}\n  local-ai-lab:machine: {}\n  "
        "aws:region: x\n"
        f"  cluster: {{driver: minikube}}\n  apiKey: in-clear\n  hostChanges: {{secure: {SECRET}}}\n"
        "  models:\n    - {name: a, model: gemma-3-270m, contextTokens: 2048}\n    - {name: a, model: gemma-3-270m}\n"
    )
    assert _problems(tmp_path, text) == [
        ("aws:region", "belongs to no part of this project"),
        ("extra", "no such top-level key"),
        ("local-ai-lab:apiKey", "is a secret in clear text"),
        ("local-ai-lab:cluster.driver", "minikube is for machines with an NVIDIA GPU here, and machine.kind is cpu"),
        ("local-ai-lab:hostChanges", "holds `secure:`, but nothing secret is declared there"),
        ("local-ai-lab:machine", "stands twice: local-ai-lab:machine is the same key"),
        ("local-ai-lab:machine.cpus", "0 is too small: the least is 1"),
        ("local-ai-lab:machine.memoryGiB", "'much' is not a whole number"),
        ("local-ai-lab:machine.zzz", "no such setting: zzz"),
        ("local-ai-lab:models[1].contextTokens", "is missing"),
        ("local-ai-lab:models[1].name", "a is what models[0] already has"),
        ("local-ai-lab:models[1].port", "30080 is what models[0] already has"),
    ]


def test_every_fault_of_the_yaml_itself_is_said_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        "config:\n  machine: {a: 1, a: 2}\n  cluster: 2024-01-01\n"
        + "  # x\n" * 8
        + "  models: [.inf]\n  models: {1: 2}\n"
    )
    assert _problems(tmp_path, text) == [
        ("line 2", "sets a a second time; the first is on line 2"),
        ("line 3", "holds 2024-01-01, which YAML readers take for different things"),
        ("line 12", "holds .inf, which YAML readers take for different things"),
        ("line 13", "has the key 1, which is not a text"),
        ("line 13", "sets models a second time; the first is on line 12"),
    ]


def test_a_message_names_file_place_and_remedy(tmp_path: Path) -> None:
    assert str(_refusal(tmp_path, "config:\n\tmachine: {}\n")) == (
        "1 problem in the stack settings:\n\n"
        "  Pulumi.here.yaml: line 2\n"
        "    is indented with a tab, which YAML forbids\n"
        "    -> use spaces; type: sed -i 's/\\t/  /g' Pulumi.here.yaml"
    )


def test_a_tab_that_yaml_allows_is_let_through(tmp_path: Path) -> None:
    assert _read(tmp_path, "config:\n  machine:\t{kind: cpu}\n  cluster: |\n    a\n    \tb\n").own == {
        "machine": {"kind": "cpu"},
        "cluster": "a\n\tb\n",
    }


LAUGHS = "config:\n  a0: &a0 [lol, lol]\n" + "".join(
    f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60)
)
DEEP = {
    "lists": "[" * 200_000,
    "maps": "{a: " * 200_000,
    "hyphens": "config:\n  " + "- " * 200_000 + "x",
    "closed": "[" * 200_000 + "]" * 200_000,
}


def test_an_alias_is_never_expanded(tmp_path: Path) -> None:
    text = str(_refusal(tmp_path, LAUGHS))
    assert "uses an anchor (&name) or an alias (*name)" in text


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_a_file_made_to_exhaust_the_reader_is_refused(tmp_path: Path, text: str) -> None:
    error = _refusal(tmp_path, text)
    assert len(error.problems) == 1
    assert "32 levels" in error.problems[0].message


def test_a_thousand_problems_are_counted_and_forty_shown(tmp_path: Path) -> None:
    error = _refusal(tmp_path, "config:\n" + "".join(f"  aws:k{n}: x\n" for n in range(1000)))
    text = str(error)
    assert text.startswith("1003 problems in the stack settings:")  # three settings are missing too
    assert text.count("->") == 40
    assert text.endswith("  and 963 more")


def test_an_unprintable_key_reaches_no_terminal(tmp_path: Path) -> None:
    text = str(_refusal(tmp_path, 'config:\n  "\\e[2J\\u202e": 1\n"\\e]0;x\\a": 2\n'))
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "'\\x1b[2J\\u202e'" in text


def test_a_stack_without_a_file_is_told_which_ones_there_are(tmp_path: Path) -> None:
    _write(_write(tmp_path, GOOD, "b"), GOOD, "a")
    with pytest.raises(LabError) as caught:
        read_stack(tmp_path, "c")
    assert (caught.value.message, caught.value.remedy, caught.value.exit_code) == (
        "there is no stack file Pulumi.c.yaml",
        "use one of: a, b",
        2,
    )


def test_a_folder_with_a_stack_files_name_is_no_stack_file(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.here.yaml").mkdir()
    with pytest.raises(LabError, match=r"there is no stack file Pulumi\.here\.yaml"):
        read_stack(tmp_path, "here")


def test_only_stack_files_count_as_stacks(tmp_path: Path) -> None:
    for name in (
        "Pulumi.yaml",
        "Pulumi.b.yaml",
        "Pulumi.a-1.yaml",
        "Pulumi.a b.yaml",
        "Pulumi.c.yaml.bak",
        "pulumi.d.yaml",
        "Pulumi..yaml",
    ):
        (tmp_path / name).touch()
    assert stack_names(tmp_path) == ["a-1", "b"]
