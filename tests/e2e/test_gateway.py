"""The gateway on a real cluster: Pulumi's engine, the embedded cluster, Envoy from PyPI as an image, two engines of one
static program each.
"""

import collections
import concurrent.futures
import copy
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from host.artifacts.images import build, static
from host.gateway import gateway_files
from stacks import names
from tests.e2e.conftest import Cluster, policies_version
from tests.e2e.test_up import Lab, _fresh
from tests.support import stand_in_image
from tests.support.body_cases import CASES, ERROR_KEYS
from tests.support.identity_provider import AUDIENCE, ISSUER, IdentityProvider
from tests.support.inventory import difference

pytestmark = pytest.mark.e2e

STACK, SLOT = "e2e-gateway", 59
SPACE = names.namespace(STACK)
CONTROLLED = ("e2e-controlled", 58)
"""Stack and slot of the one whose Envoy is made by Envoy Gateway."""
IDP = IdentityProvider()
CHAT = "/v1/chat/completions"
MODEL, SECOND = "a", "b"
_KINDS = {"envoy": (STACK, SLOT), "envoy-gateway": CONTROLLED}


@pytest.fixture(params=list(_KINDS))
def lab(request: pytest.FixtureRequest, tmp_path: Path, stand_in: Path) -> Iterator[Lab]:
    if request.param == "envoy-gateway" and os.environ.get("LAB_SLOW") != "1" and not _built():
        pytest.skip("LAB_SLOW=1 builds Envoy Gateway, which takes ten minutes")
    oidc = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": IDP.keys()} if request.param == "envoy" else None
    yield from two_models(tmp_path / "lab", stand_in, request.param, **({"oidc": oidc} if oidc else {}))


def _built() -> bool:
    """Whether an earlier run has built it; nothing is built for a test that nobody asked for."""
    cache = build.cache_folder()
    return all(static.still_needed_gib(image.reference, cache) == 0 for image in static.ALL.values())


def two_models(folder: Path, stand_in: Path, kind: str = "envoy", **gateway: Any) -> Iterator[Lab]:
    """A lab with two models of one stand-in each behind a gateway, made and removed."""
    stack, slot = _KINDS[kind]
    for made in _fresh(folder, stack, slot):
        file = made.folder / f"Pulumi.{stack}.yaml"
        told = yaml.safe_load(file.read_text())
        told["config"]["local-ai-lab:machine"]["cpus"] = 4
        if policies_version():  # what the stack's own policies forget to allow shows where they hold
            told["config"]["local-ai-lab:cluster"]["networkPolicies"] = "enforced"
        _small(made.folder / "components/serving/model_manifests.py")
        (first,) = told["config"]["local-ai-lab:models"]
        told["config"]["local-ai-lab:models"] = [
            {**first, "name": MODEL},
            {**copy.deepcopy(first), "name": SECOND, "port": 30081},
        ]
        told["config"]["local-ai-lab:gateway"] = {
            "kind": kind,
            "requestsPerMinute": 10_000,
            "aliases": [{"name": "chat", "models": [{"model": MODEL, "weight": 9}, {"model": SECOND}]}],
            "affinity": {"by": "cookie", "name": "lab-session"},
            **gateway,
        }
        file.write_text(yaml.safe_dump(told))
        with stand_in_image.offered(made.folder, stand_in):
            yield made


def _small(manifests: Path) -> None:
    """The stand-ins ask for less than an engine does: two engines do not fit the smallest machine of CI."""
    text = manifests.read_text()
    asked = '"cpu": plan.cpu_request,'
    assert text.count(asked) == 1
    manifests.write_text(text.replace(asked, '"cpu": "250m",'))


def test_two_models_behind_one_gateway(lab):
    cluster, before = Cluster(lab.stack, lab.slot), lab.inventory()
    first = lab.up()
    assert set(first["summary"]) == {"create"}
    for walk in first["check"]:
        assert [hop["name"] for hop in walk["hops"] if hop["ok"]] == [
            "cluster", "node", "rollout", "pod", "service", "gateway", "/v1/models", "chat", "streaming",
        ]  # fmt: skip
    print("\nfirst up", first["seconds"], "s")

    told = lab("endpoint", lab.stack, "--json")
    (url,), base = told["urls"], f"https://{names.embedded_node_address(lab.slot)}:30095"
    assert (url, told["models"]) == (f"{base}/v1", [MODEL, SECOND])

    verified = lab("verify", lab.stack, "--json")
    assert [outcome for outcome in verified["outcomes"] if outcome["finding"]] == []
    print(verified["probes"], "probes, 0 findings")

    again = lab.up()
    assert set(again["summary"]) == {"same"}
    print("again", again["seconds"], "s")

    if policies_version():
        _engines_meet_nobody(cluster)
    _routed_as_documented(lab, base, Path(told["authority"]))
    _rotated_under_load(lab, cluster, base, Path(told["authority"]))
    if lab.stack == STACK:
        _tokens_and_a_key_of_one_model(lab, base, Path(told["authority"]))
    _nothing_secret_in_the_state(lab)
    assert lab("verify", lab.stack, "--json")["findings"] == 0  # a Secret that changed is none of Pulumi's changes
    assert set(lab.up()["summary"]) == {"same"}

    lab.down()
    came = [entry for change in difference(before, lab.inventory()).values() for entry in change["came"]]
    # all of this cluster has one of these in its name: test_up compares the whole machine, which others may use here
    address, slot = names.embedded_node_address(lab.slot), lab.slot
    own = (lab.stack, f"emb{slot}", address, f"10.232.{slot}.", f"10.233.{slot}.")
    assert [entry for entry in came if any(name in entry for name in own)] == []
    assert not (Path(names.state_folder(lab.stack)).expanduser() / "cluster").exists()


def _routed_as_documented(lab: Lab, base: str, authority: Path) -> None:
    """Every case of a body, the parts of an alias, and sessions; a test with an Envoy alone has the same cases."""
    key, trust = lab("keys", lab.stack, "add", "cases", "--json")["key"], ssl.create_default_context(cafile=authority)
    with httpx.Client(base_url=base, verify=trust, trust_env=False, timeout=60) as client:
        client.headers["authorization"] = f"Bearer {key}"
        _until(lambda: client.get("/v1/models").status_code == 200)
        wrong = {}
        for name, (content, headers, status, models) in CASES.items():
            answer = client.post(CHAT, content=content, headers=headers)
            good = answer.json()["model"] in models if models else set(answer.json()["error"]) == ERROR_KEYS
            if answer.status_code != status or not good:
                wrong[name] = (answer.status_code, answer.text[:200])
        assert wrong == {}
        assert len(CASES) >= 65
        # without a cookie each connection is a session of its own
        client.headers["connection"] = "close"
        sent = []
        for _ in range(2000):
            client.cookies.clear()
            sent.append(client.post(CHAT, json={"model": "chat"}))
        client.cookies.clear()
        parts = collections.Counter(answer.json()["model"] for answer in sent)
        assert 0.87 <= parts[MODEL] / len(sent) <= 0.93, parts
        kept = next(answer for answer in sent if answer.json()["model"] == SECOND).headers["set-cookie"].split(";")[0]
        same = {client.post(CHAT, json={"model": "chat"}, headers={"cookie": kept}).json()["model"] for _ in range(200)}
        print(f"{len(CASES)} cases; {parts[MODEL] / 20:.1f} % of 2,000 to nine parts of ten; 200 of a session: {same}")
        assert len(same) == 1
    lab("keys", lab.stack, "revoke", "cases", "--json")


def _engines_meet_nobody(cluster: Cluster) -> None:
    """The stack's own policies: an engine reaches neither the other one nor the API server, which the node reaches."""
    space = cluster.plan.namespace
    pods = json.loads(cluster.kubectl("get", "pods", "-n", space, "-o", "json"))["items"]
    of = {pod["metadata"]["labels"].get("app.kubernetes.io/name"): pod for pod in pods}
    engine, other = of[MODEL]["status"]["podIP"], of[SECOND]["metadata"]["name"]
    assert cluster.reaches("node", engine, names.HTTP_PORT)
    assert not cluster.reaches(other, engine, names.HTTP_PORT, space)
    assert not cluster.reaches(other, cluster.plan.address, 6443, space)


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def _rotated_under_load(lab: Lab, cluster: Cluster, base: str, authority: Path) -> None:
    """A valid key never fails, an old one is refused soon, and no pod starts again."""
    space, stack = names.namespace(lab.stack), lab.stack
    pods = cluster.kubectl("get", "pods", "-n", space, "-o", "jsonpath={.items[*].metadata.uid}")
    first = lab("keys", stack, "add", "laptop", "--json")["key"]
    steady = lab("keys", stack, "add", "steady", "--json")["key"]
    trust = ssl.create_default_context(cafile=str(authority))
    stop, statuses = threading.Event(), []

    def ask(key: str) -> int:
        with httpx.Client(base_url=base, verify=trust, trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {key}"}
            return client.post(CHAT, json={"model": SECOND, "messages": []}, headers=headers).status_code

    def wait(key: str, status: int) -> float:
        begin = time.monotonic()
        while ask(key) != status:
            assert time.monotonic() - begin < 60, status
            time.sleep(0.05)
        return time.monotonic() - begin

    added = wait(first, 200), wait(steady, 200)

    def load() -> None:
        while not stop.is_set():
            statuses.append(ask(steady))
            time.sleep(0.15)  # below the limit of a key

    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(load)
        try:
            rotated = lab("keys", stack, "rotate", "laptop", "--json")["key"]
            taken, refused = wait(rotated, 200), wait(first, 401)
            lab("keys", stack, "revoke", "laptop", "--json")
            revoked = wait(rotated, 401)
        finally:
            stop.set()
            running.result(60)
    assert set(statuses) == {200}
    assert cluster.kubectl("get", "pods", "-n", space, "-o", "jsonpath={.items[*].metadata.uid}") == pods
    restarts = cluster.kubectl(
        "get", "pods", "-n", space, "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"
    )
    assert set(restarts.split()) == {"0"}
    seconds = [round(value, 2) for value in (*added, taken, refused, revoked)]
    print(f"{len(statuses)} requests with a valid key, none failed; seconds after the command: {seconds}")


def _tokens_and_a_key_of_one_model(lab: Lab, base: str, authority: Path) -> None:
    trust = ssl.create_default_context(cafile=str(authority))

    def ask(credential: str, model: str) -> int:
        with httpx.Client(base_url=base, verify=trust, trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {credential}"}
            return client.post(CHAT, json={"model": model, "messages": []}, headers=headers).status_code

    assert [ask(IDP.token(name), SECOND) for name in ("RS256", "ES256")] == [200, 200]
    assert [ask(IdentityProvider().token(), SECOND), ask(IDP.token(exp=1), SECOND)] == [401, 401]
    guest = lab("keys", lab.stack, "add", "guest", "--model", SECOND, "--json")["key"]
    end = time.monotonic() + 60
    while ask(guest, SECOND) != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert (ask(guest, MODEL), ask(guest, "chat")) == (403, 403)
    lab("keys", lab.stack, "revoke", "guest", "--json")
    print("tokens of RS256 and ES256 are taken, another provider's and an old one are not; a key asks its model alone")


def _nothing_secret_in_the_state(lab: Lab) -> None:
    text = json.dumps(lab.deployment())
    keys = gateway_files.keys(lab.stack)
    secret = [keys.of(name) for name in keys.names()] + [gateway_files.engine_key(lab.stack)]
    secret.append((gateway_files.authority(lab.stack).parent / "server.key").read_text().splitlines()[1])
    assert len(secret) >= 3
    assert [value for value in secret if value in text] == []
