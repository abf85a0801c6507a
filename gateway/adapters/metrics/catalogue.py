"""Every metric that there is: its name, its kind, its labels, and what it says. The README's table is held against it.

Labels are bounded: routes, upstreams and issuers of the configuration, codes and states of our own, slots of workers.
Never a caller, a path, an account or an address. Durations are seconds, sizes are bytes.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A counter is shown with `_total` behind its name. `worker` is the slot, or `keeper`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name that a query uses; a histogram's also with `_bucket`, `_sum` and `_count`."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_C: Kind = "counter"
_G: Kind = "gauge"
_H: Kind = "histogram"

FAMILIES: tuple[Family, ...] = (
    Family(
        "gateway_requests", _C, "Requests that have ended, by status (0: cut before an answer).", ("route", "status")
    ),
    Family("gateway_refusals", _C, "Refusals, by the code that the caller was told.", ("route", "code")),
    Family("gateway_request_seconds", _H, "From a request's head to the end of its answer.", ("route",)),
    Family("gateway_upstream_seconds", _H, "From asking the upstream to the head of its answer.", ("route",)),
    Family("gateway_request_body_bytes", _C, "Of bodies that callers sent.", ("route",)),
    Family("gateway_answer_body_bytes", _C, "Of bodies that callers were answered.", ("route",)),
    Family("gateway_holds", _C, "Holds that have ended: captured, or released whole.", ("route", "outcome")),
    Family("gateway_charged", _C, "What requests did cost, in the currency.", ("route", "currency")),
    Family(
        "gateway_limits_down", _C,
        "Requests that no limit could count, by what became of them: open, they were admitted; closed, refused.",
        ("route", "outcome"),
    ),
    Family("gateway_limits_store_failures", _C, "Questions to the shared store of limits that failed or were late."),
    Family("gateway_limits_forgotten", _C, "Windows that began anew: there were more than limits.subjects_max."),
    Family("gateway_webhooks_received", _C, "Deliveries of the provider: new, repeated, or refused.", ("outcome",)),
    Family("gateway_webhooks_acted", _C, "What became of events: done, ignored, waiting or parked.", ("status",)),
    Family("gateway_webhook_lag_seconds", _H, "From an event's beginning at the provider to its first delivery here."),
    Family("gateway_provider_calls", _C, "Calls to the payment provider: answered, refused or failed.", ("outcome",)),
    Family("gateway_issuer_fetches", _C, "Fetches of an issuer's keys: fetched or failed.", ("issuer", "outcome")),
    Family("gateway_log_lines_dropped", _C, "Lines of requests that no log has, because its stream was too slow."),
    Family("gateway_reloads", _C, "Configurations that were read again: taken or refused.", ("outcome",)),
    Family("gateway_ledger_commit_seconds", _H, "How long commits of the books took."),
    Family("gateway_ledger_records", _C, "Records that were committed to the books."),
    Family("gateway_voided_requests", _C, "Requests voided after a crash of a process: not answered, or given away."),
    Family("gateway_ledger_stuck", _G, "1 while the ledger cannot commit and paid routes are closed."),
    Family("gateway_ledger_waiting_records", _G, "Records that wait for the next commit of the books."),
    Family("gateway_ledger_accounts", _G, "Accounts that the keeper has in memory."),
    Family("gateway_ledger_slices", _G, "Slices of accounts that workers have of the keeper."),
    Family("gateway_workers", _G, "Processes that serve callers."),
    Family("gateway_workers_wanted", _G, "Processes that should."),
    Family("gateway_build_info", _G, "1, with the version that runs.", ("version", "python")),
    Family("gateway_config_loaded_timestamp_seconds", _G, "When a process took up its configuration.", ("worker",)),
    Family(
        "gateway_config_version", _G, "1, with the version of the routes and upstreams that a process serves by.",
        ("worker", "version"),
    ),
    Family("gateway_requests_in_flight", _G, "Requests under way.", ("worker",)),
    Family("gateway_connections", _G, "Connections of callers that are open.", ("worker",)),
    Family("gateway_holds_open", _G, "Holds under way.", ("worker",)),
    Family("gateway_cache_entries", _G, "What a memory of the worker holds.", ("worker", "cache")),
    Family(
        "gateway_upstream_connections", _G, "Connections to an upstream: idle or busy.", ("worker", "upstream", "state")
    ),
    Family(
        "gateway_upstream_servers_left_out", _G, "Servers of an upstream that get no requests.", ("worker", "upstream")
    ),
    Family("gateway_provider_resting", _G, "1 while the provider is not asked, for it did not answer.", ("worker",)),
    Family("gateway_limits_store_down", _G, "1 while the shared store of limits does not answer.", ("worker",)),
    Family(
        "gateway_issuer_keys_timestamp_seconds", _G, "When an issuer's keys were last fetched.", ("worker", "issuer")
    ),
    Family(
        "gateway_reconciled_timestamp_seconds", _G, "Up to when the provider's events were compared with ours.",
        ("worker",),
    ),
    Family("gateway_loop_lag_seconds", _G, "How late the event loop was at worst in the last second.", ("worker",)),
    Family("gateway_process_resident_bytes", _G, "Memory of a process.", ("worker",)),
    Family("gateway_process_open_fds", _G, "Open files and sockets of a process.", ("worker",)),
    Family("gateway_process_max_fds", _G, "How many it may have.", ("worker",)),
    Family("gateway_process_cpu_seconds", _G, "Processor time of a process since it began.", ("worker",)),
    Family("gateway_records_up", _G, "1 if the records answered when this was asked; if not, what follows is missing."),
    Family("gateway_webhooks_waiting", _G, "Events that wait to be acted on."),
    Family("gateway_webhooks_parked", _G, "Events that were given up, payments among them: an operator has to look."),
    Family("gateway_webhooks_oldest_waiting_seconds", _G, "For how long the oldest event has waited; 0 if none does."),
    Family("gateway_webhooks_newest_timestamp_seconds", _G, "When the newest event came."),
    Family("gateway_payouts_waiting", _G, "Payouts that our balance at Stripe does not cover: pay into it."),
    Family("gateway_jobs", _G, "Jobs in the background; failed: dead letters.", ("state",)),
    Family("gateway_alerts_open", _G, "Alerts that are open, by name.", ("alert",)),
    Family("gateway_outgoing", _G, "Notices and letters; failed: given up.", ("channel", "state")),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}
