"""DSSE envelopes of records (docs/spec/records.md, "Records")."""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

import strict

TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 4 * 1024 * 1024


def reject(code):
    return {"verdict": "reject", "code": code}


def answer(pem, data):
    key = load_pem_public_key(pem.encode())
    try:
        envelope = strict.members(
            strict.json_value(data, MAX_BYTES),
            {"payload": str, "payloadType": str, "signatures": list},
        )
        for signature in envelope["signatures"]:
            strict.members(signature, {"keyid": str, "sig": str})
    except strict.Refused:
        return reject("envelope-malformed")
    if envelope["payloadType"] != TYPE:
        return reject("envelope-payload-type")
    try:
        payload = strict.base64_bytes(envelope["payload"])
    except strict.Refused:
        return reject("envelope-base64")
    if len(envelope["signatures"]) != 1:
        return reject("envelope-signature-count")
    signature = envelope["signatures"][0]
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if signature["keyid"] != hashlib.sha256(spki).hexdigest():
        return reject("envelope-wrong-key")
    try:
        der = strict.base64_bytes(signature["sig"])
    except strict.Refused:
        return reject("envelope-base64")
    signed = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)
    try:
        # a signature has one DER spelling
        if encode_dss_signature(*decode_dss_signature(der)) != der:
            return reject("envelope-bad-signature")
        key.verify(der, signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return reject("envelope-bad-signature")
    return {"verdict": "accept", "identity": "sha256:" + hashlib.sha256(payload).hexdigest()}
