"""Key pairs as a list: what they sign, what they refuse, and what of them is published."""

import json
from base64 import urlsafe_b64encode
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.core import jwt_keys
from gateway.core.jwt_keys import JwtKey, JwtKeys
from gateway.core.jwts import NotAccepted
from gateway.core.secrets import Secret

CLAIMS = {"iss": "https://shop.example", "sub": "cus_1", "exp": 2_000_000_000}


@cache
def pem(number: int) -> str:
    """One of a few keys, each made once."""
    return jwt_keys.new_pem()


def ring(*numbers: int) -> JwtKeys:
    return JwtKeys([Secret(pem(number)) for number in numbers])


def other_pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, *form).decode()


def with_header(token: str, **fields: object) -> str:
    """The same with another header, and the signature that it had."""
    header = urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()
    return ".".join((header, *token.split(".")[1:]))


def test_the_newest_signs_and_every_one_verifies() -> None:
    keys = ring(1)
    before = keys.sign(CLAIMS, kind="JWT")
    keys.renew([Secret(pem(2)), Secret(pem(1))])
    after = keys.sign(CLAIMS, kind="JWT")
    newest, older = keys.all
    assert [jwt.get_unverified_header(one)["kid"] for one in (before, after)] == [older.id, newest.id]
    assert keys.verified(before, kind="JWT") == keys.verified(after, kind="JWT") == CLAIMS
    keys.renew([Secret(pem(2))])
    with pytest.raises(NotAccepted, match="signature"):
        keys.verified(before, kind="JWT")


def test_another_library_verifies_by_what_is_published() -> None:
    keys = ring(1, 2)
    published = jwt.PyJWKSet.from_dict(keys.jwks())
    token = keys.sign(CLAIMS, kind="JWT")
    [key] = [key for key in published.keys if key.key_id == jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, algorithms=["RS256"]) == CLAIMS
    assert jwt.decode(token, keys.all[0].pem(), algorithms=["RS256"]) == CLAIMS
    assert len(published.keys) == 2


def test_nothing_private_is_published() -> None:
    for key in ring(1, 2).jwks()["keys"]:
        assert sorted(key) == ["alg", "e", "kid", "kty", "n", "use"]
    assert "PRIVATE" not in ring(1).all[0].pem()


def test_a_token_of_one_kind_is_none_of_another() -> None:
    keys = ring(1)
    token = keys.sign(CLAIMS, kind="licence+jwt")
    assert keys.verified(token, kind="licence+jwt") == CLAIMS
    for kind in ("JWT", "at+jwt", "session+jwt"):
        with pytest.raises(NotAccepted, match="header"):
            keys.verified(token, kind=kind)


def test_a_token_that_was_changed_or_names_its_own_way_to_be_judged_is_refused() -> None:
    keys = ring(1)
    token, id = keys.sign(CLAIMS, kind="JWT"), keys.all[0].id
    by_secret = jwt.encode(CLAIMS, "0" * 64, algorithm="HS256", headers={"kid": id})
    bad = [
        with_header(token, alg="none", kid=id, typ="JWT"),
        with_header(token, alg="HS256", kid=id, typ="JWT"),
        with_header(token, alg="RS512", kid=id, typ="JWT"),
        with_header(token, alg="RS256", kid="other", typ="JWT"),
        with_header(token, alg="RS256", typ="JWT"),
        token[:-8] + "AAAAAAAA",
        token.rpartition(".")[0] + ".",
        ring(2).sign(CLAIMS, kind="JWT"),
        by_secret,
        "",
    ]
    for one in bad:
        with pytest.raises(NotAccepted):
            keys.verified(one, kind="JWT")


def test_a_token_of_ours_that_says_another_algorithm_is_refused() -> None:
    keys = ring(1)
    header, claims, _ = with_header(keys.sign(CLAIMS, kind="JWT"), alg="PS256", kid=keys.all[0].id).split(".")
    signed = f"{header}.{claims}".encode()
    signature = urlsafe_b64encode(keys.all[0].sign(signed)).rstrip(b"=").decode()
    with pytest.raises(NotAccepted, match="algorithm"):
        keys.verified(f"{header}.{claims}.{signature}", kind="JWT")


def test_a_key_signs_under_one_id_wherever_it_stands() -> None:
    assert ring(1, 2).all[1].id == ring(2).all[0].id != ring(1).all[0].id


def test_what_is_no_good_key_is_refused_in_words() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 -- it is to be refused
    curve = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    locked = weak.private_bytes(serialization.Encoding.PEM, *form).decode()
    public = ring(1).all[0].pem()
    for text, words in [
        (other_pem(weak), "1024 bits"),
        (other_pem(curve), "not an RSA key"),
        (locked, "password"),
        (public, "no private key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no private key"),
    ]:
        with pytest.raises(ValueError, match=words) as raised:
            JwtKey(Secret(text))
        assert text.splitlines()[1] not in str(raised.value)


def test_a_key_that_does_not_verify_what_it_signs_is_damaged() -> None:
    good, other = (serialization.load_pem_private_key(pem(n).encode(), None) for n in (1, 2))
    assert isinstance(good, rsa.RSAPrivateKey)
    assert isinstance(other, rsa.RSAPrivateKey)
    numbers, strange = good.private_numbers(), other.private_numbers()
    mixed = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, strange.d, strange.dmp1, strange.dmq1, numbers.iqmp, numbers.public_numbers
    )
    damaged = mixed.private_key(unsafe_skip_rsa_key_validation=True)
    with pytest.raises(ValueError, match="damaged"):
        JwtKey(Secret(other_pem(damaged)))


def test_a_text_holds_whole_blocks_and_nothing_else() -> None:
    both = f"{pem(1)}\n\n{pem(2)}\n"
    assert jwt_keys.blocks(both) == [pem(1), pem(2)]
    assert jwt_keys.blocks("\n") == []
    for text in (pem(1)[:-30], f"key: {pem(1)}", pem(1) + "\nmore"):
        with pytest.raises(ValueError, match="PEM blocks"):
            jwt_keys.blocks(text)
