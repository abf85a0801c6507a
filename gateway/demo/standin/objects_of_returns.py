"""Refunds, disputes and warnings as Stripe answers them: every field of the played API version. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.demo.standin.store import Json

_EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_DAYS_TO_RESPOND = 9


def refund(id: str, at: int, charge: Json, amount: int, status: str, params: Mapping[str, Any]) -> Json:
    type = charge["payment_method_details"]["type"]
    return {
        "id": id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": at,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {"type": type, **({"card": {"type": "refund"}} if type == "card" else {type: {}})},
        "metadata": params.get("metadata", {}),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "pending_reason": "processing" if status == "pending" else None,
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }


def dispute(id: str, at: int, charge: Json, amount: int, inquiry: bool) -> Json:
    type, brand = charge["payment_method_details"]["type"], None
    if type == "card":
        brand = charge["payment_method_details"]["card"]["brand"]
    case = {
        "brand": brand,
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": brand,
        "network_reason_code": "10.4",
    }
    return {
        "id": id,
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": at,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": at + _DAYS_TO_RESPOND * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "intended_submission_method": None,
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": "10.4",
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"type": type, **({"card": case} if type == "card" else {})},
        "reason": "general" if inquiry else "fraudulent",
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


def balance_transaction(id: str, at: int, dispute: Json, amount: int, fee: int) -> Json:
    back = amount > 0
    return {
        "id": id,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": at,
        "balance_type": "payments",
        "created": at,
        "currency": dispute["currency"],
        "description": f"Chargeback {'reversal' if back else 'withdrawal'} for {dispute['charge']}",
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [],
        "net": amount - fee,
        "reporting_category": "dispute_reversal" if back else "dispute",
        "source": dispute["id"],
        "status": "available",
        "type": "adjustment",
    }


def early_fraud_warning(id: str, at: int, charge: Json) -> Json:
    return {
        "id": id,
        "object": "radar.early_fraud_warning",
        "actionable": not charge["refunded"] and not charge["disputed"],
        "charge": charge["id"],
        "created": at,
        "fraud_type": "misc",
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
