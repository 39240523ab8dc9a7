"""What looks at a running stack and never touches it."""
