"""A minikube profile on the Docker driver."""

from host.drivers.minikube.alive import is_alive
from host.drivers.minikube.driver import destroy, ensure, refuse_early, status

__all__ = ["destroy", "ensure", "is_alive", "refuse_early", "status"]
