"""What is to be done next, decided from what was seen alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from host.drivers import ownership
from host.drivers.minikube.decide import decide
from host.drivers.minikube.observe import Container, Observed, Profile, image_tag
from host.drivers.minikube.wanted import Wanted
from host.drivers.ownership import Mark, Owner
from stacks.plan import MinikubePlan
from tests.support.stacks import plan

_PLAN = plan("rtx2060").cluster
assert isinstance(_PLAN, MinikubePlan)
WANTED = Wanted("rtx2060", _PLAN.model_copy(update={"mount": "/srv/models"}))
OURS = ownership.this_stack("rtx2060", "minikube", "local-ai-lab")
THEIRS = Owner("other", str(ownership._PROJECT), "minikube", "local-ai-lab")

PROFILE = Profile(
    driver="docker",
    runtime="docker",
    kubernetes="v1.34.0",
    base_image="gcr.io/k8s-minikube/kicbase:v0.0.48@sha256:7171",
    gpus="all",
    cni="calico",
    mount="/srv/models:/models",
    addons=frozenset(),
)
CONTAINER = Container(
    id="4f2a",
    running=True,
    gpu=True,
    binds=("local-ai-lab:/var", "/srv/models:/models"),
    ports=frozenset(range(30080, 30096)),
    memory_mib=10240,
    cpus=6,
)
WHOLE = Observed(PROFILE, CONTAINER, "running", Mark(OURS, complete=True, identity="4f2a"), True, OURS, sees_gpu=True)
HALF = replace(WHOLE, mark=Mark(OURS), inside=None)
STOPPED = replace(WHOLE, state="stopped", answered=False, inside=None, sees_gpu=None)


def profile(**changes: Any) -> Observed:
    return replace(WHOLE, profile=replace(PROFILE, **changes))


def container(**changes: Any) -> Observed:
    return replace(WHOLE, container=replace(CONTAINER, **changes))


@pytest.mark.parametrize(
    ("seen", "kind", "reason"),
    [
        (Observed(), "create", "there is no profile"),
        (Observed(mark=Mark(OURS)), "create", "there is no profile"),
        (Observed(mark=Mark(OURS, complete=True)), "create", "there is no profile"),
        (WHOLE, "keep", "as it is planned"),
        (STOPPED, "start", "it is stopped"),
        (replace(STOPPED, container=None), "start", "container is gone"),
        (replace(STOPPED, state="degraded"), "start", "it is degraded"),
        (replace(STOPPED, state="unknown"), "start", "it is unknown"),
        (replace(WHOLE, answered=False, inside=None, problem="no answer"), "start", "does not answer: no answer"),
        (replace(WHOLE, sees_gpu=False), "restart", "does not see the GPU"),
        (container(memory_mib=4096), "resize", "memory 4096 MiB becomes 10240"),
        (container(cpus=2.0), "resize", "processors 2 become 6"),
        (container(memory_mib=0, cpus=0), "keep", "as it is planned"),  # Docker holds no limit
        (profile(addons=frozenset({"nvidia-device-plugin", "dashboard"})), "addons", "nvidia-device-plugin"),
        (profile(addons=frozenset({"dashboard"})), "keep", "as it is planned"),
        (profile(kubernetes="v1.33.9"), "start", "v1.33.9 becomes v1.34.0"),
        (profile(kubernetes="v1.32.9"), "refuse", "cannot be reached"),
        (profile(kubernetes="v1.34.1"), "refuse", "cannot be reached"),
        (profile(kubernetes=""), "refuse", "of an unknown version"),
        (profile(gpus="nvidia.com"), "keep", "as it is planned"),
        (profile(gpus=""), "refuse", "GPUs none, planned all"),
        (profile(gpus="amd"), "refuse", "GPUs amd, planned all"),
        (container(gpu=False), "refuse", "made without a GPU"),
        (profile(cni=""), "refuse", "network minikube's own, planned calico"),
        (profile(driver="kvm2"), "refuse", "driver kvm2, planned docker"),
        (profile(runtime="containerd"), "refuse", "container runtime containerd, planned docker"),
        (profile(mount="/srv/old:/models"), "refuse", "mounted folder /srv/old:/models, planned /srv/models:/models"),
        (container(binds=("/srv/models:/models:rshared",)), "keep", "as it is planned"),
        (container(binds=("/run/desktop/mnt/host/wsl/binds/5e1:/models",)), "keep", "as it is planned"),
        (container(binds=("local-ai-lab:/var", "/srv/models:/models2")), "refuse", "does not mount /srv/models"),
        (container(ports=frozenset(range(30081, 30096))), "refuse", "ports 30080 are not published"),
        (
            profile(base_image="gcr.io/k8s-minikube/kicbase:v0.0.50@sha256:eb4f"),
            "refuse",
            "node image v0.0.50, planned",
        ),
        (profile(base_image="docker.io/kicbase/stable:v0.0.48@sha256:7171"), "keep", "as it is planned"),
        (replace(WHOLE, profile=None, state="unknown"), "refuse", "record of profile local-ai-lab is gone"),
        (HALF, "keep", "as it is planned"),
        (replace(HALF, state="stopped", answered=False), "start", "half made"),
        (replace(HALF, profile=None, state="unknown"), "recreate", "only a part"),
        (replace(HALF, profile=Profile.parse({}), state="unknown"), "recreate", "only a part"),
        (replace(HALF, container=replace(CONTAINER, gpu=False)), "recreate", "without a GPU"),
        (replace(HALF, profile=replace(PROFILE, mount="/srv/old:/models")), "refuse", "not as it is planned now"),
        (replace(WHOLE, mark=Mark(OURS, identity="4f2a", removing=True)), "recreate", "removal was begun"),
        (Observed(mark=Mark(OURS, removing=True)), "recreate", "removal was begun"),
        (replace(WHOLE, mark=None), "refuse", "profile local-ai-lab is there and was not made by stack rtx2060"),
        (Observed(None, CONTAINER, "unknown"), "refuse", "a container of Docker called local-ai-lab is there"),
        (replace(WHOLE, mark=Mark(THEIRS, complete=True)), "refuse", "belongs to stack other"),
        (Observed(mark=Mark(THEIRS)), "refuse", "belongs to stack other"),
        (replace(WHOLE, inside=THEIRS), "refuse", "belongs to stack other"),
        (replace(HALF, inside=THEIRS), "refuse", "belongs to stack other"),
        (replace(WHOLE, inside=None), "refuse", "replaced by somebody else"),
        (replace(STOPPED, container=replace(CONTAINER, id="ffff")), "refuse", "cannot say whose it is"),
        (container(id="ffff"), "keep", "as it is planned"),  # it carries our mark, whatever remade its container
    ],
)
def test_what_is_done_next(seen: Observed, kind: str, reason: str) -> None:
    action = decide(seen, WANTED, OURS)
    assert (action.kind, reason in action.reason) == (kind, True), action
    assert bool(action.remedy) == (kind == "refuse")


def test_a_gpu_that_a_restart_does_not_bring_back_is_not_restarted_again() -> None:
    seen = replace(WHOLE, sees_gpu=False)
    assert decide(seen, WANTED, OURS, restarted=True).kind == "keep"


@pytest.mark.parametrize(
    ("reference", "tag"),
    [
        ("gcr.io/k8s-minikube/kicbase:v0.0.48@sha256:7171", "v0.0.48"),
        ("docker.io/kicbase/stable:v0.0.48", "v0.0.48"),
        ("localhost:5000/kicbase:v0.0.48-fix", "v0.0.48-fix"),
        ("kicbase", "kicbase"),
        ("", ""),
    ],
)
def test_the_tag_of_a_node_image(reference: str, tag: str) -> None:
    assert image_tag(reference) == tag
