"""The brand names: each implements a port, and none knows another."""
