"""Evidence of a room (docs/spec/room-evidence.md): every check, in the order of sections 5 and 6."""

import datetime
import hashlib
import json
import re
import struct

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

import platform_tdx
import quote_tdx
import release
import strict
import tpm2
import upstream

PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]
EVENTS = ["runtime-boot-config", "runtime-assignment", "nonce"]
CHECKS = {
    "tpm2": "document-parse evidence-type moment quote-parse attestation-key ak-certificate"
    " quote-signature quote-signer statement qualifying-data pcr-selection boot-log"
    " pcr-digest".split()
    + [f"reference-pcr-{pcr}" for pcr in PCRS]
    + EVENTS,
    "tdx": "document-parse evidence-type moment quote-parse pck-chain-root collateral-time"
    " collateral-signature quote-signature tcb-status td-attributes mr-seam placeholder-registers"
    " statement report-data boot-log boot-log-replay runtime-replay reference-mrtd"
    " reference-rtmr0 reference-rtmr1 reference-rtmr2 mr-config-id mr-owner".split()
    + EVENTS,
}
MAX_EVIDENCE = 786_432
MAX_DOCUMENT = 1_572_864
MAX_LOG = 1024 * 1024
EVIDENCE = {name: str for name in "format type moment statement quote signature key boot_log".split()}
EVIDENCE["runtime"] = list
ASSIGNMENT = ["session", "nonce", "repository", "commit", "agent", "policies"]


class Failed(Exception):
    """Carries check and stable code."""

    def __init__(self, check, code):
        super().__init__(code)
        self.check, self.code = check, code


def answer(request, document_bytes, reference_bytes):
    policy = tomllib.loads(request["policy"])
    pinned = "sha256:" + hashlib.sha256(reference_bytes).hexdigest()
    if pinned not in policy["references"]:
        signers = policy.get("signed_reference", [])
        if not signers:
            return {"verdict": "reject", "code": "room-reference-not-pinned"}
        try:
            reference_bytes = release.manifest(reference_bytes, signers, request["at"])
        except release.Refused as refused:
            return {"verdict": "reject", "code": str(refused)}
    work = Work(policy, json.loads(reference_bytes), request)
    try:
        text, evidence, endorsements = document(document_bytes)
    except Failed as failed:
        return {"verdict": "reject", "check": failed.check, "code": failed.code}
    identity = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    work.judge(evidence, endorsements)
    names = CHECKS[evidence["type"]]
    unknown = set(work.failures) - set(names)
    assert not unknown, unknown
    first = next((name for name in names if name in work.failures), None)
    if first is None:
        return {"verdict": "accept", "identity": identity}
    return {"verdict": "reject", "check": first, "code": work.failures[first], "identity": identity}


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def document(data):
    """The evidence's exact text, the evidence taken apart, and the endorsements (sections 1, 4)."""
    malformed = Failed("document-parse", "room-document-malformed")
    try:
        outer = strict.members(
            strict.json_value(data, MAX_DOCUMENT),
            {"format": str, "evidence": str, "endorsements": dict},
        )
        if outer["format"] != "proofroom.room-evidence-document.v1":
            raise malformed
        text = outer["evidence"]
        value = strict.members(strict.json_value(text.encode(), MAX_EVIDENCE), EVIDENCE)
        evidence = evidence_of(value)
        spelled = compact({name: value[name] for name in EVIDENCE})
        if spelled != text:
            raise malformed
        if value["type"] == "sev-snp":
            raise Failed("document-parse", "room-evidence-unsupported")
        endorsed = {"ak_certificate": str} if value["type"] == "tpm2" else upstream.COLLATERAL
        strict.members(outer["endorsements"], endorsed)
    except strict.Refused as error:
        raise malformed from error
    in_order = ["format", "evidence", "endorsements"]
    if compact({name: outer[name] for name in in_order}) != data.decode():
        raise malformed
    return text, evidence, outer["endorsements"]


def evidence_of(value):
    if value["format"] != "proofroom.room-evidence.v1":
        raise strict.Refused("format")
    if value["type"] not in ("tpm2", "tdx", "sev-snp") or value["moment"] not in ("start", "end"):
        raise strict.Refused("kind")
    evidence = dict(value)
    for name in ("quote", "signature", "key", "boot_log"):
        evidence[name] = strict.base64_bytes(value[name])
    if value["type"] != "tpm2" and (evidence["signature"] or evidence["key"]):
        raise strict.Refused("beside the quote")
    if len(value["runtime"]) > 256:
        raise strict.Refused("runtime")
    for event in value["runtime"]:
        strict.members(event, {"name": str, "content": str})
        if list(event) != ["name", "content"]:
            raise strict.Refused("order")
        if not re.fullmatch("[a-z0-9-]{1,64}", event["name"]):
            raise strict.Refused("name")
        if len(event["content"].encode()) > 131_072:
            raise strict.Refused("content")
    return evidence


def extend(register, digest):
    return hashlib.sha384(register + digest).digest()


EXTENDED = {0x0B: hashlib.sha256, 0x0C: hashlib.sha384}


def boot_log(data, bank=0x0C):
    """What a TCG2 crypto-agile log leaves in each register it extends, in SHA-384 unless another bank is asked
    for (TCG PC Client Platform Firmware Profile, section 10)."""
    if len(data) > MAX_LOG:
        raise ValueError("too large")
    sizes = {0x04: 20, 0x0B: 32, 0x0C: 48, 0x0D: 64}
    reader = Cursor(data)
    register, kind, _, size = reader.unpack("<II20sI")
    spec = Cursor(reader.take(size))
    signature, _, count = spec.unpack("<16s8sI")
    if register > 1 or kind != 3 or signature != b"Spec ID Event03\0" or not 1 <= count <= 8:
        raise ValueError("header")
    banks = [spec.unpack("<HH") for _ in range(count)]
    if any(sizes.get(known) != width for known, width in banks) or len(set(banks)) != count:
        raise ValueError("banks")
    spec.take(spec.unpack("<B")[0])
    if spec.rest() or bank not in dict(banks):
        raise ValueError("header")
    registers = {}
    while not is_filling(reader.rest()):
        register, kind, found = reader.unpack("<III")
        if register > 23 or found != count:
            raise ValueError("event")
        digests = {}
        for _ in range(found):
            (known,) = reader.unpack("<H")
            digests[known] = reader.take(dict(banks)[known])
        if len(digests) != count:
            raise ValueError("banks")
        payload = reader.take(reader.unpack("<I")[0])
        if kind == 3:
            locality(registers, register, payload, sizes[bank])
        else:
            before = registers.get(register, bytes(sizes[bank]))
            registers[register] = EXTENDED[bank](before + digests[bank]).digest()
    return registers


def locality(registers, register, payload, width):
    """PCR 0 begins with the locality from which the TPM was started."""
    name = b"StartupLocality\0"
    if len(payload) == len(name) + 1 and payload.startswith(name) and payload[-1] <= 4:
        if register or any(registers.get(0, b"")):
            raise ValueError("StartupLocality")
        registers[0] = bytes(width - 1) + payload[-1:]


def is_filling(rest):
    return not rest.strip(b"\0") or not rest.strip(b"\xff")


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def rest(self):
        return self.data[self.at :]

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))


class Work:
    def __init__(self, policy, reference, request):
        self.policy, self.reference = policy, reference
        self.session, self.at = request["session"], request["at"]
        self.ca = request["deployment_ca"]
        self.failures = {}

    def fail_if(self, wrong, check, code):
        if wrong:
            self.failures.setdefault(check, code)

    def judge(self, evidence, endorsements):
        self.fail_if(evidence["type"] != self.policy["accept"], "evidence-type", "evidence-type-refused")
        self.fail_if(evidence["moment"] != self.session["moment"], "moment", "moment-mismatch")
        self.fail_if(evidence["statement"] != self.session["statement"], "statement", "statement-mismatch")
        report_data = hashlib.sha512(evidence["statement"].encode()).digest()
        runtime = bytes(48)
        for event in evidence["runtime"]:
            text = f"proofroom.runtime-event.v1\n{event['name']}\n{event['content']}"
            runtime = extend(runtime, hashlib.sha384(text.encode()).digest())
        if evidence["type"] == "tpm2":
            self.tpm(evidence, endorsements["ak_certificate"], report_data, runtime)
        elif self.policy["accept"] == "tdx":
            self.td(evidence, endorsements, report_data, runtime)
        self.boot_config(evidence["runtime"])
        self.assignment(evidence["runtime"])

    def tpm(self, evidence, certificate, report_data, runtime):
        registers = self.log(evidence, 15)
        key = None
        try:
            key = tpm2.public(evidence["key"])
        except tpm2.Unusable as error:
            self.failures["attestation-key"] = error.code
        else:
            self.fail_if(not key.attests, "attestation-key", "ak-attributes")
            self.certificate(certificate, key.point)
            try:
                der = tpm2.signature(evidence["signature"])
                key.point.verify(der, evidence["quote"], ec.ECDSA(SHA256()))
            except tpm2.Unusable as error:
                self.failures["quote-signature"] = error.code
            except InvalidSignature:
                self.failures["quote-signature"] = "quote-signature-invalid"
        try:
            quote = tpm2.quote(evidence["quote"])
        except tpm2.Unusable as error:
            self.failures["quote-parse"] = error.code
            return
        self.fail_if(key and quote.signer != key.endorsement_name, "quote-signer", "quote-signer-mismatch")
        bound = hashlib.sha256(report_data).digest()
        self.fail_if(quote.qualifying != bound, "qualifying-data", "qualifying-data-mismatch")
        quoted = PCRS + [15]
        self.fail_if(quote.selections != [(0x0C, quoted)], "pcr-selection", "pcr-selection-mismatch")
        if registers is None:
            return
        registers[15] = runtime
        values = b"".join(registers.get(pcr, bytes(48)) for pcr in quoted)
        self.fail_if(quote.digest != hashlib.sha256(values).digest(), "pcr-digest", "pcr-digest-mismatch")
        wanted = self.reference["tpm2"]["sha384"]
        for pcr in PCRS:
            wrong = registers.get(pcr, bytes(48)).hex() != wanted[str(pcr)]
            self.fail_if(wrong, f"reference-pcr-{pcr}", "reference-mismatch")

    def log(self, evidence, runtime_register, allowed=range(24)):
        try:
            registers = boot_log(evidence["boot_log"])
        except (ValueError, KeyError):
            self.failures["boot-log"] = "boot-log-malformed"
            return None
        if runtime_register in registers:
            self.failures["boot-log"] = "boot-log-runtime-register"
            return None
        if set(registers) - set(allowed):
            self.failures["boot-log"] = "boot-log-malformed"
            return None
        return registers

    def certificate(self, pem, key):
        try:
            code = certificate_fault(pem, self.ca, self.session["session"], self.at, key)
        except ValueError:
            code = "malformed"
        self.fail_if(code, "ak-certificate", f"ak-certificate-{code}")

    def td(self, evidence, collateral, report_data, runtime):
        registers = self.log(evidence, 4, (1, 2, 3))
        try:
            quote = quote_tdx.parse(evidence["quote"])
        except quote_tdx.Malformed:
            self.failures["quote-parse"] = "quote-malformed"
            return
        decoded = dict(collateral)
        for name in upstream.HEX:
            decoded[name] = bytes.fromhex(collateral[name])
        failures, _ = platform_tdx.appraise(quote, decoded, self.policy, self.at)
        self.failures.update(failures)
        code = upstream.attributes(quote, self.policy["attributes"]["allow"])
        self.fail_if(code, "td-attributes", code)
        found = quote.registers
        listed = self.policy["mr_seam"]
        wrong = listed != "not-compared" and found["mr_seam"].hex() not in listed
        self.fail_if(wrong, "mr-seam", "mr-seam-mismatch")
        compared = [value for name, value in found.items() if name != "rtmr3"] + [found["rtmr3"]]
        repeats = any(value == value[:1] * 48 for value in compared)
        self.fail_if(repeats, "placeholder-registers", "placeholder-register")
        self.fail_if(quote.report_data != report_data, "report-data", "report-data-mismatch")
        if registers is not None:
            wrong = any(registers.get(i + 1, bytes(48)) != found[f"rtmr{i}"] for i in range(3))
            self.fail_if(wrong, "boot-log-replay", "boot-log-mismatch")
        self.fail_if(found["rtmr3"] != runtime, "runtime-replay", "runtime-events-mismatch")
        wanted = self.policy.get("simulated") or self.reference["tdx"]
        mr_td = wanted.get("mr_td") or wanted["mrtd"]
        self.fail_if(found["mr_td"].hex() != mr_td, "reference-mrtd", "reference-mismatch")
        for name in ("rtmr0", "rtmr1", "rtmr2"):
            self.fail_if(found[name].hex() != wanted[name], f"reference-{name}", "reference-mismatch")
        first = evidence["runtime"][0] if evidence["runtime"] else {"name": "", "content": ""}
        promised = hashlib.sha384(first["content"].encode()).digest()
        wrong = first["name"] != "boot-config" or found["mr_config_id"] != promised
        self.fail_if(wrong, "mr-config-id", "mr-config-id-mismatch")
        self.fail_if(any(quote.mr_owner), "mr-owner", "mr-owner-set")

    def boot_config(self, events):
        check = "runtime-boot-config"
        if not events or events[0]["name"] != "boot-config":
            self.failures[check] = "boot-config-missing"
            return
        try:
            config = strict.json_value(events[0]["content"].encode(), 131_072)
            shape = [config["shape"]["vcpus"], config["shape"]["memory_mib"]]
            found = [(layer["name"], layer["root"]) for layer in config["layers"]]
        except (strict.Refused, KeyError, TypeError):
            self.failures[check] = "boot-config-malformed"
            return
        wanted_shape = self.reference["shape"]
        if shape != [wanted_shape["vcpus"], wanted_shape["memory_mib"]]:
            self.failures[check] = "boot-config-shape"
            return
        wanted = [(layer["name"], layer["root"]) for layer in self.reference["layers"]]
        if found == wanted:
            return
        if set(found) - set(wanted):
            code = "layer"
        elif any(found.count(layer) < wanted.count(layer) for layer in wanted):
            code = "layer-missing"
        elif len(found) > len(wanted):
            code = "layer-extra"
        else:
            code = "layer-order"
        self.failures[check] = f"boot-config-{code}"

    def assignment(self, events):
        names = [event["name"] for event in events]
        once = names.count("assignment") == 1 and names.count("boot-config") == 1
        if not once or names[1:2] != ["assignment"]:
            self.failures["runtime-assignment"] = "assignment-missing"
            return
        text = events[1]["content"]
        try:
            kinds = {name: dict if name == "policies" else str for name in ASSIGNMENT}
            value = strict.members(strict.json_value(text.encode(), 131_072), kinds)
        except strict.Refused:
            value = None
        if value is None or compact({name: value[name] for name in ASSIGNMENT}) != text:
            self.failures["runtime-assignment"] = "assignment-malformed"
            return
        same = all(value[n] == self.session[n] for n in ("session", "agent", "commit", "policies"))
        self.fail_if(not same, "runtime-assignment", "assignment-mismatch")
        self.fail_if(value["nonce"] != self.session["nonce"], "nonce", "nonce-mismatch")


def certificate_fault(pem, ca_pem, session, at, key):
    """What is wrong with the certificate of an attestation key: section 5, `ak-certificate`."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    ca = x509.load_pem_x509_certificate(ca_pem.encode())
    try:
        certificate.verify_directly_issued_by(ca)
    except (TypeError, InvalidSignature, ValueError):
        return "issuer"
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    constraints = extensions.get(x509.BasicConstraints.oid)
    usage = extensions.get(x509.KeyUsage.oid)
    uses = extensions.get(x509.ExtendedKeyUsage.oid)
    attestation = [x509.ObjectIdentifier("2.23.133.8.3")]
    if (constraints and constraints.ca) or not usage or not usage.digital_signature:
        return "use"
    if uses is None or list(uses) != attestation:
        return "use"
    names = [(NameOID.COMMON_NAME, "Proofroom software TPM of the host"), (NameOID.SERIAL_NUMBER, session)]
    for oid, wanted in names:
        if [found.value for found in certificate.subject.get_attributes_for_oid(oid)] != [wanted]:
            return "session"
    now = datetime.datetime.fromtimestamp(platform_tdx.seconds(at), datetime.timezone.utc)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return "time"
    if certificate.public_key().public_numbers() != key.public_numbers():
        return "key"
    return None
