"""The gateway on a real cluster: Pulumi's engine, the embedded cluster, Envoy from PyPI as an image, two engines of one
static program each.
"""

import concurrent.futures
import copy
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from host.gateway import gateway_files
from stacks import names
from tests.e2e.conftest import Cluster
from tests.e2e.test_up import MODEL, Lab, _fresh
from tests.support import stand_in_image
from tests.support.inventory import difference

pytestmark = pytest.mark.e2e

STACK, SLOT = "e2e-gateway", 59
OWN = (STACK, f"emb{SLOT}", names.embedded_node_address(SLOT), f"10.232.{SLOT}.", f"10.233.{SLOT}.")
"""What everything of this cluster has in its name: test_up compares the whole machine, which others may use here."""
SPACE = names.namespace(STACK)
CHAT = "/v1/chat/completions"


@pytest.fixture
def lab(tmp_path: Path, stand_in: Path) -> Iterator[Lab]:
    yield from two_models(tmp_path / "lab", stand_in)


def two_models(folder: Path, stand_in: Path) -> Iterator[Lab]:
    """A lab with two models of one stand-in each behind a gateway, made and removed."""
    for made in _fresh(folder, STACK, SLOT):
        file = made.folder / f"Pulumi.{STACK}.yaml"
        told = yaml.safe_load(file.read_text())
        told["config"]["local-ai-lab:machine"]["cpus"] = 4
        _small(made.folder / "components/serving/model_manifests.py")
        (first,) = told["config"]["local-ai-lab:models"]
        told["config"]["local-ai-lab:models"] = [first, {**copy.deepcopy(first), "name": "second", "port": 30081}]
        told["config"]["local-ai-lab:gateway"] = {
            "kind": "envoy",
            "aliases": [{"name": "chat", "models": [{"model": MODEL, "weight": 9}, {"model": "second"}]}],
            "affinity": {"by": "cookie", "name": "lab-session"},
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
    cluster, before = Cluster(STACK, SLOT), lab.inventory()
    first = lab.up()
    assert set(first["summary"]) == {"create"}
    for walk in first["check"]:
        assert [hop["name"] for hop in walk["hops"] if hop["ok"]] == [
            "cluster", "node", "rollout", "pod", "service", "gateway", "/v1/models", "chat", "streaming",
        ]  # fmt: skip
    print("\nfirst up", first["seconds"], "s")

    told = lab("endpoint", STACK, "--json")
    (url,), base = told["urls"], f"https://{names.embedded_node_address(SLOT)}:30095"
    assert (url, told["models"]) == (f"{base}/v1", [MODEL, "second"])

    verified = lab("verify", STACK, "--json")
    assert [outcome for outcome in verified["outcomes"] if outcome["finding"]] == []
    print(verified["probes"], "probes, 0 findings")

    second = lab.up()
    assert set(second["summary"]) == {"same"}
    print("again", second["seconds"], "s")

    _rotated_under_load(lab, cluster, base, Path(told["authority"]))
    _nothing_secret_in_the_state(lab)
    assert lab("verify", STACK, "--json")["findings"] == 0  # a Secret that changed is none of Pulumi's changes
    assert set(lab.up()["summary"]) == {"same"}

    lab.down()
    came = [entry for change in difference(before, lab.inventory()).values() for entry in change["came"]]
    assert [entry for entry in came if any(name in entry for name in OWN)] == []
    assert not (Path(names.state_folder(STACK)).expanduser() / "cluster").exists()


def _rotated_under_load(lab: Lab, cluster: Cluster, base: str, authority: Path) -> None:
    """A valid key never fails, an old one is refused soon, and no pod starts again."""
    pods = cluster.kubectl("get", "pods", "-n", SPACE, "-o", "jsonpath={.items[*].metadata.uid}")
    first = lab("keys", STACK, "add", "laptop", "--json")["key"]
    steady = lab("keys", STACK, "add", "steady", "--json")["key"]
    trust = ssl.create_default_context(cafile=str(authority))
    stop, statuses = threading.Event(), []

    def ask(key: str) -> int:
        with httpx.Client(base_url=base, verify=trust, trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {key}"}
            return client.post(CHAT, json={"model": "second", "messages": []}, headers=headers).status_code

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
            rotated = lab("keys", STACK, "rotate", "laptop", "--json")["key"]
            taken, refused = wait(rotated, 200), wait(first, 401)
            lab("keys", STACK, "revoke", "laptop", "--json")
            revoked = wait(rotated, 401)
        finally:
            stop.set()
            running.result(60)
    assert set(statuses) == {200}
    assert cluster.kubectl("get", "pods", "-n", SPACE, "-o", "jsonpath={.items[*].metadata.uid}") == pods
    restarts = cluster.kubectl(
        "get", "pods", "-n", SPACE, "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"
    )
    assert set(restarts.split()) == {"0"}
    seconds = [round(value, 2) for value in (*added, taken, refused, revoked)]
    print(f"{len(statuses)} requests with a valid key, none failed; seconds after the command: {seconds}")


def _nothing_secret_in_the_state(lab: Lab) -> None:
    text = json.dumps(lab.deployment())
    keys = gateway_files.keys(STACK)
    secret = [keys.of(name) for name in keys.names()] + [gateway_files.engine_key(STACK)]
    secret.append((gateway_files.authority(STACK).parent / "server.key").read_text().splitlines()[1])
    assert len(secret) >= 3
    assert [value for value in secret if value in text] == []
