"""What runs in a guest: the boot's own scripts, and checks that print one JSON object a cell."""
