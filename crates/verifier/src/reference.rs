//! The reference manifest of a room image: what its measured boot must put into each register, event
//! by event, for one shape of machine. Written by `proofroom measure`, read by whoever appraises a
//! room's evidence. Normative text: `docs/spec/measure.md`.

use std::{collections::BTreeMap, fmt};

use proofroom_canonical::{
    Digest, Hex, Refusal,
    json::{self, JsonError},
};
use serde::{Deserialize, Serialize};

mod release;

pub use release::{REFERENCE_RELEASE_V1, ReferenceRelease};
pub(crate) use release::{ReferenceSigner, open};

/// The `format` member of every manifest.
pub const REFERENCE_FORMAT: &str = "proofroom.room-reference.v1";
/// The most bytes of a manifest that are read. One of 40 events has about 16 KiB.
pub const MAX_REFERENCE_BYTES: usize = 256 * 1024;
/// The most events of one boot that are read.
const MAX_EVENTS: usize = 256;
/// The most layers and components that are read.
const MAX_PARTS: usize = 64;

/// The PCRs that a manifest fixes. PCR 15 is the guest's own (runtime events), PCR 10 is the
/// kernel's integrity log; the others stay zero and are not quoted.
pub const PREDICTED_PCRS: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/// A SHA-256 digest in lower-case hex, as members named `sha256` hold it.
pub type Hash256 = Hex<32>;
/// A SHA-384 digest in lower-case hex, as members named `sha384` and TDX registers hold it.
pub type Hash384 = Hex<48>;

/// The machine that the values hold for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The QEMU version whose ACPI tables were measured, as the image's list names it.
    pub qemu: String,
}

/// A file that the image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// What it is: `kernel`, `initrd`, `firmware`, or a name under `acpi/`.
    pub name: String,
    /// Its digest.
    pub sha256: Hash256,
    /// Its size.
    pub bytes: u64,
}

/// A read-only layer that a session of this image may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceLayer {
    /// The layer's name.
    pub name: String,
    /// Its dm-verity root hash: its identity.
    pub root: Hash256,
    /// SHA-256 of the layer's file.
    pub image: Hash256,
}

/// One measurement that the boot must make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceEvent {
    /// The PCR that it goes to with a TPM.
    pub pcr: u32,
    /// The RTMR that the UEFI mapping gives that PCR; none for PCR 0, whose place MRTD takes.
    pub rtmr: Option<u8>,
    /// The event's type, as the TCG names it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is extended into the SHA-256 bank.
    pub sha256: Hash256,
    /// What is extended into the SHA-384 bank, and into an RTMR.
    pub sha384: Hash384,
    /// What was measured, in words.
    pub what: String,
}

/// The final values of [`PREDICTED_PCRS`] in both banks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmReference {
    /// The SHA-256 bank.
    #[serde(deserialize_with = "by_number")]
    pub sha256: BTreeMap<u32, Hash256>,
    /// The SHA-384 bank.
    #[serde(deserialize_with = "by_number")]
    pub sha384: BTreeMap<u32, Hash384>,
}

/// What an Intel TDX module must report for the same image, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TdxReference {
    /// Computed from the same inputs.
    Computed {
        /// The firmware as loaded.
        mrtd: Hash384,
        /// Firmware configuration, ACPI, boot variables.
        rtmr0: Hash384,
        /// The kernel.
        rtmr1: Hash384,
        /// Command line and initrd.
        rtmr2: Hash384,
        /// The events behind the three RTMRs, in order.
        events: Vec<ReferenceEvent>,
    },
    /// Not computed.
    NotComputed {
        /// What is missing.
        reason: String,
    },
}

/// What a room's measured boot must look like. Built by [`ReferenceManifest::new`] or
/// [`ReferenceManifest::parse`] alone, so its registers always are what its events add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceManifest {
    contents: Reference,
    bytes: Vec<u8>,
}

/// The members of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Always [`REFERENCE_FORMAT`].
    pub format: String,
    /// The digest of the image's `image.json`.
    pub image: Digest,
    /// The kernel command line, without what the firmware appends.
    pub command_line: String,
    /// The machine.
    pub shape: Shape,
    /// The files that were measured.
    pub components: Vec<Component>,
    /// Every event of the boot with a TPM, in the order of its log.
    pub events: Vec<ReferenceEvent>,
    /// The registers of a TPM after the boot.
    pub tpm2: TpmReference,
    /// The registers of a TD after the boot.
    pub tdx: TdxReference,
    /// The layers that a session may have.
    pub layers: Vec<ReferenceLayer>,
}

impl ReferenceManifest {
    /// Makes the manifest of `contents`.
    ///
    /// # Errors
    /// Like [`ReferenceManifest::parse`].
    pub fn new(contents: Reference) -> Result<Self, Refusal> {
        check(&contents)?;
        let bytes = json::to_bytes(&contents).map_err(malformed)?;
        let (have, max) = (bytes.len(), MAX_REFERENCE_BYTES);
        if have > max {
            return Err(malformed(JsonError::TooLarge { have, max }));
        }
        Ok(Self { contents, bytes })
    }

    /// Reads a manifest of at most [`MAX_REFERENCE_BYTES`].
    ///
    /// # Errors
    /// `reference-malformed`, `reference-format`, `reference-not-canonical`, `reference-too-many`,
    /// `reference-member`, and `reference-fold` where a register is not the sum of its events.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let manifest = Self::new(json::parse(bytes, MAX_REFERENCE_BYTES).map_err(malformed)?)?;
        Refusal::unless(
            manifest.bytes == bytes,
            "reference-not-canonical",
            || "reference manifest is not in its canonical form, write it with `proofroom measure`",
        )?;
        Ok(manifest)
    }

    /// The bytes that [`Self::digest`] names: compact JSON, members in the order of [`Reference`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The manifest's identity.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// What it says.
    #[must_use]
    pub const fn contents(&self) -> &Reference {
        &self.contents
    }
}

/// The RTMR that events of `pcr` go to in a TD (UEFI 2.10, 38.4.1).
#[must_use]
pub const fn rtmr_of(pcr: u32) -> Option<u8> {
    match pcr {
        1 | 7 => Some(0),
        2..=6 => Some(1),
        8..=15 => Some(2),
        _ => None,
    }
}

/// The registers of a TPM after `events`, all of [`PREDICTED_PCRS`].
#[must_use]
pub fn fold_pcrs(events: &[ReferenceEvent]) -> TpmReference {
    let mut sha256: BTreeMap<_, _> = PREDICTED_PCRS.map(|pcr| (pcr, Hash256::ZERO)).into();
    let mut sha384: BTreeMap<_, _> = PREDICTED_PCRS.map(|pcr| (pcr, Hash384::ZERO)).into();
    for event in events {
        if let Some(register) = sha256.get_mut(&event.pcr) {
            *register = register.extended(&event.sha256);
        }
        if let Some(register) = sha384.get_mut(&event.pcr) {
            *register = register.extended(&event.sha384);
        }
    }
    TpmReference { sha256, sha384 }
}

/// RTMR0 to RTMR2 after `events`.
#[must_use]
pub fn fold_rtmrs(events: &[ReferenceEvent]) -> [Hash384; 3] {
    [0, 1, 2].map(|rtmr| {
        let events = events.iter().filter(|event| event.rtmr == Some(rtmr));
        events.fold(Hash384::ZERO, |sum, event| sum.extended(&event.sha384))
    })
}

fn check(contents: &Reference) -> Result<(), Refusal> {
    Refusal::unless(
        contents.format == REFERENCE_FORMAT,
        "reference-format",
        || {
            let shown: String = contents.format.chars().take(80).collect();
            format!("reference manifest has format `{shown}`, not `{REFERENCE_FORMAT}`")
        },
    )?;
    at_most("components", contents.components.len(), MAX_PARTS)?;
    at_most("layers", contents.layers.len(), MAX_PARTS)?;
    check_events("events", &contents.events)?;
    let unfixed = |event: &&ReferenceEvent| !PREDICTED_PCRS.contains(&event.pcr);
    if let Some(event) = contents.events.iter().find(unfixed) {
        let problem = format!("names PCR {}, which no manifest fixes", event.pcr);
        return Err(unusable("events", problem));
    }
    let folded = fold_pcrs(&contents.events);
    compare("tpm2.sha256.", &folded.sha256, &contents.tpm2.sha256)?;
    compare("tpm2.sha384.", &folded.sha384, &contents.tpm2.sha384)?;
    check_tdx(&contents.tdx)
}

fn check_tdx(tdx: &TdxReference) -> Result<(), Refusal> {
    match tdx {
        TdxReference::Computed {
            rtmr0,
            rtmr1,
            rtmr2,
            events,
            mrtd: _,
        } => {
            check_events("tdx.events", events)?;
            let rtmrs = [rtmr0, rtmr1, rtmr2].into_iter().zip(fold_rtmrs(events));
            let differs = rtmrs.enumerate().find(|(_, (named, sum))| *named != sum);
            differs.map_or(Ok(()), |(number, _)| Err(misfolded("tdx.rtmr", number)))
        }
        TdxReference::NotComputed { reason } if reason.is_empty() => {
            Err(unusable("tdx.reason", "is empty"))
        }
        TdxReference::NotComputed { .. } => Ok(()),
    }
}

fn malformed(error: JsonError) -> Refusal {
    Refusal::new("reference-malformed", "reference manifest refused").because(error)
}

fn unusable(member: &str, problem: impl fmt::Display) -> Refusal {
    let words = format!("`{member}` of the reference manifest {problem}");
    Refusal::new("reference-member", words)
}

/// A register that is not what the manifest's own events add up to.
fn misfolded(bank: &str, register: impl fmt::Display) -> Refusal {
    let words =
        format!("`{bank}{register}` of the reference manifest is not what its events add up to");
    Refusal::new("reference-fold", words)
}

fn check_events(member: &str, events: &[ReferenceEvent]) -> Result<(), Refusal> {
    at_most(member, events.len(), MAX_EVENTS)?;
    if events.is_empty() {
        return Err(unusable(member, "is empty: nothing would be proved"));
    }
    match events.iter().find(|event| event.rtmr != rtmr_of(event.pcr)) {
        Some(event) => {
            let problem = format!("puts an event of PCR {} into a wrong RTMR", event.pcr);
            Err(unusable(member, problem))
        }
        None => Ok(()),
    }
}

fn compare<H: PartialEq>(
    bank: &str,
    folded: &BTreeMap<u32, H>,
    named: &BTreeMap<u32, H>,
) -> Result<(), Refusal> {
    let differs = |pcr: &&u32| folded.get(*pcr) != named.get(*pcr);
    let differing = folded.keys().chain(named.keys()).find(differs);
    differing.map_or(Ok(()), |pcr| Err(misfolded(bank, pcr)))
}

fn at_most(member: &str, have: usize, max: usize) -> Result<(), Refusal> {
    Refusal::unless(have <= max, "reference-too-many", || {
        format!("`{member}` of the reference manifest has {have} entries, more than {max}")
    })
}

/// A bank: register numbers as JSON names. That each is in its one spelling, writing them again shows.
fn by_number<'de, D, H>(d: D) -> Result<BTreeMap<u32, H>, D::Error>
where
    D: serde::Deserializer<'de>,
    H: Deserialize<'de>,
{
    let named = BTreeMap::<String, H>::deserialize(d)?.into_iter();
    let number = |name: String| name.parse().map_err(serde::de::Error::custom);
    named
        .map(|(name, register)| Ok((number(name)?, register)))
        .collect()
}

#[cfg(test)]
mod tests;
