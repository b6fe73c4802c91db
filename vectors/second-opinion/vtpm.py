"""Guests with a virtual TPM, of Azure and of Google (docs/spec/vtpm.md): every check, in its order."""

import hashlib
import json
import struct

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import platform_tdx
import quote_tdx
import room
import snp
import strict
import tpm2
import upstream

TPM = "quote-parse quote-signature qualifying-data pcr-selection pcr-digest"
AZURE = f"document-parse hcl-parse tee hardware runtime-data {TPM} reference-pcrs".split()
GCP = (
    f"document-parse ak-certificates instance {TPM} event-log reference-pcrs tee hardware report-data"
).split()
MAX_DOCUMENT = 1024 * 1024 // 2 * 3
MAX_HCL, MAX_CERTIFICATE = 16 * 1024, 8 * 1024
GOOGLE_ROOTS = {
    "google-ek-ak-root": "sha256:594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2",
}
INSTANCE = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.1.21")


class Failed(Exception):
    """Carries check and stable code."""

    def __init__(self, check, code):
        super().__init__(code)
        self.check, self.code = check, code


def answer(request, files):
    policy = tomllib.loads(request["policy"])
    try:
        document = Document(files["document"])
    except Failed as failed:
        return {"verdict": "reject", "check": failed.check, "code": failed.code}
    failures = {}
    judge = azure if document.azure else gcp
    judge(document, policy, request, files, failures)
    order = AZURE if document.azure else GCP
    first = next((name for name in order if name in failures), None)
    result = {"verdict": "accept"}
    if first:
        result = {"verdict": "reject", "check": first, "code": failures[first]}
    result["identity"] = "sha256:" + hashlib.sha256(document.quote).hexdigest()
    return result


class Document:
    def __init__(self, data):
        try:
            self.read(strict.json_value(data, MAX_DOCUMENT))
        except (strict.Refused, ValueError, TypeError) as error:
            raise Failed("document-parse", "document-malformed") from error

    def read(self, value):
        wanted = {"format": str, "guest": dict, "quote": str, "signature": str, "pcrs": list}
        if "td_quote" in value:
            wanted["td_quote"] = str
        strict.members(value, wanted)
        self.quote, self.signature = (strict.base64_bytes(value[name]) for name in ("quote", "signature"))
        self.td_quote = strict.base64_bytes(value["td_quote"]) if "td_quote" in value else None
        self.pcrs = [lower_hex(text) for text in value["pcrs"]]
        if len(self.pcrs) != 24:
            raise ValueError("registers")
        ((cloud, shown),) = value["guest"].items()
        self.azure = cloud == "azure"
        if self.azure:
            self.hcl = strict.base64_bytes(strict.members(shown, {"hcl_report": str})["hcl_report"])
        elif cloud == "gcp":
            wanted = {"ak_certificates": list, "event_log": str}
            if "snp_report" in shown:
                wanted["snp_report"] = str
            strict.members(shown, wanted)
            self.certificates = [strict.base64_bytes(text) for text in shown["ak_certificates"]]
            self.log = strict.base64_bytes(shown["event_log"])
            report = shown.get("snp_report")
            self.snp_report = strict.base64_bytes(report) if report is not None else None
        else:
            raise ValueError("cloud")
        if value["format"] != "proofroom.vtpm-evidence.v1":
            raise Failed("document-parse", "document-member")


def lower_hex(text):
    if len(text) != 64 or text != text.lower():
        raise ValueError("hex")
    return bytes.fromhex(text)


def azure(document, policy, request, files, failures):
    note = failures.setdefault
    try:
        kind, report, runtime, key = hcl(document.hcl)
    except Failed as failed:
        note(failed.check, failed.code)
        return
    bound = hashlib.sha256(runtime).digest() + bytes(32)
    wanted = policy["accept"] == f"azure-{kind}"
    found = None
    if not wanted:
        note("tee", "tee-refused")
    elif kind == "tdx":
        found = td(document.td_quote, policy, request, files, ["mr_seam", "mr_td"])
    else:
        found = report_of_snp(report, policy, request, files, bound)
    judge_hardware(found, wanted, bound, failures, ("runtime-data", "runtime-data-mismatch"))
    quote(document, policy, request, lambda: rsa_signed(key, document.signature, document.quote), failures)


def judge_hardware(found, wanted, bound, failures, mismatch):
    """Found is whether the hardware is in order, and what it carries."""
    if found is None:
        if wanted:
            failures.setdefault("tee", "tee-incomplete")
        return
    in_order, carried = found
    if not in_order:
        failures.setdefault("hardware", "hardware-refused")
    if carried != bound:
        failures.setdefault(*mismatch)


def hcl(data):
    """Kind of hardware, its report, runtime data and attestation key."""
    malformed = Failed("hcl-parse", "hcl-malformed")
    head = 32 + snp.SIZE + 20
    if not head <= len(data) <= MAX_HCL or data[:4] != b"HCLA":
        raise malformed
    report = data[32 : 32 + snp.SIZE]
    whole, _, kind, digest, size = struct.unpack("<5I", data[head - 20 : head])
    if kind not in (2, 4) or digest != 1:
        raise Failed("hcl-parse", "hcl-unsupported")
    runtime, filling = data[head : head + size], data[head + size :]
    td_report_too_long = kind == 4 and any(report[1024:])
    if len(runtime) != size or whole != size + 20 or any(filling) or td_report_too_long:
        raise malformed
    try:
        keys = strict.json_value(runtime, MAX_HCL).get("keys", [])
    except (strict.Refused, AttributeError) as error:
        raise Failed("hcl-parse", "hcl-runtime-malformed") from error
    keys = [key for key in keys if key.get("kid") == "HCLAkPub"]
    if len(keys) != 1 or keys[0].get("kty") != "RSA":
        raise Failed("hcl-parse", "hcl-key")
    number = lambda name: int.from_bytes(url_base64(keys[0][name]), "big")
    try:
        key = rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
    except (KeyError, ValueError) as error:
        raise Failed("hcl-parse", "hcl-key") from error
    if not 2048 <= key.key_size <= 4096:
        raise Failed("hcl-parse", "hcl-key")
    return {2: "snp", 4: "tdx"}[kind], report, runtime, key


def url_base64(text):
    text = text.replace("-", "+").replace("_", "/")
    return strict.base64_bytes(text + "=" * (-len(text) % 4))


def gcp(document, policy, request, files, failures):
    note = failures.setdefault
    rule = policy.get("google", {"ak_roots": [], "projects": [], "report_data": "nonce"})
    key = None
    try:
        chain = read_chain(document.certificates)
        key = chain[0].public_key()
        judge_chain(chain, rule, platform_tdx.seconds(request["at"]))
    except Failed as failed:
        note(failed.check, failed.code)
    if key:
        if code := instance(chain[0], rule["projects"]):
            note("instance", code)
        signed = lambda: tpm_signed(key, document.signature, document.quote)
        selected = quote(document, policy, request, signed, failures)
        if selected is not None:
            if code := event_log(document, selected, policy):
                note("event-log", code)
    nonce = bytes.fromhex(request["nonce"])
    bound = nonce + bytes(64 - len(nonce))
    if rule["report_data"] == "nonce-and-key":
        bound = key_report_data(nonce, key) if key else None
    kind = "tdx" if document.snp_report is None else "snp"
    wanted = policy["accept"] == f"gcp-{kind}"
    found = None
    if not wanted:
        note("tee", "tee-refused")
    elif kind == "tdx":
        registers = ["mr_seam", "mr_td", "rtmr0", "rtmr1", "rtmr2"]
        found = td(document.td_quote, policy, request, files, registers)
    else:
        found = report_of_snp(document.snp_report, policy, request, files, bound)
    judge_hardware(found, wanted, bound, failures, ("report-data", "report-data-mismatch"))


def key_report_data(nonce, key):
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    statement = {
        "purpose": "proofroom.vtpm-key.v1",
        "nonce": nonce.hex(),
        "key": "sha256:" + hashlib.sha256(spki).hexdigest(),
    }
    return hashlib.sha512(json.dumps(statement, separators=(",", ":")).encode()).digest()


def read_chain(ders):
    try:
        if not 2 <= len(ders) <= 5 or any(len(der) > MAX_CERTIFICATE for der in ders):
            raise ValueError("chain")
        return [x509.load_der_x509_certificate(der) for der in ders]
    except ValueError as error:
        raise Failed("ak-certificates", "chain-malformed") from error


def judge_chain(chain, rule, now):
    check = "ak-certificates"
    if platform_tdx.digest(chain[-1]) not in [GOOGLE_ROOTS.get(root, root) for root in rule["ak_roots"]]:
        raise Failed(check, "root-not-trusted")
    for certificate in chain:
        if certificate.not_valid_before_utc.timestamp() > now:
            raise Failed(check, "certificate-not-yet-valid")
        if certificate.not_valid_after_utc.timestamp() < now:
            raise Failed(check, "certificate-expired")
    for below, (certificate, issuer) in enumerate(zip(chain, chain[1:])):
        if not issued(certificate, issuer, below):
            raise Failed(check, "chain-broken")
    if not chain[0].extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
        raise Failed(check, "ak-usage")


def issued(certificate, issuer, below):
    """Whether a CA that may have so many CAs below it issued a certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    length = constraints.path_length
    return constraints.ca and usage.key_cert_sign and (length is None or length >= below)


def instance(leaf, projects):
    try:
        value = leaf.extensions.get_extension_for_oid(INSTANCE).value.value
        ((_, members),) = platform_tdx.tlv(value)
        _, _, (_, project), _, _, *rest = platform_tdx.tlv(members)
        security = rest[0][1] if rest else b""
        ((_, security),) = platform_tdx.tlv(security) if security else ((0, b""),)
        production = dict(platform_tdx.tlv(security)).get(0xA1)
    except (x509.ExtensionNotFound, ValueError, IndexError):
        return "instance-malformed"
    if production != b"\x01\x01\xff":
        return "instance-not-production"
    if projects != "any" and project.decode() not in projects:
        return "project-not-allowed"
    return None


def event_log(document, selected, policy):
    try:
        registers = room.boot_log(document.log, 0x0B)
    except (ValueError, struct.error):
        return "event-log-malformed"
    if any(pcr in selected and document.pcrs[pcr] != value for pcr, value in registers.items()):
        return "event-log-mismatch"
    if any(int(pcr) not in registers for pcr in policy["pcrs"]):
        return "event-log-incomplete"
    return None


def quote(document, policy, request, signed, failures):
    """Judges the TPM's quote, and answers which registers it is over."""
    note = failures.setdefault
    try:
        parsed = tpm2.quote(document.quote)
    except tpm2.Unusable:
        note("quote-parse", "tpm-malformed")
        return None
    if not signed():
        note("quote-signature", "quote-signature-invalid")
    if parsed.qualifying.hex() != request["nonce"]:
        note("qualifying-data", "qualifying-data-mismatch")
    compared = {int(pcr) for pcr in policy["pcrs"]}
    if len(parsed.selections) != 1 or parsed.selections[0][0] != tpm2.SHA256:
        note("pcr-selection", "pcr-selection-mismatch")
        return None
    selected = parsed.selections[0][1]
    if not compared <= set(selected) or any(pcr > 23 for pcr in selected):
        note("pcr-selection", "pcr-selection-mismatch")
        return None
    if parsed.digest != hashlib.sha256(b"".join(document.pcrs[pcr] for pcr in selected)).digest():
        note("pcr-digest", "pcr-digest-mismatch")
    if any(document.pcrs[int(pcr)].hex() not in values for pcr, values in policy["pcrs"].items()):
        note("reference-pcrs", "reference-mismatch")
    return selected


def tpm_signed(key, signature, message):
    if isinstance(key, rsa.RSAPublicKey):
        try:
            reader = tpm2.Reader(signature)
            tpm2.expect(reader, tpm2.RSASSA, tpm2.SHA256)
            raw = reader.sized()
            reader.finish()
        except tpm2.Unusable:
            return False
        return rsa_signed(key, raw, message)
    try:
        key.verify(tpm2.signature(signature), message, ec.ECDSA(SHA256()))
    except (tpm2.Unusable, InvalidSignature, ValueError):
        return False
    return True


def rsa_signed(key, signature, message):
    try:
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def td(data, policy, request, files, registers):
    """Whether a TD's quote is in order, and its report data; none where something was not supplied."""
    if data is None or files["collateral"] is None:
        return None
    try:
        parsed = quote_tdx.parse(data)
    except quote_tdx.Malformed:
        return False, None
    collateral = json.loads(files["collateral"])
    for name in upstream.HEX:
        collateral[name] = bytes.fromhex(collateral[name])
    failures, _ = platform_tdx.appraise(parsed, collateral, policy, request["at"])
    wrong = failures or upstream.attributes(parsed, policy["attributes"]["allow"])
    return not wrong and all(fits(parsed, name, policy[name]) for name in registers), parsed.report_data


def fits(parsed, name, rule):
    value = parsed.registers[name]
    return value != value[:1] * 48 and (rule == "not-compared" or value.hex() in rule)


def report_of_snp(data, policy, request, files, bound):
    """As `td`, of an SNP report."""
    if files["chain"] is None:
        return None
    asked = {"policy": policy["snp"], "at": request["at"], "report_data": bound.hex()}
    found = snp.answer(asked, {"report": data, **files["chain"]})
    if found["verdict"] == "accept":
        return True, bound
    return found.get("check") == "report-data-binding", None
