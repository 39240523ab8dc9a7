"""What every driver needs of the operating system: subprocesses, files, locks, sudo; nothing of clusters."""
