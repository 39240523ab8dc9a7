"""What the embedded cluster's programs are told: addresses, files, flags. Nothing runs."""

import ipaddress
import json
import tomllib
from pathlib import Path

import pytest

from host.embedded import configs, parts, pki, programs
from host.embedded.layout import SLOTS, Layout
from host.embedded.parts import Parts
from stacks import names
from stacks.errors import HostError
from stacks.planning.plan import EmbeddedPlan


def plan(stack="dev", slot=0, **changes):
    name = f"{names.PART_OF}-{stack}"
    values = {
        "name": name, "kubeconfig": names.kubeconfig(stack), "identifier": names.cluster_identifier(stack), "node": name, "kubernetes": "v1.36.3",
        "containerd": "v2.4.2", "etcd": "v3.7.3", "address": names.embedded_node_address(slot), "slot": slot, "images": (), "provider": "4.25.0",
    }  # fmt: skip
    return EmbeddedPlan(**{**values, **changes})


def layout(stack="dev", slot=0):
    return Layout(stack, plan(stack, slot))


@pytest.fixture
def made(monkeypatch):
    """A layout, its parts, and rendered files, with certificates that openssl really made."""
    place = layout()
    pki.make(place)
    built = Parts(*(Path("/built") / n for n in ("kubernetes", "containerd", "etcd", "pause", "debian")))
    return place, built, configs.rendered(place, pause_image="lab.local/pause:1", cni_plugins=Path("/cni"))


def test_no_two_slots_share_an_address():
    networks = [
        ipaddress.ip_network(n, strict=False)
        for s in range(SLOTS + 1)
        for p in [layout(slot=s)]
        for n in (f"{p.plan.address}/30", p.pods, p.services)
    ]
    assert len(networks) == len(set(networks))
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])


def test_the_machines_end_of_the_link_is_the_address_below_the_node():
    assert (layout(slot=1).host_address, layout(slot=1).plan.address) == ("10.231.0.5", "10.231.0.6")


@pytest.mark.parametrize("slot", [0, SLOTS])
def test_a_link_name_is_short_enough_for_the_kernel(slot):
    assert len(layout(slot=slot).link) <= 15


def test_equal_layouts_render_equal_bytes(made):
    place, _, rendered = made
    assert configs.rendered(place, pause_image="lab.local/pause:1", cni_plugins=Path("/cni")) == rendered


def test_the_kubelet_takes_no_anonymous_caller_and_serves_no_read_only_port():
    told = json.loads(configs.kubelet(layout()))
    assert told["authentication"]["anonymous"] == {"enabled": False}
    assert told["authorization"] == {"mode": "Webhook"}
    assert told["readOnlyPort"] == 0
    assert told["cgroupRoot"] == "/local-ai-lab-dev"


def test_no_program_is_told_to_listen_on_every_address(made):
    place, built, rendered = made
    for program in programs.all_programs(place, built, rendered).values():
        assert not any("0.0.0.0" in word for word in program.arguments if "cidr" not in word)  # noqa: S104
    for text in (configs.kubelet(place), configs.kube_proxy(place)):
        told = json.loads(text)
        bound = [v for k, v in told.items() if k.lower().endswith("address")]
        assert bound
        assert all(value.split(":")[0] in ("127.0.0.1", place.plan.address) for value in bound)


def test_the_api_server_has_node_and_rbac_authorization_and_node_restriction(made):
    place, built, rendered = made
    words = programs.all_programs(place, built, rendered)["kube-apiserver"].arguments
    assert {
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--anonymous-auth=false",
        "--allow-privileged=false",
    } <= set(words)


def test_pods_of_unlabelled_namespaces_are_held_to_baseline():
    (plugin,) = json.loads(configs.admission())["plugins"]
    assert plugin["configuration"]["defaults"]["enforce"] == "baseline"


def test_containerds_configuration_is_toml_and_keeps_its_root_in_the_cache(made):
    place, _, rendered = made
    told = tomllib.loads(rendered[place.config / "containerd.toml"])
    assert told["version"] == 3
    assert told["root"] == str(place.images)
    assert place.cache in place.images.parents
    assert told["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "lab.local/pause:1"


def test_a_changed_file_restarts_its_readers_and_no_other(made):
    place, built, rendered = made
    before = {n: p.digest({}) for n, p in programs.all_programs(place, built, rendered).items()}
    changed = {**rendered, place.config / "kubelet.json": "{}"}
    after = {n: p.digest({}) for n, p in programs.all_programs(place, built, changed).items()}
    assert {n for n in before if before[n] != after[n]} == {"kubelet"}
    assert programs.readers(place, place.config / "kubelet.json") == ["kubelet"]


def test_every_rendered_file_has_a_reader(made):
    place, _, rendered = made
    assert all(programs.readers(place, path) for path in rendered)


def test_keys_are_private_and_leaves_are_made_once(made):
    place, _, _ = made
    assert {k.stat().st_mode & 0o777 for k in place.pki.glob("*.key")} == {0o600}
    assert place.pki.stat().st_mode & 0o777 == 0o700
    assert pki.make(place) is False


def test_a_leaf_is_made_again_when_its_key_its_names_or_its_authority_changed(made):
    place, _, _ = made
    (place.pki / "kubelet.key").unlink()
    before = pki.fingerprints(place, "kubelet", "admin", "ca")
    assert pki.make(place) is True
    after = pki.fingerprints(place, "kubelet", "admin", "ca")
    assert {n for n in after if after[n] != before.get(n)} == {"kubelet.crt", "kubelet.key"}
    (place.pki / "ca.crt").unlink()
    assert pki.make(place) is True
    assert pki.fingerprints(place, "admin") != {n: d for n, d in after.items() if n.startswith("admin")}


def test_a_leaf_near_its_end_is_renewed(made, monkeypatch):
    place, _, _ = made
    import time

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 320 * 86400)
    assert pki.make(place) is True


def test_a_plan_with_versions_that_have_no_checksums_here_is_refused():
    with pytest.raises(HostError, match=r"kubernetes v9\.0\.0, this release has the checksums of v1\.36\.3"):
        parts.modules(plan(kubernetes="v9.0.0"))


def test_the_catalogues_versions_are_the_locked_ones():
    from stacks.catalog.loader import load

    catalog = load()
    assert parts.modules(plan(**{p: str(catalog.fact(f"embedded.{p}").value) for p in ("kubernetes", "containerd", "etcd")}))


def test_the_kubernetes_staging_modules_are_replaced_by_the_matching_release():
    text = (Path(parts.__file__).parent / "go" / "kubernetes" / "go.mod").read_text()
    replaced = [line.split() for line in text.splitlines() if " => " in line]
    assert len(replaced) > 25
    assert {words[-1] for words in replaced} == {"v0.36.3"}
