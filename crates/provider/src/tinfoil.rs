//! The attestation document of a Tinfoil enclave, version 3, taken apart without trust: a report or quote of the
//! processor, and two sections whose exact bytes it binds together with the challenge. Members that are not named here
//! are not read, Sigstore bundles and Intel's answers among them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{
    Digest, Nonce,
    json::{self, JsonError},
    lower_hex,
};
use proofroom_evidence::MAX_QUOTE_BYTES;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{MAX_REPORT_BYTES, ReportError};

/// The document's format.
const DOCUMENT: &str = "https://tinfoil.sh/predicate/attestation/v3";
/// The formats of version 2: made at boot, for no challenge.
const SUPERSEDED: [&str; 2] = [
    "https://tinfoil.sh/predicate/sev-snp-guest/v2",
    "https://tinfoil.sh/predicate/tdx-guest/v2",
];
/// How report data is made, and what stands first in it.
const REPORT_DATA: &str = "https://tinfoil.sh/report-data/v1";
const CRYPTO_MATERIAL: &str = "https://tinfoil.sh/crypto-material/v1";
const DEVICE_EVIDENCE: &str = "https://tinfoil.sh/device-evidence/v1";
const SNP_REPORT: &str = "https://tinfoil.sh/format/sev-snp-report/v1";
const TDX_QUOTE: &str = "https://tinfoil.sh/format/tdx-quote/v1";
const GPU_EVIDENCE: &str = "https://tinfoil.sh/format/nvidia-gpu-evidence/v1";
const SPKI_DIGEST: &str = "https://tinfoil.sh/key/spki-fp-sha256/v1";
const SPKI: &str = "https://tinfoil.sh/key/spki/v1";
const VCEK: &str = "https://tinfoil.sh/collateral/amd-vcek/v1";
const CRL: &str = "https://tinfoil.sh/collateral/amd-crl/v1";
/// The most items of a section, and entries of collateral.
const MAX_ITEMS: usize = 64;

/// What the processor signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    Snp,
    Tdx,
}

/// AMD's certificates as the document brings them along, each DER.
#[derive(Clone, Debug, Default)]
pub(crate) struct AmdChain {
    pub(crate) leaf: Vec<u8>,
    pub(crate) intermediate: Vec<u8>,
    pub(crate) root: Vec<u8>,
    pub(crate) crl: Option<Vec<u8>>,
}

/// What an enclave says of itself.
#[derive(Debug)]
pub(crate) struct TinfoilReport {
    pub(crate) processor: Processor,
    pub(crate) evidence: Vec<u8>,
    pub(crate) nonce: Nonce,
    /// Whether the report data and the digests that it states are those of what it shows.
    pub(crate) states_itself: bool,
    /// What the processor must have signed.
    pub(crate) report_data: [u8; 64],
    /// The key that ends connections.
    pub(crate) tls_spki: Option<Digest>,
    /// The evidence of devices as NVIDIA's tools list it, or what is wrong with it; nothing of no device.
    pub(crate) gpus: Result<Option<String>, &'static str>,
    pub(crate) chain: Option<AmdChain>,
}

#[derive(Deserialize)]
struct Raw {
    challenge: RawChallenge,
    cpu_evidence: RawEvidence,
    crypto_material: String,
    device_evidence: String,
    #[serde(default)]
    collateral: Vec<Entry>,
}

#[derive(Deserialize)]
struct Named {
    format: String,
}

#[derive(Deserialize)]
struct RawChallenge {
    nonce: Nonce,
    report_data: String,
    report_data_algorithm: String,
}

#[derive(Deserialize)]
struct RawEvidence {
    format: String,
    report_base64: String,
    endorsed: Endorsed,
}

#[derive(Deserialize)]
struct Endorsed {
    crypto_material_hash: String,
    device_evidence_hash: String,
}

/// A section whose bytes are bound, so that everything in it must be known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section<T> {
    format: String,
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    id: String,
    format: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    id: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "vendor")]
    _vendor: String,
    format: String,
    evidence: Value,
}

#[derive(Deserialize)]
struct Entry {
    role: String,
    format: String,
    #[serde(default)]
    subjects: Vec<String>,
    data: Value,
}

#[derive(Deserialize)]
struct Vcek {
    vcek_der_base64: String,
    cert_chain_pem: String,
}

#[derive(Deserialize)]
struct Crl {
    crl_der_base64: String,
}

impl TinfoilReport {
    /// Reads a document of at most [`MAX_REPORT_BYTES`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let document = json::parse_value(bytes, MAX_REPORT_BYTES).map_err(ReportError::Document)?;
        let named = Named::deserialize(&document).map_err(shape)?;
        if SUPERSEDED.contains(&named.format.as_str()) {
            return Err(ReportError::Superseded);
        }
        if named.format != DOCUMENT {
            return Err(member("format", "is no version that is read"));
        }
        read(&Raw::deserialize(document).map_err(shape)?)
    }
}

fn read(raw: &Raw) -> Result<TinfoilReport, ReportError> {
    if raw.challenge.report_data_algorithm != REPORT_DATA {
        return Err(member("report_data_algorithm", "is not known"));
    }
    let processor = match raw.cpu_evidence.format.as_str() {
        SNP_REPORT => Processor::Snp,
        TDX_QUOTE => Processor::Tdx,
        _ => return Err(member("cpu_evidence", "is of no processor that is known")),
    };
    let evidence = decoded(&raw.cpu_evidence.report_base64);
    let evidence = evidence.filter(|bytes| bytes.len() <= MAX_QUOTE_BYTES);
    let crypto = decoded(&raw.crypto_material).ok_or(member("crypto_material", "is no base64"))?;
    let devices = decoded(&raw.device_evidence).ok_or(member("device_evidence", "is no base64"))?;
    let keys: Vec<Key> = section(&crypto, CRYPTO_MATERIAL, "crypto_material")?;
    let listed: Vec<Device> = section(&devices, DEVICE_EVIDENCE, "device_evidence")?;
    let digests = [Digest::of(&crypto), Digest::of(&devices)];
    let report_data = data_of(raw.challenge.nonce, digests);
    Ok(TinfoilReport {
        processor,
        evidence: evidence.ok_or(member(
            "report_base64",
            "is not base64 of a size that is read",
        ))?,
        nonce: raw.challenge.nonce,
        states_itself: raw.cpu_evidence.endorsed.are(digests)
            && lower_hex(&raw.challenge.report_data) == Some(report_data),
        report_data,
        tls_spki: tls_key(&keys)?,
        gpus: gpus(&listed),
        chain: chain(&raw.collateral)?,
    })
}

/// SHA-256 of algorithm, challenge and both digests, with zeroes behind it.
fn data_of(nonce: Nonce, [crypto, devices]: [Digest; 2]) -> [u8; 64] {
    let text = [
        REPORT_DATA.as_bytes(),
        nonce.as_bytes(),
        crypto.as_bytes(),
        devices.as_bytes(),
    ];
    let mut data = [0; 64];
    data[..32].copy_from_slice(Digest::of(text.concat()).as_bytes());
    data
}

impl Endorsed {
    fn are(&self, [crypto, devices]: [Digest; 2]) -> bool {
        self.crypto_material_hash == crypto.to_hex()
            && self.device_evidence_hash == devices.to_hex()
    }
}

fn section<T: DeserializeOwned>(
    bytes: &[u8],
    format: &str,
    name: &'static str,
) -> Result<Vec<T>, ReportError> {
    let read: Result<Section<T>, JsonError> = json::parse(bytes, MAX_REPORT_BYTES);
    let section = read.map_err(ReportError::Document)?;
    if section.format != format || section.items.len() > MAX_ITEMS {
        return Err(member(name, "is of another format, or too long"));
    }
    Ok(section.items)
}

/// The key that is called `tls`, of which there may be one.
fn tls_key(keys: &[Key]) -> Result<Option<Digest>, ReportError> {
    let mut named = keys.iter().filter(|key| key.id == "tls");
    let (key, None) = (named.next(), named.next()) else {
        return Err(member("crypto_material", "names two keys `tls`"));
    };
    let Some(key) = key else { return Ok(None) };
    let digest = match key.format.as_str() {
        SPKI_DIGEST => lower_hex(&key.data).map(Digest::from_bytes),
        SPKI => hex::decode(&key.data).ok().map(Digest::of),
        _ => None,
    };
    let digest = digest.ok_or(member("crypto_material", "has a TLS key that is not read"))?;
    Ok(Some(digest))
}

/// All devices as one list. One that cannot be judged must not be left out of it.
fn gpus(devices: &[Device]) -> Result<Option<String>, &'static str> {
    for (place, device) in devices.iter().enumerate() {
        if device.format != GPU_EVIDENCE {
            return Err("a device shows evidence of a kind that is not known");
        }
        let others = devices.iter().skip(place.saturating_add(1));
        if others.into_iter().any(|other| other.id == device.id) {
            return Err("two devices have one name");
        }
    }
    let list: Value = devices
        .iter()
        .map(|device| device.evidence.clone())
        .collect();
    Ok((!devices.is_empty()).then(|| list.to_string()))
}

/// The certificates for the processor. Nothing of them is believed: the verifier judges them.
fn chain(entries: &[Entry]) -> Result<Option<AmdChain>, ReportError> {
    if entries.len() > MAX_ITEMS {
        return Err(member("collateral", "has too many entries"));
    }
    let of_cpu = |format: &str| {
        let mut found = entries.iter().filter(|entry| {
            let cpu = entry.subjects.iter().any(|subject| subject == "cpu");
            entry.role == "endorsement" && entry.format == format && cpu
        });
        found.next().map(|entry| &entry.data)
    };
    let Some(data) = of_cpu(VCEK) else {
        return Ok(None);
    };
    let unread = || member("collateral", "has certificates that are not read");
    let vcek = Vcek::deserialize(data).map_err(shape)?;
    let issuers = pem::parse_many(&vcek.cert_chain_pem).map_err(|_| unread())?;
    let issuers: Vec<_> = issuers.into_iter().map(pem::Pem::into_contents).collect();
    let [intermediate, root] = <[Vec<u8>; 2]>::try_from(issuers).map_err(|_| unread())?;
    let crl = match of_cpu(CRL) {
        None => None,
        Some(data) => {
            let crl = Crl::deserialize(data).map_err(shape)?;
            Some(decoded(&crl.crl_der_base64).ok_or_else(unread)?)
        }
    };
    Ok(Some(AmdChain {
        leaf: decoded(&vcek.vcek_der_base64).ok_or_else(unread)?,
        intermediate,
        root,
        crl,
    }))
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

const fn member(member: &'static str, problem: &'static str) -> ReportError {
    ReportError::Member { member, problem }
}

fn shape(error: serde_json::Error) -> ReportError {
    ReportError::Document(JsonError::Shape(error))
}
