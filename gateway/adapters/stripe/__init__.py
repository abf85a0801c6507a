"""Stripe. Nothing outside this package imports its SDK or is given its key."""
