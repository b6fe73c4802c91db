"""A second opinion: answers the requests of vectors/README.md, one JSON object a line.

Written from the specifications in docs/spec and from Intel's and C2SP's documents, in another
language and with another cryptographic library than the product, so that a misreading of either
shows as a disagreement. It is a check on the product, not a product: use it for nothing else.
"""

import base64
import json
import sys

import dsse
import gpu
import receipt
import room
import snp
import upstream
import vtpm


def answer(request):
    stage = request["stage"]
    if stage == "upstream-tdx":
        return upstream.answer(
            request["policy"],
            base64.b64decode(request["document"], validate=True),
            request["nonce"],
            request["at"],
        )
    if stage == "room":
        return room.answer(
            request,
            base64.b64decode(request["document"], validate=True),
            base64.b64decode(request["reference"], validate=True),
        )
    if stage == "snp":
        names = ["report", "leaf", "intermediate", "root", "crl"]
        decoded = {
            name: request[name] and base64.b64decode(request[name], validate=True) for name in names
        }
        return snp.answer(request, decoded)
    if stage == "gpu":
        decode = lambda text: base64.b64decode(text, validate=True)
        files = {"list": decode(request["list"]), "jwks": request["jwks"] and decode(request["jwks"])}
        for name in ("driver_rims", "bios_rims", "tokens"):
            files[name] = [decode(text) for text in request[name]]
        return gpu.answer(request, files)
    if stage == "vtpm":
        decode = lambda text: text and base64.b64decode(text, validate=True)
        files = {"document": decode(request["document"]), "collateral": decode(request["collateral"])}
        chain = request["chain"]
        files["chain"] = chain and {name: decode(text) for name, text in chain.items()}
        return vtpm.answer(request, files)
    if stage == "dsse":
        return dsse.answer(request["key"], base64.b64decode(request["envelope"], validate=True))
    if stage == "tlog-proof":
        return receipt.answer(
            request["key"],
            base64.b64decode(request["proof"], validate=True),
            base64.b64decode(request["leaf"], validate=True),
        )
    sys.exit(f"unknown stage `{stage}`")


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))))
