"""How long a certificate of ours is still good. It is read anew each time: whoever renews it replaces the file."""

from pathlib import Path

from cryptography import x509


def days_left(path: Path, now_ms: int) -> float | None:
    """Until the first of the file's chain ends; less than nothing if it has. None if it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    return (certificate.not_valid_after_utc.timestamp() - now_ms / 1000) / 86_400
