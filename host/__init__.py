"""What changes the machine itself, behind the frozen entry python -m host; decides nothing."""
