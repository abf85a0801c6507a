"""Currencies as Stripe charges them: which there are, their decimals, the least amount, and amounts in print.

Amounts are integers of a currency's smallest unit. Some currencies have no decimals, some have three; amounts in
three decimals must be whole tens, and the two currencies that are written with two decimals but have none must be
whole hundreds. The least amount is what Stripe lists per currency, about half a dollar; for a currency without an
entry it is fifty hundredths, or the same in its own decimals.
"""

from __future__ import annotations

import re

from gateway.demo.standin.errors import invalid

KNOWN = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf
    clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr
    ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur
    mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr
    sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg
    xof xpf yer zar zmw
    """.split()
)
WITHOUT_DECIMALS = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
WITH_THREE = frozenset("bhd jod kwd omr tnd".split())
WHOLE_HUNDREDS = frozenset(("isk", "ugx"))

AMOUNT_MAX = 99_999_999
LEAST = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "jpy": 50, "krw": 500,
    "kwd": 150, "bhd": 190, "jod": 350, "omr": 190, "tnd": 1500, "mxn": 1000, "myr": 200, "nok": 300, "pln": 200,
    "ron": 200, "sek": 300, "thb": 1000, "vnd": 12000, "clp": 500, "isk": 7000, "ugx": 200000, "xaf": 300, "xof": 300,
}  # fmt: skip
SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹", "krw": "₩"}

_TYPED = re.compile(r"([0-9]{1,9})(?:[.,]([0-9]{1,3}))?")


def decimals(currency: str) -> int:
    if currency in WITHOUT_DECIMALS:
        return 0
    return 3 if currency in WITH_THREE else 2


def least(currency: str) -> int:
    return LEAST.get(currency, 50 * 10 ** decimals(currency) // 100 or 50)


def step(currency: str) -> int:
    """What every amount must be a multiple of."""
    if currency in WITH_THREE:
        return 10
    return 100 if currency in WHOLE_HUNDREDS else 1


def known(currency: str, param: str = "currency") -> str:
    """The currency in lower case. Raises `ApiError` for one that nobody can be charged in."""
    lower = currency.lower()
    if lower not in KNOWN:
        raise invalid(f"Invalid currency: {currency[:20]}. Use a supported three-letter ISO code.", param)
    return lower


def checked(amount: int, currency: str, param: str) -> int:
    """An amount of a price. Raises `ApiError` when no charge could ever be made of it."""
    if amount < 0:
        raise invalid("Invalid integer: the amount must not be negative", param, "parameter_invalid_integer")
    if amount > AMOUNT_MAX:
        raise invalid(f"Amount must be no more than {shown(AMOUNT_MAX, currency)}", param, "amount_too_large")
    if amount % step(currency):
        raise invalid(f"Amounts in {currency} must be a multiple of {step(currency)}", param)
    return amount


def chargeable(amount: int, currency: str, param: str | None) -> int:
    """An amount to be paid at once. Raises `ApiError` when it is too small or too large to be charged."""
    if amount < least(currency):
        message = f"The total must be at least {shown(least(currency), currency)}, about 50 cents."
        raise invalid(message, param, "amount_too_small")
    return checked(amount, currency, param or "amount")


def figure(amount: int, currency: str) -> str:
    """`1234` as "12.34", "1234" or "1.234": what an input field holds."""
    places = decimals(currency)
    if not places:
        return str(amount)
    whole, part = divmod(amount, 10**places)
    return f"{whole}.{part:0{places}d}"


def shown(amount: int, currency: str) -> str:
    """An amount in print: "$1,234.50", "¥500", "KWD 1.500"."""
    whole, _, part = figure(amount, currency).partition(".")
    text = f"{int(whole):,}" + (f".{part}" if part else "")
    sign = SIGNS.get(currency)
    return f"{sign}{text}" if sign else f"{currency.upper()} {text}"


def typed(text: str, currency: str) -> int | None:
    """What somebody typed into an amount field, or None when it is no amount of this currency."""
    match = _TYPED.fullmatch(text.strip())
    places = decimals(currency)
    if match is None or len(match[2] or "") > places:
        return None
    return int(match[1] + (match[2] or "").ljust(places, "0"))
