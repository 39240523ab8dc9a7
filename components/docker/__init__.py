"""What runs in plain Docker instead of in a cluster; nothing of Kubernetes."""
