"""Reference manifests that count by their maker's signature (docs/spec/measure.md, "Release")."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

import dsse
import platform_tdx
import strict

STATEMENT = {"_type": str, "subject": list, "predicateType": str, "predicate": dict}
RELEASE = {"name": str, "version": int, "issued": str, "expires": str, "manifest": str}
TYPES = ("https://in-toto.io/Statement/v1", "https://proofroom.dev/reference-release/v1")


class Refused(Exception):
    """Carries the stable code."""


def key_id(signer):
    key = load_pem_public_key(signer["key"].encode())
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def statement(payload):
    try:
        value = strict.members(strict.json_value(payload, dsse.MAX_BYTES), STATEMENT)
        strict.members(value["predicate"], RELEASE)
        (subject,) = value["subject"]
        strict.members(subject, {"name": str, "digest": dict})
    except (strict.Refused, ValueError) as error:
        raise Refused("release-malformed") from error
    return value, subject


def manifest(data, signers, at):
    """The manifest's bytes, if one of `signers` released it and it holds `at` that time."""
    try:
        named = json.loads(data)["signatures"][0]["keyid"]
    except (ValueError, KeyError, TypeError, IndexError):
        named = None
    by_it = [signer for signer in signers if key_id(signer) == named] or signers[:1]
    verdict = dsse.answer(by_it[0]["key"], data)
    if verdict["verdict"] != "accept":
        raise Refused(verdict["code"])
    value, subject = statement(base64.b64decode(json.loads(data)["payload"]))
    if (value["_type"], value["predicateType"]) != TYPES:
        raise Refused("release-predicate")
    found = value["predicate"]
    text = found["manifest"].encode()
    digest = {"sha256": hashlib.sha256(text).hexdigest()}
    if subject != {"name": found["name"], "digest": digest}:
        raise Refused("release-subject")
    minimum = [signer["min_version"] for signer in by_it if signer["name"] == found["name"]]
    if not minimum:
        raise Refused("release-name")
    if found["version"] < minimum[0]:
        raise Refused("release-downgrade")
    now = platform_tdx.seconds(at)
    if now < platform_tdx.seconds(found["issued"]):
        raise Refused("release-not-yet-valid")
    if now >= platform_tdx.seconds(found["expires"]):
        raise Refused("release-expired")
    return text
