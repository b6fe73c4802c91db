"""TDX quotes, version 4 and 5 (Intel DCAP quoting library API, appendix A.3 and A.4), taken apart."""

import dataclasses

HEADER = 48
MAX_PADDING = 128
BODIES = {2: 584, 3: 648}


class Malformed(Exception):
    """Not a quote that is read."""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Malformed("too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def expect(self, size, value):
        if self.number(size) != value:
            raise Malformed("unsupported")

    def finish(self):
        if self.at != len(self.data):
            raise Malformed("trailing bytes")


@dataclasses.dataclass
class Quote:
    signed: bytes
    tee_tcb_svn: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    attributes: int
    registers: dict
    mr_owner: bytes
    report_data: bytes
    service_td: bytes | None
    qe_vendor: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth_data: bytes
    pck_chain: bytes


def parse(data):
    reader = Reader(data)
    version = reader.number(2)
    if version not in (4, 5):
        raise Malformed("version")
    reader.expect(2, 2)  # ECDSA P-256
    reader.expect(4, 0x81)  # TDX
    reader.take(4)
    qe_vendor = reader.take(16)
    reader.take(20)
    size = BODIES[2]
    if version == 5:
        size = BODIES.get(reader.number(2))
        if reader.number(4) != size:
            raise Malformed("body")
    body = body_fields(Reader(reader.take(size)))
    signed = data[: reader.at]
    tail = signature_data(Reader(reader.take(reader.number(4))))
    padding = data[reader.at :]
    if len(padding) > MAX_PADDING or any(padding):
        raise Malformed("trailing bytes")
    return Quote(signed=signed, qe_vendor=qe_vendor, **body, **tail)


def body_fields(reader):
    body = {
        "tee_tcb_svn": reader.take(16),
        "registers": {"mr_seam": reader.take(48)},
        "mr_signer_seam": reader.take(48),
        "seam_attributes": reader.take(8),
        "attributes": reader.number(8),
    }
    registers = body["registers"]
    reader.take(8)  # XFAM
    registers["mr_td"] = reader.take(48)
    registers["mr_config_id"] = reader.take(48)
    body["mr_owner"] = reader.take(96)  # MROWNER, MROWNERCONFIG
    for index in range(4):
        registers[f"rtmr{index}"] = reader.take(48)
    body["report_data"] = reader.take(64)
    body["service_td"] = None
    if reader.at < len(reader.data):
        reader.take(16)  # TEETCBSVN2
        body["service_td"] = reader.take(48)
    reader.finish()
    return body


def signature_data(data):
    tail = {"signature": data.take(64), "attestation_key": data.take(64)}
    data.expect(2, 6)
    inner = Reader(data.take(data.number(4)))
    data.finish()
    tail["qe_report"] = inner.take(384)
    tail["qe_signature"] = inner.take(64)
    tail["qe_auth_data"] = inner.take(inner.number(2))
    inner.expect(2, 5)
    tail["pck_chain"] = inner.take(inner.number(4))
    inner.finish()
    return tail
