"""The shapes that are read from the SDK's types."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.adapters.stripe.parameters import REQUESTS, parameters

KINDS = {"string", "integer", "number", "boolean", "enum", "array", "map", "object", "union"}


def kinds(shape: Mapping[str, Any]) -> set[str]:
    """Every kind of shape below this one."""
    nested: list[Mapping[str, Any]] = [
        *shape.get("fields", {}).values(),
        *shape.get("of", ()),
        *(shape[name] for name in ("item", "value") if name in shape),
    ]
    return {shape["type"]}.union(*(kinds(part) for part in nested))


def fields(method: str, path: str) -> Mapping[str, Any]:
    shape = parameters(method, path)
    assert shape is not None
    fields: Mapping[str, Any] = shape["fields"]
    return fields


@pytest.mark.parametrize(("method", "path"), sorted(REQUESTS))
def test_every_listed_request_is_understood_to_its_last_field(method: str, path: str) -> None:
    shape = parameters(method, path)
    assert shape is not None
    assert kinds(shape) <= KINDS


def test_an_address_that_is_not_listed_has_no_shape() -> None:
    assert parameters("POST", "/v1/unheard_of") is None


def test_required_fields_are_told_from_the_others() -> None:
    shape = parameters("POST", "/v1/payment_links")
    assert shape is not None
    assert shape["required"] == ("line_items",)
    assert shape["fields"]["line_items"]["item"]["required"] == ("quantity",)


def test_the_options_of_the_client_are_no_parameters() -> None:
    names = set(fields("POST", "/v1/checkout/sessions"))
    assert {"success_url", "line_items"} <= names
    assert not names & {"api_key", "idempotency_key", "stripe_account", "stripe_version", "headers"}


def test_a_closed_list_stays_closed() -> None:
    assert fields("POST", "/v1/payment_links")["customer_creation"] == {
        "type": "enum",
        "values": ("always", "if_required"),
    }


def test_an_empty_string_is_allowed_where_a_value_can_be_unset() -> None:
    assert fields("POST", "/v1/payment_links/{id}")["inactive_message"] == {
        "type": "union",
        "of": ({"type": "enum", "values": ("",)}, {"type": "string"}),
    }
    assert fields("POST", "/v1/payment_links")["inactive_message"] == {"type": "string"}


def test_decimals_lists_maps_and_ranges_are_read() -> None:
    assert fields("POST", "/v1/prices")["unit_amount_decimal"] == {"type": "number"}
    assert fields("POST", "/v1/prices")["metadata"] == {"type": "map", "value": {"type": "string"}}
    assert fields("GET", "/v1/events")["types"] == {"type": "array", "item": {"type": "string"}}
    created = fields("GET", "/v1/events")["created"]
    assert [part["type"] for part in created["of"]] == ["object", "integer"]
    assert set(created["of"][0]["fields"]) == {"gt", "gte", "lt", "lte"}


def test_what_the_pinned_version_no_longer_takes_is_unknown() -> None:
    assert "payment_method_types" not in fields("POST", "/v1/checkout/sessions")


def test_a_shape_is_worked_out_once() -> None:
    assert parameters("POST", "/v1/prices") is parameters("POST", "/v1/prices")
    assert fields("POST", "/v1/prices")["product_data"] is fields("POST", "/v1/prices")["product_data"]


def test_the_sdk_is_not_imported_before_the_first_question() -> None:
    program = "import sys, gateway.adapters.stripe.parameters; sys.exit('stripe' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
