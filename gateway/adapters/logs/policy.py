"""The written logging policy: of each kind of thing that comes past a gateway, whether it is logged, and as what.

`REQUEST_LINE` is every field of a request's line, in its order, and `OWN_LINE` of one to an address of our own; tests
compare them with lines. `NEVER` is what no log
has, whichever way it came. SECURITY.md shows both, and a test compares them.
"""

REQUEST_LINE = {
    "timestamp": "when its answer had ended, UTC, to the millisecond",
    "level": "`info`",
    "event": "`request`",
    "request_id": "ours, which the caller and the upstream are told, too",
    "front_id": "the `X-Request-Id` of a front in `trusted_proxies`; only if there is one",
    "trace_id": "of its `traceparent`, or ours",
    "span_id": "the span that the upstream was told",
    "path": "without host and query; what has the shape of a secret, an e-mail address or a card is left out",
    "ms": "from its head to the end of its answer",
    "upstream_ms": "from asking the upstream to the head of its answer",
    "bytes_in": "of its body",
    "bytes_out": "of its answer's body",
    "route": "the name in the configuration",
    "method": "as it was sent",
    "status": "as it was answered; 0 if the connection was cut before",
    "account": "the public id (`acct_…`)",
    "token": "the public name (`tok_…`), if the token is on record",
    "cost": "what was captured",
    "refused": "the code of the refusal",
    "worker": "the slot of the process",
}
OWN_LINE = {
    "timestamp": "when its answer was made, UTC, to the millisecond",
    "level": "`info`",
    "event": "`own_request`",
    "request_id": "ours, which the caller is told, too",
    "trace_id": "of its `traceparent`, if it has one",
    "path": "the pattern of the address (`/-/tokens/{token}`), and nothing of what stood in its place",
    "ms": "from its head to its answer",
    "method": "as it was sent",
    "status": "as it was answered; 0 if the connection was cut before",
    "refused": "the code of the refusal",
    "worker": "the slot of the process; null in the one that keeps the books beside its workers",
}
NEVER = {
    "bodies": "of requests, answers and webhooks, nor any part of them",
    "query strings": "they carry tokens, signatures and searches",
    "header fields": "but for a trusted front's `X-Request-Id` and the ids in `traceparent`",
    "credentials": "tokens of ours and of others, `Authorization`, cookies, operator tokens",
    "keys": "sealing keys, peppers, JWT keys, Stripe keys, webhook secrets, passwords in addresses",
    "e-mail addresses and names": "of callers, payers and owners",
    "card and bank data": "never seen: payment pages are Stripe's",
    "addresses of callers": "the trail has them where it must; the log does not",
}
