"""What `lab init` proposes: pure functions from what a machine is to its stack file."""
