"""A stand-in for Stripe: a local server that the official SDK talks to by base address alone.

It plays what a pay-per-use gateway needs of Stripe: products, prices, payment links, checkout sessions with a
hosted page, payment intents, charges, customers, payment methods, events and webhooks. What it plays it plays
with Stripe's shapes, errors and order of events; what it does not play it refuses, so that nothing passes here by
accident and fails there. No real money moves and no live key is taken.

    server       start and stop, and what a test asks of it        control     the same over HTTP
    api          /v1: key, form, idempotency, answer               routes      which addresses there are
    played       which parameters have an effect                   forms, shapes   decode and check parameters
    catalogue, sessions, till                                      what the calls and the pages do
    connect, onboarding                                accounts of others, and the page that they are filled in on
    objects, views, store                                          what an object looks like, is read as, and is kept in
    checkout     the hosted pages                                  webhooks    events on their way
"""

from gateway.demo.standin.cards import BadCard
from gateway.demo.standin.errors import ApiError
from gateway.demo.standin.server import StandIn, random_token
from gateway.demo.standin.store import API_VERSION, Movement
from gateway.demo.standin.till import PaymentDeclined, PaymentRefused
from gateway.demo.standin.webhooks import Attempt, Endpoint, Tampering, signature

__all__ = [
    "API_VERSION",
    "ApiError",
    "Attempt",
    "BadCard",
    "Endpoint",
    "Movement",
    "PaymentDeclined",
    "PaymentRefused",
    "StandIn",
    "Tampering",
    "random_token",
    "signature",
]
