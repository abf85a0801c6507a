"""Keep the books: one decider over a durable store, and the slices that it lends to worker processes."""

from gateway.flows.keep.commits import Pace
from gateway.flows.keep.keeper import Keeper, Recovered

__all__ = ["Keeper", "Pace", "Recovered"]
