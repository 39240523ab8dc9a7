"""Sentences by which drivers, toolkits, container runtimes and device plugins fail, and states that say nothing: what
each means, what to type, and where it was read.

`{name}` in a meaning or remedy is filled in by the probe. A text is looked for as it stands, case and all; the longest
that is found counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class NvidiaSignature:
    """One way in which a layer fails. `texts` are sentences that each give it away, `seen` what a probe sees where
    nothing is printed; `wsl`: only under WSL2, and before all others there.
    """

    ident: str
    layer: str
    texts: tuple[str, ...]
    what: str
    remedy: str
    source: str
    seen: str = ""
    wsl: bool = False


_NCT = "nvidia-container-toolkit"
_CTK_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_CDI_AGAIN = (
    "sudo systemctl restart nvidia-cdi-refresh.service; before toolkit 1.18: sudo nvidia-ctk cdi generate "
    "--output=/var/run/cdi/nvidia.yaml"
)

NVIDIA: Final[tuple[NvidiaSignature, ...]] = (
    # driver
    NvidiaSignature(
        "no-driver", "driver", ("nvidia-smi: command not found", "nvidia-smi: not found"),
        "there is no NVIDIA driver, or its programs are not on PATH",
        "install it: {driver_install}",
        "docs.nvidia.com, Driver Installation Guide; k8s-device-plugin README",
    ),
    NvidiaSignature(
        "driver-not-loaded", "driver", ("couldn't communicate with the NVIDIA driver",),
        "the driver's kernel module is not loaded, as after an update of the kernel",
        "reboot; if it stays so, install the driver again for this kernel: {driver_install}",
        "nvidia-smi",
    ),
    NvidiaSignature(
        "driver-mismatch", "driver", ("Failed to initialize NVML: Driver/library version mismatch",),
        "the driver was updated, and the old kernel module is still loaded", "reboot", "nvidia-smi",
    ),
    NvidiaSignature(
        "no-card", "driver", ("No devices were found",),
        "the driver is loaded and finds no card: it is not plugged in, passed to a virtual machine, or has failed",
        "lspci -nn | grep -i nvidia; dmesg | grep -iE 'nvrm|xid' says more", "nvidia-smi",
    ),
    NvidiaSignature(
        "nouveau", "driver", (), "the kernel uses the card through nouveau, which knows no CUDA",
        "switch nouveau off as the driver's installer says, and reboot",
        "NVIDIA Driver Installation Guide", seen="nouveau in /proc/modules",
    ),
    NvidiaSignature(
        "wsl-no-dxg", "driver", (), "Windows hands no GPU to this Linux: WSL1, or a WSL kernel that is too old",
        "in Windows: wsl --update; wsl --set-version DISTRIBUTION 2; then wsl --shutdown",
        "docs.nvidia.com, CUDA on WSL", seen="no /dev/dxg under WSL", wsl=True,
    ),
    NvidiaSignature(
        "wsl-no-driver", "driver", (), "Windows has no NVIDIA driver that WSL2 can use",
        "install NVIDIA's driver in Windows, and none in Linux; then in Windows: wsl --shutdown",
        "docs.nvidia.com, CUDA on WSL", seen="/dev/dxg without nvidia-smi in /usr/lib/wsl/lib", wsl=True,
    ),
    NvidiaSignature(
        "driver-old", "driver", (), "the driver is {have}, and the engine's image needs {least} or newer",
        "install a newer one: {driver_update}",
        "NVIDIA CUDA compatibility table", seen="nvidia-smi prints an older driver",
    ),
    NvidiaSignature(
        "fewer-cards", "driver", (), "the stack file says {wanted} cards, and nvidia-smi lists {have}",
        "correct machine.gpus, or look for the missing card: dmesg | grep -iE 'nvrm|xid'", "nvidia-smi",
        seen="nvidia-smi lists fewer cards than the stack has",
    ),
    # container toolkit
    NvidiaSignature(
        "toolkit-missing", "toolkit", ("nvidia-ctk: command not found", "nvidia-ctk: not found"),
        "the NVIDIA container toolkit is not installed", "./lab up {stack} installs it, once you agree",
        "NVIDIA container toolkit, install guide",
    ),
    NvidiaSignature(
        "toolkit-old", "toolkit", (),
        "the container toolkit is {have}; before {least} a container can break out of it (CVE-2025-23266)",
        "./lab up {stack} installs {pinned}, once you agree", "CVE-2025-23266",
        seen="nvidia-ctk --version prints an older release",
    ),
    NvidiaSignature(
        "toolkit-1.20.0", "toolkit", ("failed to create application profiles directory",),
        "container toolkit 1.20.0 cannot start containers whose root or /etc/nvidia is read-only, the device plugin "
        "among them",
        "install another release: {toolkit_packages}", f"{_NCT}#2026, kserve#5711",
        seen="nvidia-ctk --version prints 1.20.0",
    ),
    NvidiaSignature(
        "apt-signed-by", "toolkit", ("Conflicting values set for option Signed-By",),
        "two lists of apt name NVIDIA's repository with different keys",
        "remove the older one: grep -l libnvidia-container /etc/apt/sources.list.d/*", f"{_NCT} install guide",
    ),
    NvidiaSignature(
        "apt-no-key", "toolkit", ("NO_PUBKEY DDCAE044F796ECB0",),
        "apt has no key for NVIDIA's repository",
        "remove the list that names no key: grep -L signed-by /etc/apt/sources.list.d/*nvidia*; then ./lab up {stack}",
        "apt; the key's fingerprint ends so",
    ),
    NvidiaSignature(
        "dpkg-interrupted", "toolkit", ("dpkg was interrupted, you must manually run",),
        "an earlier installation of packages was killed", "sudo dpkg --configure -a", "apt-get",
    ),
    NvidiaSignature(
        "apt-locked", "toolkit", ("Could not get lock /var/lib/dpkg/lock",),
        "another program installs packages at this moment", "wait until it is done, then: ./lab up {stack}", "apt-get",
    ),
    NvidiaSignature(
        "apt-held", "toolkit", ("Held packages were changed and -y was used without",),
        "the toolkit's packages are held at their version",
        "sudo apt-mark unhold nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools "
        "libnvidia-container1",
        "apt-get",
    ),
    NvidiaSignature(
        "minikube-toolkit-again", "toolkit", ("gpg: cannot open '/dev/tty'", "Failed to enable container runtime"),
        "minikube before 1.32 installs the toolkit in its node again at each start", "install minikube 1.32 or newer",
        "minikube#17405, minikube#17488",
    ),
    # container runtime of the machine
    NvidiaSignature(
        "no-docker", "runtime", ("docker: command not found", "docker: not found"), "Docker is not installed",
        "install it: https://docs.docker.com/engine/install/", "docs.docker.com",
    ),
    NvidiaSignature(
        "docker-down", "runtime", ("Cannot connect to the Docker daemon",), "the Docker daemon does not run",
        "sudo systemctl start docker; with Docker Desktop: start it", "docker",
    ),
    NvidiaSignature(
        "docker-denied", "runtime", ("permission denied while trying to connect to the Docker",),
        "this user may not use Docker", "sudo usermod -aG docker $USER; then log in again",
        "minikube PROVIDER_DOCKER_NEWGRP",
    ),
    NvidiaSignature(
        "docker-old", "runtime", (), "Docker is {have}, and --gpus needs 20.10 or newer", "install a newer Docker",
        "minikube's recommended version; docs.docker.com", seen="docker info prints an older ServerVersion",
    ),
    NvidiaSignature(
        "docker-desktop-linux", "runtime", (),
        "Docker Desktop for Linux runs containers in a virtual machine that has no GPU",
        "docker context use default, with Docker Engine installed beside it", "docs.docker.com, Docker Desktop",
        seen="docker info: OperatingSystem Docker Desktop on Linux without WSL",
    ),
    NvidiaSignature(
        "docker-rootless", "runtime", (), "Docker runs rootless, where the NVIDIA runtime needs settings of its own",
        "use the system's Docker: docker context use default", f"{_NCT} install guide, rootless mode",
        seen="docker info: SecurityOptions with rootless",
    ),
    NvidiaSignature(
        "daemon-json", "runtime", ("unable to configure the Docker daemon with file",),
        "/etc/docker/daemon.json is not valid JSON, or names an option twice",
        "python3 -m json.tool /etc/docker/daemon.json shows where; correct it by hand", "dockerd",
    ),
    NvidiaSignature(
        "runtime-missing", "runtime", ("unknown or invalid runtime name: nvidia", "Unknown runtime specified nvidia"),
        "Docker does not know the NVIDIA runtime", f"./lab up {{stack}} registers it; by hand: {_CTK_CONFIGURE}",
        f"{_NCT}#665, {_NCT}#150", seen="docker info: Runtimes without nvidia",
    ),
    NvidiaSignature(
        "runtime-not-restarted", "runtime", (),
        "/etc/docker/daemon.json has the NVIDIA runtime, and Docker was not restarted since",
        "./lab up {stack} names the running containers and asks; by hand: sudo systemctl restart docker",
        f"{_NCT} install guide", seen="runtimes.nvidia in daemon.json, and not in docker info",
    ),
    NvidiaSignature(
        "runtime-path", "runtime", (), "Docker's NVIDIA runtime is {path}, which is not there",
        "./lab up {stack} corrects it, once you agree", "gpu-operator#413, k3s#4391",
        seen="runtimes.nvidia.path of daemon.json does not exist",
    ),
    NvidiaSignature(
        "no-gpu-driver", "runtime", ('could not select device driver "" with capabilities: [[gpu]]',),
        "Docker was started without the NVIDIA container toolkit",
        "./lab up {stack} installs it and restarts Docker; by hand: sudo systemctl restart docker once it is installed",
        "docker; seen in most threads of " + _NCT,
    ),
    NvidiaSignature(
        "gpu-vendor", "runtime", ("failed to discover GPU vendor from CDI",),
        "Docker looks for the GPU in CDI, and there is no specification", _CDI_AGAIN, "moby#50228",
    ),
    NvidiaSignature(
        "cuda-requirement", "runtime", ("nvidia-container-cli: requirement error: unsatisfied condition: cuda",),
        "the driver is older than the image's CUDA", "install a newer one: {driver_update}", "libnvidia-container",
    ),
    NvidiaSignature(
        "bpf", "runtime", ("last insn is not an exit or jmp", "failed to add device rules"),
        "the kernel's hardening of BPF refuses the rules of the toolkit's older hook",
        "use CDI (toolkit 1.18 or newer), or: sudo sysctl net.core.bpf_jit_harden=0, which weakens the kernel",
        f"libnvidia-container#176, {_NCT}#117, {_NCT}#139",
    ),
    NvidiaSignature(
        "no-nvml", "runtime", ("load library failed: libnvidia-ml.so.1",),
        "the driver's libraries cannot be found", "nvidia-smi must work first; under WSL2: ls /usr/lib/wsl/lib",
        "libnvidia-container",
    ),
    NvidiaSignature(
        "selinux", "runtime", ("Failed to initialize NVML: Insufficient Permissions",),
        "SELinux keeps the container from the card's devices",
        "sudo dnf install nvidia-container-selinux, or the option --security-opt=label=disable",
        f"{_NCT} troubleshooting",
    ),
    NvidiaSignature(
        "nvidia-container-cli", "runtime", ("nvidia-container-cli: ",),
        "the NVIDIA runtime could not set up the container: {said}",
        "nvidia-smi must work on the machine; then: sudo nvidia-ctk runtime configure, and restart the runtime",
        "libnvidia-container",
    ),
    NvidiaSignature(
        "containerd-template", "runtime", (),
        "a template of an earlier K3s takes the place of the configuration that K3s writes",
        "remove {path}: K3s finds the NVIDIA runtime by itself", "docs.k3s.io, advanced; k3s 1.31.6",
        seen="config.toml.tmpl or config-v3.toml.tmpl without the base template",
    ),
    # CDI
    NvidiaSignature(
        "cdi-unresolvable", "cdi", ("unresolvable CDI devices",),
        "the CDI specification does not have {devices}: it is missing, stale or partial", _CDI_AGAIN,
        f"moby#50228, {_NCT}#1537, kaito#2326",
    ),
    NvidiaSignature(
        "cdi-device-gone", "cdi", ("failed to stat CDI host device",),
        "the CDI specification names a device that is no longer there", _CDI_AGAIN, f"{_NCT}#885, {_NCT}#1246",
    ),
    NvidiaSignature(
        "cdi-files-gone", "cdi",
        ("failed to fulfil mount request: open /usr/lib",
        "failed to fulfil mount request: open /run/nvidia-persistenced"),
        "the CDI specification names files of an earlier driver", _CDI_AGAIN, f"{_NCT}#1828, moby#51942",
    ),
    NvidiaSignature(
        "cdi-missing", "cdi", ("Found 0 CDI devices",), "there is no CDI specification", _CDI_AGAIN,
        "NVIDIA container toolkit, CDI support", seen="nvidia-ctk cdi list prints no nvidia.com/gpu=all",
    ),
    NvidiaSignature(
        "cdi-stale", "cdi", (), "the CDI specification has {have}, and nvidia-smi lists {wanted}", _CDI_AGAIN,
        f"{_NCT}#1828, moby#51942", seen="nvidia-ctk cdi list and nvidia-smi -L differ, as after a new card or MIG",
    ),
    # links in /dev/char
    NvidiaSignature(
        "gpu-lost", "device-links", ("Failed to initialize NVML: Unknown Error",),
        "the container lost its GPU: `systemctl daemon-reload` drops devices that have no link in /dev/char",
        "restart the container; against the next time: sudo nvidia-ctk system create-dev-char-symlinks --create-all, "
        "or CDI",
        f"{_NCT}#48, {_NCT}#251, {_NCT}#1227, gpu-operator#485",
    ),
    NvidiaSignature(
        "links-missing", "device-links", (),
        "devices without a link in /dev/char: containers lose their GPU at the next `systemctl daemon-reload`",
        "./lab up {stack} makes them; by hand: sudo nvidia-ctk system create-dev-char-symlinks --create-all",
        f"{_NCT}#48; NVIDIA container toolkit, troubleshooting",
        seen="systemd cgroups, no CDI, and no /dev/char/195:* for a /dev/nvidia*",
    ),
    # the node
    NvidiaSignature(
        "minikube-no-gpu", "node", (),
        "the profile was made without --gpus, which a later start ignores without a word",
        "minikube delete -p {profile} (what is in its volume is lost), then: ./lab up {stack}",
        "minikube#18952, minikube#19677, minikube#17380", seen="docker inspect PROFILE: DeviceRequests is null",
    ),
    NvidiaSignature(
        "minikube-gpus-flag", "node",
        ("The gpus flag can only be used with the docker driver and docker container-runtime",),
        "minikube gives GPUs only with --driver=docker and --container-runtime=docker",
        "let the lab make the profile: minikube delete -p {profile}, then: ./lab up {stack}",
        "minikube#21973, minikube#23562",
    ),
    NvidiaSignature(
        "node-runtime", "node", (), "the node's Docker starts containers without the NVIDIA runtime",
        "minikube stop -p {profile}; then: ./lab up {stack}", "minikube, pkg/minikube/cruntime/docker.go",
        seen="docker exec PROFILE docker info: DefaultRuntime is not nvidia",
    ),
    NvidiaSignature(
        "wsl-libdxcore", "node", ("Failed to initialize NVML: Not Supported",),
        "the toolkit in minikube's node (1.18 or newer) does not find libdxcore, which WSL2 needs",
        "use the minikube release of the plan, {minikube}, whose node has an older toolkit; or plain Docker",
        f"{_NCT}#1739, OpenShell#404, minikube#17654",
        seen="in the node: no /usr/lib/wsl/lib/libdxcore.so, and ldconfig knows one elsewhere", wsl=True,
    ),
    NvidiaSignature(
        "k3s-before-toolkit", "node", ('no runtime for "nvidia" is configured',),
        "the node's container runtime does not know the pod's RuntimeClass: it was started before the container "
        "toolkit was installed",
        "sudo systemctl restart k3s; on other clusters: restart containerd on the node",
        "gpu-operator#413, gpu-operator#730", seen="no nvidia runtime in K3s' containerd configuration",
    ),
    NvidiaSignature(
        "stale-runtime-path", "node", ("/usr/local/nvidia/toolkit/nvidia-container-runtime: no such file",),
        "the node's configuration names a runtime that is not there any more, as after the GPU operator was removed",
        "remove /usr/local/nvidia/toolkit, then: sudo systemctl restart k3s", "k3s#4391, k3s#8248",
        seen="BinaryName of the runtime does not exist",
    ),
    # RuntimeClass
    NvidiaSignature(
        "no-runtime-class", "runtime-class", ('RuntimeClass "nvidia" not found',),
        "the cluster has no RuntimeClass nvidia",
        "K3s makes it when it starts with the toolkit installed: sudo systemctl restart k3s; elsewhere leave "
        "runtimeClassName out",
        "k3s#11065; cri-dockerd#350, cri-dockerd#387", seen="no RuntimeClass nvidia where pods name it",
    ),
    # device plugin
    NvidiaSignature(
        "no-plugin", "device-plugin", (), "no NVIDIA device plugin runs on the cluster", "./lab up {stack}",
        "k8s-device-plugin README", seen="no DaemonSet whose image is k8s-device-plugin",
    ),
    NvidiaSignature(
        "two-plugins", "device-plugin", (),
        "several device plugins register nvidia.com/gpu, so that what is allocatable changes to and fro",
        "keep one: {plugins}", "minikube addons; k8s-device-plugin README", seen="more than one such DaemonSet",
    ),
    NvidiaSignature(
        "plugin-not-wanted", "device-plugin", (),
        "the device plugin is wanted on no node: its affinity asks for a label that this node lacks",
        "kubectl label node {node} nvidia.com/gpu.present=true",
        "k8s-device-plugin#607, #708, #1213; OpenShell#497", seen="desiredNumberScheduled is 0",
    ),
    NvidiaSignature(
        "old-addon", "device-plugin", (),
        "minikube's old add-on nvidia-gpu-device-plugin finds no GPU on the docker driver",
        "minikube addons disable nvidia-gpu-device-plugin -p {profile}", "minikube#19114, minikube#19545",
        seen="a DaemonSet nvidia-gpu-device-plugin",
    ),
    NvidiaSignature(
        "plugin-not-ready", "device-plugin", (), "the device plugin does not run: {said}",
        "kubectl logs -n {namespace} daemonset/{plugin}", "minikube#18952", seen="fewer ready than wanted",
    ),
    NvidiaSignature(
        "plugin-silent", "device-plugin", (),
        "the device plugin runs and has not registered nvidia.com/gpu with the kubelet",
        "kubectl logs -n {namespace} daemonset/{plugin}", "k8s-device-plugin#1220",
        seen="ready, and no line Registered device plugin",
    ),
    NvidiaSignature(
        "node-without-gpu-or-runtime", "device-plugin",
        (
            "Incompatible strategy detected auto",
            "Incompatible platform detected",
            "Unsupported platform detected; defaulting to nvml",
            "ERROR_LIBRARY_NOT_FOUND",
            "No devices found. Waiting indefinitely",
        ),
        "the device plugin sees no GPU: the node has none, or the plugin was not started by the NVIDIA runtime",
        "look at the layer `node` first; on K3s the plugin needs runtimeClassName nvidia or default-runtime nvidia",
        "k8s-device-plugin#1220, #1574, #1134, #1469, #1470",
    ),
    NvidiaSignature(
        "plugin-strategy", "device-plugin", ("invalid device discovery strategy",),
        "the plugin was given a discovery strategy that does not exist; there is auto, nvml and tegra",
        "remove deviceDiscoveryStrategy from its values", "k8s-device-plugin 0.18.0",
    ),
    NvidiaSignature(
        "mps-root", "device-plugin", ("using MPS requires --mps-root to be specified",),
        "MPS needs the plugin's chart with its control daemon", "share the card by time-slicing, or install the chart",
        "k8s-device-plugin#816, #1132",
    ),
    # allocatable
    NvidiaSignature(
        "none-allocatable", "allocatable", (), "the node offers no nvidia.com/gpu",
        "look at the layer `device-plugin` first; then: kubectl rollout restart -n {namespace} daemonset/{plugin}",
        "k8s-device-plugin#111, #1929", seen="allocatable nvidia.com/gpu is 0 or missing",
    ),
    NvidiaSignature(
        "fewer-allocatable", "allocatable", (),
        "the node offers {have} nvidia.com/gpu, and the plan counts on {wanted}: a card is unhealthy, or the plugin's "
        "settings differ",
        "kubectl rollout restart -n {namespace} daemonset/{plugin}: an unhealthy card is taken back only then",
        "k8s-device-plugin#234, #519", seen="fewer allocatable than planned",
    ),
    NvidiaSignature(
        "shared-request", "allocatable", ("too large: maximum request size for shared resources is 1",),
        "a pod asked for more than one share of a shared card, which gives no more of it",
        "write nvidia.com/gpu: 1 into its limits", "k8s-device-plugin, failRequestsGreaterThanOne",
    ),
    # a container or pod that uses CUDA
    NvidiaSignature(
        "cuda-no-card", "cuda", (), "the container starts and lists no card: {said}",
        "look at the layers above; a container of its own: docker run --rm --gpus all IMAGE nvidia-smi -L",
        "nvidia-smi",
        seen="nvidia-smi -L in a container prints no GPU 0:",
    ),
)  # fmt: skip
"""Every signature, layer by layer."""

WORDS: Final = {
    "driver_install": "by your distribution's packages, under WSL2 in Windows and not in Linux",
    "driver_update": "by your distribution's packages, under WSL2 in Windows and not in Linux",
    "toolkit_packages": "./lab plan {stack} names one",
    "profile": "PROFILE",
    "minikube": "see ./lab plan {stack}",
}
"""What stands in the places of a remedy where nobody has looked at the machine."""

BY_IDENT: Final = {signature.ident: signature for signature in NVIDIA}
