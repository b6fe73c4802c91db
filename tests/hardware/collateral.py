#!/usr/bin/env python3
"""What Intel says about a TDX platform, as `proofroom run --collateral DIR` reads it: DIR/FMSPC.json.

    tests/hardware/collateral.py DIR FMSPC [URL]

URL is a PCS or a PCCS, https://api.trustedservices.intel.com by default. The refusal of a session names the
FMSPC that it misses. Nothing is verified here: the verifier does that.
"""

import json
import pathlib
import sys
import urllib.parse
import urllib.request

INTEL = "https://api.trustedservices.intel.com"
ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read(1 << 20), answer.headers


def chain(headers, *names):
    """The issuer's certificates, PEM, percent-encoded in a header of one of these names."""
    for name in names:
        if headers.get(name):
            return urllib.parse.unquote(headers[name])
    raise SystemExit(f"the answer has none of the headers {names}")


def signed(body, member):
    """The exact text of `member`, which the signature is over, and the signature."""
    text = body.decode()
    start = text.index(f'"{member}":') + len(member) + 3
    end = start + len(text[start:]) - len(text[start:].lstrip())
    _, length = json.JSONDecoder().raw_decode(text[end:])
    return text[end : end + length], json.loads(text)["signature"]


def main(directory, fmspc, base=INTEL):
    sgx, tdx = (f"{base}/{kind}/certification/v4" for kind in ("sgx", "tdx"))
    crl, crl_headers = get(f"{sgx}/pckcrl?ca=platform&encoding=der")
    tcb, tcb_headers = get(f"{tdx}/tcb?fmspc={fmspc}")
    identity, identity_headers = get(f"{tdx}/qe/identity")
    if base == INTEL:
        root, _ = get(ROOT_CRL)
    else:
        root = bytes.fromhex(get(f"{sgx}/rootcacrl")[0].decode().strip())
    tcb_info, tcb_signature = signed(tcb, "tcbInfo")
    qe_identity, qe_signature = signed(identity, "enclaveIdentity")
    collateral = {
        "pck_crl_issuer_chain": chain(crl_headers, "SGX-PCK-CRL-Issuer-Chain"),
        "root_ca_crl": root.hex(),
        "pck_crl": crl.hex(),
        "tcb_info_issuer_chain": chain(tcb_headers, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
        "tcb_info": tcb_info,
        "tcb_info_signature": tcb_signature,
        "qe_identity_issuer_chain": chain(identity_headers, "SGX-Enclave-Identity-Issuer-Chain"),
        "qe_identity": qe_identity,
        "qe_identity_signature": qe_signature,
    }
    place = pathlib.Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{fmspc.lower()}.json").write_text(json.dumps(collateral))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
