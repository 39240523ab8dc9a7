"""What this machine should run: pure, imports no pulumi, reads only its own YAML."""
