"""A strict stand-in for `minikube` and `docker`, run as `fake_minikube.py STATE_FOLDER minikube|docker ARGUMENT...`.

It knows the commands and flags that the driver uses and that minikube documents, ends with minikube's own usage code
14 (Docker's 125) for anything else, and keeps what a real one would keep: config.json in minikube's home, a container,
a volume, the kubeconfig of KUBECONFIG.

Sources: kubernetes/minikube v1.37.0, start.go, start_flags.go, status.go, stop.go, delete.go, update-context.go,
version.go and config/disable.go of cmd/minikube/cmd, pkg/minikube (mustload, reason, exit, config, kubeconfig,
localpath), pkg/drivers/kic/oci;
Docker's API reference of ContainerInspect, and the messages of docker 27 for a missing container and a missing daemon.

Seen of the real minikube 1.37.0, built from its Go module and run without a Docker daemon: the answers for a profile
that is absent, has a damaged record, or has lost its container (`null` with code 0), an unknown flag (14), a missing
daemon (63), root (57), --gpus with containerd (14), and `start --dry-run` of the planned command line, which passes.

What a test says of the machine stands in STATE_FOLDER/world.json:
  docker: ok | missing-daemon | no-permission       gpu: ok | lost | none | broken      version: of minikube
  faults: {COMMAND: {code, text, at: before | config | container | after, times}}
Every call is a line of STATE_FOLDER/log. With STATE_FOLDER/access.json ({cluster, user} of a kubeconfig) a real API
server is behind the ports.
"""

import fcntl
import json
import os
import shlex
import sys
from pathlib import Path

STATE, PROGRAM, ARGUMENTS = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
START_FLAGS = {
    "driver", "container-runtime", "gpus", "kubernetes-version", "base-image", "cpus", "memory", "cni", "mount",
    "mount-string", "ports", "wait", "interactive",
}  # fmt: skip
GPU_LINE = "GPU 0: NVIDIA GeForce RTX 2060 SUPER (UUID: GPU-5f3b0b6e-0000-0000-0000-000000000000)\n"
LOST = "Failed to initialize NVML: Unknown Error\n"
NO_GPU = (
    "OCI runtime exec failed: exec failed: unable to start container process: "
    'exec: "nvidia-smi": executable file not found in $PATH: unknown\n'
)


def load(name: str, empty: object) -> dict:
    path = STATE / name
    return json.loads(path.read_text()) if path.exists() else empty


def save(name: str, document: object) -> None:
    temporary = STATE / f".{name}"
    temporary.write_text(json.dumps(document, indent=1))
    temporary.replace(STATE / name)


def leave(code: int, out: str = "", error: str = "") -> None:
    sys.stdout.write(out)
    sys.stderr.write(error)
    sys.stdout.flush()
    sys.exit(code)


def exiting(code: int, reason: str, text: str) -> None:
    """As pkg/minikube/exit says it."""
    leave(code, "", f"\n❌  Exiting due to {reason}: {text}\n\n")


def usage(text: str) -> None:
    exiting(14, "MK_USAGE", text)


def event(kind: str, message: str) -> str:
    """A line of standard output, as minikube says everything under --output=json."""
    kind = f"io.k8s.sigs.minikube.{kind}"
    said = {"specversion": "1.0", "type": kind, "datacontenttype": "application/json", "data": {"message": message}}
    return json.dumps(said) + "\n"


def fault(command: str, at: str) -> None:
    """Ends here where the test asked for it, `times` times."""
    world = load("world.json", {})
    found = world.get("faults", {}).get(command)
    if found and found["at"] == at and found.get("times", 1) > 0:
        found["times"] = found.get("times", 1) - 1
        save("world.json", world)
        leave(found["code"], found.get("out", ""), found.get("text", ""))


def home() -> Path:
    said = os.environ.get("MINIKUBE_HOME", "")
    if not said:
        return Path(os.environ["HOME"]) / ".minikube"
    return Path(said) if Path(said).name == ".minikube" else Path(said) / ".minikube"


def config_file(profile: str) -> Path:
    return home() / "profiles" / profile / "config.json"


def read_config(profile: str, *, damaged_counts: bool = True) -> dict | None:
    path = config_file(profile)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        if damaged_counts:  # mustload.Partial and runStart; delete goes on with what is there
            exiting(38, "HOST_CONFIG_LOAD", "Error getting cluster config: unexpected end of JSON input")
        return None


def write_config(profile: str, config: dict) -> None:
    path = config_file(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=1))


def parse(words: list[str], allowed: set[str], positional: int = 0) -> tuple[dict[str, str], list[str]]:
    flags, rest = {}, []
    for word in words:
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, _, value = word[2:].partition("=")
        if name not in allowed | {"profile"}:
            leave(14, "", f"Error: unknown flag: --{name}\nSee 'minikube --help' for usage.\n")
        flags[name] = value
    if len(rest) != positional:
        usage(f"unexpected arguments {rest}")
    if "profile" not in flags:
        raise SystemExit("the driver must always name its profile: minikube's default one is the user's")
    return flags, rest


def write_kubeconfig(profile: str) -> None:
    """A file of its own each time: minikube keeps other entries, of which the driver's private one has none."""
    target = Path(os.environ["KUBECONFIG"])
    containers, certificates = load("docker.json", {"containers": {}})["containers"], str(STATE / "tls.pem")
    port = containers[profile]["NetworkSettings"]["Ports"]["8443/tcp"][0]["HostPort"]
    own = {"client-certificate": certificates, "client-key": str(STATE / "tls.key")}
    access = load("access.json", {"cluster": {"certificate-authority": certificates}, "user": own})
    cluster, user = {**access["cluster"], "server": f"https://127.0.0.1:{port}"}, access["user"]
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": profile, "preferences": {},
        "clusters": [{"name": profile, "cluster": cluster}], "users": [{"name": profile, "user": user}],
        "contexts": [{"name": profile, "context": {"cluster": profile, "user": profile, "namespace": "default"}}],
    }  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document))
    target.chmod(0o600)


def forget_context() -> None:
    target = Path(os.environ["KUBECONFIG"])
    if target.exists():
        target.write_text(
            json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []})
        )


def next_port(docker: dict) -> str:
    """Docker gives the API server another port of the machine at each start of the container."""
    ports = load("ports.json", [0])
    docker["starts"] = docker.get("starts", 0) + 1
    return str(ports[docker["starts"] % len(ports)])


def running(docker: dict, profile: str, *, on: bool) -> None:
    container = docker["containers"][profile]
    container["State"] = {"Running": on, "Status": "running" if on else "exited"}
    ports = {"8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": next_port(docker)}]} if on else {}
    container["NetworkSettings"] = {"Ports": ports}


def make_container(docker: dict, config: dict, profile: str) -> None:
    docker["made"] = docker.get("made", 0) + 1
    bindings = {}
    for said in config["ExposedPorts"]:
        address, outer, inner = said.rsplit(":", 2)
        first, last = (int(n) for n in outer.split("-"))
        assert outer == inner
        for port in range(first, last + 1):
            bindings[f"{port}/tcp"] = [{"HostIp": address, "HostPort": str(port)}]
    request = {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    docker["containers"][profile] = {
        "Id": f"{docker['made']:064x}",
        "Name": f"/{profile}",
        "Config": {
            "Image": config["KicBaseImage"],
            "Labels": {"created_by.minikube.sigs.k8s.io": "true", "name.minikube.sigs.k8s.io": profile},
        },
        "HostConfig": {
            "Binds": [f"{profile}:/var", "/lib/modules:/lib/modules:ro", *config["ContainerVolumeMounts"]],
            "PortBindings": {**bindings, "8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]},
            "DeviceRequests": [request] if config["GPUs"] else None,
            "Memory": config["Memory"] * 2**20,
            "NanoCpus": config["CPUs"] * 10**9,
        },
    }  # fmt: skip
    docker["volumes"].setdefault(profile, {"data": docker["made"]})


def new_config(profile: str, flags: dict[str, str]) -> dict:
    """generateNewConfigFromFlags, as far as the driver reads it."""
    version = flags["kubernetes-version"]
    return {
        "Name": profile,
        "KicBaseImage": flags["base-image"],
        "Memory": int(flags["memory"]),
        "CPUs": int(flags["cpus"]),
        "Driver": "docker",
        "ContainerVolumeMounts": [flags["mount-string"]],
        "MountString": flags["mount-string"],
        "ExposedPorts": [flags["ports"]],
        "GPUs": flags.get("gpus", ""),
        "Addons": {},
        "KubernetesConfig": {
            "KubernetesVersion": version,
            "ClusterName": profile,
            "ContainerRuntime": flags["container-runtime"],
            "CNI": flags["cni"],
        },
        "Nodes": [{"Name": "", "Port": 8443, "KubernetesVersion": version, "ControlPlane": True}],
    }


def refuse_changes(config: dict, flags: dict[str, str]) -> None:
    """What a start of an existing profile refuses or only mentions; --gpus and --ports it passes over in silence."""
    old, new = config["ContainerVolumeMounts"][0], flags["mount-string"]
    if old != new:
        text = "Sorry, docker does not allow mounts to be changed after container creation"
        exiting(81, "GUEST_MOUNT_CONFLICT", f"{text} (previous mount: '{old}', new mount: '{new}')")
    if flags["kubernetes-version"] < config["KubernetesConfig"]["KubernetesVersion"]:
        exiting(106, "K8S_DOWNGRADE_UNSUPPORTED", "Unable to safely downgrade existing Kubernetes cluster")
    if int(flags["memory"]) != config["Memory"]:
        text = "You cannot change the memory size for an existing minikube cluster. Please first delete the cluster."
        sys.stdout.write(f"❗  {text}\n")


def refuse_usage(flags: dict[str, str]) -> None:
    if flags["driver"] != "docker" or flags["interactive"] != "false" or "mount" not in flags:
        usage("the fake knows the Docker driver, without questions, with a mount")
    if flags.get("gpus") and flags["container-runtime"] != "docker":
        usage("The gpus flag can only be used with the docker driver and docker container-runtime")
    if not flags["mount-string"].startswith("/"):
        usage("the mount's folder must be absolute")
    if not Path(flags["mount-string"].split(":")[0]).is_dir():
        raise SystemExit("Docker would make the missing folder as root's: the driver must make it")


def start(words: list[str]) -> None:
    flags, _ = parse(words, START_FLAGS)
    fault("start", "before")
    profile = flags["profile"]
    refuse_usage(flags)
    leave_if_docker_is_out("PROVIDER_DOCKER_NOT_RUNNING")
    docker = load("docker.json", {"containers": {}, "volumes": {}})
    config = read_config(profile)
    sys.stdout.write(f"😄  [{profile}] minikube {load('world.json', {})['version']}\n")
    if config is None:
        config = new_config(profile, flags)
        docker["containers"].pop(profile, None)  # kic.Create: "container already exists, deleting first"
    else:
        refuse_changes(config, flags)
        config["KicBaseImage"] = flags["base-image"]
        config["KubernetesConfig"]["KubernetesVersion"] = flags["kubernetes-version"]
    write_config(profile, config)
    fault("start", "config")
    if profile not in docker["containers"]:
        if load("world.json", {})["gpu"] == "none" and config["GPUs"]:
            text = 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].'
            exiting(80, "GUEST_PROVISION", f"error provisioning guest: Failed to start host: create kic node: {text}")
        make_container(docker, config, profile)
        running(docker, profile, on=True)
    elif not docker["containers"][profile]["State"]["Running"]:
        running(docker, profile, on=True)
    save("docker.json", docker)
    world = load("world.json", {})
    if world["gpu"] == "lost":  # injected anew when the container starts
        world["gpu"] = "ok"
        save("world.json", world)
    fault("start", "container")
    cluster = load("cluster.json", {})
    if cluster.get("volume") != docker["volumes"][profile]["data"]:
        data = docker["volumes"][profile]["data"]
        save("cluster.json", {"volume": data, "uid": f"uid-{docker['made']}", "config_maps": {}})
    if config["GPUs"] and "nvidia-device-plugin" not in config["Addons"]:
        config["Addons"]["nvidia-device-plugin"] = True  # EnableByDefault, pkg/minikube/cruntime/docker.go
    write_config(profile, config)
    world = load("world.json", {})
    world["kubelet"] = "Running"
    save("world.json", world)
    write_kubeconfig(profile)
    fault("start", "after")
    leave(0, f'🏄  Done! kubectl is now configured to use "{profile}" cluster and "default" namespace by default\n')


def status(words: list[str]) -> None:
    flags, _ = parse(words, {"output"})
    fault("status", "before")
    profile = flags["profile"]
    config = read_config(profile, damaged_counts=False)
    if config is None and config_file(profile).exists():
        leave(38, event("error", "Error getting cluster config: unmarshal: unexpected end of JSON input"))
    if config is None:
        leave(85, event("info", f'Profile "{profile}" not found. Run "minikube profile list" to view all profiles.'))
    container = load("docker.json", {"containers": {}})["containers"].get(profile)
    if container is None:
        leave(0, "null", f'E1126 status.go:263] the "{profile}" host does not exist\n')
    on = container["State"]["Running"]
    kubelet = load("world.json", {}).get("kubelet", "Running") if on else "Stopped"
    said = {
        "Name": profile, "Host": "Running" if on else "Stopped", "Kubelet": kubelet, "APIServer": kubelet,
        "Kubeconfig": "Configured" if on else "Stopped", "Worker": False,
    }  # fmt: skip
    code = (0 if on else 1) | (0 if kubelet == "Running" else 2) | (0 if on else 4)
    leave(code, json.dumps(said, separators=(",", ":")))


def stop(words: list[str]) -> None:
    flags, _ = parse(words, set())
    fault("stop", "before")
    docker = load("docker.json", {"containers": {}, "volumes": {}})
    if read_config(flags["profile"]) is None:
        leave(85, f'🤷  Profile "{flags["profile"]}" not found.\n')
    if flags["profile"] in docker["containers"]:
        running(docker, flags["profile"], on=False)
        save("docker.json", docker)
    forget_context()
    leave(0, f'✋  Stopping node "{flags["profile"]}"  ...\n🛑  1 node stopped.\n')


def delete(words: list[str]) -> None:
    flags, _ = parse(words, set())
    fault("delete", "before")
    profile = flags["profile"]
    leave_if_docker_is_out("PROVIDER_DOCKER_NOT_RUNNING")
    docker = load("docker.json", {"containers": {}, "volumes": {}})
    if read_config(profile, damaged_counts=False) is None:
        sys.stderr.write(f'🙄  "{profile}" profile does not exist, trying anyways.\n')
    docker["containers"].pop(profile, None)
    save("docker.json", docker)
    fault("delete", "container")
    docker["volumes"].pop(profile, None)
    save("docker.json", docker)
    if config_file(profile).exists():
        config_file(profile).unlink()
        config_file(profile).parent.rmdir()
    forget_context()
    fault("delete", "after")
    leave(0, f'🔥  Deleting "{profile}" in docker ...\n💀  Removed all traces of the "{profile}" cluster.\n')


def addons(words: list[str]) -> None:
    if words[:1] != ["disable"]:
        usage("the fake knows addons disable")
    flags, (addon,) = parse(words[1:], set(), positional=1)
    fault("addons", "before")
    config = read_config(flags["profile"])
    if config is None:
        leave(85, f'🤷  Profile "{flags["profile"]}" not found.\n')
    if addon != "nvidia-device-plugin":
        exiting(36, "MK_ADDON_UNSUPPORTED", f"'{addon}' is not a valid minikube addon")
    if config["Addons"].get(addon):
        config["Addons"][addon] = False
        write_config(flags["profile"], config)
    leave(0, f"🌑  \"The '{addon}' addon is disabled\n")


def update_context(words: list[str]) -> None:
    flags, _ = parse(words, set())
    fault("update-context", "before")
    container = load("docker.json", {"containers": {}})["containers"].get(flags["profile"])
    if read_config(flags["profile"]) is None or container is None or not container["State"]["Running"]:
        leave(85, f"🤷  The control-plane node {flags['profile']} host does not exist\n")
    write_kubeconfig(flags["profile"])
    leave(0, f'💗  Current context is "{flags["profile"]}"\n')


def version(words: list[str]) -> None:
    if words != ["--short"]:
        usage("the fake knows version --short")
    leave(0, f"{load('world.json', {})['version']}\n")


def leave_if_docker_is_out(reason: str) -> None:
    said = load("world.json", {})["docker"]
    if said == "missing-daemon":
        exiting(63, reason, '"docker version --format -" exit status 1: Cannot connect to the Docker daemon')
    if said == "no-permission":
        exiting(69, "PROVIDER_DOCKER_NEWGRP", '"docker version --format -" exit status 1: permission denied')


def docker_exec(docker: dict, name: str) -> None:
    container = docker["containers"].get(name)
    if container is None or not container["State"]["Running"]:
        leave(1, "", f"Error response from daemon: container {name} is not running\n")
    if not container["HostConfig"]["DeviceRequests"]:
        leave(127, NO_GPU)
    if load("world.json", {})["gpu"] != "ok":
        leave(255, LOST)
    leave(0, GPU_LINE)


def docker_update(docker: dict, words: list[str], name: str) -> None:
    container = docker["containers"].get(name)
    flags = dict(word[2:].split("=", 1) for word in words)
    if container is None or set(flags) - {"memory", "memory-swap", "cpus"}:
        leave(125, "", f"unknown flag or container: {words}\n")
    if "memory" in flags:
        if flags["memory"] != flags.get("memory-swap"):
            text = "Memory limit should be smaller than already set memoryswap limit"
            leave(1, "", f"Error response from daemon: {text}, update the memoryswap at the same time\n")
        container["HostConfig"]["Memory"] = int(flags["memory"].removesuffix("m")) * 2**20
    if "cpus" in flags:
        container["HostConfig"]["NanoCpus"] = int(float(flags["cpus"]) * 1e9)
    save("docker.json", docker)
    leave(0, f"{name}\n")


def docker_main(words: list[str]) -> None:
    said = load("world.json", {})["docker"]
    if said == "missing-daemon":
        text = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
        leave(1, "", f"{text}\n")
    if said == "no-permission":
        text = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
        leave(1, "", f"{text}\n")
    docker = load("docker.json", {"containers": {}, "volumes": {}})
    if words == ["version", "--format", "{{.Server.Version}}"]:
        leave(0, "27.5.1\n")
    if words[:2] == ["container", "inspect"] and len(words) == 3:
        fault("inspect", "before")
        found = docker["containers"].get(words[2])
        if found is None:
            leave(1, "[]\n", f"Error response from daemon: No such container: {words[2]}\n")
        leave(0, json.dumps([found]) + "\n")
    if words[:1] == ["exec"] and words[2:] == ["nvidia-smi", "-L"]:
        docker_exec(docker, words[1])
    if words[:2] == ["container", "update"]:
        docker_update(docker, words[2:-1], words[-1])
    leave(125, "", f"unknown docker command: {shlex.join(words)}\n")


COMMANDS = {
    "start": start, "status": status, "stop": stop, "delete": delete, "addons": addons,
    "update-context": update_context,
    "version": version,
}  # fmt: skip

if __name__ == "__main__":
    with (STATE / "log").open("a") as log:
        log.write(shlex.join([PROGRAM, *ARGUMENTS]) + "\n")
    with (STATE / "busy").open("a") as busy:
        fcntl.flock(busy, fcntl.LOCK_SH)  # a test waits for a program that outlived its caller
        if PROGRAM == "docker":
            docker_main(ARGUMENTS)
        if PROGRAM == "minikube" and ARGUMENTS and ARGUMENTS[0] in COMMANDS:
            COMMANDS[ARGUMENTS[0]](ARGUMENTS[1:])
        leave(1, "", f"Error: unknown command {shlex.join(ARGUMENTS[:1])} for minikube\n")
