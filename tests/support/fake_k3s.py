"""A strict stand-in for systemctl, ip, umount, kill, ip(6)tables-save and -restore, and for the program k3s, run as
`fake_k3s.py MACHINE PROGRAM ARGUMENT...`.

It accepts the words that the driver uses and that the manuals document (systemctl(1), ip-link(8), ip-netns(8),
umount(8), kill(1), iptables-save(8)), and ends with 64 for anything else. What a started K3s leaves on a machine
(kubeconfig, containerd's configuration, shims, mounts, network spaces, links, rules) is after k3s-io/k3s install.sh,
create_killall and create_uninstall, which remove it.

MACHINE/root is the file tree, MACHINE/state holds service.json and faults.json ({PROGRAM: {code, text, times}}). Every
call is a line of MACHINE/state/log. With MACHINE/state/access.json ({cluster, user} of a kubeconfig) a real API server
is behind MACHINE/port.
"""

import fcntl
import hashlib
import json
import shlex
import shutil
import sys
from pathlib import Path

MACHINE, PROGRAM, ARGUMENTS = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
ROOT, STATE = MACHINE / "root", MACHINE / "state"
DATA = ROOT / "var/lib/rancher/k3s"
UNIT, BINARY, CONFIG = (
    ROOT / p for p in ("etc/systemd/system/k3s.service", "usr/local/bin/k3s", "etc/rancher/k3s/config.yaml")
)
POD = "/var/lib/kubelet/pods/1/volumes/weights"
SANDBOX = "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/a b"
RULES = ["*filter", ":INPUT ACCEPT [0:0]", ":KUBE-FORWARD - [0:0]", "-A INPUT -j KUBE-FORWARD",
         "-A INPUT -p tcp --dport 22 -j ACCEPT", '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
         "COMMIT"]  # fmt: skip


def leave(code: int, out: str = "", error: str = "") -> None:
    sys.stdout.write(out)
    sys.stderr.write(error)
    sys.stdout.flush()
    sys.exit(code)


def unknown() -> None:
    leave(64, "", f"the fake does not know: {shlex.join([PROGRAM, *ARGUMENTS])}\n")


def load(name: str) -> dict:
    path = STATE / name
    return json.loads(path.read_text()) if path.exists() else {}


def save(name: str, document: dict) -> None:
    temporary = STATE / f".{name}"
    temporary.write_text(json.dumps(document))
    temporary.replace(STATE / name)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def process(pid: int, parent: int, words: list[str]) -> None:
    write(ROOT / f"proc/{pid}/cmdline", "\0".join(words) + "\0")
    write(ROOT / f"proc/{pid}/stat", f"{pid} (name (of) it) S {parent} 1 1")


def k3s_starts() -> None:
    """What `k3s server` makes before it says that it is ready."""
    service = load("service.json")
    if not (DATA / "server/cluster.json").exists():
        service["made"] = service.get("made", 0) + 1
        write(DATA / "server/cluster.json", json.dumps({"uid": f"uid-{service['made']}", "config_maps": {}}))
    runtimes = '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]\n'
    if (ROOT / "usr/bin/nvidia-container-runtime").exists():
        runtimes += '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes."nvidia".options]\n'
        runtimes += 'BinaryName = "/usr/bin/nvidia-container-runtime"\n'
    write(DATA / "agent/etc/containerd/config.toml", f"version = 3\n{runtimes}")
    write(DATA / "data/abc/bin/k3s", "")
    port, pem, key = (MACHINE / "port").read_text(), str(MACHINE / "tls.pem"), str(MACHINE / "tls.key")
    own = {"cluster": {"certificate-authority": pem}, "user": {"client-certificate": pem, "client-key": key}}
    access = load("access.json") or own
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "default",
        "clusters": [{"name": "default", "cluster": {**access["cluster"], "server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "default", "user": access["user"]}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
    }  # fmt: skip
    write(ROOT / "etc/rancher/k3s/k3s.yaml", json.dumps(document))
    (ROOT / "etc/rancher/k3s/k3s.yaml").chmod(0o600)
    process(4242, 1, ["/var/lib/rancher/k3s/data/abc/bin/containerd-shim-runc-v2", "-id", "x"])
    process(4243, 4242, ["vllm"])
    process(77, 1, ["/usr/bin/containerd-shim-runc-v2", "-id", "docker's"])
    write(ROOT / f"{POD[1:]}/weights.safetensors", "weights")
    (ROOT / "run/k3s").mkdir(parents=True, exist_ok=True)
    (ROOT / "run/flannel").mkdir(parents=True, exist_ok=True)
    escaped = SANDBOX.replace(" ", "\\040")
    write(ROOT / "proc/self/mounts", "".join(
        f"{line} 0 0\n" for line in
        ("/dev/sda1 / ext4 rw", f"/dev/sda1 {POD} ext4 rw", f"overlay {escaped} overlay rw",
         "/dev/sdb1 /run/k3sx ext4 rw")
    ))  # fmt: skip
    write(ROOT / "run/netns/cni-1", "")
    write(ROOT / "run/netns/other", "")
    for link in ("lo", "eth0", "cni0", "flannel.1", "veth1"):
        (ROOT / "sys/class/net" / link).mkdir(parents=True, exist_ok=True)
    port_of = ROOT / "sys/class/net/veth1/master"
    if not port_of.is_symlink():
        port_of.symlink_to("../cni0")
    for name in ("iptables", "ip6tables"):
        (STATE / name).write_text("\n".join(RULES) + "\n")
    service["runs"] = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (BINARY, CONFIG)] + [service["loaded"]]
    save("service.json", {**service, "active": True})


def systemctl() -> None:
    service = load("service.json")
    if ARGUMENTS == ["is-active", "k3s"]:
        leave(0 if service.get("active") else 3, "active\n" if service.get("active") else "inactive\n")
    elif ARGUMENTS == ["is-enabled", "k3s"]:
        leave(0 if service.get("enabled") else 1, "enabled\n" if service.get("enabled") else "disabled\n")
    elif ARGUMENTS == ["daemon-reload"]:
        save("service.json", {**service, "loaded": UNIT.read_text() if UNIT.exists() else ""})
    elif ARGUMENTS == ["enable", "k3s"] and service.get("loaded"):
        save("service.json", {**service, "enabled": True})
    elif ARGUMENTS == ["disable", "--now", "k3s"]:
        save("service.json", {**service, "enabled": False, "active": False})
    elif ARGUMENTS in (["start", "--no-block", "k3s"], ["restart", "--no-block", "k3s"]) and service.get("loaded"):
        if ARGUMENTS[0] == "restart" or not service.get("active"):
            k3s_starts()
    elif ARGUMENTS == ["reset-failed", "k3s"]:
        leave(1, "", "Failed to reset failed state of unit k3s.service: Unit k3s.service not loaded.\n")
    else:
        unknown()


def kill() -> None:
    if ARGUMENTS[:1] != ["-9"] or not all(word.isdigit() for word in ARGUMENTS[1:]):
        unknown()
    for pid in ARGUMENTS[1:]:
        shutil.rmtree(ROOT / "proc" / pid)


def umount() -> None:
    if len(ARGUMENTS) != 2 or ARGUMENTS[0] != "-f":
        unknown()
    mounts = (ROOT / "proc/self/mounts").read_text().splitlines()
    point = ARGUMENTS[1].replace(" ", "\\040")
    kept = [line for line in mounts if line.split(" ")[1] != point]
    if kept == mounts:
        leave(32, "", f"umount: {ARGUMENTS[1]}: not mounted.\n")
    (ROOT / ARGUMENTS[1][1:] / "weights.safetensors").unlink(missing_ok=True)  # it is the mounted folder's
    (ROOT / "proc/self/mounts").write_text("\n".join(kept) + "\n")


def ip() -> None:
    if ARGUMENTS[:2] == ["netns", "delete"] and len(ARGUMENTS) == 3:
        (ROOT / "run/netns" / ARGUMENTS[2]).unlink()
    elif ARGUMENTS[:2] == ["link", "delete"] and len(ARGUMENTS) == 3:
        shutil.rmtree(ROOT / "sys/class/net" / ARGUMENTS[2])
    else:
        unknown()


def rules(name: str, verb: str) -> None:
    if ARGUMENTS:
        unknown()
    path = STATE / name
    if verb == "save":
        leave(0, path.read_text() if path.exists() else "")
    text = sys.stdin.read()
    if not text.endswith("COMMIT\n"):
        leave(1, "", f"{PROGRAM}: no command specified\n")
    path.write_text(text)


if __name__ == "__main__":
    with (STATE / "busy").open("a") as busy:
        fcntl.flock(busy, fcntl.LOCK_SH)  # a test waits for a program that outlived its caller
        with (STATE / "log").open("a") as log:
            log.write(shlex.join([PROGRAM, *ARGUMENTS]) + "\n")
        fault = load("faults.json").get(PROGRAM)
        if fault:
            leave(fault["code"], "", fault["text"])
        if PROGRAM == "k3s":
            if ARGUMENTS[1:] != ["--version"]:
                unknown()
            leave(0, f"k3s version {ARGUMENTS[0]} (0123abcd)\ngo version go1.25\n")
        if "tables-" in PROGRAM:
            rules(*PROGRAM.split("-"))
        else:
            {"systemctl": systemctl, "kill": kill, "umount": umount, "ip": ip}[PROGRAM]()
