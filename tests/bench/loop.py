"""The event loop of everything here that has one; the gateway brings its own."""

import asyncio


def runner() -> asyncio.Runner:
    """On uvloop where there is one. (`gateway.cli` has the same, but a load that imports it starts a second later.)"""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
