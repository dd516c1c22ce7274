"""Public keys as they stand in configurations and files: kinds, dates, and what is said of those that are none."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from emflow_schema.trusted_keys import NEW_KEY, read_keys
from signed_packages import new_key, private_pem, public_pem

KEY, OTHER = public_pem(new_key()), public_pem(new_key())


def day(year: int, month: int, number: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, number, hour, minute, second, tzinfo=timezone.utc)


def certificate(key: Any) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(day(2026, 1, 1)).not_valid_after(day(2028, 1, 1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_text_may_hold_several_keys_each_with_its_dates() -> None:
    text = (
        f"# of 2026\nvalid-from: 2026-01-01\nvalid-until: 2027-06-30\n\n{KEY}"
        f"\n  # of 2027\n  valid-from: 2027-05-01T12:00:00Z\n{OTHER}"
        f"revoked: 2026-02-03\n{public_pem(new_key())}\n# end\n"
    )
    first, second, third = read_keys(text)
    assert (first.valid_from, first.valid_until) == (day(2026, 1, 1), day(2027, 6, 30, 23, 59, 59))
    assert (second.valid_from, second.valid_until, second.revoked) == (day(2027, 5, 1, 12), None, None)
    assert third.revoked == day(2026, 2, 3)
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3


def test_a_certificate_stands_for_its_key_and_its_dates_count_too() -> None:
    key = new_key()
    (alone,) = read_keys(certificate(key))
    assert alone.fingerprint == read_keys(public_pem(key))[0].fingerprint
    assert (alone.valid_from, alone.valid_until) == (day(2026, 1, 1), day(2028, 1, 1))
    (limited,) = read_keys(f"valid-from: 2025-01-01\nvalid-until: 2027-01-01\n{certificate(key)}")
    assert (limited.valid_from, limited.valid_until) == (day(2026, 1, 1), day(2027, 1, 1, 23, 59, 59))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not a public key or certificate in PEM format"),
        ("hello", "it is not a public key"),
        (KEY[:60], "it is not a public key"),
        (KEY.replace("M", "!", 1), "it is not a public key"),
        (KEY + "trailing", "it is not a public key"),
        (private_pem(new_key()).decode(), "it is a private key; a device must have the public key only"),
        (
            public_pem(ed25519.Ed25519PrivateKey.generate()),
            "the key is Ed25519; packages are signed with ECDSA over P-256",
        ),
        (
            public_pem(rsa.generate_private_key(65537, 2048)),
            "the key is no elliptic curve key; it has to be ECDSA over",
        ),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "the key is of the curve secp384r1"),
        (f"valid-untill: 2027-01-01\n{KEY}", "not 'valid-untill: 2027-01-01'"),
        (f"valid-until: soon\n{KEY}", "'soon' is no time in UTC"),
        (f"valid-until: 2027-01-01\nvalid-until: 2028-01-01\n{KEY}", "(each once)"),
        (f"valid-from: 2027-01-02\nvalid-until: 2027-01-01\n{KEY}", "a key counts until 2027-01-01T23:59:59Z, before"),
        (f"release key\n{KEY}", "not 'release key'"),
        (KEY * 1000, "too many for keys"),
    ],
    ids=itertools.count(),  # not the keys, which each worker of pytest-xdist makes anew
)
def test_what_is_no_key_is_said_with_what_to_do(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the reason is compared below
        read_keys(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_of_the_message_makes_a_key_that_is_taken(tmp_path) -> None:
    import shutil
    import subprocess

    if not shutil.which("openssl"):
        pytest.skip("there is no openssl")
    from emflow_schema.trusted_keys import NEW_PUBLIC_KEY

    for command in (NEW_KEY, NEW_PUBLIC_KEY):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    (key,) = read_keys((tmp_path / "key.pub.pem").read_text())
    assert key.valid_until is None


def test_dates_stay_with_their_key_whatever_the_line_ends() -> None:
    (key,) = read_keys(f"valid-until: 2027-01-01\r\n{KEY}".replace("\n", "\r\n").replace("\r\r", "\r"))
    assert key.valid_until is not None
    assert key.valid_until - day(2027, 1, 1) < timedelta(days=1)
