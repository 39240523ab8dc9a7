"""What the embedded cluster's programs are told: addresses, files, flags. Nothing runs."""

import ipaddress
import json
import ssl
import time
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from host.drivers.embedded import configs, parts, pki, programs
from host.drivers.embedded.layout import SLOTS, Layout
from host.drivers.embedded.parts import Parts
from stacks import names
from stacks.errors import HostError
from stacks.plan import EmbeddedPlan


def plan(stack="dev", slot=0, **changes):
    name = f"{names.PART_OF}-{stack}"
    values = {
        "name": name, "kubeconfig": names.kubeconfig(stack), "identifier": names.cluster_identifier(stack),
        "node": name, "kubernetes": "v1.36.3",
        "containerd": "v2.4.2", "etcd": "v3.7.3", "address": names.embedded_node_address(slot), "slot": slot,
        "images": (), "provider": "4.25.0",
        "namespace": names.namespace(stack),
    }  # fmt: skip
    return EmbeddedPlan(**{**values, **changes})


def layout(stack="dev", slot=0):
    return Layout(stack, plan(stack, slot))


@pytest.fixture
def made(monkeypatch):
    """A layout, its parts, and rendered files, with real certificates."""
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


def test_keys_are_private_and_certificates_are_made_once(made):
    place, _, _ = made
    before = {p.name: p.read_bytes() for p in place.pki.iterdir()}
    assert {k.stat().st_mode & 0o777 for k in place.pki.glob("*.key")} == {0o600}
    assert place.pki.stat().st_mode & 0o777 == 0o700
    assert pki.make(place) is False
    assert {p.name: p.read_bytes() for p in place.pki.iterdir()} == before


def _read(place, name):
    return x509.load_pem_x509_certificate((place.pki / f"{name}.crt").read_bytes())


def test_a_certificate_says_whom_it_serves_and_for_how_long(made):
    place, _, _ = made
    server, client, authority = (_read(place, name) for name in ("kubelet", "admin", "ca"))
    assert server.subject.rfc4514_string() == "CN=system:node:local-ai-lab-dev,O=system:nodes"
    served = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert served.get_values_for_type(x509.DNSName) == ["local-ai-lab-dev"]
    assert served.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(place.plan.address)]
    usages = [list(c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) for c in (server, client)]
    assert usages == [[Usage.SERVER_AUTH, Usage.CLIENT_AUTH], [Usage.CLIENT_AUTH]]
    assert [(c.not_valid_after_utc - c.not_valid_before_utc).days for c in (server, authority)] == [365, 3650]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_every_certificate_and_its_key_load_for_tls_and_come_from_their_authority(made):
    place, _, _ = made
    for wanted in pki.certificates(place):
        context = ssl.create_default_context(cafile=str(place.pki / f"{wanted.signer}.crt"))
        context.load_cert_chain(place.pki / f"{wanted.name}.crt", place.pki / f"{wanted.name}.key")
        _read(place, wanted.name).verify_directly_issued_by(_read(place, wanted.signer))


def test_a_certificate_is_made_again_when_its_key_or_its_authority_is_missing(made):
    place, _, _ = made
    (place.pki / "kubelet.key").unlink()
    before = pki.fingerprints(place, "kubelet", "admin", "ca")
    assert pki.make(place) is True
    after = pki.fingerprints(place, "kubelet", "admin", "ca")
    assert {n for n in after if after[n] != before.get(n)} == {"kubelet.crt", "kubelet.key"}
    (place.pki / "ca.crt").unlink()
    assert pki.make(place) is True
    assert pki.fingerprints(place, "admin") != {n: d for n, d in after.items() if n.startswith("admin")}
    assert pki.make(place) is False


@pytest.mark.parametrize("kind", ["crt", "key"])
def test_a_damaged_or_exchanged_file_is_made_again(made, kind):
    place, _, _ = made
    for text in ("", (place.pki / f"admin.{kind}").read_text(), (place.pki / "service-account.pub").read_text()):
        (place.pki / f"kubelet.{kind}").write_text(text)
        assert pki.make(place) is True
        assert pki.make(place) is False


def test_a_certificate_of_another_authority_with_the_same_name_is_made_again(made):
    place, other = made[0], layout("other")
    foreign = Layout("other", place.plan)
    assert foreign.pki == other.pki != place.pki
    pki.make(foreign)
    for kind in ("crt", "key"):
        (place.pki / f"admin.{kind}").write_text((foreign.pki / f"admin.{kind}").read_text())
    before = pki.fingerprints(place, "*")
    assert pki.make(place) is True
    after = pki.fingerprints(place, "*")
    assert {n for n in after if after[n] != before[n]} == {"admin.crt", "admin.key"}


def test_only_the_certificates_that_name_a_changed_address_are_made_again(made):
    place, _, _ = made
    before = pki.fingerprints(place, "*")
    moved = Layout(place.stack, plan(address="10.231.0.6"))
    assert pki.make(moved) is True
    after = pki.fingerprints(place, "*")
    made_again = {f"{n}.{k}" for n in ("kube-apiserver", "kubelet") for k in ("crt", "key")}
    assert {n for n in after if after[n] != before[n]} == made_again


def test_a_missing_half_of_the_service_account_key_is_made_again_with_the_other(made):
    place, _, _ = made
    before = pki.fingerprints(place, "*")
    (place.pki / "service-account.key").unlink()
    assert pki.make(place) is True
    after = pki.fingerprints(place, "*")
    assert {n for n in after if after[n] != before[n]} == {"service-account.key", "service-account.pub"}


@pytest.mark.parametrize(("days", "renewed"), [(300, False), (320, True)])
def test_a_certificate_is_renewed_in_its_last_sixty_days(made, monkeypatch, days, renewed):
    place, _, _ = made
    authority = pki.fingerprints(place, "ca")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + days * 86400)
    assert pki.make(place) is renewed
    assert pki.fingerprints(place, "ca") == authority


def test_a_plan_with_versions_that_have_no_checksums_here_is_refused():
    with pytest.raises(HostError, match=r"kubernetes v9\.0\.0, this release has the checksums of v1\.36\.3"):
        parts.modules(plan(kubernetes="v9.0.0"))


def test_the_catalogues_versions_are_the_locked_ones():
    from stacks.catalog.loader import load

    catalog = load()
    assert parts.modules(
        plan(**{p: str(catalog.fact(f"embedded.{p}").value) for p in ("kubernetes", "containerd", "etcd")})
    )


def test_the_kubernetes_staging_modules_are_replaced_by_the_matching_release():
    text = (Path(parts.__file__).parent / "go" / "kubernetes" / "go.mod").read_text()
    replaced = [line.split() for line in text.splitlines() if " => " in line]
    assert len(replaced) > 25
    assert {words[-1] for words in replaced} == {"v0.36.3"}
