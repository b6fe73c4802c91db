"""Evidence of an attested upstream (docs/spec/evidence.md): every check, in the order of section 5."""

import hashlib
import json
import re

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

import platform_tdx
import quote_tdx
import strict

CHECKS = [
    "document-parse",
    "quote-parse",
    "statement-parse",
    "pck-chain-root",
    "collateral-time",
    "collateral-signature",
    "quote-signature",
    "tcb-status",
    "td-attributes",
    "reference-values",
    "placeholder-registers",
    "report-data-binding",
    "nonce",
    "keyset-expiry",
    "model",
]
MAX_DOCUMENT = 512 * 1024
MAX_STATEMENT = 4 * 1024
MAX_QUOTE = 16 * 1024
COLLATERAL = {
    name: str
    for name in (
        "pck_crl_issuer_chain root_ca_crl pck_crl tcb_info_issuer_chain tcb_info"
        " tcb_info_signature qe_identity_issuer_chain qe_identity qe_identity_signature"
    ).split()
}
HEX = ["root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"]
STATEMENT = ["purpose", "nonce", "tls_spki_sha256", "model", "not_after"]
PURPOSE = "proofroom.upstream-keyset.v1"


def answer(policy_text, data, nonce, at):
    policy = tomllib.loads(policy_text)
    failures = {}
    identity = tcb = None
    try:
        statement_text, quote_bytes, collateral = document(data)
    except strict.Refused:
        return verdict({"document-parse": "document-malformed"}, nonce, None, None)
    statement = read_statement(statement_text, failures)
    try:
        quote = quote_tdx.parse(quote_bytes)
    except quote_tdx.Malformed:
        failures["quote-parse"] = "quote-malformed"
    else:
        identity = "sha256:" + hashlib.sha256(quote.signed).hexdigest()
        platform_failures, status = platform_tdx.appraise(quote, collateral, policy, at)
        failures.update(platform_failures)
        failures.update(claims(quote, policy, statement_text))
        if not failures.keys() & set(CHECKS[3:9]):
            tcb = status
    if statement is not None:
        failures.update(judge_statement(statement, policy, nonce, at))
    return verdict(failures, nonce, identity, tcb)


def verdict(failures, nonce, identity, tcb):
    result = {"verdict": "accept" if nonce else "incomplete"}
    first = next((name for name in CHECKS if name in failures), None)
    if first:
        result = {"verdict": "reject", "check": first, "code": failures[first]}
    if identity:
        result["identity"] = identity
    if tcb:
        result["tcb"] = tcb
    return result


def document(data):
    value = strict.members(
        strict.json_value(data, MAX_DOCUMENT),
        {"format": str, "statement": str, "quote": str, "collateral": dict},
    )
    if value["format"] != "proofroom.upstream-evidence.v1":
        raise strict.Refused("format")
    collateral = dict(strict.members(value["collateral"], COLLATERAL))
    for name in HEX:
        try:
            collateral[name] = bytes.fromhex(collateral[name])
        except ValueError as error:
            raise strict.Refused(name) from error
    quote = strict.base64_bytes(value["quote"])
    if len(quote) > MAX_QUOTE:
        raise strict.Refused("quote")
    return value["statement"], quote, collateral


def read_statement(text, failures):
    """The statement, if it is one in its one spelling."""
    failures["statement-parse"] = "statement-malformed"
    try:
        value = strict.json_value(text.encode(), MAX_STATEMENT)
        strict.members(value, {name: str for name in STATEMENT})
        strict.time_text(value["not_after"])
    except strict.Refused:
        return None
    if not re.fullmatch("[0-9a-f]{64}", value["nonce"]):
        return None
    if not re.fullmatch("sha256:[0-9a-f]{64}", value["tls_spki_sha256"]):
        return None
    if value["purpose"] != PURPOSE:
        failures["statement-parse"] = "statement-purpose"
        return None
    model = value["model"]
    control = any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in model)
    spelled = json.dumps(
        {name: value[name] for name in STATEMENT}, separators=(",", ":"), ensure_ascii=False
    )
    if not 0 < len(model.encode()) <= 256 or control or spelled != text:
        return None
    del failures["statement-parse"]
    return value


def claims(quote, policy, statement_text):
    failures = {}
    if code := attributes(quote, policy["attributes"]["allow"]):
        failures["td-attributes"] = code
    if not any(fits(quote, reference) for reference in policy["reference"]):
        failures["reference-values"] = "reference-mismatch"
    if any(is_placeholder(name, value) for name, value in quote.registers.items()):
        failures["placeholder-registers"] = "placeholder-register"
    if quote.report_data != hashlib.sha512(statement_text.encode()).digest():
        failures["report-data-binding"] = "report-data-mismatch"
    return failures


NAMED_BITS = {
    "ICSSD": 16,
    "LASS": 27,
    "SEPT_VE_DISABLE": 28,
    "PKS": 30,
    "KL": 31,
    "TPA": 62,
    "PERFMON": 63,
}
RESERVED = [*range(1, 4), *range(7, 16), *range(23, 27), *range(32, 62)]


def attributes(quote, allowed):
    """The code of what is wrong with TDATTRIBUTES (TDX module ABI specification), if anything is."""
    on = {bit for bit in range(64) if quote.attributes >> bit & 1}
    if 0 in on:
        return "td-debug"
    if on & {4, 5, 6}:
        return "td-profiling"
    if on & set(RESERVED):
        return "td-reserved"
    if 17 in on or quote.service_td not in (None, bytes(48)):
        return "td-service-td"
    if 29 in on:
        return "td-migratable"
    if 28 not in on:
        return "td-sept-ve"
    if on - {NAMED_BITS[name] for name in allowed}:
        return "attribute-not-allowed"
    return None


def fits(quote, reference):
    return all(
        reference[name] == "not-compared" or value.hex() in reference[name]
        for name, value in quote.registers.items()
    )


def is_placeholder(name, value):
    if name in ("rtmr3", "mr_config_id") and value == bytes(48):
        return False
    return value == value[:1] * 48


def judge_statement(statement, policy, nonce, at):
    failures = {}
    if nonce and statement["nonce"] != nonce:
        failures["nonce"] = "nonce-mismatch"
    left = platform_tdx.seconds(statement["not_after"]) - platform_tdx.seconds(at)
    if left <= 0:
        failures["keyset-expiry"] = "keyset-expired"
    elif left > policy["freshness"]["max_keyset_seconds"]:
        failures["keyset-expiry"] = "keyset-lifetime"
    if not any(names(pattern, statement["model"]) for pattern in policy["models"]):
        failures["model"] = "model-not-allowed"
    return failures


def names(pattern, model):
    if pattern.endswith("*"):
        return model.startswith(pattern[:-1])
    return model == pattern
