"""The key pairs of tests are as good as those in earnest, and differ."""

from itertools import pairwise

from gateway.core.jwt_keys import JwtKey
from gateway.core.secrets import Secret
from tests import key_pairs


def test_each_signs_and_no_other_has_signed() -> None:
    keys = [JwtKey(Secret(key_pairs.new_pem())) for _ in range(100)]
    assert len({key.id for key in keys}) == 100
    for key, other in pairwise(keys):
        signature = key.sign(b"text")
        assert (key.has_signed(b"text", signature), other.has_signed(b"text", signature)) == (True, False)
