"""A one-node upstream Kubernetes in a network namespace, a mount namespace and a cgroup of its own."""

from host.drivers.embedded.alive import is_alive
from host.drivers.embedded.driver import destroy, ensure, prepare, stands, status

__all__ = ["destroy", "ensure", "is_alive", "prepare", "stands", "status"]
