"""What people type: commands and renderers; decides nothing, and changes the machine only through Pulumi and host."""
