"""NVIDIA's reference manifests (docs/spec/gpu.md section 4): XML signatures by lxml's canonical form.

Canonical XML 1.1 differs from 1.0, which is what lxml has, in `xml:` attributes alone, and a manifest
with one is refused. Of "exactly the shape that NVIDIA writes" only what signatures and measurements
need is looked at here."""

import base64
import hashlib
import re

from lxml import etree

MAX = 262_144
SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
HASH = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"
C14N = "http://www.w3.org/2006/12/xml-c14n11"
ALGORITHMS = [
    C14N,
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    C14N,
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
]
FORBIDDEN = re.compile(rb"<!|<\?(?!xml )|&|xml:|[^\x20-\x7e\t\r\n]")


class Manifest:
    """A manifest, taken apart; raises ValueError if it is none."""

    def __init__(self, data):
        if len(data) > MAX or FORBIDDEN.search(data):
            raise ValueError("manifest")
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        try:
            root = etree.fromstring(data, parser)
        except etree.XMLSyntaxError as error:
            raise ValueError("manifest") from error
        signatures = root.findall(DSIG + "Signature")
        if root.tag != SWID + "SoftwareIdentity" or len(signatures) != 1:
            raise ValueError("manifest")
        self.read_payload(root)
        self.read_signature(signatures[0])
        tail = signatures[0].tail
        before = signatures[0].getprevious()
        root.remove(signatures[0])
        if tail:
            before.tail = (before.tail or "") + tail
        self.digest = hashlib.sha384(canonical(root)).digest()

    def read_payload(self, root):
        meta = root.find(SWID + "Meta")
        self.version, self.product = meta.get("colloquialVersion"), meta.get("product")
        if not self.version or not self.product:
            raise ValueError("meta")
        self.golden = []
        for resource in root.find(SWID + "Payload"):
            active = resource.get("active")
            if active not in ("True", "False"):
                raise ValueError("active")
            count = int(resource.get("alternatives"))
            values = [value for name, value in resource.items() if name.startswith(HASH)]
            if len(values) != count:
                raise ValueError("alternatives")
            if active == "True":
                self.golden.append((int(resource.get("index")), values))

    def read_signature(self, signature):
        info = signature.find(DSIG + "SignedInfo")
        found = [element.get("Algorithm") for element in info.iter() if element.get("Algorithm")]
        if found != ALGORITHMS or info.find(DSIG + "Reference").get("URI") != "":
            raise ValueError("algorithms")
        self.signed_digest = base64.b64decode(info.find(f".//{DSIG}DigestValue").text)
        self.signed_info = canonical(info)
        self.signature = base64.b64decode(signature.find(DSIG + "SignatureValue").text)
        names = signature.findall(f"{DSIG}KeyInfo/{DSIG}X509Data/{DSIG}X509Certificate")
        self.chain = [base64.b64decode(name.text) for name in names]


def canonical(element):
    return etree.tostring(element, method="c14n", exclusive=False, with_comments=False)
