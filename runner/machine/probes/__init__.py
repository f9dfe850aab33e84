"""What each kind of computer says of itself, read into `machine.facts`."""
