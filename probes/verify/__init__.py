"""The security probes of `lab verify`: each asks a running gateway for something that it must refuse, or must do."""
