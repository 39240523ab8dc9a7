"""A one-node upstream Kubernetes in a network namespace, a mount namespace and a cgroup of its own."""

from host.embedded.alive import is_alive
from host.embedded.driver import destroy, ensure, status

__all__ = ["destroy", "ensure", "is_alive", "status"]
