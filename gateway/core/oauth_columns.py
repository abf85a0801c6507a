"""Clients, consents and tickets as flat columns, the same in every database that keeps them."""

from collections.abc import Sequence
from typing import Any

from gateway.core.oauth import Client, Consent, Ticket

CLIENT = "id, name, redirects, auth, key_id"
CONSENT = "token_grant, account, client, resource, scopes, at"
TICKET = "digest, kind, token_grant, expires, redirect, challenge, used"


def of_client(client: Client) -> tuple[object, ...]:
    return client.id, client.name, " ".join(client.redirect_uris), client.auth, client.key_id


def client(row: Sequence[Any]) -> Client:
    id, name, redirects, auth, key_id = row
    return Client(id, name, tuple(redirects.split()), auth, key_id)


def of_consent(consent: Consent) -> tuple[object, ...]:
    scopes = " ".join(consent.scopes)
    return consent.grant, consent.account, consent.client, consent.resource, scopes, consent.at_ms


def consent(row: Sequence[Any]) -> Consent:
    grant, account, client, resource, scopes, at = row
    return Consent(grant, account, client, resource, tuple(scopes.split()), at)


def of_ticket(ticket: Ticket) -> tuple[object, ...]:
    return (
        ticket.digest,
        ticket.kind,
        ticket.grant,
        ticket.expires_ms,
        ticket.redirect,
        ticket.challenge,
        ticket.used_ms,
    )


def ticket(row: Sequence[Any]) -> Ticket:
    digest, *rest = row
    return Ticket(bytes(digest), *rest)
