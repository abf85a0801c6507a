"""Key pairs for the gateways of tests: to make one takes longer than all else of a gateway's start.

The first few of a process are made as in earnest. Those after them are put together of the primes of these, two at a
time: no two of a process are the same for a hundred of them, nor are those of processes that were forked of one.
"""

import itertools
import os
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from gateway.core import jwt_keys
from gateway.settings import secret_files

_IN_EARNEST = 8
_EXPONENT = 65_537
_STRIDE = 7_919  # has no divisor in common with the number of pairs: neighbours' pids begin far from each other

_primes: list[int] = []
_made: set[tuple[int, int]] = set()
_number = itertools.count()


def use() -> None:
    """From now on, by every gateway of this process that makes the keys it lacks."""
    mock.patch.object(secret_files, "new_pem", new_pem).start()


def prepare() -> None:
    """Make those of earnest now, for all who are forked of this process."""
    while len(_primes) < 2 * _IN_EARNEST:
        new_pem()


def new_pem() -> str:
    """As `jwt_keys.new_pem`, in a moment."""
    if len(_primes) < 2 * _IN_EARNEST:
        made = jwt_keys.new_pem()
        key = load_pem_private_key(made.encode(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey)
        numbers = key.private_numbers()
        _primes.extend((numbers.p, numbers.q))
        _made.add((numbers.p, numbers.q))
        return made
    pairs = [pair for pair in itertools.combinations(_primes, 2) if pair not in _made]
    return _pem(*pairs[(os.getpid() * _STRIDE + next(_number)) % len(pairs)])


def _pem(p: int, q: int) -> str:
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(_EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()
