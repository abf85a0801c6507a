"""Being paid: Stripe, plans, and the notices that go out about it."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import (
    AmountText,
    DaysText,
    DurationText,
    EndpointText,
    GrantText,
    OriginText,
    Otherwise,
    PriceIdText,
    PublishableText,
    RateText,
    SecretText,
    Shape,
    StripeKeyText,
    Truth,
    WebhookText,
    Whole,
)

STRIPE_API_URL = "https://api.stripe.com"


class AutoTopUpShape(Shape):
    per_day: Annotated[
        AmountText | None,
        Otherwise("ten times `stripe.top_up`"),
        Field(description="The most that a saved card is charged without its owner in any 24 hours, for one account."),
    ] = None
    per_month: Annotated[
        AmountText | None,
        Otherwise("four times `per_day`"),
        Field(description="The same in any 30 days."),
    ] = None


class StripeShape(Shape):
    secret_key: Annotated[
        StripeKeyText,
        Field(description="Stripe's secret key (sk_…), or a restricted one (rk_…). Its mode must agree with `mode`."),
    ]
    publishable_key: Annotated[
        PublishableText | None,
        Otherwise("pages of others that save a payment method are told none"),
        Field(
            description="Stripe's publishable key (pk_…), for pages that save a payment method (`charging`): the only "
            "key that is ever in an answer. Its mode must agree with `mode`."
        ),
    ] = None
    webhook_secrets: Annotated[
        list[WebhookText],
        Field(
            min_length=1,
            description="The signing secrets of the webhook endpoint at Stripe, newest first; several while one is "
            "being replaced, and where owners' accounts have endpoints of their own.",
        ),
    ]
    webhook_tolerance_seconds: Annotated[
        Whole,
        Field(ge=1, le=86_400, description="How far a webhook's time stamp may be from our clock, in both directions."),
    ] = 300
    webhook_aliases: Annotated[
        list[Literal["/stripe-webhook", "/stripe/webhooks", "/webhooks/stripe"]],
        Field(description="More paths on which Stripe's webhooks are received, besides our own one under `/-/`."),
    ] = Field(default_factory=list)
    reconcile_seconds: Annotated[
        Whole,
        Field(
            ge=0,
            le=86_400,
            description="How often Stripe's list of events is read for webhooks that were missed, besides once at "
            "start. 0: never.",
        ),
    ] = 300
    customer_portal: Annotated[
        Truth,
        Field(
            description="Whether the wallet leads to Stripe's customer portal. Whoever has a token of the account sees "
            "there what Stripe knows of the buyer who saved its card: only where these are the same."
        ),
    ] = False
    login_by_payment: Annotated[
        Literal["off", "same_browser", "on"],
        Field(
            description="Whether who has paid before gets their old wallet when they pay again with the same card or "
            "Link account. `same_browser`: only the browser that began the checkout; `on`: also a checkout that was "
            "begun elsewhere, by a code that the browser which paid is shown."
        ),
    ] = "same_browser"
    freeze_on_fraud_warning: Annotated[
        Truth,
        Field(
            description="Whether an early warning of fraud about a payment freezes the account that it was credited "
            "to, and a card that is tried too often the account that it is tried for."
        ),
    ] = True
    top_up: Annotated[
        AmountText | None,
        Otherwise("ten times the least that Stripe takes: `5.00 usd`"),
        Field(description="What one payment link sells: the balance that a caller gets for it."),
    ] = None
    payment_link: Annotated[
        Literal["fixed", "choose"],
        Field(
            description="Whether the payment link sells `top_up`, or whatever its payer chooses from `amount_min` to "
            "`amount_max`, with `top_up` filled in."
        ),
    ] = "fixed"
    amounts: Annotated[
        list[AmountText],
        Otherwise("once, twice and five times `top_up`"),
        Field(max_length=12, description="What is offered where a caller chooses an amount."),
    ] = Field(default_factory=list)
    amount_min: Annotated[
        AmountText | None,
        Otherwise("the least of `amounts` and `top_up`"),
        Field(description="The least that a caller may choose to pay at once."),
    ] = None
    amount_max: Annotated[
        AmountText | None,
        Otherwise("twenty times the largest of `amounts` and `top_up`"),
        Field(description="The most that a caller may choose to pay at once."),
    ] = None
    amount_day_max: Annotated[
        AmountText | None,
        Otherwise("five times `amount_max`"),
        Field(
            description="The most that checkouts are offered for in any 24 hours for one account, by what was paid "
            "into it. A payment link can be paid all the same, and what arrives is always credited."
        ),
    ] = None
    checkouts_per_account: Annotated[
        RateText, Field(description="How often a checkout may be asked for one account, from any address.")
    ] = "20/hour"
    tries_per_card: Annotated[
        RateText | None,
        Otherwise("`10/hour` in mode live; not bounded in mode test, where all cards are the same"),
        Field(
            description="How often one card may be tried, with or without success; charges of saved cards do not "
            "count. After that `freeze_on_fraud_warning` freezes the account that it is tried for."
        ),
    ] = None
    declines_per_account: Annotated[
        RateText | None,
        Otherwise("`20/hour` in mode live; not bounded in mode test"),
        Field(
            description="How often banks may refuse cards, whichever they are, that are tried for one account. After "
            "that `freeze_on_fraud_warning` freezes it. Each refusal is a call to Stripe."
        ),
    ] = None
    auto_top_up: Annotated[
        AutoTopUpShape | None,
        Otherwise("no cards are saved"),
        Field(description="Lets callers save a card that pays when their balance runs low. `{}` is enough."),
    ] = None
    api_url: Annotated[
        OriginText,
        Field(description="Where Stripe's API is. Another one is for stand-ins, and only in mode test."),
    ] = STRIPE_API_URL


class PlanShape(Shape):
    price: Annotated[
        PriceIdText, Field(description="The id of its recurring price at Stripe: of one currency, with one amount.")
    ]
    costs: Annotated[
        AmountText,
        Field(description="What a period costs there, for one. Grants are measured by it, and callers are told it."),
    ]
    older_prices: Annotated[
        dict[PriceIdText, AmountText],
        Otherwise("none"),
        Field(
            max_length=100,
            description="The ids of prices that it had before, and what a period costs at each. Who subscribed at one "
            "keeps it at Stripe; its periods add the same `grants`.",
        ),
    ] = Field(default_factory=dict)
    every: Annotated[
        Literal["day", "week", "month", "year"], Field(description="How long a period is, as callers are told.")
    ] = "month"
    grants: Annotated[
        GrantText | None,
        Otherwise("what it costs"),
        Field(
            description="The balance that each paid period adds, or so much of a named credit such as "
            "`100 unit:export`; of a period that is paid in part, that part."
        ),
    ] = None
    priority: Annotated[
        Whole,
        Field(ge=-1000, le=1000, description="When it is spent: lower numbers first. What callers pay in has 0."),
    ] = 0
    expires: Annotated[
        Literal["never", "period_end"], Field(description="When what a period granted and was not spent is gone.")
    ] = "never"
    grace: Annotated[
        DurationText,
        Field(description="How long after the period's end that is: Stripe has the next one paid an hour into it."),
    ] = "24h"
    grants_unpaid: Annotated[
        Truth,
        Field(
            description="Whether a period grants all of it though less was paid for it: a trial, a coupon, a credit "
            "note."
        ),
    ] = False


class WebhooksShape(Shape):
    keep_events: Annotated[
        DaysText,
        Field(
            description="For how long events that were acted on are kept, to look at and to replay. Parked ones stay; "
            "an event that comes again after that credits nothing."
        ),
    ] = "90d"


class NoticesShape(Shape):
    url: Annotated[
        EndpointText,
        Field(description="Where messages about accounts are sent, as signed `POST` requests with JSON."),
    ]
    secrets: Annotated[
        list[SecretText],
        Field(
            min_length=1,
            description="Sign the messages. Several while one is being replaced: each signs, and one that fits is "
            "enough.",
        ),
    ]
    low_balance: Annotated[
        AmountText | None,
        Otherwise("nothing is told of balances"),
        Field(description="The line below which a balance is told of, once until it was above it again."),
    ] = None
    private_addresses: Annotated[
        Truth,
        Field(
            description="Whether `url` may be in the clear, and may mean an address that is not one of the internet's: "
            "this machine's, or a private network's."
        ),
    ] = False
