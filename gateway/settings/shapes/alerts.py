"""Alerts: from when on an operator is told, and where."""

from typing import Annotated

from pydantic import Field

from gateway.core.alerts import Name
from gateway.settings.texts import (
    AmountText,
    BasisPoints,
    BodySizeText,
    DaysText,
    DurationText,
    EndpointText,
    MailAddress,
    Otherwise,
    RateText,
    SecretText,
    Shape,
    Truth,
    Whole,
)


class AlertsShape(Shape):
    url: Annotated[
        EndpointText | None,
        Otherwise("no webhook"),
        Field(description="Where operators are told of alerts, by signed `POST` requests with JSON, as `notices` are."),
    ] = None
    secrets: Annotated[
        list[SecretText], Field(description="Sign these messages. Several while one is being replaced.")
    ] = Field(default_factory=list)
    private_addresses: Annotated[
        Truth,
        Field(description="Whether `url` may be in the clear, or an address that is not one of the internet's."),
    ] = False
    mail_to: Annotated[
        list[MailAddress],
        Otherwise("no e-mail"),
        Field(max_length=10, description="Operators who are written to. It needs `mail`."),
    ] = Field(default_factory=list)
    unwatched: Annotated[list[Name], Field(description="Alerts that are not watched for.")] = Field(
        default_factory=list
    )
    every: Annotated[DurationText, Field(description="How often everything is looked at.")] = "30s"
    remind_after: Annotated[
        DurationText, Field(description="When an alert that is still true, and not acknowledged, is told again.")
    ] = "4h"
    ends_after: Annotated[
        DurationText, Field(description="For how long an alert must not be true any more until it has ended.")
    ] = "15m"
    webhook_signatures: Annotated[
        RateText, Field(description="How many webhooks with a wrong signature are too many.")
    ] = "5/10 minute"
    guessed_tokens: Annotated[
        RateText, Field(description="How many requests with a credential that is not good are too many.")
    ] = "300/10 minute"
    cards_refused: Annotated[RateText, Field(description="How many refused charges are too many.")] = "20/hour"
    refunds: Annotated[RateText, Field(description="How many refunds at Stripe are too many.")] = "20/hour"
    dispute_bps: Annotated[
        BasisPoints,
        Field(description="Which share of the payments of 30 days may be disputed, in hundredths of a percent."),
    ] = 75
    disputes_min: Annotated[Whole, Field(ge=1, description="Fewer disputes than these are no alert.")] = 3
    surge_factor: Annotated[
        Whole, Field(ge=2, le=100, description="How many times of what is usual in that hour of the week is a surge.")
    ] = 4
    surge_min: Annotated[
        Whole, Field(ge=1, description="Fewer unpaid, or failed, requests in an hour are no surge.")
    ] = 300
    payments_min: Annotated[Whole, Field(ge=1, description="Fewer payments in an hour are no surge.")] = 30
    account_payments: Annotated[
        RateText, Field(description="How many payments of one account, automatic ones among them, are too many.")
    ] = "10/hour"
    spend_factor: Annotated[
        Whole, Field(ge=2, le=100, description="How many times of the most that an account spent in an hour is sudden.")
    ] = 4
    spend_min: Annotated[
        AmountText | None,
        Otherwise("`2.00` of the currency; `200` of one without decimals"),
        Field(description="What an account must spend in an hour for anything to be said of it."),
    ] = None
    reconciler_behind: Annotated[
        DurationText, Field(description="For how long Stripe's events may not have been compared with ours.")
    ] = "24h"
    outbox_behind: Annotated[DurationText, Field(description="For how long a notice or letter may wait.")] = "30m"
    returned_behind: Annotated[
        DurationText, Field(description="For how long what came back of a payout may be missing in the books.")
    ] = "1h"
    disk_free_min: Annotated[BodySizeText, Field(description="How much of the disk must be free.")] = "1 GiB"
    certificate_left: Annotated[DaysText, Field(description="How long `tls.certificate` must still be good.")] = "14d"
    licence_devices: Annotated[
        Whole, Field(ge=2, description="To how many devices one licence is brought in 30 days before it is told.")
    ] = 6
    audit_every: Annotated[
        DurationText,
        Field(
            description="How often what is new in the books is audited, in a process of its own, unless "
            "`books_imbalance` is in `unwatched`."
        ),
    ] = "24h"
