"""Sentences and exit codes of minikube and Docker -> cause, and what to type; NVIDIA's are in probes/diagnosis."""

from __future__ import annotations

from typing import Final

SENTENCES: Final[tuple[tuple[str, str, str], ...]] = (
    # what is in the output, cause, remedy; the first that matches
    (
        "no space left on device",
        "the disk of Docker's storage is full",
        "docker system df shows what takes the space; free some GiB, then ./lab up {stack} goes on",
    ),
    (
        "port is already allocated",
        "one of the ports that the node publishes is in use by another container",
        "docker ps shows which one holds a port of {ports}; stop it, then ./lab up {stack}",
    ),
    (
        "address already in use",
        "one of the ports that the node publishes is in use by another program",
        "ss -ltnp shows which one listens on a port of {ports}; stop it, then ./lab up {stack}",
    ),
)

CODES: Final[tuple[tuple[range, str, str], ...]] = (
    # exit codes of pkg/minikube/reason/exitcodes.go, the same in 1.36 to 1.38
    (
        range(14, 15),
        "minikube does not accept the command line",
        "./lab plan {stack} shows it; other figures in machine of Pulumi.{stack}.yaml, or report it",
    ),
    (
        range(16, 17),
        "this minikube is not for this system, such as a Windows program under WSL2",
        "remove it from PATH: ./lab up {stack} then takes its own",
    ),
    (
        range(23, 24),
        "Docker has less memory than the plan gives the node",
        "under WSL2 .wslconfig says how much; else lower machine.memoryGiB in Pulumi.{stack}.yaml; ./lab plan {stack}",
    ),
    (
        range(26, 27),
        "Docker's storage is nearly full",
        "docker system df shows what takes the space; free some GiB, then ./lab up {stack} goes on",
    ),
    (
        range(29, 30),
        "Docker has fewer processors than the plan gives the node",
        "write what is there as machine.cpus in Pulumi.{stack}.yaml; ./lab plan {stack}",
    ),
    (
        range(30, 40),
        "minikube cannot read or write its own folder",
        "ls -ld ~/.minikube shows whose it is; sudo chown -R $USER ~/.minikube, then ./lab up {stack}",
    ),
    (
        range(40, 50),
        "minikube cannot download what it needs",
        "check the connection or the proxy (HTTP_PROXY, NO_PROXY); ./lab up {stack} goes on with what is there",
    ),
    (
        range(57, 58),
        "minikube's Docker driver refuses root",
        "type it as your own user: ./lab up {stack}",
    ),
    (
        range(50, 60),
        "minikube cannot use its Docker driver for this profile",
        "docker version must answer; then ./lab up {stack}",
    ),
    (
        range(60, 70),
        "minikube does not reach Docker",
        "docker version must answer as this user: sudo usermod -aG docker $USER, then a new login; under WSL2 start "
        "Docker Desktop; then ./lab up {stack}",
    ),
    (
        range(81, 82),
        "the profile differs in what only acts when it is made",
        "./lab down {stack}, then ./lab up {stack}",
    ),
    (
        range(80, 90),
        "the node did not come up",
        "./lab up {stack} goes on; minikube logs -p {profile} says more; if it stays: ./lab down {stack}, then "
        "./lab up {stack}",
    ),
    (
        range(100, 110),
        "Kubernetes in the node did not come up, or its version cannot be reached from the present one",
        "./lab up {stack} goes on; if it stays: ./lab down {stack}, then ./lab up {stack}",
    ),
    (
        range(124, 125),
        "minikube took too long",
        "./lab up {stack} goes on with what is there; minikube logs -p {profile} says more",
    ),
)
