"""The cluster, its provider and namespaces; nothing that only one workload needs."""
