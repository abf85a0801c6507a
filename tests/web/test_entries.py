"""What a command may have written goes to whom it is of, by its own money key, and to nobody else."""

import pytest

from gateway.web.entries import check_entry

CALLER = "acct_" + "1a" * 16


@pytest.mark.parametrize(
    ("account", "ref"),
    [
        (CALLER, "stripe:cs_1"),
        ("platform", "stripe:charge:pi_1"),
        ("owner:anna", "payout:anna:usd:1"),
        ("owner:anna", "claw_back:1:anna:0"),
        ("held:anna", "proceeds:txn_1"),
        ("held:anna:due", "proceeds:txn_1:due"),
        ("held:anna:due", "payout:anna:usd:1"),
    ],
)
def test_each_holder_has_entries_of_its_kind(account: str, ref: str) -> None:
    check_entry(account, ref)


@pytest.mark.parametrize(
    ("account", "ref", "field"),
    [
        (CALLER, "payout:anna:usd:1", "ref"),
        (CALLER, "proceeds:txn_1", "ref"),
        ("platform", "proceeds:txn_1", "ref"),
        ("platform", "manual:1", "ref"),
        ("owner:anna", "stripe:cs_1", "ref"),
        ("owner:anna", "proceeds:txn_1:due", "ref"),
        ("held:anna", "payout:anna:usd:1", "ref"),
        ("held:anna:due", "stripe:cs_1", "ref"),
        ("somebody", "stripe:cs_1", "account"),
        ("holder:due", "proceeds:txn_1", "account"),
    ],
)
def test_and_of_no_other(account: str, ref: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        check_entry(account, ref)
