"""The nouns: pure values and rules. No await, no clock, no randomness, no sockets, no files."""
