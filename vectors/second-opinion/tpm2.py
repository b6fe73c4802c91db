"""What a TPM 2.0 signs and with what (TCG TPM 2.0 Library, part 2): TPMS_ATTEST of a quote,
TPMT_SIGNATURE and TPMT_PUBLIC, elliptic curves alone. Big-endian throughout."""

import dataclasses
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

MAX = 4096
RSA, ECC, RSASSA, RSAPSS, ECDSA, NULL = 0x01, 0x23, 0x14, 0x16, 0x18, 0x10
SHA256, P256 = 0x0B, 3
# fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; decrypt must be off
NEEDED, DECRYPT = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18, 1 << 17
ENDORSEMENT = bytes.fromhex("4000000b")


class Unusable(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Reader:
    def __init__(self, data):
        if len(data) > MAX:
            raise Unusable("tpm-malformed")
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Unusable("tpm-malformed")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def sized(self):
        return self.take(self.number(2))

    def finish(self):
        if self.at != len(self.data):
            raise Unusable("tpm-malformed")


def expect(reader, *wanted):
    for value in wanted:
        if reader.number(2) != value:
            raise Unusable("tpm-unsupported")


def coordinate(reader):
    data = reader.sized()
    if len(data) > 32:
        raise Unusable("tpm-malformed")
    return int.from_bytes(data, "big")


@dataclasses.dataclass
class Key:
    point: ec.EllipticCurvePublicKey
    attests: bool
    endorsement_name: bytes


def public(data):
    reader = Reader(data)
    kind = reader.number(2)
    if kind != ECC:
        raise Unusable("tpm-rsa" if kind == RSA else "tpm-unsupported")
    if reader.number(2) != SHA256:
        raise Unusable("tpm-unsupported")
    attributes = reader.number(4)
    reader.sized()
    expect(reader, NULL, ECDSA, SHA256, P256, NULL)
    x, y = coordinate(reader), coordinate(reader)
    reader.finish()
    try:
        point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise Unusable("ak-key") from error
    algorithm = struct.pack(">H", SHA256)
    name = algorithm + hashlib.sha256(data).digest()
    qualified = algorithm + hashlib.sha256(ENDORSEMENT + name).digest()
    return Key(point, attributes & NEEDED == NEEDED and not attributes & DECRYPT, qualified)


def signature(data):
    """The signature in DER."""
    reader = Reader(data)
    scheme = reader.number(2)
    if scheme != ECDSA:
        raise Unusable("tpm-rsa" if scheme in (RSASSA, RSAPSS) else "tpm-unsupported")
    expect(reader, SHA256)
    r, s = coordinate(reader), coordinate(reader)
    reader.finish()
    return encode_dss_signature(r, s)


@dataclasses.dataclass
class Quote:
    signer: bytes
    qualifying: bytes
    selections: list
    digest: bytes


def quote(data):
    reader = Reader(data)
    if reader.number(4) != 0xFF544347:
        raise Unusable("tpm-magic")
    if reader.number(2) != 0x8018:
        raise Unusable("tpm-quote-kind")
    signer, qualifying = reader.sized(), reader.sized()
    reader.take(8 + 4 + 4 + 1 + 8)  # clock, resets, restarts, safe, firmware version
    count = reader.number(4)
    if count > 8:
        raise Unusable("tpm-malformed")
    selections = []
    for _ in range(count):
        bank = reader.number(2)
        mask = int.from_bytes(reader.take(reader.number(1)), "little")
        selections.append((bank, [pcr for pcr in range(mask.bit_length()) if mask >> pcr & 1]))
    digest = reader.sized()
    reader.finish()
    return Quote(signer, qualifying, selections, digest)
