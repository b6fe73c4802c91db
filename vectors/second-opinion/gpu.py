"""NVIDIA devices (docs/spec/gpu.md): every check of section 6, first on each device, then on the set."""

import base64
import hashlib
import re

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

import manifest
import platform_tdx
import strict

DEVICE = (
    "report-parse certificate-chain certificate-time report-signature firmware-id nonce chip versions"
    " mode driver-rim bios-rim measurements token-device revocation"
).split()
SET = "evidence-list token-parse token-signature token-claims device-unique device-count".split()
ROOTS = {
    "nvidia-device-identity-ca": "sha256:102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
    "nvidia-corim-root-ca": "sha256:12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1",
}
COMPOSITE_DEVICE_ID = x509.ObjectIdentifier("2.23.133.5.4.1")
SHA384_OID = "2.16.840.1.101.3.4.2.2"
UNDERSTOOD = {x509.BasicConstraints.oid, x509.KeyUsage.oid, COMPOSITE_DEVICE_ID}
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
CERTIFICATES = "x-nvidia-gpu-attestation-report-cert-chain"


class Refused(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = "gpu-" + code


class Report:
    """SPDM request and response (section 2)."""

    def __init__(self, data):
        self.data, self.at = data, 0
        if len(data) > 16_384:
            raise ValueError("size")
        request = self.take(37)
        if request[:4] != bytes([0x11, 0xE0, 0x01, 0xFF]):
            raise ValueError("request")
        self.nonce = request[4:36].hex()
        response = self.take(8)
        blocks, size = response[4], int.from_bytes(response[5:8], "little")
        if response[:2] != bytes([0x11, 0x60]) or not 1 <= blocks <= 128:
            raise ValueError("response")
        end = self.at + size
        self.measurements = {}
        for _ in range(blocks):
            head = self.take(7)
            if head[1:] != bytes([1, 51, 0, head[4], 48, 0]) or head[0] <= max(self.measurements, default=0):
                raise ValueError("block")
            self.measurements[head[0]] = self.take(48).hex()
        if self.at != end:
            raise ValueError("record")
        self.take(32)
        self.opaque(self.take(int.from_bytes(self.take(2), "little")))
        self.signed = data[: self.at]
        self.signature = self.take(96)
        filling = data[self.at :]
        if len(filling) > 64 or any(filling):
            raise ValueError("trailing")

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def opaque(self, data):
        fields, at = {}, 0
        while at < len(data):
            kind = int.from_bytes(data[at : at + 2], "little")
            size = int.from_bytes(data[at + 2 : at + 4], "little")
            value = data[at + 4 : at + 4 + size]
            if len(value) != size or kind in fields:
                raise ValueError("field")
            fields[kind], at = value, at + 4 + size
        text = lambda kind: fields[kind].rstrip(b"\0").decode("ascii") if kind in fields else None
        self.driver, self.bios = text(3), bios(fields.get(6))
        self.fwid = fields.get(20)
        self.no_decoder = fields.get(11) == b"\x55"
        self.mode = mode(fields.get(21), fields.get(36))


def bios(value):
    """Five numbers, the first four of them backwards."""
    if value is None:
        return None
    if len(value) == 8 and not any(value[5:]):
        return ".".join(f"{part:02X}" for part in (*value[3::-1], value[4]))
    return value.rstrip(b"\0").decode("ascii")


def mode(protected, feature):
    """G-6."""
    named = {None: None, b"\0\0": "single-passthrough", b"\1\0": "multi-passthrough", b"\2\0": "protected-pcie"}[feature]
    if protected is None:
        return named
    on = {b"\xaa": True, b"\x55": False}[protected]
    if named is None:
        return "protected-pcie" if on else "single-passthrough"
    return named if on == (named == "protected-pcie") else None


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def es384(key, raw, message):
    if len(raw) != 96:
        return False
    r, s = int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True


def extension(certificate, kind):
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def path(ders, roots, refused):
    """Section 3's rules, in the order in which a chain is read."""
    try:
        chain = [x509.load_der_x509_certificate(der) for der in ders]
    except ValueError as error:
        raise Refused("chain-malformed") from error
    for certificate in chain:
        key = certificate.public_key()
        curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
        unknown = any(e.critical and e.oid not in UNDERSTOOD for e in certificate.extensions)
        if not curve or unknown or certificate.version is not x509.Version.v3:
            raise Refused("chain-malformed")
    leaf = chain[0]
    constraints, usage = extension(leaf, x509.BasicConstraints), extension(leaf, x509.KeyUsage)
    if (constraints and constraints.ca) or not usage or not usage.digital_signature or len(chain) < 2:
        raise Refused("chain-leaf")
    if digest(ders[-1]) not in [ROOTS.get(root, root) for root in roots]:
        raise Refused("root-not-trusted")
    if any(digest(der) in refused for der in ders):
        raise Refused("certificate-refused")
    for below, (child, parent) in enumerate(zip(chain, chain[1:])):
        issued(child, parent, below)
    return chain


def issued(child, parent, below):
    constraints, usage = extension(parent, x509.BasicConstraints), extension(parent, x509.KeyUsage)
    short = constraints and constraints.path_length is not None and constraints.path_length < below
    if not constraints or not constraints.ca or short or not usage or not usage.key_cert_sign:
        raise Refused("chain-broken")
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Refused("chain-broken") from error


def time_fault(chain, at):
    if any(certificate.not_valid_before_utc.timestamp() > at for certificate in chain):
        return "not-yet-valid"
    if any(certificate.not_valid_after_utc.timestamp() < at for certificate in chain):
        return "expired"
    return None


def firmware_id(leaf):
    try:
        value = leaf.extensions.get_extension_for_oid(COMPOSITE_DEVICE_ID).value.value
        ((_, inner),) = platform_tdx.tlv(value)
        (_, version), _, (_, fwid) = platform_tdx.tlv(inner)
        (_, oid), (_, found) = platform_tdx.tlv(fwid)
    except (x509.ExtensionNotFound, ValueError):
        return None
    right = version == b"\1" and platform_tdx.dotted(oid) == SHA384_OID and len(found) == 48
    return found if right else None


class Appraisal:
    def __init__(self, request, files):
        self.policy, self.files = tomllib.loads(request["policy"]), files
        self.nonce, self.at = request["nonce"], platform_tdx.seconds(request["at"])
        self.set, self.devices, self.missing = {}, [], self.nonce is None
        self.rims = {kind: self.manifests(files[kind + "_rims"]) for kind in ("driver", "bios")}

    def answer(self):
        try:
            evidence = self.list()
        except (strict.Refused, KeyError, TypeError):
            return {"verdict": "reject", "check": "evidence-list", "code": "gpu-list-malformed"}
        tokens = self.tokens()
        found = [self.device(report, chain, tokens) for report, chain in evidence]
        keys, chips = [key for key, _ in found], [chip for _, chip in found]
        if None not in keys and len(set(keys)) != len(keys):
            self.set["device-unique"] = "gpu-device-twice"
        wanted = {rule["chip"]: rule["count"] for rule in self.policy["device"]}
        wrong = any(chips.count(chip) != count for chip, count in wanted.items())
        if None not in keys and None not in chips and wrong:
            self.set["device-count"] = "gpu-device-count"
        return self.verdict(evidence)

    def verdict(self, evidence):
        result = {"verdict": "incomplete" if self.missing else "accept"}
        for names, failures in [*((DEVICE, device) for device in self.devices), (SET, self.set)]:
            first = next((name for name in names if name in failures), None)
            if first:
                result = {"verdict": "reject", "check": first, "code": failures[first]}
                break
        try:
            result["identity"] = digest(Report(evidence[0][0]).signed)
        except (ValueError, KeyError):
            pass
        return result

    def list(self):
        value = strict.json_value(self.files["list"], 1_048_576)
        if isinstance(value, dict):
            value = value["evidence_list"]
        if not isinstance(value, list) or not 1 <= len(value) <= 32:
            raise strict.Refused("list")
        return [(strict.base64_bytes(d["evidence"]), strict.base64_bytes(d["certificate"])) for d in value]

    def manifests(self, files):
        """Each manifest, or the code for which it is refused."""
        found = []
        for data in files:
            try:
                found.append(self.manifest(data))
            except Refused as refused:
                found.append(refused.code)
        return found

    def manifest(self, data):
        try:
            rim = manifest.Manifest(data)
        except (ValueError, TypeError, AttributeError) as error:
            raise Refused("rim-malformed") from error
        roots = self.policy["measurements"].get("roots", [])
        try:
            chain = path(rim.chain, roots, self.policy["refuse_certificates"])
        except Refused as refused:
            codes = {"gpu-root-not-trusted": "rim-root-not-trusted", "gpu-certificate-refused": "certificate-refused"}
            raise Refused(codes.get(refused.code, "rim-chain-broken")) from refused
        if fault := time_fault(chain, self.at):
            raise Refused(f"rim-{fault}")
        if rim.digest != rim.signed_digest:
            raise Refused("rim-digest-mismatch")
        if not es384(chain[0].public_key(), rim.signature, rim.signed_info):
            raise Refused("rim-signature-invalid")
        return rim

    def device(self, report_bytes, chain_bytes, tokens):
        failures = {}
        self.devices.append(failures)
        report = chain = None
        try:
            report = Report(report_bytes)
        except (ValueError, KeyError):
            failures["report-parse"] = "gpu-report-malformed"
        ders = [x509.load_pem_x509_certificate(m).public_bytes(Encoding.DER) for m in PEM.findall(chain_bytes)]
        leaf = x509.load_der_x509_certificate(ders[0])
        try:
            chain = path(ders, self.policy["roots"], self.policy["refuse_certificates"])
        except Refused as refused:
            failures["certificate-chain"] = refused.code
        if chain and (fault := time_fault(chain, self.at)):
            failures["certificate-time"] = f"gpu-certificate-{fault}"
        fwid = firmware_id(leaf)
        chip = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value.split(" ")[0]
        if fwid is None:
            chip = None
        if report:
            self.judge(report, chain, fwid, chip, failures)
            if chip:
                self.judge_token(report, str(leaf.serial_number), tokens, failures)
        key = chain and chain[1].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return key, chip

    def judge(self, report, chain, fwid, chip, failures):
        note = failures.setdefault
        if chain:
            if not es384(chain[0].public_key(), report.signature, report.signed):
                note("report-signature", "gpu-report-signature-invalid")
            if report.fwid is None or fwid is None:
                note("firmware-id", "gpu-firmware-id-absent")
            elif report.fwid != fwid:
                note("firmware-id", "gpu-firmware-id-mismatch")
        if self.nonce and report.nonce != self.nonce:
            note("nonce", "gpu-nonce-mismatch")
        if chip is None:
            return
        rule = next((rule for rule in self.policy["device"] if rule["chip"] == chip), None)
        if rule is None:
            note("chip", "gpu-chip-not-allowed")
            return
        gpu = rule["kind"] == "gpu"
        versions = [("driver", report.driver)] * gpu + [("bios", report.bios)]
        for name, found in versions:
            if found is None:
                note("versions", "gpu-version-absent")
            elif found not in rule[name]:
                note("versions", f"gpu-{name}-not-allowed")
        if gpu and report.mode is None:
            note("mode", "gpu-mode-unknown")
        elif gpu and report.mode not in rule["mode"]:
            note("mode", "gpu-mode-not-allowed")
        self.measurements(report, chip, versions, failures)

    def measurements(self, report, chip, versions, failures):
        chosen = []
        for name, version in versions:
            rims = self.rims[name]
            code = next((rim for rim in rims if isinstance(rim, str)), None)
            about = [rim for rim in rims if not isinstance(rim, str) and rim.version == version]
            if not rims:
                self.missing = True
                continue
            if code is None and version is None:
                code = "gpu-version-absent"
            elif code is None and not about:
                code = "gpu-rim-version-mismatch"
            elif code is None and all(rim.product != chip for rim in about):
                code = "gpu-rim-product-mismatch"
            if code:
                failures[f"{name}-rim"] = code
            else:
                chosen.append(next(rim for rim in about if rim.product == chip))
        golden = [entry for rim in chosen for entry in rim.golden]
        seen = set()
        for index, values in golden:
            if index in seen:
                failures.setdefault("measurements", "gpu-rim-conflict")
            seen.add(index)
            if index == 35 and report.no_decoder:
                continue
            found = report.measurements.get(index + 1)
            if found is None:
                failures.setdefault("measurements", "gpu-measurement-absent")
            elif found not in values:
                failures.setdefault("measurements", "gpu-measurement-mismatch")

    def tokens(self):
        """The claims of all devices' tokens; none where there is no token that holds."""
        rule = self.policy["token"]
        if not self.files["tokens"]:
            self.missing |= "required" in (rule["token"], rule["revocation"])
            return None
        claims = []
        for check, step in (("token-parse", parse_token), ("token-signature", self.signatures), ("token-claims", self.claims)):
            try:
                result = [step(token) for token in (self.files["tokens"] if check == "token-parse" else parsed)]
            except Refused as refused:
                self.set[check] = refused.code
                return None
            parsed = result if check == "token-parse" else parsed
        for _, devices in parsed:
            claims.extend(jws.claims for jws in devices.values())
        return claims

    def signatures(self, token):
        overall, devices = token
        all_jws = [overall, *devices.values()]
        for jws in all_jws:
            if jws.header.get("alg", "").lower() == "none" or not jws.signature:
                raise Refused("token-unsigned")
            if jws.header["alg"] != "ES384":
                raise Refused("token-algorithm")
        keys = self.keys()
        for jws in all_jws:
            if jws.header.get("kid") not in keys:
                raise Refused("token-key-unknown")
            if not es384(keys[jws.header["kid"]], jws.signature, jws.signed):
                raise Refused("token-signature-invalid")

    def keys(self):
        data = self.files["jwks"]
        if data is None:
            return {}
        if digest(data) not in self.policy["token"]["jwks"]:
            raise Refused("jwks-not-trusted")
        keys = {}
        for key in strict.json_value(data, 65_536)["keys"]:
            x, y = (int.from_bytes(url64(key[name]), "big") for name in ("x", "y"))
            keys[key["kid"]] = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
        return keys

    def claims(self, token):
        overall, devices = token
        for jws in [overall, *devices.values()]:
            self.common(jws.claims)
        if overall.claims.get("x-nvidia-overall-att-result") is not True:
            raise Refused("token-result")
        named = {
            name: ["DIGEST", ["SHA-256", hashlib.sha256(jws.text.encode()).hexdigest()]]
            for name, jws in devices.items()
        }
        if overall.claims.get("submods") != named:
            raise Refused("token-submodule-mismatch")

    def common(self, claims):
        for name, kind in {"iss": str, "nbf": int, "iat": int, "exp": int, "eat_nonce": str}.items():
            if type(claims.get(name)) is not kind:
                raise Refused("token-claim")
        if claims["iss"] not in self.policy["token"]["issuers"]:
            raise Refused("token-issuer")
        if claims["nbf"] > self.at or claims["iat"] > self.at:
            raise Refused("token-not-yet-valid")
        if claims["exp"] <= self.at:
            raise Refused("token-expired")
        if self.nonce and claims["eat_nonce"] != self.nonce:
            raise Refused("token-nonce-mismatch")

    def judge_token(self, report, serial, tokens, failures):
        if tokens is None:
            return
        about = [claims for claims in tokens if claims.get("ueid") == serial]
        if len(about) != 1:
            failures["token-device"] = "gpu-token-device-absent"
            return
        claims = about[0]
        says = {
            "token-result": claims.get("measres") != "success",
            "secure-boot": claims.get("secboot") is not True,
            "debug-status": claims.get("dbgstat") not in self.policy["token"]["debug_status"],
            "token-device-mismatch": claims["eat_nonce"] != report.nonce
            or claims.get("x-nvidia-gpu-driver-version") != report.driver
            or claims.get("x-nvidia-gpu-vbios-version") != report.bios,
        }
        code = next((code for code, wrong in says.items() if wrong), None)
        if code:
            failures["token-device"] = "gpu-" + code
        chain = claims[CERTIFICATES]
        if (chain["x-nvidia-cert-status"], chain["x-nvidia-cert-ocsp-status"]) != ("valid", "good"):
            failures["revocation"] = "gpu-certificate-revoked"


def url64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Jws:
    def __init__(self, text):
        try:
            header, claims, signature = text.split(".")
            self.text, self.signed = text, f"{header}.{claims}".encode()
            self.header = strict.json_value(url64(header), 65_536)
            self.claims = strict.json_value(url64(claims), 1_048_576)
            self.signature = url64(signature)
        except (ValueError, strict.Refused) as error:
            raise Refused("token-malformed") from error
        if not set(self.header) <= {"alg", "kid", "typ"}:
            raise Refused("token-malformed")


def parse_token(data):
    try:
        (kind, overall), devices = strict.json_value(data, 1_048_576)
    except (ValueError, TypeError, strict.Refused) as error:
        raise Refused("token-malformed") from error
    if kind != "JWT" or not devices:
        raise Refused("token-malformed")
    return Jws(overall), {name: Jws(text) for name, text in devices.items()}


def answer(request, files):
    return Appraisal(request, files).answer()
