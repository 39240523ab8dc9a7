"""Kubernetes objects applied to a fake API server: which requests are sent, what is waited for, what is taken over or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import RefusedError
from tests.engine.apply_support import CLUSTER, World, errors
from tests.support.fake_apiserver import FakeServer, RefusedRequestError, Request, ready, serving, write_kubeconfig

MAP = "/api/v1/namespaces/lab/configmaps/map"
TWO = CLUSTER + """
lab = k8s.core.v1.Namespace("lab", metadata={"name": "lab", "labels": labels}, opts=opts())
m = k8s.core.v1.ConfigMap("map", metadata={"name": "map", "namespace": "lab", "labels": labels},
                          data={"y": "on", "value": config.get("value") or "1"}, opts=opts(lab))
pulumi.export("uid", m.metadata.uid)
"""  # fmt: skip
EVERY_KIND = CLUSTER + """
def meta(name, **more): return {"name": name, "namespace": "lab", "labels": labels, **more}
pod = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "G", "value": config.get("g") or "1"}]}]}}
lab = k8s.core.v1.Namespace("lab", metadata={"name": "lab", "labels": labels}, opts=opts())
sa = k8s.core.v1.ServiceAccount("sa", metadata=meta("sa"), opts=opts(lab))
key = k8s.core.v1.Secret("key", metadata=meta("key"), string_data={"k": config.require_secret("secretKey")}, opts=opts(lab))
sc = k8s.storage.v1.StorageClass("sc", metadata={"name": "sc", "labels": labels}, provisioner="kubernetes.io/no-provisioner", opts=opts())
pv = k8s.core.v1.PersistentVolume("pv", metadata={"name": "pv", "labels": labels}, spec={"capacity": {"storage": "1024Mi"},
    "access_modes": ["ReadOnlyMany"], "storage_class_name": "sc", "local": {"path": "/x"}}, opts=opts(sc))
pvc = k8s.core.v1.PersistentVolumeClaim("pvc", metadata=meta("pvc"), spec={"access_modes": ["ReadOnlyMany"], "storage_class_name": "sc",
    "volume_name": "pv", "resources": {"requests": {"storage": "1Gi"}}}, opts=opts(lab, pv))
dep = k8s.apps.v1.Deployment("dep", metadata=meta("dep"), spec={"selector": {"match_labels": {"app": "a"}}, "template": pod}, opts=opts(pvc, key, sa))
svc = k8s.core.v1.Service("svc", metadata=meta("svc"), spec={"selector": {"app": "a"}, "ports": [{"port": 80}]}, opts=opts(dep))
ds = k8s.apps.v1.DaemonSet("ds", metadata=meta("ds"), spec={"selector": {"match_labels": {"app": "d"}}, "template": pod}, opts=opts(lab))
np = k8s.networking.v1.NetworkPolicy("np", metadata=meta("np"), spec={"pod_selector": {}, "policy_types": ["Ingress"]}, opts=opts(lab))
pdb = k8s.policy.v1.PodDisruptionBudget("pdb", metadata=meta("pdb"), spec={"max_unavailable": 0}, opts=opts(lab))
local.Command("check", create="echo check >> boot.log", triggers=[config.get("g") or "1"], opts=Opts(depends_on=[svc, ds]))
"""  # fmt: skip
EVERY = {"secretKey": "hunter2-very-secret"}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        fake.mark()
        yield fake


@pytest.fixture
def world(tmp_path: Path, server: FakeServer) -> World:
    write_kubeconfig(tmp_path / "kubeconfig", server.url)
    return World(tmp_path)


def test_every_kind_that_the_lab_emits_is_made_in_order(world: World, server: FakeServer) -> None:
    result = world.up(EVERY_KIND, config=EVERY)
    assert result.ok, errors(result)
    assert result.summary == {"create": 15}
    order = [path for method, path in server.writes()]
    assert len(order) == len(set(order)) == 11
    for earlier, later in [("namespaces/lab", "secrets/key"), ("volumes/pv", "claims/pvc"), ("claims/pvc", "/dep"), ("/dep", "/svc")]:
        assert _place(order, earlier) < _place(order, later)
    assert world.log() == ["create", "check"]


def _place(order: list[str], end: str) -> int:
    return next(place for place, path in enumerate(order) if path.endswith(end))


def test_a_second_up_sends_no_write_and_runs_no_command(world: World, server: FakeServer) -> None:
    world.up(EVERY_KIND, config=EVERY)
    server.requests.clear()
    before = world.state.read_bytes()
    result = world.up(config=EVERY)
    assert (result.ok, result.summary) == (True, {"same": 15})
    assert server.writes() == []
    assert world.log() == ["create", "check"]
    assert world.state.read_bytes() == before


def test_one_changed_value_touches_exactly_its_objects(world: World, server: FakeServer) -> None:
    world.up(EVERY_KIND, config=EVERY)
    server.requests.clear()
    result = world.up(config={**EVERY, "g": "2"})
    assert result.summary == {"replace": 1, "same": 12, "update": 2}
    assert [path.rpartition("/")[2] for _, path in sorted(server.writes())] == ["ds", "dep"]
    assert world.log() == ["create", "check", "check"]


def test_the_same_field_manager_is_used_from_the_first_apply_on(world: World, server: FakeServer) -> None:
    world.up(TWO)
    world.up(config={"value": "2"})
    managers = {r.query["fieldManager"] for r in server.requests if r.path == MAP and r.writes}
    assert len(managers) == 1
    assert world.recorded()["map"]["outputs"]["__fieldManager"] in managers
    assert {r.query["force"] for r in server.requests if r.writes} == {"false"}
    assert server.objects[MAP]["data"] == {"y": "on", "value": "2"}


def test_bodies_are_json_so_that_yes_stays_a_word(world: World, server: FakeServer) -> None:
    world.up(TWO)
    (request,) = [r for r in server.requests if r.path == MAP and r.writes]
    assert request.body["type"] == "application/apply-patch+yaml"
    assert request.body["content"]["data"]["y"] == "on"


def test_the_state_holds_what_the_cli_needs(world: World) -> None:
    world.up(EVERY_KIND, config=EVERY)
    key = world.recorded()["key"]
    assert key["id"] == "lab/key"
    assert {"__fieldManager", "__initialApiVersion", "__inputs"} <= set(key["outputs"])
    assert "stringData" not in key["inputs"]
    assert set(key["inputs"]["data"]) == set(key["outputs"]["__inputs"]["data"]) == {"4dabf18193072939515e22adb298388d", "ciphertext"}
    assert EVERY["secretKey"] not in world.state.read_text()
    assert "aHVudGVyMi12ZXJ5LXNlY3JldA==" not in world.state.read_text()
    assert world.recorded()["lab"]["id"] == "lab"
    assert world.recorded()["pv"]["inputs"]["spec"]["capacity"] == {"storage": "1Gi"}


def test_what_left_the_program_is_deleted_from_the_cluster(world: World, server: FakeServer) -> None:
    world.up(TWO)
    server.requests.clear()
    server.lingering = 2
    result = world.up(TWO.split("m = k8s")[0])
    assert result.summary == {"delete": 1, "same": 4}
    assert server.writes() == [("DELETE", MAP)]
    assert MAP not in server.objects
    assert ("map", "until it is gone") in world.told("waiting")


def test_down_deletes_the_host_and_none_of_its_guests(world: World, server: FakeServer) -> None:
    world.up(TWO)
    server.requests.clear()
    result = world.down()
    assert (result.ok, result.summary) == (True, {"delete": 5})
    assert server.requests == []
    assert world.log() == ["create", "delete"]
    assert world.deployment()["resources"] == []


def test_down_without_a_cluster_that_answers_still_removes_the_host(world: World, server: FakeServer) -> None:
    world.up(TWO)
    (world.folder / "kubeconfig").unlink()
    assert world.down().ok
    assert world.log() == ["create", "delete"]


def test_down_deletes_what_has_no_host_in_reverse(world: World, server: FakeServer) -> None:
    world.up(TWO, config={"alone": "1"})
    server.requests.clear()
    assert world.down().ok
    assert server.writes() == [("DELETE", MAP), ("DELETE", "/api/v1/namespaces/lab")]
    uids = [r.body["content"]["preconditions"]["uid"] for r in server.requests if r.writes]
    assert all(uids)


def test_another_object_of_the_same_name_is_left_alone(world: World, server: FakeServer) -> None:
    world.up(TWO, config={"alone": "1"})
    server.put(MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"new": "one"}})
    result = world.up(TWO.split("m = k8s")[0], config={"alone": "1"})
    assert result.ok
    assert MAP in server.objects
    assert ("map", "is another object by now: left alone") in world.told("note")


def test_a_foreign_object_is_refused(world: World, server: FakeServer) -> None:
    server.put("/api/v1/namespaces/lab", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    server.put(
        MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"app.kubernetes.io/managed-by": "pulumi"}}, "data": {}}
    )
    result = world.up(TWO)
    assert not result.ok
    assert "is there already and is not ours" in errors(result)
    assert server.objects[MAP]["data"] == {}


def test_our_own_objects_are_taken_over_when_the_state_is_lost(world: World, server: FakeServer) -> None:
    first = world.up(TWO)
    uid = server.objects[MAP]["metadata"]["uid"]
    manager = world.recorded()["map"]["outputs"]["__fieldManager"]
    world.state.unlink()
    result = world.up()
    assert (result.ok, result.summary) == (True, first.summary)
    assert server.objects[MAP]["metadata"]["uid"] == uid
    assert world.recorded()["map"]["outputs"]["__fieldManager"] == manager
    assert ("map", "was there already: taken over") in world.told("note")


def test_a_conflict_with_another_manager_is_an_error(world: World, server: FakeServer) -> None:
    world.up(TWO)
    server.owned[MAP]["kubectl"] = {("data", "value"): "1"}
    result = world.up(config={"value": "2"})
    assert not result.ok
    assert "conflicts" in errors(result)
    assert server.objects[MAP]["data"]["value"] == "1"


def test_fields_of_the_clis_plain_create_are_taken_over_before_an_update(world: World, server: FakeServer) -> None:
    world.up(TWO)
    (manager,) = server.owned[MAP]
    server.owned[MAP]["pulumi-kubernetes"] = server.owned[MAP].pop(manager)
    server.objects[MAP]["metadata"]["managedFields"] = [{"manager": "pulumi-kubernetes", "operation": "Update", "fieldsV1": {}}]
    assert world.up(TWO.replace('"y": "on", ', ""), config={"value": "2"}).ok
    assert server.objects[MAP]["data"] == {"value": "2"}
    assert list(server.owned[MAP]) == [manager]


def test_an_immutable_config_map_is_deleted_and_made_anew(world: World, server: FakeServer) -> None:
    world.up(TWO, config={"immutable": "1"})
    uid = server.objects[MAP]["metadata"]["uid"]
    server.requests.clear()
    result = world.up(config={"immutable": "1", "value": "2"})
    assert result.summary == {"replace": 1, "same": 4}
    assert server.writes() == [("DELETE", MAP), ("PATCH", MAP)]
    assert result.outputs["uid"] != uid


def test_a_cluster_without_the_mark_is_refused_before_anything_is_done(world: World, server: FakeServer) -> None:
    server.put("/api/v1/namespaces/kube-system", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    with pytest.raises(RefusedError, match="carries no mark of the lab") as caught:
        world.up(TWO)
    assert caught.value.exit_code == 2
    assert server.writes() == []
    assert world.log() == []


def test_a_cluster_without_the_mark_is_refused_too_when_the_bootstrap_makes_it(world: World, server: FakeServer) -> None:
    server.put("/api/v1/namespaces/kube-system", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    (world.folder / "kubeconfig").rename(world.folder / "later")
    result = world.up(TWO.replace("echo create >> boot.log", "cp later kubeconfig"))
    assert (result.ok, result.exit_code) == (False, 2)
    assert server.writes() == []


def test_a_labelled_config_map_is_a_mark_too(world: World, server: FakeServer) -> None:
    server.put("/api/v1/namespaces/kube-system", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    path = "/api/v1/namespaces/kube-system/configmaps/any"
    server.put(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"local-ai-lab/embedded": "true"}}})
    assert world.up(TWO).ok


def test_an_object_that_never_gets_ready_is_recorded_and_tried_again(world: World, server: FakeServer) -> None:
    server.endpoints_ready = False
    text = (
        TWO
        + """
k8s.core.v1.Service("svc", metadata={"name": "svc", "namespace": "lab", "labels": labels}, spec={"selector": {"a": "b"}},
                    opts=opts(lab, custom_timeouts=pulumi.CustomTimeouts(create="1s", update="1s")))
"""
    )
    result = world.up(text)
    assert "Service svc: not ready after 1 s: no pod behind it is ready" in errors(result)
    assert world.recorded()["svc"]["initErrors"]
    server.endpoints_ready = True
    assert world.up().summary == {"same": 5, "update": 1}
    assert "initErrors" not in world.recorded()["svc"]


def test_skip_await_waits_for_nothing(world: World, server: FakeServer) -> None:
    server.endpoints_ready = False
    meta = '{"name": "svc", "namespace": "lab", "labels": labels, "annotations": {"pulumi.com/skipAwait": "true"}}'
    text = TWO + f'k8s.core.v1.Service("svc", metadata={meta}, spec={{"selector": {{"a": "b"}}}}, opts=opts(lab))'
    assert world.up(text).ok


def test_a_busy_server_is_asked_again(world: World, server: FakeServer) -> None:
    left = [503, 429, 503]

    def before(request: Request) -> None:
        if request.writes and left:
            raise RefusedRequestError(left.pop(), "busy")

    server.before = before
    assert world.up(TWO).ok
    assert left == []


def test_a_gone_object_is_made_anew_only_when_asked_to_look(world: World, server: FakeServer) -> None:
    world.up(TWO)
    del server.objects[MAP]
    assert world.up().summary == {"same": 5}
    assert MAP not in server.objects
    server.owned.pop(MAP)
    assert world.up(refresh=True).summary == {"create": 1, "same": 4}
    assert MAP in server.objects
    assert world.up(refresh=True).summary == {"same": 5}


def test_a_recreated_cluster_is_filled_again(world: World, server: FakeServer) -> None:
    world.up(EVERY_KIND, config=EVERY)
    server.objects.clear()
    server.owned.clear()
    server.mark()
    result = world.up(config={**EVERY, "generation": "1"}, refresh=True)
    assert result.ok, errors(result)
    assert result.summary == {"create": 11, "same": 3, "update": 1}


def test_a_waiting_deployment_says_what_is_wrong_with_its_pods(world: World, server: FakeServer) -> None:
    def stuck(item: dict) -> None:  # type: ignore[type-arg]
        ready(item)
        if item["kind"] == "Deployment":
            item["status"] = {"observedGeneration": item["metadata"]["generation"], "replicas": 1, "updatedReplicas": 1}

    server.controller = stuck
    waiting = {"name": "c", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}}
    server.put("/api/v1/namespaces/lab", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"app": "a"}}, "status": {"containerStatuses": [waiting]}}
    server.put("/api/v1/namespaces/lab/pods/p", pod)
    text = (
        CLUSTER
        + """
spec = {"selector": {"match_labels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}}}
k8s.apps.v1.Deployment("dep", metadata={"name": "dep", "namespace": "lab"}, spec=spec, opts=opts(custom_timeouts=pulumi.CustomTimeouts(create="1s")))
"""
    )
    assert "0 of 1 pods available, 1 up to date: c: ErrImageNeverPull no image" in errors(world.up(text))
