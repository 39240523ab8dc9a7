"""Every state in which somebody else's cluster can be found, with each of ensure, status and destroy; and a kill at
every step.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.drivers import epoch, existing, ownership
from host.system import state
from stacks import names
from stacks.errors import HostError
from stacks.plan import canonical
from tests.support.existing_world import CONTEXT, GPU, OTHER_CONTEXT, SPACE, STACK, World, node, storage_class
from tests.support.stacks import ROOT, plan

MAY_BE_WRITTEN = {
    "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",  # answers a question, and keeps nothing
    "POST /api/v1/namespaces?dryRun=All",
}
DELETE = f"DELETE /api/v1/namespaces/{SPACE}"


def _as_user(patch: pytest.MonkeyPatch, world: World) -> None:
    patch.setenv("HOME", str(world.home))
    patch.setenv("PATH", f"{world.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
    for name in ("PULUMI_COMMAND_STDOUT", "LAB_BY_STACK"):
        patch.delenv(name, raising=False)


@dataclass(frozen=True)
class Saved:
    """One cluster for all cases, as it was before the stack, and with the stack in it."""

    world: World
    fresh: Path
    made: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    folder = tmp_path_factory.mktemp("cluster")
    world = World(folder / "world")
    world.save(folder / "fresh")
    with pytest.MonkeyPatch.context() as patch:
        _as_user(patch, world)
        existing.ensure(environment())
        world.space(owner=ownership.checkout(STACK), persistentvolumeclaims=[{"metadata": {"name": "model-cache"}}])
    world.save(folder / "made")
    yield Saved(world, folder / "fresh", folder / "made")
    world.close()


@pytest.fixture
def world(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> World:
    saved.world.restore(saved.fresh)
    _as_user(monkeypatch, saved.world)
    return saved.world


def environment(edit: Callable[[dict[str, Any]], None] | None = None, **more: str) -> dict[str, str]:
    return {"LAB_STACK": STACK, "LAB_SPEC": canonical(plan(STACK, edit).cluster), "LAB_EPOCH": "0", **more}


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def one_node(**facts: Any) -> Callable[[World], None]:
    return lambda w: w.say(nodes=[node(**facts)])


def user(**fields: Any) -> Callable[[World], None]:
    return lambda w: w.write_kubeconfig(w.document(**fields))


def cluster(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        document = world.document()
        document["clusters"][0]["cluster"].update(fields)
        world.write_kubeconfig(document)

    return change


def plugin(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        document = world.document()
        document["users"][0]["user"]["exec"].update(fields)
        world.write_kubeconfig(document)

    return change


def quota(**hard: str) -> Callable[[World], None]:
    names_ = {key.replace("__", ".").replace("_", "/"): value for key, value in hard.items()}
    found = {"metadata": {"name": "team"}, "spec": {"hard": names_}, "status": {"hard": names_, "used": {}}}
    return lambda w: w.space(owner=ownership.checkout(STACK), resourcequotas=[found])


def limit_range(world: World) -> None:
    limit = {"type": "Container", "max": {"memory": "4Gi"}}
    found = {"metadata": {"name": "small"}, "spec": {"limits": [limit]}}
    world.space(owner=ownership.checkout(STACK), limitranges=[found])


def no_namespace(world: World) -> None:
    found = world.read()["namespaces"]
    world.say(namespaces={name: space for name, space in found.items() if name != SPACE})


def expired(world: World) -> None:
    (world.state / "expired").write_text("")


def junk(world: World) -> None:
    (world.state / "said").write_text("<html>sign in</html>")


def switched(world: World) -> None:
    """The context of that name is another cluster's now."""
    world.say(uid="22222222-bbbb")


KEPT, ABSENT, GONE, LEFT = "kept", "absent", "gone", "left"
SILENT, LOGIN = "does not answer", "aws sso login"
# what it is: from (fresh or made), how it came so, what ensure ends with, what status says, what destroy ends with
STATES: dict[str, tuple[str, Callable[[World], Any], str, str, str]] = {
    "absent": ("fresh", lambda _: None, "ok", "absent", ABSENT),
    "running": ("made", lambda _: None, KEPT, "running", GONE),
    "half made: checked, and no namespace yet": ("made", no_namespace, KEPT, "lost", ABSENT),
    "unreachable before": ("fresh", lambda w: w.say(up=False), SILENT, "absent", ABSENT),
    "unreachable": ("made", lambda w: w.say(up=False), SILENT, "unreachable", SILENT),
    "login expired before": ("fresh", expired, LOGIN, "absent", ABSENT),
    "login expired": ("made", expired, LOGIN, "unauthorized", LOGIN),
    "token refused": ("made", lambda w: w.say(token="another"), "log in to the cluster", "unauthorized", "log in to"),
    "plugin prints no credential": ("made", junk, "no ExecCredential", "unauthorized", "no ExecCredential"),
    "plugin missing": ("fresh", plugin(command="no-such-plugin"), "is not on this machine", "absent", ABSENT),
    "plugin asks at a terminal": ("fresh", plugin(interactiveMode="Always"), "Pulumi has none", "absent", ABSENT),
    "plugin of an old version": (
        "fresh", plugin(apiVersion="client.authentication.k8s.io/v1alpha1"), "clients know", "absent", ABSENT,
    ),
    "auth-provider": ("fresh", user(**{"auth-provider": {"name": "gcp"}}), "use the provider's exec", "absent", ABSENT),
    "impersonation": ("fresh", user(**{"token": "x", "as": "admin"}), "impersonation is not", "absent", ABSENT),
    "password": ("fresh", user(username="a", password="b"), "since Kubernetes v1.19", "absent", ABSENT),
    "token file missing": ("fresh", user(tokenFile="nowhere"), "tokenFile", "absent", ABSENT),
    "not https": ("fresh", cluster(server="http://127.0.0.1:8001"), "is not https", "absent", ABSENT),
    "no TLS check": ("fresh", cluster(**{"insecure-skip-tls-verify": True}), "trusts whoever", "absent", ABSENT),
    "unknown field": ("fresh", cluster(colour="blue"), "has colour", "absent", ABSENT),
    "no kubeconfig": ("fresh", lambda w: (w.home / ".kube/config").unlink(), "no kubeconfig at", "absent", ABSENT),
    "kubeconfig broken": (
        "fresh", lambda w: (w.home / ".kube/config").write_text("{"), "cannot be read", "absent", ABSENT,
    ),
    "wrong context": (
        "fresh", lambda w: w.write_kubeconfig({"contexts": [{"name": "x", "context": {}}]}), "it has: x", "absent",
        ABSENT,
    ),
    "forbidden kinds": (
        "fresh", lambda w: w.say(denied=["create deployments", "delete namespaces", "create pods/portforward"]),
        "namespaces: delete; deployments.apps: create; pods/portforward: create", "absent", ABSENT,
    ),
    "rights cannot be asked": (
        "fresh", lambda w: w.say(denied=["create selfsubjectaccessreviews"]), "selfsubjectaccessreviews (403)",
        "absent", ABSENT,
    ),
    "kube-system hidden": ("fresh", lambda w: w.say(denied=["get kube-system"]), "is known again", "absent", ABSENT),
    "nodes hidden": ("fresh", lambda w: w.say(denied=["list nodes"], nodes=[]), "ok", "absent", ABSENT),
    "too old": ("fresh", lambda w: w.say(version="v1.24.17"), "v1.25.0 is needed", "absent", ABSENT),
    "OpenShift": ("fresh", lambda w: w.say(groups=["security.openshift.io"]), "is OpenShift", "absent", ABSENT),
    "policy refuses the namespace": (
        "fresh", lambda w: w.say(tried="admission webhook denied: team label missing"), "team label", "absent", ABSENT,
    ),
    "no node": ("fresh", lambda w: w.say(nodes=[]), "the cluster has no node", "absent", ABSENT),
    "no GPU": ("fresh", one_node(offered={GPU: None}), f"no {GPU} is offered (gpu-1)", "absent", ABSENT),
    "MIG": ("fresh", one_node(offered={GPU: "0", "nvidia.com/mig-1g.5gb": "7"}), "(MIG)", "absent", ABSENT),
    "shared cards": ("fresh", one_node(labels={"nvidia.com/gpu.replicas": "4"}), "in parts", "absent", ABSENT),
    "other card": (
        "fresh", one_node(labels={"nvidia.com/gpu.product": "Tesla-T4"}), "there it is Tesla-T4", "absent", ABSENT,
    ),
    "smaller card": ("fresh", one_node(labels={"nvidia.com/gpu.memory": "20480"}), "has 20.0 GiB", "absent", ABSENT),
    "no feature discovery": (
        "fresh", one_node(labels={"nvidia.com/gpu.memory": None, "nvidia.com/gpu.replicas": None}), "ok", "absent",
        ABSENT,
    ),
    "old driver": (
        "fresh", one_node(labels={"nvidia.com/cuda.driver-version.major": "535"}), "its driver is 535", "absent",
        ABSENT,
    ),
    "tainted": (
        "fresh", one_node(spec={"taints": [{"key": "sku", "effect": "NoSchedule"}]}), "tolerations: [sku]", "absent",
        ABSENT,
    ),
    "cordoned": ("fresh", one_node(spec={"unschedulable": True}), "cordoned", "absent", ABSENT),
    "node not Ready": ("fresh", one_node(ready="Unknown"), "not Ready", "absent", ABSENT),
    "node too small": ("fresh", one_node(offered={"memory": "3Gi"}), "offers 1 GPU, 3072 MiB", "absent", ABSENT),
    "no StorageClass": (
        "fresh", lambda w: w.say(classes=[]), "no default StorageClass; there is none", "absent", ABSENT,
    ),
    "no default StorageClass": (
        "fresh", lambda w: w.say(classes=[storage_class("gp3")]), "there are: gp3", "absent", ABSENT,
    ),
    "foreign namespace": ("fresh", lambda w: w.space(owner=""), "which the lab did not make", "absent", ABSENT),
    "foreign namespace over ours": ("made", lambda w: w.space(owner=""), "did not make", "foreign", LEFT),
    "another stack's namespace": (
        "made", lambda w: w.space(owner="0" * 16, stack="theirs"), "which stack theirs of another", "foreign", LEFT,
    ),
    "the same stack of another machine": (
        "made", lambda w: w.space(owner="0" * 16), "another machine or checkout", "foreign", LEFT,
    ),
    "namespace going": ("fresh", lambda w: w.space(owner=ownership.checkout(STACK), going=True), "is being deleted",
                        "absent", ABSENT),
    "another cluster behind the context": ("made", switched, "another cluster now", "foreign", LEFT),
    "quota too small": ("fresh", quota(requests__nvidia__com_gpu="0"), "leaves 0 of", "absent", ABSENT),
    "quota too small for storage": (
        "fresh", quota(requests__storage="10Gi"), "of requests.storage, and", "absent", ABSENT,
    ),
    "quota with room": ("fresh", quota(requests__cpu="4", requests__storage="1Ti"), "ok", "absent", ABSENT),
    "limit too small": ("fresh", limit_range, "LimitRange small allows 4Gi", "absent", ABSENT),
}  # fmt: skip


@pytest.fixture(params=STATES)
def case(request: pytest.FixtureRequest, saved: Saved, world: World) -> tuple[str, World]:
    name = str(request.param)
    start, change = STATES[name][:2]
    world.restore(saved.fresh if start == "fresh" else saved.made)
    change(world)
    return name, world


def test_ensure_in_every_state(case: tuple[str, World], capsys: pytest.CaptureFixture[str]) -> None:
    name, world = case
    before, ends = world.everything(), STATES[name][2]
    if ends in ("ok", KEPT):
        existing.ensure(environment())
        changed = said(capsys)["changed"]
        assert changed == ([] if ends == KEPT else ["wrote the kubeconfig"])
        copy = Path(names.kubeconfig(STACK)).expanduser()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert yaml.safe_load(copy.read_text())["current-context"] == SPACE
        assert epoch.recorded_uid(STACK) == "11111111-aaaa"
    else:
        with pytest.raises(HostError) as refused:
            existing.ensure(environment())
        assert ends in str(refused.value)
        assert "nothing was changed" in str(refused.value)
        assert re.search(rf"\./lab up {STACK}|git mv|then the same again", str(refused.value))
        assert world.everything() == before
    assert world.everything()["cluster"]["namespaces"].keys() == before["cluster"]["namespaces"].keys()
    assert world.written() <= MAY_BE_WRITTEN
    assert world.everything()["files"].get(".kube/config") == before["files"].get(".kube/config")


def test_status_in_every_state(case: tuple[str, World], capsys: pytest.CaptureFixture[str]) -> None:
    name, world = case
    before = world.everything()
    existing.status(environment())
    assert said(capsys)["state"] == STATES[name][3]
    assert world.written() == set()
    assert world.everything() == before


def test_destroy_in_every_state(case: tuple[str, World], capsys: pytest.CaptureFixture[str]) -> None:
    name, world = case
    before, ends = world.everything(), STATES[name][4]
    if ends in (ABSENT, GONE, LEFT):
        existing.destroy(environment(LAB_BY_STACK="1"))
        found = said(capsys)
        assert found["removed"] == (ends == GONE)
        assert bool(found["left"]) == (ends == LEFT)
        assert not Path(names.kubeconfig(STACK)).expanduser().exists()
        assert not epoch.recorded_uid(STACK)
    else:
        with pytest.raises(HostError) as refused:
            existing.destroy(environment(LAB_BY_STACK="1"))
        assert ends in str(refused.value)
        assert world.everything() == before
    left = before["cluster"]["namespaces"].keys() - ({SPACE} if ends == GONE else set())
    assert world.everything()["cluster"]["namespaces"].keys() == left
    assert world.written() == ({DELETE} if ends == GONE else set())


def test_everything_that_is_wrong_is_said_at_once(world: World) -> None:
    world.say(denied=["create deployments"], nodes=[], classes=[], version="v1.20.0")
    with pytest.raises(HostError) as refused:
        existing.ensure(environment())
    for word in ("v1.25.0 is needed", "lacks rights", "no room for", "no default StorageClass"):
        assert word in str(refused.value)
    assert str(refused.value).count("->") == 4


def test_two_stacks_in_one_cluster_do_not_meet(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    existing.ensure(environment())
    world.space(owner=ownership.checkout(STACK))
    other = {**environment(), "LAB_STACK": "second"}
    other["LAB_SPEC"] = other["LAB_SPEC"].replace(STACK, "second")
    existing.ensure(other)
    existing.destroy({**other, "LAB_BY_STACK": "1"})
    assert SPACE in world.read()["namespaces"]
    existing.status(environment())
    assert said(capsys)["state"] == "running"


@pytest.mark.parametrize(
    ("edit", "nodes", "fits"),
    [
        ({"replicas": 2}, [node("a"), node("b")], False),  # a ReadWriteOnce claim holds all on one node
        ({"replicas": 2}, [node("a", offered={GPU: "2"})], True),
        ({"replicas": 2, "shared": True}, [node("a"), node("b")], True),
        ({"replicas": 2, "shared": True}, [node("a"), node("b", offered={"memory": "1Gi"})], False),
    ],
)
def test_pods_must_find_a_place(world: World, edit: dict[str, Any], nodes: list[dict[str, Any]], fits: bool) -> None:
    def change(own: dict[str, Any]) -> None:
        own["machine"]["gpus"] = 2
        own["models"][0]["replicas"] = edit["replicas"]
        if edit.get("shared"):
            own["cluster"]["storage"]["accessMode"] = "ReadWriteMany"

    world.say(nodes=nodes)
    if fits:
        existing.ensure(environment(change))
    else:
        with pytest.raises(HostError, match="no room for 2 x llama"):
            existing.ensure(environment(change))


def test_what_was_named_in_the_stack_file_must_be_there(world: World) -> None:
    def change(own: dict[str, Any]) -> None:
        own["cluster"] |= {"runtimeClass": "kata", "storage": {"class": "fast"}}

    with pytest.raises(HostError) as refused:
        existing.ensure(environment(change))
    assert "no RuntimeClass kata; there are: nvidia" in str(refused.value)
    assert "no StorageClass fast; there are: gp3, efs" in str(refused.value)


def test_a_kubeconfig_is_carried_whole(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    existing.ensure(environment())
    copy = yaml.safe_load(Path(names.kubeconfig(STACK)).expanduser().read_text())
    assert [entry["name"] for kind in ("contexts", "clusters", "users") for entry in copy[kind]] == [SPACE] * 3
    kept = copy["users"][0]["user"]["exec"]
    assert kept["command"] == str(world.bin / "aws")
    assert kept["env"] == [{"name": "AWS_PROFILE", "value": "lab"}]
    assert OTHER_CONTEXT not in str(copy) and CONTEXT not in str(copy)
    world.write_kubeconfig(world.document(token="k8s-aws-v1.token"))
    existing.ensure(environment())
    assert yaml.safe_load(Path(names.kubeconfig(STACK)).expanduser().read_text())["users"][0]["user"] == {
        "token": "k8s-aws-v1.token"
    }
    (world.home / ".kube" / "token").write_text("k8s-aws-v1.token\n")
    world.write_kubeconfig(world.document(tokenFile="token"))
    existing.ensure(environment())
    copy = yaml.safe_load(Path(names.kubeconfig(STACK)).expanduser().read_text())
    assert copy["users"][0]["user"] == {"tokenFile": str(world.home / ".kube/token")}
    existing.status(environment())
    assert said(capsys)["state"] == "lost"  # it answers, with the token of that file


def test_what_this_user_may_not_see_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.say(denied=["list nodes", "list storageclasses"])
    existing.ensure(environment())
    assert [note.split(":")[0] for note in said(capsys)["notes"]] == [
        "this user may not see nodes", "this user may not see StorageClasses",
    ]  # fmt: skip


def test_the_epoch_rises_where_it_does_not_answer_and_never_takes_another_cluster(world: World, saved: Saved) -> None:
    world.restore(saved.made)
    assert epoch.wanted_epoch(STACK, "existing") == state.epoch(STACK)
    world.say(up=False)
    assert epoch.wanted_epoch(STACK, "existing") == state.epoch(STACK) + 1
    world.say(up=True)
    world.space(owner="0" * 16)  # the bootstrap runs again, and refuses
    assert epoch.wanted_epoch(STACK, "existing") == state.epoch(STACK) + 1
    no_namespace(world)
    assert epoch.wanted_epoch(STACK, "existing") == state.epoch(STACK)
    world.say(uid="22222222-bbbb")
    with pytest.raises(HostError, match="is not the one that stack") as refused:
        epoch.wanted_epoch(STACK, "existing")
    assert not isinstance(refused.value, epoch.ClusterReplaced)


def test_objects_of_somebody_else_are_not_removed_by_their_names(world: World, saved: Saved) -> None:
    cluster_plan = plan(STACK).cluster
    existing.refuse_removal(STACK, cluster_plan)
    world.restore(saved.made)
    existing.refuse_removal(STACK, cluster_plan)
    switched(world)
    with pytest.raises(HostError, match="another cluster now"):
        existing.refuse_removal(STACK, cluster_plan)
    world.restore(saved.made)
    world.space(owner="0" * 16)
    with pytest.raises(HostError, match="nothing was removed"):
        existing.refuse_removal(STACK, cluster_plan)


def test_a_checkout_that_was_moved_keeps_its_namespace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    existing.ensure(environment())
    before = ownership.checkout(STACK)
    monkeypatch.setattr(ownership, "_PROJECT", Path("/elsewhere"))
    assert ownership.checkout(STACK) == before
    assert ownership.checkout("never made") != before


def _run(at: int, verb: str, world: World) -> tuple[int, int]:
    told = {**os.environ, **environment(LAB_BY_STACK="1"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_existing", str(at), verb],
        cwd=ROOT, env=told, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1:] or [""]
    return done.returncode, int(last[0].removeprefix("points: ")) if last[0].startswith("points: ") else 0


@pytest.mark.long
@pytest.mark.parametrize(("verb", "start"), [("ensure", "fresh"), ("destroy", "made")])
def test_a_run_that_was_killed_anywhere_is_finished_by_the_next(
    world: World, saved: Saved, verb: str, start: str
) -> None:
    origin = saved.fresh if start == "fresh" else saved.made
    world.restore(origin)
    code, points = _run(0, verb, world)
    whole = world.everything()
    assert code == 0 and points > 8
    every = [1, 2, 3, *range(4, points - 8, max(1, points // 6)), *range(points - 8, points + 1)]
    for point in every:  # most points are questions about rights, which are alike
        world.restore(origin)
        assert _run(point, verb, world)[0] == -signal.SIGKILL, point
        assert world.read()["namespaces"].keys() - {SPACE} == whole["cluster"]["namespaces"].keys() - {SPACE}
        assert _run(0, verb, world)[0] == 0, point
        assert world.everything() == whole, point
        assert world.written() <= MAY_BE_WRITTEN | {DELETE}
