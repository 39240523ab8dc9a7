"""The gateway's own files on the machine: keys, certificate, configuration; no cluster and no container."""
