"""Judges that nobody here wrote: checkov, kubernetes-validate, zizmor, actionlint, and that they see what hardening is
for.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.commands.manifests import objects, write
from cli.load import load_plan
from stacks.plan import ExistingPlan
from tests.support.stacks import ON_KUBERNETES, ROOT, plan

CHECKOV = ROOT / ".venv-policy" / "bin" / "checkov"
# What an image that no registry holds forces; everything else must pass.
ALLOWED_SKIPS = {
    "gemma-3-270m": {"CKV_K8S_15", "CKV_K8S_35", "CKV_K8S_43"},
    "phi-3-mini": {"CKV_K8S_35"},  # with a key
    "deepseek-r1-1-5b": {"CKV_K8S_35"},  # behind a gateway, with the key between the two
    "nvidia-device-plugin": {"CKV_K8S_23", "CKV_K8S_40"},
    "gateway": {"CKV_K8S_15", "CKV_K8S_43"},
    "envoy-gateway": {"CKV_K8S_15", "CKV_K8S_38", "CKV_K8S_43"},
    "envoy-gateway-certgen": {"CKV_K8S_15", "CKV_K8S_38", "CKV_K8S_43"},
    "gateway-plugins": {"CKV_K8S_15", "CKV_K8S_38", "CKV_K8S_43"},
}
CUSTOM = ("gateway.networking.k8s.io/", "gateway.envoyproxy.io/")
"""Groups of kinds that are not Kubernetes' own; their definitions judge them in test_gateway_crds.py."""

pytestmark = pytest.mark.skipif(not CHECKOV.exists(), reason="no .venv-policy; `./lab test` makes it")


def _checkov(folder: Path) -> dict[str, Any]:
    # checkov asks its vendor for guidelines unless it believes itself a platform run; offline it must not try for
    # minutes
    surroundings = {
        **os.environ,
        "CKV_IGNORE_HIDDEN_DIRECTORIES": "False",
        "LOG_LEVEL": "CRITICAL",
        "BC_SKIP_MAPPING": "TRUE",
    }
    command = [CHECKOV, "-d", folder, "--framework", "kubernetes", "--compact", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False, timeout=120)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module", params=ON_KUBERNETES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("manifests") / request.param
    write(plan(request.param), target)
    return target


def test_checkov_finds_no_failure_and_only_the_listed_exceptions(folder: Path) -> None:
    result = _checkov(folder)
    assert result["results"]["failed_checks"] == []
    assert result["summary"]["passed"] > 80
    for skipped in result["results"]["skipped_checks"]:
        name = skipped["resource"].split(".")[-1]
        assert skipped["check_id"] in ALLOWED_SKIPS[name], skipped
        assert len(skipped["check_result"]["suppress_comment"]) > 20


def test_kubernetes_itself_would_take_every_object(folder: Path) -> None:
    import kubernetes_validate

    cluster = plan(folder.name).cluster
    versions = [cluster.kubernetes]
    if isinstance(cluster, ExistingPlan):  # any from the oldest to the newest
        versions = [cluster.oldest, kubernetes_validate.latest_version()]
    for version in versions:
        release = ".".join(version.removeprefix("v").split(".")[:2])
        for path in sorted(folder.iterdir()):
            thing = yaml.safe_load(path.read_text())
            if not thing["apiVersion"].startswith(CUSTOM):
                kubernetes_validate.validate(thing, release, strict=True)


@pytest.mark.parametrize("stack", ["dev", "rtx2060"])
def test_both_find_no_failure_in_a_stack_behind_a_gateway(stack: str, tmp_path: Path) -> None:
    import kubernetes_validate

    folder = tmp_path / stack
    write(plan(stack, lambda own: own.update(gateway={"kind": "envoy"})), folder)
    assert any("gateway" in path.name for path in folder.iterdir())
    test_checkov_finds_no_failure_and_only_the_listed_exceptions(folder)
    for path in sorted(folder.iterdir()):
        kubernetes_validate.validate(yaml.safe_load(path.read_text()), "1.34", strict=True)


def test_kubernetes_would_take_the_objects_of_a_stack_with_secrets(tmp_path: Path) -> None:
    import kubernetes_validate

    text = (ROOT / "Pulumi.dev.yaml").read_text().replace("kind: envoy", "kind: none")
    (tmp_path / "Pulumi.dev.yaml").write_text(text + "  local-ai-lab:apiKey: {secure: v1:AAAA:BBBB}\n")
    made = objects(load_plan(tmp_path, "dev")[1])
    assert [o["kind"] for o in made.values()].count("Secret") == 1
    for thing in made.values():
        kubernetes_validate.validate(thing, "1.36", strict=True)
    assert "AAAA" not in str(made)


HARDENING: dict[str, Callable[[dict[str, Any]], Any]] = {
    "root user": lambda pod: pod["securityContext"].update(runAsNonRoot=False, runAsUser=0),
    "low user": lambda pod: pod["securityContext"].update(runAsUser=1000),
    "token": lambda pod: pod.update(automountServiceAccountToken=True),
    "host network": lambda pod: pod.update(hostNetwork=True),
    "host pid": lambda pod: pod.update(hostPID=True),
    "host ipc": lambda pod: pod.update(hostIPC=True),
    "escalation": lambda pod: pod["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True),
    "privileged": lambda pod: pod["containers"][0]["securityContext"].update(privileged=True),
    "writable root": lambda pod: pod["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False),
    "capabilities": lambda pod: pod["containers"][0]["securityContext"].pop("capabilities"),
    "seccomp": lambda pod: (
        pod["securityContext"].pop("seccompProfile"),
        pod["containers"][0]["securityContext"].pop("seccompProfile"),
    ),
    "cpu limit": lambda pod: pod["containers"][0]["resources"]["limits"].pop("cpu"),
    "memory limit": lambda pod: pod["containers"][0]["resources"]["limits"].pop("memory"),
    "cpu request": lambda pod: pod["containers"][0]["resources"]["requests"].pop("cpu"),
    "memory request": lambda pod: pod["containers"][0]["resources"]["requests"].pop("memory"),
    "readiness": lambda pod: pod["containers"][0].pop("readinessProbe"),
    "liveness": lambda pod: pod["containers"][0].pop("livenessProbe"),
    "latest": lambda pod: pod["containers"][0].update(image="vllm/vllm-openai:latest"),
    "docker socket": lambda pod: pod["volumes"].append({"name": "s", "hostPath": {"path": "/var/run/docker.sock"}}),
}


def test_checkov_goes_red_for_every_piece_of_hardening_that_is_taken_away(tmp_path: Path) -> None:
    good = next(o for o in objects(plan("rtx2060")).values() if o["kind"] == "Deployment")
    for number, (name, harm) in enumerate(HARDENING.items()):
        bad = copy.deepcopy(good)
        bad["metadata"]["name"] = f"mutant-{number}"
        harm(bad["spec"]["template"]["spec"])
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(bad))
        del name
    failed = {
        int(re.findall(r"mutant-(\d+)", c["resource"])[0]) for c in _checkov(tmp_path)["results"]["failed_checks"]
    }
    missed = [name for number, name in enumerate(HARDENING) if number not in failed]
    assert len(HARDENING) >= 15
    assert missed == []


def test_manifests_are_never_written_over_something_else(tmp_path: Path) -> None:
    from stacks.errors import LabError

    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(LabError, match="not an empty folder"):
        write(plan("dev"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_zizmor_is_content_with_the_workflow() -> None:
    tool = ROOT / ".venv-policy" / "bin" / "zizmor"
    done = subprocess.run(
        [tool, "--offline", "--no-progress", ROOT / ".github"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stdout.write(done.stdout)


@pytest.mark.skipif(not shutil.which("go"), reason="actionlint comes as a Go module, and there is no Go toolchain here")
def test_actionlint_is_content_with_the_workflow(tmp_path: Path) -> None:
    surroundings = {**os.environ, "HOME": os.environ.get("LAB_REAL_HOME", os.environ["HOME"]), "GOFLAGS": "-mod=mod"}
    command = [
        "go",
        "run",
        "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12",
        *map(str, (ROOT / ".github/workflows").glob("*.yml")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=surroundings, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
