"""The platform behind a TDX quote: certificates, revocation, collateral and TCB (Intel PCS API
version 4, "Verifying a quote" of the DCAP quoting library API; docs/spec/evidence.md section 5)."""

import datetime
import hashlib
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

import strict

INTEL_ROOT = "sha256:44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
SGX_ARC = "1.2.840.113741.1.13.1."
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
MAX_COLLATERAL = 512 * 1024
# from best to worst, as Intel's library joins the statuses of platform, module and quoting enclave
SEVERITY = ["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"]


class Refused(Exception):
    """Carries check and stable code."""

    def __init__(self, check, code):
        super().__init__(code)
        self.check, self.code = check, code


def seconds(text):
    text = text.replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(text).timestamp()


def appraise(quote, collateral, policy, at):
    """Failures by check, and the platform's status where it is known."""
    failures, status = {}, None
    try:
        status = verify(quote, collateral, policy, seconds(at), failures)
    except Refused as refused:
        failures.setdefault(refused.check, refused.code)
    return failures, status


def verify(quote, collateral, policy, now, failures):
    chains = [
        certificates(collateral["tcb_info_issuer_chain"].encode()),
        certificates(collateral["qe_identity_issuer_chain"].encode()),
        certificates(collateral["pck_crl_issuer_chain"].encode()),
        certificates(quote.pck_chain, most=4),
    ]
    root = trusted_root([chains[0], chains[3]], policy)
    pck = sgx_extension(chains[3][0])
    crls = [revocation_list(collateral[name]) for name in ("root_ca_crl", "pck_crl")]
    tcb_info = signed_json(collateral["tcb_info"])
    qe_identity = signed_json(collateral["qe_identity"])

    note = failures.setdefault
    for check, code in times(chains, crls, [tcb_info, qe_identity], now):
        note(check, code)
    for chain in chains:
        links(chain, root)
    revocations(crls, chains, failures)
    collateral_signatures(collateral, chains, tcb_info, qe_identity, pck, failures)
    quote_signature(quote, chains[3][0], qe_identity, failures)
    if "collateral-signature" in failures:
        return None  # nothing that is not the vendor's word says what the platform is worth
    return tcb_status(quote, tcb_info, qe_identity, pck, policy, now, failures)


def certificates(pem, most=8):
    try:
        chain = [x509.load_pem_x509_certificate(match) for match in PEM.findall(pem)]
    except ValueError as error:
        # a certificate that cannot be read any more is not the root that the policy names
        raise Refused("pck-chain-root", "root-not-trusted") from error
    if not 0 < len(chain) <= most:
        raise Refused("pck-chain-root", "chain-malformed")
    return chain


def digest(certificate):
    return "sha256:" + hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def trusted_root(chains, policy):
    roots = [INTEL_ROOT if root == "intel-sgx-root" else root for root in policy["roots"]]
    if any(digest(chain[-1]) not in roots for chain in chains):
        raise Refused("pck-chain-root", "root-not-trusted")
    if len({digest(chain[-1]) for chain in chains}) != 1:
        raise Refused("pck-chain-root", "chain-broken")
    return chains[0][-1]


def links(chain, root):
    """Every certificate is signed by the next, the last is the root."""
    if digest(chain[-1]) != digest(root):
        raise Refused("pck-chain-root", "chain-broken")
    for certificate, issuer in zip(chain, chain[1:] + [root]):
        try:
            certificate.verify_directly_issued_by(issuer)
            constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise Refused("pck-chain-root", "chain-broken") from error
        if not constraints.value.ca:
            raise Refused("pck-chain-root", "chain-broken")


def revocation_list(der):
    try:
        return x509.load_der_x509_crl(der)
    except ValueError as error:
        raise Refused("collateral-signature", "crl-invalid") from error


def times(chains, crls, documents, now):
    for value in documents:
        if seconds(value["issueDate"]) > now:
            yield "collateral-time", "collateral-not-yet-valid"
        if seconds(value["nextUpdate"]) < now:
            yield "collateral-time", "collateral-expired"
    for certificate in (certificate for chain in chains for certificate in chain):
        if certificate.not_valid_before_utc.timestamp() > now:
            yield "collateral-time", "certificate-not-yet-valid"
        if certificate.not_valid_after_utc.timestamp() < now:
            yield "collateral-time", "certificate-expired"
    for crl in crls:
        if crl.next_update_utc.timestamp() < now:
            yield "collateral-time", "crl-expired"


def revocations(crls, chains, failures):
    """Each certificate but the root is spoken about by a list of its issuer, which revokes it not."""
    issuers = {c.subject.rfc4514_string(): c for chain in chains for c in chain}
    for crl in crls:
        issuer = issuers.get(crl.issuer.rfc4514_string())
        if issuer is None or not crl.is_signature_valid(issuer.public_key()):
            failures.setdefault("collateral-signature", "crl-invalid")
    for certificate in (certificate for chain in chains for certificate in chain[:-1]):
        speaking = [crl for crl in crls if crl.issuer == certificate.issuer]
        if not speaking:
            failures.setdefault("pck-chain-root", "revocation-unknown")
        number = certificate.serial_number
        if any(crl.get_revoked_certificate_by_serial_number(number) for crl in speaking):
            failures.setdefault("pck-chain-root", "certificate-revoked")


def signed_json(text):
    try:
        value = strict.json_value(text.encode(), MAX_COLLATERAL)
    except strict.Refused as error:
        raise Refused("collateral-signature", "collateral-malformed") from error
    if not isinstance(value, dict):
        raise Refused("collateral-signature", "collateral-malformed")
    return value


def is_signed(key, raw, message):
    """ECDSA P-256 with SHA-256, the signature as r then s."""
    if len(raw) != 64:
        return False
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def collateral_signatures(collateral, chains, tcb_info, qe_identity, pck, failures):
    faults = [
        (not is_signed(chains[0][0].public_key(), collateral["tcb_info_signature"],
                       collateral["tcb_info"].encode()), "tcb-info-signature"),
        (not is_signed(chains[1][0].public_key(), collateral["qe_identity_signature"],
                       collateral["qe_identity"].encode()), "qe-identity-signature"),
        ((qe_identity.get("id"), qe_identity.get("version")) != ("TD_QE", 2), "qe-identity-kind"),
        ((tcb_info.get("id"), tcb_info.get("version")) != ("TDX", 3), "tcb-info-kind"),
        (bytes.fromhex(tcb_info["fmspc"]) != pck["fmspc"], "fmspc-mismatch"),
        (bytes.fromhex(tcb_info["pceId"]) != pck["pceid"], "pce-id-mismatch"),
    ]
    for wrong, code in faults:
        if wrong:
            failures.setdefault("collateral-signature", code)


def quote_signature(quote, pck, identity, failures):
    report = quote.qe_report
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest() + bytes(32)
    point = b"\x04" + quote.attestation_key
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        key = None
    faults = [
        (quote.qe_vendor != INTEL_QE_VENDOR, "qe-vendor"),
        (not is_signed(pck.public_key(), quote.qe_signature, report), "qe-report-signature"),
        (report[320:384] != bound, "attestation-key-not-bound"),
        (not is_described(report, identity), "qe-identity-mismatch"),
        (key is None or not is_signed(key, quote.signature, quote.signed), "quote-signature-invalid"),
    ]
    for wrong, code in faults:
        if wrong:
            failures.setdefault("quote-signature", code)


def is_described(report, identity):
    """Whether the enclave is the one of the QE identity (SGX report body: A.3.10)."""

    def masked(field, name):
        mask = bytes.fromhex(identity[name + "Mask"])
        wanted = bytes.fromhex(identity[name])
        return bytes(a & b for a, b in zip(field, mask)) == bytes(
            a & b for a, b in zip(wanted, mask)
        )

    miscselect = report[16:20][::-1]  # written as a number
    return (
        report[128:160] == bytes.fromhex(identity["mrsigner"])
        and int.from_bytes(report[256:258], "little") == identity["isvprodid"]
        and masked(miscselect, "miscselect")
        and masked(report[48:64], "attributes")
    )


def tcb_status(quote, tcb_info, qe_identity, pck, policy, now, failures):
    """The platform's status, judged by the policy."""
    level = platform_level(quote, tcb_info, pck)
    if level is None:
        failures.setdefault("tcb-status", "no-tcb-level")
        return None
    statuses = [level["tcbStatus"]]
    advisories = set(level.get("advisoryIDs", []))
    qe_svn = int.from_bytes(quote.qe_report[258:260], "little")
    for inner in (module_level(quote, tcb_info), isv_level(qe_identity, qe_svn)):
        if inner is None:
            failures.setdefault("tcb-status", "no-tcb-level")
            return None
        statuses.append(inner["tcbStatus"])
        advisories |= set(inner.get("advisoryIDs", []))
    if "Revoked" in statuses:
        failures.setdefault("tcb-status", "tcb-revoked")
        return None
    status = max(statuses, key=SEVERITY.index)
    code = judge(policy["tcb"], status, advisories, tcb_info, qe_identity, now)
    code = code or not_listed(policy.get("machines", {}), pck)
    if code:
        failures.setdefault("tcb-status", code)
    return status


def platform_level(quote, tcb_info, pck):
    # components 0 and 1 are the module's, judged by its own identity, once the module has a version
    first = 2 if quote.tee_tcb_svn[1] else 0
    for level in tcb_info["tcbLevels"]:
        tcb = level["tcb"]
        sgx = [component["svn"] for component in tcb["sgxtcbcomponents"]]
        tdx = [component["svn"] for component in tcb["tdxtcbcomponents"]]
        if (
            all(have >= need for have, need in zip(pck["svns"], sgx))
            and pck["pcesvn"] >= tcb["pcesvn"]
            and all(h >= n for h, n in zip(quote.tee_tcb_svn[first:], tdx[first:]))
        ):
            return level
    return None


def module_level(quote, tcb_info):
    """The level of the TDX module, by the identity of its major version."""
    version = quote.tee_tcb_svn[1]
    module = tcb_info["tdxModule"]
    level = {"tcbStatus": "UpToDate"}
    if version:
        wanted = f"TDX_{version:02X}"
        found = [m for m in tcb_info["tdxModuleIdentities"] if m["id"].upper() == wanted]
        if not found:
            return None
        module = found[0]
        level = isv_level(module, quote.tee_tcb_svn[0])
    mask = bytes.fromhex(module["attributesMask"])
    masked = bytes(a & b for a, b in zip(quote.seam_attributes, mask))
    if quote.mr_signer_seam != bytes.fromhex(module["mrsigner"]):
        return None
    return level if masked == bytes.fromhex(module["attributes"]) else None


def isv_level(identity, svn):
    return next((l for l in identity["tcbLevels"] if svn >= l["tcb"]["isvsvn"]), None)


def judge(rule, status, advisories, tcb_info, qe_identity, now):
    if status not in rule["accept"]:
        dates = [t["until"] for t in rule.get("tolerate", []) if t["status"] == status]
        if not dates:
            return "tcb-status-refused"
        if now >= max(seconds(date) for date in dates):
            return "tolerance-ended"
    evaluation = min(d["tcbEvaluationDataNumber"] for d in (tcb_info, qe_identity))
    if evaluation < rule["min_evaluation_data_number"]:
        return "evaluation-too-old"
    if advisories & set(rule["refuse_advisories"]):
        return "advisory-refused"
    return None


def not_listed(machines, pck):
    """The code where the policy lists machines or families, and not this one."""
    for key, name in (("ppids", "ppid"), ("fmspcs", "fmspc")):
        listed = machines.get(key, "any")
        if listed != "any" and pck[name].hex() not in listed:
            return f"{name}-not-listed"
    return None


def sgx_extension(certificate):
    """PPID, FMSPC, PCEID and TCB of a PCK certificate (Intel's PCK certificate profile)."""
    try:
        extension = certificate.extensions.get_extension_for_oid(SGX_EXTENSION)
        entries = dict(pairs(extension.value.value))
        tcb = dict(pairs(entries[SGX_ARC + "2"], wrapped=False))
    except (ValueError, KeyError, IndexError, x509.ExtensionNotFound) as error:
        raise Refused("pck-chain-root", "chain-malformed") from error
    number = lambda name: int.from_bytes(tcb[name], "big")
    return {
        "ppid": entries[SGX_ARC + "1"],
        "fmspc": entries[SGX_ARC + "4"],
        "pceid": entries[SGX_ARC + "3"],
        "svns": [number(f"{SGX_ARC}2.{index}") for index in range(1, 17)],
        "pcesvn": number(f"{SGX_ARC}2.17"),
    }


def tlv(data):
    """Splits DER into (tag, content); definite lengths alone."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        yield tag, data[at : at + length]
        at += length


def pairs(data, wrapped=True):
    """The (object identifier, value) pairs of a SEQUENCE of SEQUENCEs."""
    if wrapped:
        ((_, data),) = tlv(data)
    for _, pair in tlv(data):
        (_, oid), (_, value) = tlv(pair)
        yield dotted(oid), value


def dotted(oid):
    arcs, value = [], 0
    for byte in oid:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))
