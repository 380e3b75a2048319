"""Networks, leases and names."""
