"""From the checked shape to the values that the gateway is given. Nothing can be wrong any more."""

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from gateway.core import jwt_keys
from gateway.core.auto_top_ups import Ceilings
from gateway.core.countries import CountryRule
from gateway.core.licences import STATUSES, Terms
from gateway.core.limits import Limit, Rate
from gateway.core.money import Money
from gateway.core.plans import Plan
from gateway.core.pricing import AnyPrice, Price
from gateway.core.routes import (
    NO_RULES,
    CallPrices,
    Ejection,
    FieldRules,
    HealthCheck,
    Route,
    RouteTable,
    Upstream,
    UpstreamCredential,
)
from gateway.core.secrets import Secret
from gateway.core.steps import SteppedPrice
from gateway.settings import (
    alerting,
    authorizing,
    forms,
    identifying,
    limiting,
    owning,
    payable,
    pricing,
    relay_forms,
    secret_files,
    signing_in,
)
from gateway.settings.shapes import GatewayShape
from gateway.settings.shapes.extras import GeoShape, MailShape
from gateway.settings.shapes.payments import AutoTopUpShape, NoticesShape, PlanShape, StripeShape
from gateway.settings.shapes.process import IdempotencyShape, LogShape, TimeoutsShape, TokensShape
from gateway.settings.shapes.routes import RouteShape
from gateway.settings.shapes.upstreams import CredentialShape, FieldRulesShape, UpstreamShape
from gateway.settings.values import (
    CallerTimeouts,
    CapSettings,
    ChoiceSettings,
    GeoSettings,
    IdempotencySettings,
    LicenceSettings,
    LimitSettings,
    Listener,
    LogSettings,
    MailSettings,
    NoticeSettings,
    RetentionSettings,
    SecretSettings,
    Settings,
    StripeSettings,
    TlsSettings,
    TokenSettings,
    UnixSocket,
)

_EXPORT_CREDIT = "unit:export"
_TRIES = "10/hour"
_DECLINES = "20/hour"
_METHOD_OVERRIDES = frozenset(("x-http-method-override", "x-http-method", "x-method-override"))
"""Fields by which some upstreams take a request for one of another method, which has another price."""
_DAY_MAX_TIMES = 5
_MOST_TIMES, _DAY_TIMES, _MONTH_TIMES = 20, 10, 4
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- read, not bound


def build(
    shape: GatewayShape,
    *,
    store_path: Path,
    base: Path,
    files: Mapping[str, Sequence[str]],
    owned: Mapping[str, str],
) -> Settings:
    """`files` are the texts of our secret files by name, for those that no setting replaces.

    `owned` are the upstreams that owners have written themselves, and whose each is.
    """
    listen = relay_forms.listener(shape.listen)
    proxies = [relay_forms.proxy(text) for text in shape.trusted_proxies]
    upstreams = {name: _upstream(name, upstream, base) for name, upstream in shape.upstreams.items()}
    for name, owner in owned.items():
        bounds = shape.owners[owner].routes
        upstreams[name] = replace(upstreams[name], guarded=bounds is None or not bounds.private_addresses)
    everywhere = limiting.limits(shape.limits.everywhere, "")
    public_url = str(forms.origin(shape.public_url)) if shape.public_url else _own_url(listen, shape)
    return Settings(
        mode=shape.mode,
        environment=shape.environment or ("production" if shape.mode == "live" else "development"),
        listen=listen,
        tls=TlsSettings(_file(base, shape.tls.certificate), _file(base, shape.tls.key)) if shape.tls else None,
        workers=shape.workers,
        trusted_proxies=tuple(dict.fromkeys(proxy for proxy in proxies if proxy is not None)),
        trust_unix=None in proxies,
        admin=forms.address(shape.admin),
        public_url=public_url,
        public_url_given=shape.public_url is not None,
        store_path=store_path,
        store_url=Secret(shape.store) if forms.database(shape.store) else None,
        store_password=shape.store_password,
        host_name=shape.host_name or _host_name(listen),
        secrets_path=store_path.parent / secret_files.FOLDER,
        currency=shape.currency,
        stripe=_stripe(shape.stripe, shape.currency) if shape.stripe else None,
        plans=tuple(_plan(name, plan) for name, plan in shape.plans.items()),
        licences=_licences(shape, listen) if shape.licences else None,
        compat=frozenset(shape.compat),
        tokens=_tokens(shape.tokens),
        identity=identifying.identity(shape.identity),
        oauth=authorizing.oauth(shape),
        sign_in=signing_in.sign_in(shape.sign_in),
        cors=identifying.cors(shape),
        secrets=_secrets(shape, files),
        owners=MappingProxyType(owning.owners(shape)),
        routes_folder=(base / shape.routes_folder).absolute(),
        connect=owning.connect(shape),
        payouts=owning.payouts(shape),
        charging=owning.charging(shape),
        services=owning.services(shape),
        upstreams=MappingProxyType(upstreams),
        routes=RouteTable(
            _closed(
                _route(
                    route,
                    shape,
                    upstreams,
                    everywhere,
                    authorizing.resource(shape, route.name, route.match, public_url),
                ),
                shape,
            )
            for route in shape.routes
        ),
        price_list_aliases=tuple(dict.fromkeys(shape.price_list.aliases)),
        timeouts=_timeouts(shape.timeouts),
        ledger_seconds=forms.duration(shape.timeouts.ledger),
        limits=LimitSettings(
            request_body_bytes_max=forms.body_size(shape.limits.request_body_max),
            request_head_bytes_max=forms.head_size(shape.limits.request_head_max),
            request_fields_max=shape.limits.request_headers_max,
            connections_max=shape.limits.connections_max,
            checkouts=forms.rate(shape.limits.checkouts),
            checkouts_altogether=forms.rate(shape.limits.checkouts_altogether),
            payment_looks=forms.rate(shape.limits.payment_looks),
            failed_credentials=forms.rate(shape.limits.failed_credentials),
            storage_url=Secret(shape.limits.storage) if forms.limits_storage(shape.limits.storage) else None,
            storage_seconds_max=forms.duration(shape.limits.storage_timeout),
            subjects_max=shape.limits.subjects_max,
        ),
        idempotency=_idempotency(shape.idempotency),
        caps=CapSettings(time_zone=shape.caps.time_zone, tell_at_percent=shape.caps.tell_at_percent),
        retention=RetentionSettings(
            batches_days=shape.retention.batches_days,
            events_days=forms.days(shape.webhooks.keep_events),
            readings_days=shape.retention.readings_days,
            readings_max=shape.retention.readings_max,
        ),
        notices=_notices(shape.notices) if shape.notices else None,
        alerts=alerting.alerts(shape),
        mail=_mail(shape.mail) if shape.mail else None,
        geo=_geo(base, shape.geo) if shape.geo else None,
        log=_log(base, shape.log),
        trace=shape.trace,
    )


def _log(base: Path, shape: LogShape) -> LogSettings:
    return LogSettings(
        format=shape.format,
        level=shape.level,
        requests=shape.requests,
        sample_one_in=shape.sample_one_in,
        file=_file(base, shape.file) if shape.file else None,
        rotate_bytes=forms.body_size(shape.rotate_size) if shape.rotate_size else None,
        rotate_daily=shape.rotate_daily,
        keep_days=shape.keep_days,
    )


def _idempotency(shape: IdempotencyShape) -> IdempotencySettings:
    return IdempotencySettings(
        keep_seconds=forms.duration(shape.keep),
        answer_bytes_max=forms.body_size(shape.answer_max),
        answers_bytes_max=forms.body_size(shape.answers_max),
        body_bytes_max=forms.body_size(shape.body_max),
        wait_seconds=forms.duration(shape.wait),
    )


def _notices(shape: NoticesShape) -> NoticeSettings:
    return NoticeSettings(
        url=shape.url,
        secrets=tuple(shape.secrets),
        low_balance=forms.amount(shape.low_balance) if shape.low_balance else None,
        private_addresses=shape.private_addresses,
    )


def _mail(shape: MailShape) -> MailSettings:
    return MailSettings(
        host=forms.host_name(shape.host),
        port=shape.port,
        user=shape.user,
        password=shape.password,
        sender=shape.sender,
        starttls=shape.starttls,
    )


def _geo(base: Path, shape: GeoShape) -> GeoSettings:
    unknown = shape.unknown or ("deny" if shape.allow else "allow")
    return GeoSettings(
        database=_file(base, shape.database),
        rule=CountryRule(frozenset(shape.allow), frozenset(shape.deny), unknown=unknown == "allow"),
        per_country=forms.rate(shape.checkouts) if shape.checkouts else None,
    )


def _licences(shape: GatewayShape, listen: Listener) -> LicenceSettings:
    given = shape.licences
    assert given is not None
    public_url = _public_url(listen, shape)
    named = given.plans or list(shape.plans)
    return LicenceSettings(
        terms=Terms(
            issuer=given.issuer or public_url,
            audience=given.audience or public_url,
            days=given.days,
            prices=frozenset(price for name in named for price in _plan(name, shape.plans[name]).prices),
            counts=frozenset(state for state, status in STATUSES.items() if status in given.pro_statuses),
            credit=_EXPORT_CREDIT,
        ),
        origins=frozenset(str(forms.origin(text)) for text in given.origins),
        restore_proof=given.restore_proof,
        restores_per_address=forms.rate(given.restores_per_address),
        restores_per_client=forms.rate(given.restores_per_client),
        devices=given.devices,
        aliases=tuple(dict.fromkeys(given.aliases)),
    )


def _public_url(listen: Listener, shape: GatewayShape) -> str:
    return str(forms.origin(shape.public_url)) if shape.public_url else _own_url(listen, shape)


def _own_url(listen: Listener, shape: GatewayShape) -> str:
    if isinstance(listen, UnixSocket):
        raise AssertionError("the rules ask for a public_url where there is only a socket")
    host, port = listen
    return str(forms.Origin("https" if shape.tls else "http", _WILDCARDS.get(host, host), port))


def _host_name(listen: Listener) -> str:
    where = Path(listen.path).name if isinstance(listen, UnixSocket) else str(listen[1])
    return f"{platform.node() or 'host'}:{where}"[:63]


def _file(base: Path, text: str) -> Path:
    return (base / text).absolute()


def _tokens(shape: TokensShape) -> TokenSettings:
    return TokenSettings(
        header=shape.header,
        cookie=shape.cookie,
        per_account_max=shape.per_account_max,
        rotation_grace_seconds=forms.duration(shape.rotation_grace),
    )


def _timeouts(shape: TimeoutsShape) -> CallerTimeouts:
    return CallerTimeouts(
        head_seconds=forms.duration(shape.head),
        keep_alive_seconds=forms.duration(shape.keep_alive),
        body_seconds=forms.duration(shape.body),
        send_seconds=forms.duration(shape.send),
        shutdown_seconds=forms.duration(shape.shutdown),
    )


def _stripe(shape: StripeShape, currency: str) -> StripeSettings:
    top_up = forms.amount(shape.top_up) if shape.top_up else payable.usual(currency)
    if top_up is None:
        raise AssertionError("the rules ask for a top-up where there is no usual one")
    return StripeSettings(
        secret_key=shape.secret_key,
        webhook_secrets=tuple(shape.webhook_secrets),
        webhook_tolerance_seconds=shape.webhook_tolerance_seconds,
        webhook_aliases=tuple(shape.webhook_aliases),
        reconcile_seconds=shape.reconcile_seconds,
        customer_portal=shape.customer_portal,
        login_by_payment=shape.login_by_payment,
        freeze_on_fraud_warning=shape.freeze_on_fraud_warning,
        top_up=top_up,
        payer_chooses=shape.payment_link == "choose",
        choice=_choice(shape, top_up),
        tries_per_card=_tries(shape, shape.tries_per_card, _TRIES),
        declines_per_account=_tries(shape, shape.declines_per_account, _DECLINES),
        auto_top_up=_ceilings(shape.auto_top_up, top_up) if shape.auto_top_up else None,
        api_url=str(forms.origin(shape.api_url)),
        publishable_key=shape.publishable_key,
    )


def _tries(shape: StripeShape, given: str | None, usual: str) -> Rate | None:
    live = forms.stripe_key_is_live(shape.secret_key.reveal())
    return forms.rate(given or usual) if live or given else None


def _plan(name: str, shape: PlanShape) -> Plan:
    costs = forms.amount(shape.costs)
    return Plan(
        name=name,
        price=shape.price,
        costs=costs,
        every=shape.every,
        grants=forms.grant(shape.grants) if shape.grants else costs,
        priority=shape.priority,
        ends=shape.expires == "period_end",
        grace_ms=int(forms.duration(shape.grace) * 1000),
        grants_unpaid=shape.grants_unpaid,
        older=tuple((price, forms.amount(costs)) for price, costs in shape.older_prices.items()),
    )


def _choice(shape: StripeShape, top_up: Money) -> ChoiceSettings:
    presets = tuple(forms.amount(text) for text in shape.amounts) or payable.usual_choice(top_up)
    offered = [top_up.micros, *(preset.micros for preset in presets)]
    most = min(payable.most(top_up.currency).micros, _MOST_TIMES * max(offered))
    largest = forms.amount(shape.amount_max) if shape.amount_max else Money(most, top_up.currency)
    return ChoiceSettings(
        presets=presets,
        least=forms.amount(shape.amount_min) if shape.amount_min else Money(min(offered), top_up.currency),
        most=largest,
        day_most=(
            forms.amount(shape.amount_day_max)
            if shape.amount_day_max
            else Money(_DAY_MAX_TIMES * largest.micros, top_up.currency)
        ),
        per_account=forms.rate(shape.checkouts_per_account),
    )


def _ceilings(shape: AutoTopUpShape, top_up: Money) -> Ceilings:
    day = forms.amount(shape.per_day) if shape.per_day else Money(_DAY_TIMES * top_up.micros, top_up.currency)
    month = forms.amount(shape.per_month) if shape.per_month else Money(_MONTH_TIMES * day.micros, day.currency)
    return Ceilings(day, month)


def _secrets(shape: GatewayShape, files: Mapping[str, Sequence[str]]) -> SecretSettings:
    def of_file(name: str) -> tuple[Secret, ...]:
        return tuple(Secret(text) for text in files.get(name, ()))

    given = shape.secrets
    tokens = of_file("operator_token")
    return SecretSettings(
        sealing_keys=tuple(given.sealing_keys) or of_file("sealing_key"),
        peppers=tuple(given.peppers) or of_file("pepper"),
        jwt_keys=tuple(Secret(pem) for pem in jwt_keys.blocks(given.jwt_keys.reveal()))
        if given.jwt_keys
        else of_file("jwt.pem"),
        operator_token=given.operator_token or (tokens[0] if tokens else None),
        auditor_token=given.auditor_token,
    )


def _upstream(name: str, shape: UpstreamShape, base: Path) -> Upstream:
    tls, check = shape.tls, shape.health_check
    return Upstream(
        name=name,
        servers=tuple(relay_forms.server(url) for url in (shape.servers or [shape.url or ""])),
        connect_seconds=forms.duration(shape.connect_timeout),
        first_byte_seconds=forms.duration(shape.first_byte_timeout),
        idle_seconds=forms.duration(shape.idle_timeout),
        total_seconds=forms.duration(shape.total_timeout) if shape.total_timeout else None,
        keep_alive_seconds=forms.duration(shape.keep_alive),
        connections_max=shape.connections,
        retries_max=shape.retries,
        ejection=Ejection(
            failures=shape.ejection.failures,
            seconds=forms.duration(shape.ejection.time),
            seconds_max=forms.duration(shape.ejection.time_max),
        ),
        check=HealthCheck(check.path, forms.duration(check.every)) if check else None,
        ca_file=str(_file(base, tls.ca)) if tls and tls.ca else None,
        server_name=forms.host_name(tls.server_name) if tls and tls.server_name else None,
        credential=_credential(shape.credential) if shape.credential else None,
    )


def _credential(shape: CredentialShape) -> UpstreamCredential | None:
    if shape.header:
        return UpstreamCredential("header", shape.header.name, shape.header.value)
    if shape.query:
        return UpstreamCredential("query", shape.query.name, shape.query.value)
    if shape.basic:
        pair = f"{shape.basic.user}:{shape.basic.password.reveal()}".encode()
        return UpstreamCredential("header", "Authorization", Secret("Basic " + base64.b64encode(pair).decode()))
    return None


def _route(
    shape: RouteShape,
    whole: GatewayShape,
    upstreams: Mapping[str, Upstream],
    everywhere: tuple[Limit, ...],
    resource: str,
) -> Route:
    prices = _prices(shape, whole)
    plain = (limiting.plain(shape.limit, shape.name),) if shape.limit else ()
    made = Route(
        name=shape.name,
        match=shape.match,
        upstream=upstreams[shape.upstream],
        price=prices.counter,  # until it is known whose it is
        rewrite="/" if shape.strip_prefix else shape.rewrite,
        host=relay_forms.host(shape.host),
        request_fields=_field_rules(shape.request_headers, _METHOD_OVERRIDES if prices.methods else frozenset()),
        answer_fields=_field_rules(shape.answer_headers),
        concurrency_max=shape.concurrency,
        context_key=shape.context_key,
        limits=(*plain, *limiting.limits(shape.limits, shape.name), *everywhere),
        limits_down=shape.limits_down,
        unpaid=shape.unpaid,
        durability=shape.durability,
        once=shape.idempotency == "gateway",
        token_in_query=shape.token_in_query,
        public=shape.public,
        issuers=tuple(shape.issuers) or None,
        pass_claims=tuple(shape.pass_claims.items()),
        resource=resource,
        inject=shape.inject.removeprefix(signing_in.INJECTED) if shape.inject else None,
        cors=shape.cors,
        owner=shape.owner,
        commission_points=owning.commission(shape, whole),
        listed=shape.listed,
    )
    methods = {name: _priced(made, one, prices.counter, name) for name, one in prices.methods.items()}
    calls = _calls(made, prices) if shape.mcp is not None else None
    return replace(_priced(made, prices, prices.counter, ""), methods=methods, calls=calls)


def _closed(route: Route, shape: GatewayShape) -> Route:
    return signing_in.closed(identifying.closed(route, shape), shape.sign_in)


def _calls(route: Route, prices: pricing.RoutePrices) -> CallPrices:
    def at(price: AnyPrice, condition: str) -> Route:
        return replace(route, price=price, condition=condition)

    return CallPrices(
        {name: at(price, f"tool {name}") for name, price in prices.tools.items()},
        {name: at(price, f"call {name}") for name, price in prices.calls.items()},
        at(Price(Money.zero(prices.counter.ceiling.currency)), ""),
    )


def _priced(route: Route, prices: pricing.MethodPrices, counter: AnyPrice, method: str) -> Route:
    """At what one of its methods costs, and with what that costs by plan."""
    name = ".".join(filter(None, (route.name, method)))
    plans = {
        plan: _at(replace(route, condition=f"plan {plan}"), price, counter, f"{name}@{plan}")
        for plan, price in prices.plans.items()
    }
    return replace(_at(route, prices.price, counter, name), plans=plans)


def _at(route: Route, price: pricing.RoutePrice, counter: AnyPrice, name: str) -> Route:
    """At this price; if that has steps, their calls are counted by this name."""
    if not isinstance(price, SteppedPrice):
        return replace(route, price=price)
    steps = [
        replace(route, price=one.price, step=price.step(place, name, counter)) for place, one in enumerate(price.steps)
    ]
    return replace(route, price=price.dearest, stepped=price, steps=tuple(steps))


def _prices(route: RouteShape, shape: GatewayShape) -> pricing.RoutePrices:
    """An upstream may say what it reports as it is used to."""
    zone = shape.caps.time_zone
    return pricing.of_route(route, shape.currency, in_cents="stripeflare" in shape.compat, zone=zone)


def _field_rules(shape: FieldRulesShape, removed: frozenset[str] = frozenset()) -> FieldRules:
    made = FieldRules(
        set=tuple(shape.set.items()),
        add=tuple((name, value) for name, values in shape.add.items() for value in values),
        remove=removed | {name.lower() for name in shape.remove},
    )
    return made if made != NO_RULES else NO_RULES  # which is known by its identity, in each request
