"""What looks at the running stack before up is green; makes nothing."""
