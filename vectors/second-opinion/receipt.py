"""Receipts of the log: C2SP tlog-proof, tlog-checkpoint and signed-note, RFC 9162 section 2.1.3.2
(docs/spec/log.md)."""

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import strict

MAX_NOTE = 128 * 1024
MAX_SIGNATURES = 16
MAX_EXTRA = 16 * 1024
MAX_HASHES = 63
NUMBER = re.compile(r"0|[1-9][0-9]*")

# Ed25519 (RFC 8032): the field's prime, and the y of every point of small order in its one spelling.
PRIME = 2**255 - 19
ORDER_EIGHT = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
SMALL_ORDER = {0, 1, PRIME - 1, ORDER_EIGHT, PRIME - ORDER_EIGHT}


class Refused(Exception):
    """Carries the stable code."""


def refuse(code):
    raise Refused(code)


def answer(vkey, data, leaf):
    try:
        leaf_hash = verify(vkey, data, leaf)
    except Refused as refused:
        return {"verdict": "reject", "code": str(refused)}
    return {"verdict": "accept", "identity": base64.b64encode(leaf_hash).decode()}


def verify(vkey, data, leaf):
    name, key_id, key = verifier_key(vkey)
    index, hashes, note = proof(data)
    text, signatures = signed_note(note)
    checkpoint_origin, size, root = checkpoint(text)
    verify_note(name, key_id, key, text, signatures)
    if checkpoint_origin != name:
        refuse("checkpoint-origin")
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    if inclusion(leaf_hash, index, size, hashes) != root:
        refuse("tlog-root-mismatch")
    return leaf_hash


def b64(text, code, size=None):
    try:
        data = strict.base64_bytes(text)
    except strict.Refused:
        refuse(code)
    if size is not None and len(data) != size:
        refuse(code)
    return data


def is_name(text):
    printable = all(not c.isspace() and ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in text)
    return 0 < len(text.encode()) <= 255 and "+" not in text and printable


def verifier_key(vkey):
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        refuse("note-key-malformed")
    name, key_id, typed = parts
    if not is_name(name):
        refuse("note-key-name")
    if not re.fullmatch(r"[0-9a-f]{8}", key_id):
        refuse("note-key-malformed")
    typed = b64(typed, "note-key-malformed")
    if typed[:1] != b"\x01":
        refuse("note-key-unsupported" if typed else "note-key-malformed")
    if len(typed) != 33:
        refuse("note-key-malformed")
    y = int.from_bytes(typed[1:], "little") & (2**255 - 1)
    if y >= PRIME or y in SMALL_ORDER:
        refuse("note-key-point")
    if hashlib.sha256(name.encode() + b"\n" + typed).hexdigest()[:8] != key_id:
        refuse("note-key-id-mismatch")
    return name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(typed[1:])


def proof(data):
    try:
        text = data.decode()
    except UnicodeDecodeError:
        refuse("note-not-text")
    head, empty, note = text.partition("\n\n")
    if not empty:
        refuse("tlog-proof-malformed")
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        refuse("tlog-proof-header")
    if lines and lines[0].startswith("extra "):
        extra = b64(lines.pop(0)[len("extra ") :], "tlog-proof-extra")
        if not 0 < len(extra) <= MAX_EXTRA:
            refuse("tlog-proof-extra")
    line = lines.pop(0) if lines else ""
    digits = line.removeprefix("index ")
    if digits == line or not NUMBER.fullmatch(digits) or int(digits) >= 2**63:
        refuse("tlog-proof-index")
    if len(lines) > MAX_HASHES:
        refuse("tlog-proof-hash")
    return int(digits), [b64(line, "tlog-proof-hash", 32) for line in lines], note


def signed_note(note):
    if len(note.encode()) > MAX_NOTE:
        refuse("note-too-large")
    if any(ord(c) < 0x20 and c != "\n" for c in note):
        refuse("note-not-text")
    text, empty, lines = note.rpartition("\n\n")
    if not empty or not lines.endswith("\n"):
        refuse("note-malformed")
    lines = lines[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        refuse("note-too-many-signatures")
    return text + "\n", [signature_line(line) for line in lines]


def signature_line(line):
    parts = line.split(" ", 2)
    if len(parts) != 3 or parts[0] != "\u2014" or not is_name(parts[1]):
        refuse("note-malformed")
    data = b64(parts[2], "note-malformed")
    if len(data) < 5:
        refuse("note-malformed")
    return parts[1], data[:4], data[4:]


def checkpoint(text):
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not lines[0] or "" in lines[3:]:
        refuse("checkpoint-lines")
    if not NUMBER.fullmatch(lines[1]) or int(lines[1]) >= 2**63:
        refuse("checkpoint-size")
    return lines[0], int(lines[1]), b64(lines[2], "checkpoint-root", 32)


def verify_note(name, key_id, key, text, signatures):
    ours = [data for signer, number, data in signatures if (signer, number) == (name, key_id)]
    if not ours:
        refuse("note-not-signed")
    for signature in ours:
        try:
            key.verify(signature, text.encode())
        except InvalidSignature:
            refuse("note-signature")


def inclusion(leaf_hash, index, size, hashes):
    """The root that the proof leads to (RFC 9162 section 2.1.3.2)."""
    if index >= size:
        refuse("tlog-index-beyond-tree")
    fn, sn, node = index, size - 1, leaf_hash
    for sibling in hashes:
        if sn == 0:
            refuse("tlog-proof-length")
        if fn & 1 or fn == sn:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn:
        refuse("tlog-proof-length")
    return node
