"""Signed packages: what the format accepts, and that nothing else passes, whoever made it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from emflow_schema.model_manifest import (
    MANIFEST,
    BadManifest,
    ModelManifest,
    is_version,
    parse_time,
    precedence,
    read_json,
    read_manifest,
)
from emflow_schema.model_signature import MAX_FILES, SIGNATURE, BadSignature, read_bundle, read_statement
from emflow_schema.signed_package import BadPackage, SignedPackage, check_times, open_package, verify_files
from emflow_schema.trusted_keys import TrustedKey, read_keys
from signed_packages import InMemory, manifest, new_key, package, public_pem, signed, statement

KEY = new_key()
KEYS = read_keys(public_pem(KEY))
FILES = {"m.tflite": b"TFL3 the weights", "about/labels.txt": b"red\n"}
NOW = datetime(2027, 1, 1, tzinfo=timezone.utc)


def verified(files: dict[str, bytes], keys: Sequence[TrustedKey] = KEYS) -> SignedPackage:
    return verify_files(InMemory(files), keys)


def refusal(files: dict[str, bytes], keys: Sequence[TrustedKey] = KEYS) -> str:
    with pytest.raises(BadPackage) as caught:
        verified(files, keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def altered(bundle: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle with a change outside of what is signed, or of the signature."""
    document = json.loads(bundle)
    change(document)
    return json.dumps(document).encode()


def resigned(change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """A package whose statement has a change, signed all the same, as the owner of a key can do."""
    files = {**FILES, MANIFEST: manifest()}
    document = json.loads(statement(files).encoded())
    change(document)
    return {**files, SIGNATURE: signed(KEY, json.dumps(document).encode())}


def test_a_signed_package_is_what_was_signed() -> None:
    found = verified(package(KEY, FILES))
    assert found.manifest == ModelManifest("scenes", "1.2.0")
    assert found.key == KEYS[0]
    assert found.model_files == ["about/labels.txt", "m.tflite"]


def test_every_single_flipped_bit_in_every_file_is_refused() -> None:
    whole = package(KEY, FILES, manifest(notAfter="2099-01-01T00:00:00Z", floor="1.0.0"))
    for name, content in whole.items():
        for position in range(len(content) * 8):
            changed = bytearray(content)
            changed[position // 8] ^= 1 << position % 8
            try:
                verified({**whole, name: bytes(changed)})
            except BadPackage:
                continue
            pytest.fail(f"bit {position % 8} of byte {position // 8} of {name} is not covered")


def test_bytes_that_are_added_or_cut_off_are_refused() -> None:
    whole = package(KEY, FILES)
    for name, content in whole.items():
        for changed in (content + b"\0", content + b"}", content[:-1], b"", content[1:], b" " + content[1:]):
            refusal({**whole, name: changed})


def test_a_signature_of_another_model_is_refused() -> None:
    ours, theirs = package(KEY, FILES), package(KEY, {"m.tflite": b"other", "about/labels.txt": b"red\n"})
    assert "'m.tflite' differs from what was signed" in refusal({**ours, SIGNATURE: theirs[SIGNATURE]})
    other_name = package(KEY, FILES, manifest("others"))
    assert f"'{MANIFEST}' differs from what was signed" in refusal({**ours, SIGNATURE: other_name[SIGNATURE]})
    with pytest.raises(BadPackage, match="it is the package of model 'others', not of 'scenes'"):
        verified(other_name).check_model("scenes")
    with pytest.raises(BadPackage, match=r"it is version 1\.2\.0 of scenes, not '1\.3\.0'"):
        verified(ours).check_model("scenes", "1.3.0")
    verified(ours).check_model("scenes", "1.2.0")


def test_unknown_revoked_and_absent_keys_each_have_their_line() -> None:
    whole, other = package(KEY, FILES), read_keys(public_pem(new_key()))
    own = KEYS[0].fingerprint[:16]
    assert f"signed by key {own}, which is not trusted; trusted: {other[0].fingerprint[:16]}" in refusal(whole, other)
    revoked = read_keys("revoked: 2026-05-01\n" + public_pem(KEY))
    assert f"signed by key {own}, which was revoked on 2026-05-01" in refusal(whole, revoked)
    without = {name: content for name, content in whole.items() if name != SIGNATURE}
    assert f"it is not signed (no {SIGNATURE})" in refusal(without)
    forged = {**whole, SIGNATURE: signed(new_key(), statement(whole).encoded(), hint=KEYS[0].fingerprint)}
    assert f"the signature does not verify: key {own} did not sign this" in refusal(forged)
    assert verified(whole, [*other, *KEYS]).key == KEYS[0]


@pytest.mark.parametrize("hint", [None, ""])
def test_of_a_key_that_is_there_several_times_each_limit_counts(hint: str | None) -> None:
    """In whatever order: a revocation that is added below, or in another file, has its effect."""
    files = {**FILES, MANIFEST: manifest()}
    whole = {**files, SIGNATURE: signed(KEY, statement(files).encoded(), hint=hint)}
    limits = ("", "valid-from: 2026-02-01\n", "valid-until: 2027-01-01T00:00:00Z\n", "valid-until: 2029-01-01\n")
    entries = [read_keys(limit + public_pem(KEY))[0] for limit in limits]
    revoked = read_keys("revoked: 2026-05-01\n" + public_pem(KEY))
    for order in itertools.permutations(entries):
        key = verified(whole, order).key
        assert key is not None
        assert (key.valid_from, key.valid_until) == (entries[1].valid_from, entries[2].valid_until)
        for place in range(len(order) + 1):
            assert "which was revoked on 2026-05-01" in refusal(whole, [*order[:place], *revoked, *order[place:]])


def test_a_bundle_that_does_not_name_its_key_is_tried_with_each() -> None:
    files = {**FILES, MANIFEST: manifest()}
    whole = {**files, SIGNATURE: signed(KEY, statement(files).encoded(), hint="")}
    other = read_keys(public_pem(new_key()))
    assert verified(whole, [*other, *KEYS]).key == KEYS[0]
    assert "it is not signed by a trusted key; trusted: " in refusal(whole, other)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one.update(mediaType="application/json"), "has the media type 'application/json'"),
        (lambda one: one.update(more=1), "the bundle has to be an object with"),
        (lambda one: one.pop("dsseEnvelope"), "the bundle has to be an object with"),
        (lambda one: one["dsseEnvelope"].update(payloadType="text/plain"), "a payload of the type 'text/plain'"),
        (lambda one: one["dsseEnvelope"].update(signatures=[]), "not have exactly one signature"),
        (lambda one: one["dsseEnvelope"]["signatures"].append({"sig": "AA=="}), "not have exactly one signature"),
        (lambda one: one["dsseEnvelope"]["signatures"][0].update(keyid="x"), "has the keyid 'x'"),
        (lambda one: one["dsseEnvelope"]["signatures"][0].update(sig="A"), "sig is not base64"),
        (lambda one: one["dsseEnvelope"].update(payload="é"), "payload is not base64"),
        (lambda one: one["dsseEnvelope"].update(payload=None), "payload is not base64"),
        (
            lambda one: one["dsseEnvelope"].update(payload=one["dsseEnvelope"]["payload"] + "\n"),
            "payload is not base64",
        ),
        (lambda one: one["verificationMaterial"].update(tlogEntries=[{}]), "entries of a transparency log"),
        (lambda one: one["verificationMaterial"]["publicKey"].update(hint="abc"), "which is no SHA-256 digest"),
        (lambda one: one.update(verificationMaterial={"certificate": {}}), "is signed by a certificate"),
        (lambda one: one.update(verificationMaterial=[]), "verificationMaterial has to be an object"),
    ],
)
def test_a_bundle_has_one_form_only(change: Callable[[dict[str, Any]], object], reason: str) -> None:
    whole = package(KEY, FILES)
    assert reason in refusal({**whole, SIGNATURE: altered(whole[SIGNATURE], change)})


@pytest.mark.parametrize("spaces", [0, 1, 2])
def test_bits_that_base64_does_not_use_have_to_be_zero(spaces: int) -> None:
    """Decoders pass over them, so that several texts would be the same signature."""
    files = {**FILES, MANIFEST: manifest()}
    payload = statement(files).encoded() + b" " * spaces
    bundle = json.loads(signed(KEY, payload))
    assert verified({**files, SIGNATURE: json.dumps(bundle).encode()}).key == KEYS[0]
    text, unused = bundle["dsseEnvelope"]["payload"], -len(payload) % 3
    if unused:
        last = len(text) - unused - 1
        other = text[:last] + chr(ord(text[last]) + 1) + text[last + 1 :]
        assert base64.b64decode(other, validate=True) == payload
        bundle["dsseEnvelope"]["payload"] = other
        assert "payload is not base64" in refusal({**files, SIGNATURE: json.dumps(bundle).encode()})


def resources(document: dict[str, Any]) -> Any:
    return document["predicate"]["resources"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one.update(_type="x"), "signs no model"),
        (lambda one: one.update(predicateType="https://slsa.dev/provenance/v1"), "signs no model"),
        (lambda one: one.update(subject=[]), "lacks something"),
        (lambda one: one.update(predicate=[]), "lacks something"),
        (lambda one: one["subject"][0]["digest"].update(sha256="0" * 64), "its digest is not that of its files"),
        (lambda one: resources(one).reverse(), "its digest is not that of its files"),
        (lambda one: resources(one).clear(), "lists 0 files"),
        (lambda one: resources(one).append(resources(one)[0]), "twice"),
        (lambda one: resources(one)[0].update(name="../m"), "'../m' is no path of a file"),
        (lambda one: resources(one)[0].update(name="/etc/passwd"), "is no path of a file"),
        (lambda one: resources(one)[0].update(name="a//b"), "is no path of a file"),
        (lambda one: resources(one)[0].update(name="a\\..\\b"), "is no path of a file"),
        (lambda one: resources(one)[0].update(name="a\0b"), "is no path of a file"),
        (lambda one: resources(one)[0].update(name="x" * 2000), "is no path of a file"),
        (lambda one: resources(one)[0].update(name=SIGNATURE), "is no path of a file"),
        (lambda one: resources(one)[0].update(name=7), "is no path of a file"),
        (lambda one: resources(one)[0].update(algorithm="blake2b"), "has no SHA-256 digest of"),
        (lambda one: resources(one)[0].update(digest="AB"), "has no SHA-256 digest of"),
        (lambda one: resources(one)[0].pop("digest"), "lacks something"),
        (lambda one: one["predicate"]["serialization"].update(method="shards"), "has digests by 'shards'"),
        (lambda one: one["predicate"]["serialization"].update(allow_symlinks=True), "symbolic links allowed"),
        (lambda one: one["predicate"]["serialization"].update(ignore_paths=[7]), "ignored paths that are no text"),
    ],
)
def test_a_statement_that_makes_no_sense_is_refused_although_it_is_signed(
    change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    assert reason in refusal(resigned(change))


def test_more_files_than_a_package_can_have_are_refused() -> None:
    assert f"lists {MAX_FILES + 1} files" in refusal(
        resigned(lambda one: resources(one).extend([resources(one)[0]] * (MAX_FILES - 2)))
    )


def test_files_that_are_missing_or_were_not_signed_are_named() -> None:
    whole = package(KEY, FILES)
    assert "it has 'libdlr.so', which was not signed" in refusal({**whole, "libdlr.so": b"code"})
    assert "it has 'about/a', 'about/b', 'about/c' and 1 more" in refusal(
        {**whole, **{f"about/{name}": b"" for name in "abcd"}}
    )
    del whole["m.tflite"]
    assert "it lacks 'm.tflite', which was signed" in refusal(whole)


def test_ignored_paths_and_files_of_macos_may_be_there_and_belong_to_no_model() -> None:
    whole = {**package(KEY, FILES), ".git/libdlr.so": b"code", "._m.tflite": b"\0\5\x16\7"}
    assert verified(whole).model_files == ["about/labels.txt", "m.tflite"]
    assert "it has '.gitx'" in refusal({**whole, ".gitx": b""})


@pytest.mark.parametrize(
    ("name", "version", "command"),
    [
        ("scenes", "1.2.0", "--name scenes --version 1.2.0"),
        ("a; rm -rf /", "v1", "--name NAME --version VERSION"),
        (None, ["1"], "--name NAME --version VERSION"),
    ],
)
def test_packages_of_before_are_refused_with_the_command_that_signs_them_anew(
    name: object, version: object, command: str
) -> None:
    old = {"emflow-package.json": json.dumps({"model": {"name": name, "version": version}}).encode()}
    for more in ({}, {"emflow-package.sig": b"AAAA"}, package(KEY, FILES)):
        assert f"sign it anew: emflow package FOLDER {command} --key key.pem" in refusal({**FILES, **old, **more})
    assert "sign it anew" in refusal({**FILES, "emflow-package.json": b"[" * 5000})
    assert "sign it anew" in refusal({**FILES, "emflow-package.sig": b""})


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a document."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(each for key, value in inside for each in paths(value, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


WHOLE = package(KEY, FILES)
BUNDLE_SIGNATURE = read_bundle(WHOLE[SIGNATURE]).signature
BUNDLE, STATEMENT = json.loads(WHOLE[SIGNATURE]), json.loads(read_bundle(WHOLE[SIGNATURE]).payload)


@given(st.sampled_from(paths(BUNDLE)), HOSTILE)
def test_no_value_of_a_wrong_type_in_a_bundle_is_more_than_refused(path: tuple[Any, ...], value: Any) -> None:
    content = json.dumps(replaced(BUNDLE, path, value)).encode()
    with contextlib.suppress(BadPackage):
        found = verified({**WHOLE, SIGNATURE: content})
        assert found.key == KEYS[0]
        same = read_bundle(content)
        assert (same.payload, same.signature) == (read_bundle(WHOLE[SIGNATURE]).payload, BUNDLE_SIGNATURE)


@given(st.sampled_from(paths(STATEMENT)), HOSTILE)
def test_no_value_of_a_wrong_type_in_a_statement_is_more_than_refused(path: tuple[Any, ...], value: Any) -> None:
    payload = json.dumps(replaced(STATEMENT, path, value)).encode()
    with contextlib.suppress(BadSignature):
        assert len(read_statement(payload).files) == len(FILES) + 1


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_are_more_than_refused(content: bytes) -> None:
    for read, error in ((read_bundle, BadSignature), (read_statement, BadSignature), (read_manifest, BadManifest)):
        with pytest.raises(error):
            read(content)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 900_000,
        b'{"a":' * 180_000,
        b'{"mediaType": ' + b"9" * 900_000 + b"}",
        b'{"mediaType": 1e' + b"9" * 900_000 + b"}",
        b'{"mediaType": NaN}',
        b'{"mediaType": 1, "mediaType": 1}',
        b'"' + b"\\u0000" * 150_000 + b'"',
        b"\xff\xfe",
    ],
    ids=["deep lists", "deep objects", "long number", "large exponent", "NaN", "twice", "escapes", "no UTF-8"],
)
def test_hostile_json_is_refused(content: bytes) -> None:
    assert SIGNATURE in refusal({**WHOLE, SIGNATURE: content})
    with pytest.raises(ValueError):  # noqa: PT011 each has its own text
        read_json(content)


def test_a_bundle_of_100_megabytes_is_refused_before_it_is_read() -> None:
    assert f"{SIGNATURE} is longer than" in refusal({**WHOLE, SIGNATURE: base64.b64encode(bytes(75_000_000))})


def test_a_manifest_is_read_as_it_was_written() -> None:
    whole = ModelManifest("scenes", "2.0.0-rc.1", NOW, NOW + timedelta(days=9), "1.0.0", "1.5.0")
    assert read_manifest(whole.encoded()) == whole
    assert whole.encoded() == read_manifest(whole.encoded()).encoded()
    assert list(json.loads(ModelManifest("a", "1.0.0").encoded())) == ["format", "name", "version"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "has format '2'; this version knows 1"),
        ({"format": True}, "has format"),
        ({"more": "x"}, "has a key that this version does not know: 'more'"),
        ({"name": "a/b"}, "has the name 'a/b'"),
        ({"name": "x" * 300}, "has the name"),
        ({"name": 7}, "has name that is no text"),
        ({"version": "1.2"}, "has the version '1.2', which is no semantic version"),
        ({"version": "1" * 100 + ".0.0"}, "which is no semantic version"),
        ({"floor": "latest"}, "has the floor 'latest'"),
        ({"floor": "1.2.1"}, "has the floor 1.2.1, above its own version 1.2.0"),
        ({"lowersFloor": "2.0.0"}, "lowers the floor 2.0.0, and does not say to which"),
        ({"floor": "1.0.0", "lowersFloor": "1.0.0"}, "which is not below the 1.0.0 that it lowers"),
        ({"notAfter": "tomorrow"}, "'tomorrow' is no time in UTC"),
        ({"notAfter": "2027-02-30"}, "'2027-02-30' is no time in UTC"),
        ({"notBefore": "2027-02-02", "notAfter": "2027-02-01"}, "is valid until 2027-02-01T00:00:00Z, before"),
    ],
    ids=str,
)
def test_a_signed_manifest_that_makes_no_sense_is_refused(change: dict[str, Any], reason: str) -> None:
    about = json.dumps({**json.loads(manifest()), **change}).encode()
    line = refusal(package(KEY, FILES, about))
    assert line.startswith(f"{MANIFEST} ")
    assert reason in line


def test_a_manifest_has_a_size_that_it_can_have() -> None:
    assert f"{MANIFEST} is longer than" in refusal(package(KEY, FILES, manifest() + b" " * 20_000))


def test_a_folder_without_a_manifest_is_a_model_without_a_name() -> None:
    found = verified({**FILES, SIGNATURE: signed(KEY, statement(FILES).encoded())})
    assert found.manifest is None
    with pytest.raises(BadPackage, match=f"it has no signed {MANIFEST}"):
        found.check_model("scenes")


def test_versions_are_in_the_order_of_semantic_versioning() -> None:
    """The example of https://semver.org/#spec-item-11, and numbers that are no texts."""
    ordered = ["0.0.0-0", "0.9.9", "1.0.0-1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta"]
    ordered += ["1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]
    shuffled = random.Random(7).sample(ordered, len(ordered))
    assert sorted(shuffled, key=precedence) == ordered
    assert precedence("1.0.0+a") == precedence("1.0.0+b")
    assert not any(map(is_version, ["", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0 ", "v1.0.0", "1.0.0\n"]))


@given(st.text("0123456789abc.-+", max_size=12), st.text("0123456789abc.-+", max_size=12))
def test_versions_agree_with_the_host_s_library(one: str, other: str) -> None:
    semver = pytest.importorskip("semver", reason="the host side is not installed")
    assert is_version(one) == semver.Version.is_valid(one)
    if is_version(one) and is_version(other):
        expected = semver.Version.parse(one).compare(other)
        assert (precedence(one) > precedence(other)) - (precedence(one) < precedence(other)) == expected


@pytest.mark.parametrize(
    ("about", "lines", "problem"),
    [
        ({"notAfter": "2026-12-31T23:59:59Z"}, "", "scenes 1.2.0 expired at 2026-12-31T23:59:59Z; the clock says 2027"),
        ({"notBefore": "2027-01-01T00:00:01Z"}, "", "scenes 1.2.0 is valid from 2027-01-01T00:00:01Z; the clock says"),
        ({"notBefore": "2027-01-01", "notAfter": "2027-01-01"}, "", ""),
        ({}, "valid-until: 2026-12-31", "which expired at 2026-12-31T23:59:59Z"),
        ({}, "valid-from: 2027-01-02", "which counts from 2027-01-02T00:00:00Z"),
        ({}, "valid-from: 2027-01-01\nvalid-until: 2027-01-01", ""),
        ({}, "", ""),
    ],
)
def test_times_of_package_and_key_count_when_the_clock_is_right(
    about: dict[str, str], lines: str, problem: str
) -> None:
    keys = read_keys(f"{lines}\n{public_pem(KEY)}")
    found = verified(package(KEY, FILES, manifest(**about)), keys)
    if problem:
        with pytest.raises(BadPackage) as caught:
            check_times(found.manifest, found.key, NOW)
        assert problem in str(caught.value)
    else:
        assert check_times(found.manifest, found.key, NOW) == ""
    warning = check_times(found.manifest, found.key, NOW, clock_is_right=False)
    assert ("was not checked: the clock is wrong" in warning) == bool(about or lines)


def test_a_day_is_its_first_second_or_its_last() -> None:
    assert parse_time("2027-01-31") == datetime(2027, 1, 31, tzinfo=timezone.utc)
    assert parse_time("2027-01-31", end_of_day=True) == datetime(2027, 1, 31, 23, 59, 59, tzinfo=timezone.utc)
    assert parse_time("2027-01-31T10:00:00Z", end_of_day=True).hour == 10
    for wrong in ("", "2027", "2027-1-1", "2027-01-31T10:00:00", "2027-01-31T10:00:00+01:00", "٢٠٢٧-01-01"):
        with pytest.raises(ValueError, match="is no time in UTC"):
            parse_time(wrong)


def test_only_p_256_verifies() -> None:
    """A key of another curve cannot be trusted, so that its signature is of an unknown key."""
    with pytest.raises(ValueError, match="of the curve secp384r1"):
        read_keys(public_pem(ec.generate_private_key(ec.SECP384R1())))


def test_without_keys_the_files_are_compared_and_the_signature_is_not() -> None:
    whole = package(new_key(), FILES)
    assert open_package(InMemory(whole), ()).key is None
    assert "'m.tflite' differs" in refusal({**whole, "m.tflite": b"x"}, ())
