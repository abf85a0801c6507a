"""The verbs: one file, one story. A flow knows the nouns and the ports, and no other flow."""
