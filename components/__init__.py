"""Which Pulumi resources make a plan so; decides nothing, runs nothing."""
