"""Settings: what a stack file may say, and what is answered to the rest. Expectations are written by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stacks.errors import CatalogError, SettingsError
from stacks.planning.build import build_plan
from stacks.settings import CpuMachine, EmbeddedCluster, NvidiaMachine, Settings

CPU: dict[str, Any] = {
    "machine": {"kind": "cpu", "memoryGiB": 24, "cpus": 2},
    "cluster": {"driver": "embedded"},
    "models": [{"name": "gemma", "model": "gemma-3-270m", "contextTokens": 2048}],
}
GPU: dict[str, Any] = {
    "machine": {"kind": "nvidia", "gpu": "rtx-2060-super", "memoryGiB": 16, "cpus": 8},
    "cluster": {"driver": "minikube"},
    "models": [{"name": "phi", "model": "phi-3-mini-4k-instruct-awq", "contextTokens": 4096}],
}
NAME_FORM = "name of lower-case letters, digits and hyphens, a letter first and no hyphen last, at most 40 characters"
MODELS = (
    "write models: and below it one entry for each, which begins with a hyphen: - name: ..., model: ..., "
    "contextTokens: ..."
)
VLLM_PORT = "a Service of that name makes Kubernetes inject VLLM_PORT, which breaks vLLM"
NAME = f"write name: phi-3-mini, or another {NAME_FORM}"
SHARE = "write gpuMemoryUtilization: 0.85, or another number above 0 and at most 1"
SHARE_AT = "models[0].pin.gpuMemoryUtilization"
CPUS = "write cpus: 8, or another whole number from 1 to 1024"
PORT = "write port: 30080, or another whole number from 30080 to 30095"
PATH_FORM = "path that begins with / or ~/ and has letters, digits and . _ - only, at most 200 characters"


def _edited(base: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """`base` with `value` at a place such as `models.0.port`."""
    config = copy.deepcopy(base)
    here: Any = config
    *way, last = place.split(".")
    for part in way:
        here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
    here[last] = value
    return config


def _problems(config: dict[str, Any], *secret_keys: str) -> list[tuple[str, str, str]]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_config(config, file="Pulumi.x.yaml", secret_keys=frozenset(secret_keys))
    assert caught.value.exit_code == 2
    assert {p.file for p in caught.value.problems} == {"Pulumi.x.yaml"}
    return [(p.path.removeprefix("local-ai-lab:"), p.message, p.remedy) for p in caught.value.problems]


def test_the_smallest_file_gets_the_documented_defaults() -> None:
    settings = Settings.from_config(CPU)
    model = settings.models[0]
    assert settings.machine == CpuMachine(kind="cpu", platform="linux", memory_gib=24, cpus=2, disk_free_gib=None)
    assert settings.cluster == EmbeddedCluster(driver="embedded", slot=0)
    assert (model.engine, model.concurrent_requests, model.replicas, model.port, model.environment) == (
        "vllm",
        8,
        1,
        30080,
        {},
    )
    assert (model.pin.gpu_memory_utilization, model.pin.memory_limit_gib, model.revision) == (None, None, None)
    assert settings.model_cache.path == "/var/lib/local-ai-lab/models"
    assert settings.security.read_only_root_filesystem is True
    assert settings.host_changes == "ask"


def test_every_setting_of_a_gpu_machine_can_be_stated() -> None:
    config = copy.deepcopy(GPU)
    config["machine"] |= {
        "gpus": 1,
        "platform": "wsl2",
        "display": True,
        "nvidiaDriver": "581.29",
        "wslMemoryGiB": 12,
        "diskFreeGiB": 120,
    }
    config["cluster"]["profile"] = "lab"
    config["models"][0] |= {
        "engine": "vllm", "revision": "0123456789abcdef0123456789abcdef01234567", "concurrentRequests": 4,
        "replicas": 2, "port": 30095,
        "environment": {"VLLM_LOGGING_LEVEL": "DEBUG", "LINES": "a\nb"}, "pin": {"gpuMemoryUtilization": 1,
        "memoryLimitGiB": 8},
    }  # fmt: skip
    config |= {
        "modelCache": {"path": "~/models"},
        "security": {"readOnlyRootFilesystem": False},
        "hostChanges": "allow",
    }
    settings = Settings.from_config(config)
    assert isinstance(settings.machine, NvidiaMachine)
    assert settings.machine.nvidia_driver == "581.29"
    assert settings.models[0].pin.gpu_memory_utilization == 1.0
    assert settings.models[0].environment == {"VLLM_LOGGING_LEVEL": "DEBUG", "LINES": "a\nb"}


@pytest.mark.parametrize("name", ["default", "default-deny", "chat-endpoint", "vllm"])
def test_a_model_may_not_take_the_name_of_an_object_of_the_lab(name: str) -> None:
    ((path, _, remedy),) = _problems(_edited(GPU, "models.0.name", name))
    assert (path, remedy) == ("models[0].name", "write another name, such as name: phi-3-mini")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("VLLM_CPU_KVCACHE_SPACE", "40"), ("HOME", "/nope"), ("HF_HUB_OFFLINE", "0"), ("CUDA_VISIBLE_DEVICES", "0"),
        ("LD_PRELOAD", "/x.so"),
        ("PYTHONPATH", "/x"), ("HTTPS_PROXY", "http://user:pw@proxy"), ("SOME_PRIVATE_KEY", "x"), ("NOTE",
        "sk-abcdef123456"),
    ],
)  # fmt: skip
def test_the_environment_may_not_undo_the_plan_or_carry_a_secret(key: str, text: str) -> None:
    ((path, message, _),) = _problems(_edited(GPU, "models.0.environment", {key: text}))
    assert path == f"models[0].environment.{key}"
    assert text not in message


def test_a_harmless_environment_that_only_sounds_secret_is_taken() -> None:
    config = _edited(GPU, "models.0.environment", {"TOKENIZERS_PARALLELISM": "false"})
    assert Settings.from_config(config).models[0].environment == {"TOKENIZERS_PARALLELISM": "false"}


def test_several_cards_under_wsl2_are_refused() -> None:
    ((path, message, _),) = _problems(_edited(_edited(GPU, "machine.gpus", 2), "machine.platform", "wsl2"))
    assert path == "machine.gpus"
    assert "one device" in message


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("machine.memoryGiB", 1), ("machine.memoryGiB", 4096), ("machine.cpus", 1), ("machine.cpus", 1024),
        ("machine.diskFreeGiB", None),
        ("machine.diskFreeGiB", 1_000_000), ("cluster.slot", 0), ("cluster.slot", 63), ("models.0.name", "a"),
        ("models.0.name", "a" * 40),
        ("models.0.name", "a-1"), ("models.0.contextTokens", 16), ("models.0.contextTokens", 16_777_216),
        ("models.0.port", 30080),
        ("models.0.port", 30095), ("models.0.replicas", 64), ("models.0.concurrentRequests", 4096),
        ("models.0.environment.EMPTY", ""),
        ("models.0.environment.A", "x" * 4096), ("models.0.environment.NAME", "名前"),
        ("modelCache.path", "/srv/models"), ("modelCache.path", "~/m"),
        ("models.0.pin.gpuMemoryUtilization", 0.001), ("models.0.pin.gpuMemoryUtilization", None),
        ("models.0.revision", None),
    ],
)  # fmt: skip
def test_values_at_the_very_edge_are_accepted(place: str, value: Any) -> None:
    Settings.from_config(_edited(CPU, place, value))


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("machine.cpus", 0, ("machine.cpus", "0 is too small: the least is 1", CPUS)),
        ("machine.cpus", 1025, ("machine.cpus", "1025 is too large: the most is 1024", CPUS)),
        ("machine.cpus", "two", ("machine.cpus", "'two' is not a whole number", CPUS)),
        ("machine.cpus", 1.5, ("machine.cpus", "1.5 is not a whole number", CPUS)),
        ("machine.cpus", True, ("machine.cpus", "true is not a whole number", CPUS)),
        ("machine.cpus", None, ("machine.cpus", "is empty", CPUS.replace("write", "remove the line, or write"))),
        ("machine.diskFreeGiB", 1_000_001,
            ("machine.diskFreeGiB", "1000001 is too large: the most is 1000000",
             "write diskFreeGiB: 100, or another whole number from 1 to 1000000")),
        ("cluster.slot", 64, ("cluster.slot", "64 is too large: the most is 63",
         "write slot: 0, or another whole number from 0 to 63")),
        ("cluster.slot", None, ("cluster.slot", "is empty",
         "remove the line, or write slot: 0, or another whole number from 0 to 63")),
        ("models.0.port", 8000, ("models[0].port", "8000 is too small: the least is 30080", PORT)),
        ("models.0.port", 65536, ("models[0].port", "65536 is too large: the most is 30095", PORT)),
        ("models.0.name", "a" * 41, ("models[0].name", f"'{'a' * 41}' is too long: at most 40 characters are allowed",
        NAME)),
        ("models.0.name", "a" * 300, ("models[0].name",
         "a text of 300 characters is too long: at most 40 characters are allowed", NAME)),
        ("models.0.name", "Phi", ("models[0].name", "'Phi' does not have the right form", NAME)),
        ("models.0.name", "phi.3", ("models[0].name", "'phi.3' does not have the right form", NAME)),
        ("models.0.name", "phi-", ("models[0].name", "'phi-' does not have the right form", NAME)),
        ("models.0.name", "phi\n", ("models[0].name", "'phi\\n' does not have the right form", NAME)),
        ("models.0.name", "", ("models[0].name", "is empty", NAME)),
        ("models.0.name", 3, ("models[0].name", "3 is not a text", NAME)),
        ("models.0.name", "vllm", ("models[0].name", VLLM_PORT, "write another name, such as name: phi-3-mini")),
        ("models.0.revision", "main", ("models[0].revision", "'main' does not have the right form",
        "write revision: and a commit in quotes: 40 digits and letters a to f")),
        ("models.0.engine", "ollama", ("models[0].engine", "'ollama' is not known here", "write engine: vllm")),
        ("models.0.pin.gpuMemoryUtilization", 0, (SHARE_AT, "0 is too small: it must be above 0", SHARE)),
        ("models.0.pin.gpuMemoryUtilization", "90%", (SHARE_AT, "'90%' is not a number", SHARE)),
        ("models.0.pin.gpuMemoryUtilization", float("nan"), (SHARE_AT, "nan is not a finite number", SHARE)),
        ("machine.kind", "amd", ("machine.kind", "'amd' is not known here", "write kind: cpu or nvidia")),
        ("machine.kind", None, ("machine.kind", "is missing", "write kind: cpu or nvidia")),
        ("cluster.driver", "kind", ("cluster.driver", "'kind' is not known here",
         "write driver: docker, embedded, existing, k3s or minikube")),
        ("machine", None, ("machine", "is empty", "write machine: and below it, indented, kind: cpu or nvidia")),
        ("machine", "cpu", ("machine", "'cpu' is not a map",
         "write machine: and below it, indented, kind: cpu or nvidia")),
        ("security", None, ("security", "is empty",
         "remove the line, or write security: and below it, indented, its settings: readOnlyRootFilesystem")),
        ("security.readOnlyRootFilesystem", "yes",
            ("security.readOnlyRootFilesystem", "'yes' is not true or false",
             "write readOnlyRootFilesystem: true or false")),
        ("models", [], ("models", "is an empty list", MODELS)),
        ("models", {"name": "a"}, ("models", "a map is not a list", MODELS)),
        ("hostChanges", "always", ("hostChanges", "'always' is not known here",
         "write hostChanges: ask or allow")),
        ("modelCache.path", "models", ("modelCache.path", "'models' does not have the right form",
        f"write path: /var/lib/local-ai-lab/models, or another {PATH_FORM}")),
        ("modelCache.path", "/srv//m", ("modelCache.path", "/srv//m holds '..', '.' or an empty part",
        "write it out in full, such as path: ~/models")),
        ("modelCache.path", "/etc/m", ("modelCache.path",
         "/etc/m lies where the system, a cluster or Windows keeps "
         "its own files", "write another, such as path: ~/models")),
        ("modelCach", {}, ("modelCach", "no such setting: modelCach", "write modelCache instead, or remove it")),
        ("zzz", 1, ("zzz", "no such setting: zzz",
         "remove it; known here: machine, cluster, models, objective, gpu, modelCache, security, gateway, "
         "hostChanges")),
        ("machine.memory_gib", 24, ("machine.memory_gib", "no such setting: memory_gib",
         "write memoryGiB instead, or remove it")),
        ("machine.gpu", "l40", ("machine.gpu", "no such setting: gpu",
         "remove it; known here: kind, platform, memoryGiB, cpus, diskFreeGiB, diskTotalGiB")),
        ("models.0.environment", None, ("models[0].environment", "is empty", 'remove the line, or write environment: '
                                                                             'and below it, indented, NAME: "text"')),
    ],
)  # fmt: skip
def test_a_wrong_value_is_answered_with_its_place_the_reason_and_what_to_type(
    place: str, value: Any, problem: tuple[str, str, str]
) -> None:
    assert _problems(_edited(CPU, place, value)) == [problem]


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("machine.nvidiaDriver", 581.29, ("machine.nvidiaDriver", "581.29 is not a text",
        'write nvidiaDriver: "581.29", or another version in quotes, as nvidia-smi prints it')),
        ("machine.wslMemoryGiB", 8, ("machine.wslMemoryGiB", "says what .wslconfig gives WSL2, and platform is linux",
        "remove it, or write platform: wsl2")),
        ("machine.platform", "windows", ("machine.platform", "'windows' is not known here",
         "write platform: linux or wsl2")),
        ("machine.gpu", "RTX 2060",
            ("machine.gpu", "'RTX 2060' does not have the right form",
             "write gpu: rtx-2060-super, or another name from the catalogue, at most 80 characters")),
        ("machine.display", "on", ("machine.display", "'on' is not true or false",
         "write display: true or false")),
        ("machine.gpus", 17, ("machine.gpus", "17 is too large: the most is 16",
         "write gpus: 1, or another whole number from 1 to 16")),
        ("cluster.driver", "embedded", ("cluster.driver", "embedded runs no GPU workload, and machine.kind is nvidia",
        "write driver: minikube, or in machine kind: cpu")),
    ],
)  # fmt: skip
def test_a_wrong_value_for_a_gpu_machine_is_answered_too(place: str, value: Any, problem: tuple[str, str, str]) -> None:
    assert _problems(_edited(GPU, place, value)) == [problem]


@pytest.mark.parametrize("key", ["machine", "cluster", "models"])
def test_a_missing_part_is_named(key: str) -> None:
    config = {k: v for k, v in CPU.items() if k != key}
    assert [(path, message) for path, message, _ in _problems(config)] == [(key, "is missing")]


def test_two_models_may_not_share_a_name_or_a_port_and_each_gets_a_port_of_its_own() -> None:
    model = CPU["models"][0]
    assert _problems(
        {**CPU, "models": [model, model, {**model, "name": "b", "port": 30081}, {**model, "name": "c", "port": 30081}]}
    ) == [
        ("models[1].name", "gemma is what models[0] already has", "give each model a name of its own"),
        ("models[1].port", "30080 is what models[0] already has", "write port: 30082"),
        ("models[3].port", "30081 is what models[2] already has", "write port: 30083"),
    ]


def test_more_models_than_there_are_ports_are_refused() -> None:
    models = [{**CPU["models"][0], "name": f"m{n}", "port": 30080 + n} for n in range(16)]
    ((path, message, _),) = _problems({**CPU, "models": [*models, {**models[0], "name": "more"}]})
    assert (path, message) == ("models", "a list has 17 entries, and at most 16 are allowed")


def test_a_name_that_the_catalogue_does_not_know_is_refused_by_the_plan_with_the_names_there_are() -> None:
    config = _edited(_edited(GPU, "machine.gpu", "rtx-2060"), "models.0.model", "phi-3-mini")
    with pytest.raises(CatalogError) as caught:
        build_plan(Settings.from_config(config), stack="x")
    assert (
        caught.value.message
        == "machine.gpu: the catalogue knows no GPU called rtx-2060\nmodels[0].model: the catalogue knows no model "
        "called phi-3-mini"
    )
    assert "did you mean rtx-2060-12gb, rtx-2060-6gb or rtx-2060-super?" in caught.value.remedy
    assert "did you mean phi-3-mini-4k-instruct or phi-3-mini-4k-instruct-awq?" in caught.value.remedy


def test_everything_wrong_is_said_at_once_in_reading_order() -> None:
    config = {
        "machine": {"kind": "nvidia", "memoryGiB": "16", "cpus": 0, "extra": 1},
        "cluster": {"driver": "embedded"},
        "models": [
            {"name": "a", "model": 5},
            {"name": "a", "contextTokens": 1, "environment": {"x": "y", "HF_TOKEN": "hf_abc", "MY_PASSWORD": "p"}},
        ],
        "apiKey": "sk-in-clear",
        "hostChanges": "[secret]",
    }
    assert [path for path, _, _ in _problems(config, "hostChanges")] == [
        "apiKey",
        "cluster.driver",
        "hostChanges",
        "machine.cpus",
        "machine.extra",
        "machine.gpu",
        "machine.memoryGiB",
        "models[0].contextTokens",
        "models[0].model",
        "models[1].contextTokens",
        "models[1].environment.HF_TOKEN",
        "models[1].environment.MY_PASSWORD",
        "models[1].environment.x",
        "models[1].model",
        "models[1].name",
        "models[1].port",
    ]


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"HF_TOKEN": "hf_topsecret"}, "HF_TOKEN"), ({"HF_TOKEN": ["hf_topsecret"]}, "HF_TOKEN"),
        ({"VLLM_API_KEY": "topsecret"}, "VLLM_API_KEY"),
        ({"PASSWORD": {"a": "topsecret"}}, "PASSWORD"), ({"MY_SECRET": "topsecret" * 999}, "MY_SECRET"),
        ({"apikey": "topsecret"}, "apikey"),
        ({"PLAIN": "topsecret\x00"}, "PLAIN"), ({"PIN": 1234567890}, "PIN"), ("HF_TOKEN=topsecret", ""),
        (["HF_TOKEN=topsecret"], ""),
    ],
)  # fmt: skip
def test_the_value_of_an_environment_variable_is_never_shown(environment: Any, path: str) -> None:
    problems = _problems(_edited(CPU, "models.0.environment", environment))
    assert [p for p, _, _ in problems] == [f"models[0].environment.{path}".rstrip(".")]
    assert "topsecret" not in repr(problems)
    assert "1234567890" not in repr(problems)


def test_a_secret_is_never_shown_wherever_it_stands() -> None:
    problems = _problems(
        {
            **CPU,
            "apiKey": "topsecret",
            "huggingFaceToken": ["topsecret"],
            "apikey": "topsecret",
            "key": {"a": "topsecret"},
        }
    )
    assert [path for path, _, _ in problems] == ["apiKey", "apikey", "huggingFaceToken", "key"]
    assert "topsecret" not in repr(problems)


def test_an_encrypted_declared_secret_is_accepted_and_not_kept() -> None:
    settings = Settings.from_config({**CPU, "apiKey": "topsecret"}, secret_keys=frozenset({"apiKey"}))
    assert "topsecret" not in repr(settings)


def test_an_encrypted_value_elsewhere_is_one_problem_and_not_two() -> None:
    assert _problems({**CPU, "machine": "[secret]"}, "machine") == [
        (
            "machine",
            "holds `secure:`, but nothing secret is declared there",
            "write it in clear, or type: pulumi config rm machine",
        )
    ]


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [_nested(250), _nested(100_000), "\ud800", 10**5000],
    ids=["250 lists", "100000 lists", "half a character", "5000 digits"],
)
def test_what_cannot_even_be_written_as_json_is_an_ordinary_problem(value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_config({**CPU, "models": value}, file="Pulumi.x.yaml")
    assert str(caught.value).startswith("1 problem in the stack settings:\n\n  Pulumi.x.yaml: config\n")


def test_a_whole_message_reads_well() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_config({**CPU, "machine": {"kind": "cpu", "memory": 24, "cpus": "two"}}, file="Pulumi.x.yaml")
    assert str(caught.value) == (
        "3 problems in the stack settings:\n"
        "\n"
        "  Pulumi.x.yaml: local-ai-lab:machine.cpus\n"
        "    'two' is not a whole number\n"
        "    -> write cpus: 8, or another whole number from 1 to 1024\n"
        "  Pulumi.x.yaml: local-ai-lab:machine.memory\n"
        "    no such setting: memory\n"
        "    -> write memoryGiB instead, or remove it\n"
        "  Pulumi.x.yaml: local-ai-lab:machine.memoryGiB\n"
        "    is missing\n"
        "    -> add memoryGiB: 16, or another whole number from 1 to 4096"
    )
