"""The parts of the lxc driver."""
