"""What makes NetworkPolicies hold on the embedded cluster: rules, the proof, what programs are told. Nothing runs."""

import contextlib
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from host.drivers.embedded import configs, health, parts, pki, policies, programs, proof, proof_end
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.parts import Parts
from host.system import command
from stacks.errors import HostError
from tests.host.test_embedded_configs import plan

VERSION = "v0.8.0"
FOUR = [
    "-A INPUT -s 10.232.3.0/24 -j LAB-POLICY",
    "-A POSTROUTING -j LAB-POLICY-OUT",
    "-A LAB-POLICY -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
    "-A LAB-POLICY -s 10.232.3.0/24 -j NFQUEUE --queue-num 98",
    "-A LAB-POLICY -d 10.232.3.0/24 -j NFQUEUE --queue-num 98",
    "-A LAB-POLICY-OUT -m owner --uid-owner 0 -j RETURN",
    "-A LAB-POLICY-OUT -j LAB-POLICY",
]
SIX = ["-A FORWARD -j LAB-POLICY", "-A LAB-POLICY -j DROP"]
CHAINS = [":LAB-POLICY - [0:0]", ":LAB-POLICY-OUT - [0:0]"]


def place(**changes):
    return Layout("dev", plan(slot=3, **{"network_policies": VERSION, **changes}))


def built():
    names = ("kubernetes", "containerd", "etcd", "pause", "debian", "kube-network-policies")
    return Parts(*(Path("/built") / name for name in names))


@dataclass
class Tables:
    """The namespace's tables: `rules` and `bridge` by IP version; `restored` is what was asked for."""

    rules: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})
    bridge: dict[int, str] = field(default_factory=lambda: {4: "1", 6: "1"})
    restored: dict[int, list[str]] = field(default_factory=dict)

    def inside(self, layout, *words, parts=None, text=None):
        version = 6 if "ip6tables" in " ".join(words) else 4
        if words[0] == "cat":
            return self.bridge[version] + "\n"
        if words[0] == "sh":
            self.bridge[version] = "1"
            return ""
        if text is None:
            kubernetes = ["-P INPUT ACCEPT", "-N KUBE-PROXY-CANARY"]
            return "\n".join([*kubernetes, *self.rules[version]]) + "\n"
        self.restored[version] = text.splitlines()
        return ""


@pytest.fixture
def tables(monkeypatch):
    found = Tables()
    monkeypatch.setattr(policies, "_inside", found.inside)
    monkeypatch.setattr(policies, "_versions", lambda: (4, 6))
    monkeypatch.setattr(Parts, "find", lambda self, name: f"/sbin/{name}")
    return found


def test_the_rules_let_replies_and_the_nodes_root_pass_and_queue_every_other_packet_of_pods(tables):
    assert policies.apply(place(), built())
    assert tables.restored == {
        4: ["*mangle", *CHAINS, *FOUR, "COMMIT"],
        6: ["*mangle", *CHAINS, *SIX, "COMMIT"],
    }
    assert not any("bypass" in rule for rule in tables.restored[4])  # a dead program must let nobody in


def test_rules_that_stand_in_any_order_are_left_alone(tables):
    tables.rules = {4: FOUR[::-1], 6: SIX}
    assert not policies.apply(place(), built())
    assert tables.restored == {}


def test_only_a_missing_jump_is_added_and_one_of_another_slot_goes(tables):
    tables.rules = {4: ["-A INPUT -s 10.232.9.0/24 -j LAB-POLICY", *FOUR[1:]], 6: SIX}
    assert policies.apply(place(), built())
    surplus = "-D INPUT -s 10.232.9.0/24 -j LAB-POLICY"
    assert tables.restored[4] == ["*mangle", *CHAINS, surplus, FOUR[0], *FOUR[2:], "COMMIT"]


@pytest.mark.parametrize("version", [4, 6])
def test_bridged_packets_that_pass_by_the_rules_are_a_problem_and_put_right(tables, version):
    tables.rules = {4: FOUR, 6: SIX}
    tables.bridge[version] = "0"
    problem = f"bridged IPv{version} passes by the rules: policies do not hold between pods"
    assert policies.problem(place(), built()) == problem
    assert policies.apply(place(), built())
    assert tables.bridge == {4: "1", 6: "1"}


def test_missing_rules_are_a_problem(tables):
    tables.rules = {4: FOUR[:-1], 6: SIX}
    found = policies.problem(place(), built())
    assert found == "the rules for IPv4 are not as they should be: policies do not hold"


def test_removing_takes_the_jumps_and_the_chains_and_nothing_else(tables):
    tables.rules = {4: FOUR, 6: []}
    assert policies.remove(place(), built())
    gone = ["-D INPUT -s 10.232.3.0/24 -j LAB-POLICY", "-D POSTROUTING -j LAB-POLICY-OUT"]
    assert tables.restored == {4: ["*mangle", *CHAINS, *gone, "-X LAB-POLICY-OUT", "-X LAB-POLICY", "COMMIT"]}
    tables.rules = {4: [], 6: []}
    assert not policies.remove(place(), built())


def test_a_kernel_without_nfqueue_is_named_with_what_to_type(tables, monkeypatch):
    def refuses(layout, *words, text=None, **rest):
        if text is not None:
            raise command.CommandFailed(words, 2, "unknown option --queue-num")
        return tables.inside(layout, *words, text=text)

    monkeypatch.setattr(policies, "_inside", refuses)
    with pytest.raises(HostError, match="cannot hand packets") as caught:
        policies.apply(place(), built())
    assert "modprobe -a nfnetlink_queue xt_NFQUEUE" in caught.value.remedy
    assert "cluster.networkPolicies: stored" in caught.value.remedy


@pytest.mark.parametrize(
    ("table", "healthy"),
    [
        ("   98  4632     0 2   128     0     0        7  1\n", True),
        ("   97  4632     0 2   128     0     0       98  1\n", False),
        ("", False),
    ],
)
def test_a_queue_without_a_reader_is_said_to_drop_new_connections(table, healthy):
    found = health.queue_problem(98, table)
    assert found == ("" if healthy else "it does not read its queue: new connections from and to pods are dropped")


def test_the_program_starts_before_the_kubelet_and_has_a_user_of_its_own():
    assert programs.second(plan()) == ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    assert programs.second(place().plan)[0] == "kube-network-policies"
    pki.make(place())
    (subject,) = [each for each in pki.certificates(place()) if each.name == "kube-network-policies"]
    assert (subject.common_name, subject.organization, subject.serves) == ("local-ai-lab:network-policies", "", ())
    rendered = configs.rendered(place(), pause_image="lab.local/pause:1", cni_plugins=Path("/cni"))
    kubeconfig = place().config / "kube-network-policies.kubeconfig"
    program = programs.all_programs(place(), built(), rendered)["kube-network-policies"]
    assert program.arguments == [
        "/built/kube-network-policies/kube-network-policies",
        f"--kubeconfig={kubeconfig}",
        "--node=local-ai-lab-dev",
        "--queue=98",
        "--runtime=/run/containerd/nri.sock",
    ]
    assert json.loads(program.reads[kubeconfig.name])["clusters"][0]["cluster"]["server"] == "https://10.231.0.14:6443"


def test_containerd_tells_of_pods_only_where_policies_hold_and_starts_no_plugin_of_the_machine():
    def told(layout):
        return tomllib.loads(configs.containerd(layout, pause_image="lab.local/pause:1", cni_plugins=Path("/cni")))

    off, on = told(place(network_policies=None)), told(place())
    assert "io.containerd.nri.v1.nri" in off["disabled_plugins"]
    assert "io.containerd.nri.v1.nri" not in off["plugins"]
    assert "io.containerd.nri.v1.nri" not in on["disabled_plugins"]
    nri = on["plugins"]["io.containerd.nri.v1.nri"]
    assert (nri["disable"], nri["socket_path"]) == (False, configs.RUNTIME_SOCKET)
    assert {nri["plugin_path"], nri["plugin_config_path"]} == {str(place().config / "nri")}


def test_a_plan_of_today_has_no_program_and_one_of_another_version_is_refused():
    assert "network_policies" not in parts.modules(plan())
    module = parts.modules(place().plan)["network_policies"]
    assert (module.name, module.programs, module.version) == (
        "kube-network-policies", {"kube-network-policies": "."}, VERSION,
    )  # fmt: skip
    with pytest.raises(HostError, match=r"wants kube-network-policies v9.9.9") as caught:
        parts.modules(plan(network_policies="v9.9.9"))
    assert f"embedded.networkPolicies: {VERSION}" in caught.value.remedy


@pytest.fixture
def shown(monkeypatch):
    """The proof with answers of the network: (forbidden, allowed) before the policy and after it. Returns objects."""

    def run(before, after):
        done, answers = [], iter((before, after))
        monkeypatch.setattr(proof, "_make_namespace", lambda layout: None)
        monkeypatch.setattr(proof, "_forget", lambda layout: done.append("forgot"))
        end = lambda layout, parts, role: contextlib.nullcontext((7, f"10.232.3.{len(role)}"))  # noqa: E731
        monkeypatch.setattr(proof, "_end", end)
        monkeypatch.setattr(proof, "_tell", lambda layout, role, address: done.append(f"{role} {address}"))
        monkeypatch.setattr(proof.api, "apply", lambda layout, path, document: done.append(document["kind"]))
        found = lambda client, address, **_: dict(zip((8080, 8081), next(answers), strict=True))  # noqa: E731
        monkeypatch.setattr(proof, "_await", found)
        try:
            proof.show(place(), built())
        finally:
            assert done[-1] == "forgot"
        return done

    return run


def test_a_refused_and_an_allowed_connection_are_the_proof(shown):
    order = ["forgot", "server 10.232.3.6", "client 10.232.3.6", "NetworkPolicy", "forgot"]
    assert shown((True, True), (False, True)) == order


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((True, True), (True, True), "do not hold: a connection that one forbids was let through"),
        ((True, True), (False, False), "a connection that one allows was dropped"),
        ((False, True), (False, True), "pods cannot reach each other although no NetworkPolicy forbids it"),
    ],
)
def test_anything_else_is_no_proof_and_says_what_to_type(shown, before, after, said):
    with pytest.raises(HostError, match=said) as caught:
        shown(before, after)
    assert "cluster.networkPolicies: stored" in caught.value.remedy


def test_the_policy_of_the_proof_allows_one_port_from_one_pod():
    spec = proof._policy()["spec"]
    assert spec["podSelector"] == {"matchLabels": {"local-ai-lab/proof": "server"}}
    assert spec["ingress"] == [
        {
            "from": [{"podSelector": {"matchLabels": {"local-ai-lab/proof": "client"}}}],
            "ports": [{"port": 8081, "protocol": "TCP"}],
        }
    ]


def test_an_end_holds_its_ports_until_nobody_reads_what_it_says():
    held, free = 28080, 28081
    with command.piped([sys.executable, "-I", proof_end.__file__, "hold", str(held)]) as said:
        assert int(said.readline()) > 0
        words = [sys.executable, "-I", proof_end.__file__, "ask", "127.0.0.1", str(held), str(free)]
        answers = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert answers == {str(held): True, str(free): False}
    assert not proof_end.ask("127.0.0.1", held)
