"""What runs on the loopback only: the Stripe stand-in and the toy upstreams, for the demo and for tests."""
