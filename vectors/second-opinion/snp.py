"""AMD SEV-SNP reports (docs/spec/snp.md; AMD 56860 and 57230): every check, in the order of section 3."""

import hashlib

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import platform_tdx

CHECKS = (
    "report-parse chain-parse chain-root chain-signatures chain-time revocation report-signature"
    " signing-key product reported-tcb chip-id tcb-minimum guest-policy platform vmpl"
    " reference-values placeholder-measurement report-data-binding freshness"
).split()
SIZE, SIGNED = 1184, 672
AMD_ROOTS = {
    "amd-ark-milan": "sha256:69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
}
ARC = "1.3.6.1.4.1.3704.1."
PRODUCT_NAME, HWID, CSP_ID = ARC + "2", ARC + "4", ARC + "5"
SPL = {"boot_loader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
UNUSED_SPL = ["3.4", "3.5", "3.6", "3.7"]
LAYOUT = {"boot_loader": 0, "tee": 1, "snp": 6, "microcode": 7}
TURIN = {"fmc": 0, "boot_loader": 1, "tee": 2, "snp": 3, "microcode": 7}
UNDERSTOOD = {x509.BasicConstraints.oid, x509.KeyUsage.oid}
POLICY_BITS = {
    "SMT": 16, "SINGLE_SOCKET": 20, "CXL_ALLOW": 21, "MEM_AES_256_XTS": 22, "RAPL_DIS": 23,
    "CIPHERTEXT_HIDING_DRAM": 24, "PAGE_SWAP_DISABLE": 25,
}
FREEDOMS = ["SMT", "CXL_ALLOW"]
PLATFORM_BITS = {
    "SMT_EN": 0, "TSME_EN": 1, "ECC_EN": 2, "RAPL_DIS": 3, "CIPHERTEXT_HIDING_DRAM_EN": 4,
    "ALIAS_CHECK_COMPLETE": 5, "IOMMU_WRITE_SAFE": 6, "TIO_EN": 7,
}


class Malformed(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def layout(product):
    return TURIN if product == "Turin" else LAYOUT


class Report:
    """A report, taken apart (sections 1 and S-1 to S-6)."""

    def __init__(self, data):
        if len(data) < SIZE:
            raise Malformed("snp-truncated")
        if len(data) > SIZE:
            raise Malformed("snp-trailing-bytes")
        number = lambda at, size: int.from_bytes(data[at : at + size], "little")
        self.signed = data[:SIGNED]
        self.version = number(0, 4)
        if not 2 <= self.version <= 5:
            raise Malformed("snp-version")
        if number(0x34, 4) != 1:
            raise Malformed("snp-algorithm")
        self.guest_svn, self.policy, self.vmpl = number(4, 4), number(8, 8), number(0x30, 4)
        if self.vmpl > 3:
            raise Malformed("snp-vmpl")
        self.platform, self.flags = number(0x40, 8), number(0x48, 4)
        key = self.flags >> 2 & 7
        if key not in (0, 1, 7):
            raise Malformed("snp-signing-key")
        self.key = {0: "vcek", 1: "vlek", 7: "none"}[key]
        take = lambda at, size: data[at : at + size]
        self.report_data, self.measurement = take(0x50, 64), take(0x90, 48)
        self.host_data, self.id_key, self.author_key = take(0xC0, 32), take(0xE0, 48), take(0x110, 48)
        self.agent = take(0x160, 32)
        self.reported, self.chip = take(0x180, 8), take(0x1A0, 64)
        self.current, self.committed, self.launch = take(0x38, 8), take(0x1E0, 8), take(0x1F0, 8)
        self.product = self.processor(data)
        self.reserved(data)
        if self.product:
            self.fits(self.product)
        r, s = take(0x2A0, 72), take(0x2E8, 72)
        if any(r[48:]) or any(s[48:]) or any(data[0x330:]):
            raise Malformed("snp-signature-encoding")
        self.signature = int.from_bytes(r, "little"), int.from_bytes(s, "little")

    def processor(self, data):
        if self.version == 2:
            return None
        family, model = data[0x188], data[0x189]
        if family == 0x19 and model <= 0x0F:
            return "Milan"
        if family == 0x19 and (0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF):
            return "Genoa"
        if family == 0x1A and model <= 0x11:
            return "Turin"
        raise Malformed("snp-processor")

    def reserved(self, data):
        zero = [(0x4C, 0x50), (0x18B, 0x1A0), (0x1EB, 0x1EC), (0x1EF, 0x1F0), (0x208, 0x2A0)]
        if self.version == 2:
            zero.append((0x188, 0x18B))
        if self.version <= 3:
            zero.append((0x1F8, 0x208))
        wrong = (
            not self.policy >> 17 & 1
            or self.policy >> 26
            or self.platform >> (5 if self.version == 2 else 8)
            or self.flags >> 5
            or any(any(data[start:end]) for start, end in zero)
        )
        if wrong:
            raise Malformed("snp-reserved")

    def fits(self, product):
        used = layout(product).values()
        for tcb in (self.current, self.reported, self.committed, self.launch):
            if any(tcb[i] for i in range(8) if i not in used):
                raise Malformed("snp-reserved")
        if product == "Turin" and any(self.chip[8:]):
            raise Malformed("snp-reserved")


def parts(tcb, product):
    return {name: tcb[at] for name, at in layout(product).items()}


class Leaf:
    """What the certificate of a chip key says (S-9)."""

    def __init__(self, certificate):
        self.certificate = certificate
        found = {}
        for extension in certificate.extensions:
            name = extension.oid.dotted_string
            if name.startswith(ARC):
                found[name] = extension.value.value
        try:
            self.product = der(found[PRODUCT_NAME], 0x16).decode().split("-")[0]
            tcb = {name: int.from_bytes(der(found[ARC + oid], 2), "big") for name, oid in SPL.items()
                   if name != "fmc" or self.product == "Turin"}
            unused = [int.from_bytes(der(found[ARC + oid], 2), "big") for oid in UNUSED_SPL]
        except (KeyError, ValueError, IndexError) as error:
            raise Malformed("vek-extension-malformed") from error
        if self.product not in ("Milan", "Genoa", "Turin") or any(unused):
            raise Malformed("vek-extension-malformed")
        self.tcb = tcb
        self.hwid = found.get(HWID)
        self.csp = der(found[CSP_ID], 0x16).decode() if CSP_ID in found else None
        if (self.hwid is None) == (self.csp is None):
            raise Malformed("vek-extension-malformed")
        self.kind = "vcek" if self.hwid is not None else "vlek"
        size = 8 if self.product == "Turin" else 64
        if self.hwid is not None and len(self.hwid) != size:
            raise Malformed("vek-extension-malformed")


def der(data, tag):
    """The content of one short value with this tag."""
    if data[0] != tag or data[1] != len(data) - 2:
        raise ValueError("DER")
    return data[2:]


def answer(request, files):
    policy = tomllib.loads(request["policy"])
    failures, identity, report, leaf = {}, None, None, None
    note = failures.setdefault
    try:
        report = Report(files["report"])
        identity = "sha256:" + hashlib.sha256(report.signed).hexdigest()
    except Malformed as error:
        note("report-parse", error.code)
    at = platform_tdx.seconds(request["at"])
    chain = read_chain(files, failures)
    if chain:
        leaf = chain[0]
        judge_chain(chain, policy, at, failures)
        if files["crl"] is not None:
            code = revocation(files["crl"], chain, at)
            if code:
                note("revocation", code)
    if report:
        if leaf:
            endorsed(report, leaf, policy, failures)
        claims(report, (leaf and leaf.product) or report.product, policy, request, failures)
    first = next((name for name in CHECKS if name in failures), None)
    result = {"verdict": "accept" if files["crl"] is not None else "incomplete"}
    if first:
        result = {"verdict": "reject", "check": first, "code": failures[first]}
    if identity:
        result["identity"] = identity
    return result


def read_chain(files, failures):
    chain = []
    try:
        for name in ("leaf", "intermediate", "root"):
            if len(files[name]) > 8192:
                raise ValueError("too large")
            chain.append(x509.load_der_x509_certificate(files[name]))
    except ValueError:
        failures.setdefault("chain-parse", "chain-malformed")
        return None
    try:
        return [Leaf(chain[0]), *chain[1:]]
    except Malformed as error:
        failures.setdefault("chain-parse", error.code)
        return None


def judge_chain(chain, policy, at, failures):
    leaf, intermediate, root = chain
    certificates = [leaf.certificate, intermediate, root]
    digest = "sha256:" + hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest()
    if digest not in [AMD_ROOTS.get(name, name) for name in policy["roots"]]:
        failures.setdefault("chain-root", "root-not-trusted")
    if not holds(leaf, intermediate, root):
        failures.setdefault("chain-signatures", "chain-broken")
    for certificate in certificates:
        if certificate.not_valid_before_utc.timestamp() > at:
            failures.setdefault("chain-time", "certificate-not-yet-valid")
        if certificate.not_valid_after_utc.timestamp() < at:
            failures.setdefault("chain-time", "certificate-expired")


def common_name(name):
    return [found.value for found in name.get_attributes_for_oid(NameOID.COMMON_NAME)]


def holds(leaf, intermediate, root):
    """S-7 and S-8."""
    product, vlek = leaf.product, leaf.kind == "vlek"
    names = [
        (root, f"ARK-{product}"),
        (intermediate, f"SEV-VLEK-{product}" if vlek else f"SEV-{product}"),
        (leaf.certificate, "SEV-VLEK" if vlek else "SEV-VCEK"),
    ]
    if any(common_name(certificate.subject) != [name] for certificate, name in names):
        return False
    pairs = [(leaf.certificate, intermediate), (intermediate, root)]
    if any(one.issuer != issuer.subject or not signed_by(one, issuer) for one, issuer in pairs):
        return False
    return all(extensions_fit(one, one is not leaf.certificate) for one, _ in names)


def signed_by(certificate, issuer):
    return pss(issuer, certificate.signature, certificate.tbs_certificate_bytes)


def pss(issuer, signature, message):
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 4096:
        return False
    scheme = padding.PSS(mgf=padding.MGF1(SHA384()), salt_length=48)
    try:
        key.verify(signature, message, scheme, SHA384())
    except InvalidSignature:
        return False
    return True


def extensions_fit(certificate, ca):
    found = {extension.oid: extension for extension in certificate.extensions}
    if any(extension.critical and oid not in UNDERSTOOD for oid, extension in found.items()):
        return False
    constraints = found.get(x509.BasicConstraints.oid)
    is_ca = bool(constraints and constraints.value.ca)
    if not ca:
        return not is_ca
    usage = found.get(x509.KeyUsage.oid)
    return is_ca and bool(usage and usage.value.key_cert_sign)


def revocation(der_list, chain, at):
    """S-10."""
    leaf, intermediate, root = chain
    try:
        crl = x509.load_der_x509_crl(der_list)
        issued = crl.issuer == root.subject
    except ValueError:
        return "crl-invalid"
    if not issued or not pss(root, crl.signature, crl.tbs_certlist_bytes):
        return "crl-invalid"
    if crl.last_update_utc.timestamp() > at:
        return "crl-expired"
    if crl.next_update_utc is None or crl.next_update_utc.timestamp() < at:
        return "crl-expired"
    for certificate in (leaf.certificate, intermediate):
        number = certificate.serial_number
        if number and crl.get_revoked_certificate_by_serial_number(number):
            return "certificate-revoked"
    return None


def endorsed(report, leaf, policy, failures):
    note = failures.setdefault
    key = leaf.certificate.public_key()
    if report.key == "none":
        note("report-signature", "report-unsigned")
    else:
        try:
            signature = encode_dss_signature(*report.signature)
            key.verify(signature, report.signed, ec.ECDSA(SHA384()))
        except (InvalidSignature, ValueError):
            note("report-signature", "report-signature-invalid")
    signing = policy["signing"]
    if report.key != leaf.kind:
        note("signing-key", "signing-key-mismatch")
    elif leaf.kind == "vcek" and report.flags >> 1 & 1:
        note("signing-key", "chip-key-masked")
    elif leaf.kind not in signing["keys"]:
        note("signing-key", "signing-key-refused")
    elif leaf.csp is not None and leaf.csp not in signing["csp_ids"]:
        note("signing-key", "csp-refused")
    if report.product not in (None, leaf.product):
        note("product", "product-mismatch")
        return
    try:
        report.fits(leaf.product)
    except Malformed as error:
        note("product", error.code)
        return
    if parts(report.reported, leaf.product) != leaf.tcb:
        note("reported-tcb", "reported-tcb-mismatch")
    chip_id(report, leaf, signing["chip_ids"], note)


def chip_id(report, leaf, listed, note):
    masked = not any(report.chip)
    if leaf.kind == "vcek":
        if masked:
            note("chip-id", "chip-id-masked")
        elif report.chip[: len(leaf.hwid)] != leaf.hwid:
            note("chip-id", "chip-id-mismatch")
    if listed != "any" and not (masked and leaf.kind == "vcek") and report.chip.hex() not in listed:
        note("chip-id", "chip-refused")


def claims(report, product, policy, request, failures):
    note = failures.setdefault
    minimum(report, product, policy["tcb"], note)
    guest(report, policy["guest_policy"], note)
    wanted = [PLATFORM_BITS[name] for name in policy["platform"]["require"]]
    if not all(report.platform >> bit & 1 for bit in wanted):
        note("platform", "platform-bit-missing")
    if report.vmpl not in policy["vmpl"]:
        note("vmpl", "vmpl-refused")
    if not any(matches(report, reference) for reference in policy["reference"]):
        note("reference-values", "reference-mismatch")
    if report.measurement == report.measurement[:1] * 48:
        note("placeholder-measurement", "placeholder-measurement")
    if report.report_data.hex() != request["report_data"]:
        note("report-data-binding", "report-data-mismatch")


def minimum(report, product, rules, note):
    if product is None or product.lower() not in rules:
        note("tcb-minimum", "product-refused")
        return
    needed = rules[product.lower()]
    reported, committed, current, launch = (
        parts(tcb, product) for tcb in (report.reported, report.committed, report.current, report.launch)
    )
    reaches = lambda have, need: all(have[name] >= need[name] for name in need)
    if not reaches(committed, reported) or not reaches(current, committed):
        note("tcb-minimum", "tcb-inconsistent")
    elif not all(reaches(tcb, needed) for tcb in (reported, committed, launch)):
        note("tcb-minimum", "tcb-below-minimum")


def guest(report, rule, note):
    has = lambda bit: report.policy >> bit & 1
    if has(19):
        note("guest-policy", "guest-debug")
    elif has(18) or report.agent not in (bytes(32), b"\xff" * 32):
        note("guest-policy", "guest-migratable")
    elif any(has(POLICY_BITS[name]) and name not in rule["allow"] for name in FREEDOMS):
        note("guest-policy", "policy-bit-not-allowed")
    elif not all(has(POLICY_BITS[name]) for name in rule["require"]):
        note("guest-policy", "policy-bit-missing")
    elif [report.policy >> 8 & 0xFF, report.policy & 0xFF] < rule["min_abi"]:
        note("guest-policy", "abi-too-old")


def matches(report, reference):
    if report.measurement.hex() not in reference["measurement"]:
        return False
    host_data = reference["host_data"]
    if host_data != "not-compared" and report.host_data.hex() not in host_data:
        return False
    author_enabled = report.flags & 1
    keys = [("id_key", report.id_key, any(report.id_key)),
            ("author_key", report.author_key, author_enabled or any(report.author_key))]
    for name, value, present in keys:
        rule = reference[name]
        if rule == "absent" and present:
            return False
        if isinstance(rule, list) and (value.hex() not in rule):
            return False
    return report.guest_svn >= reference["min_guest_svn"]
