//! The policy for guests with a virtual TPM: whose guests, which hardware, which firmware, which boot.

use std::collections::BTreeMap;

use proofroom_canonical::Digest;
use proofroom_evidence::{REPORT_DATA_BYTES, Register, TdClaims, key_report_data};
use serde::Deserialize;

use super::{Out, VTPM_REGISTERS, VtpmCause, refused};
use crate::{
    Assurance, PolicyProblem, SnpAppraisalPolicy,
    policy::{
        NonceRule, PlatformRule, Problems, Purpose, RawAttributes, RawMachines, RawPlatform,
        RawRegister, RawTcb, RegisterRule, SIMULATED, read, read_name, read_register,
    },
};

/// SHA-256 of the DER of the root that certifies the attestation keys of Google's guests. Policies name it
/// `google-ek-ak-root`. Source: `EK/AK CA Root` of Google Cloud, as dstack keeps it
/// (`dstack/tpm-qvl/certs/gcp-root-ca.pem`).
pub const GOOGLE_EK_AK_ROOT: Digest = Digest::from_bytes([
    0x59, 0x47, 0x59, 0x59, 0x4b, 0x9b, 0x61, 0x52, 0x4f, 0x6c, 0x8e, 0xf6, 0x68, 0xf7, 0x17, 0x7f,
    0x7b, 0x90, 0x66, 0xbc, 0x06, 0x74, 0xf2, 0xf4, 0x9f, 0xe9, 0xe0, 0x52, 0xbe, 0x78, 0xbe, 0xb2,
]);

const GOOGLE_ROOT_NAME: &str = "google-ek-ak-root";

/// Policies for genuine guests, as shipped: examples that accept nobody until their values are replaced.
pub const PRODUCTION_AZURE_TDX: &str = include_str!("../../policies/production-azure-tdx.toml");
/// See [`PRODUCTION_AZURE_TDX`].
pub const PRODUCTION_AZURE_SNP: &str = include_str!("../../policies/production-azure-snp.toml");
/// See [`PRODUCTION_AZURE_TDX`].
pub const PRODUCTION_GCP_TDX: &str = include_str!("../../policies/production-gcp-tdx.toml");
/// See [`PRODUCTION_AZURE_TDX`].
pub const PRODUCTION_GCP_SNP: &str = include_str!("../../policies/production-gcp-snp.toml");

#[derive(Deserialize)]
#[serde(tag = "accept", rename_all = "kebab-case", deny_unknown_fields)]
enum RawPolicy {
    AzureTdx(Box<RawAzureTd>),
    AzureSnp(Box<RawAzureSnp>),
    GcpTdx(Box<RawGcpTd>),
    GcpSnp(Box<RawGcpSnp>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAzureTd {
    name: String,
    purpose: Purpose,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    freshness: RawFreshness,
    roots: Vec<String>,
    tcb: RawTcb,
    attributes: RawAttributes,
    machines: Option<RawMachines>,
    mr_seam: RawRegister,
    mr_td: RawRegister,
    pcrs: RawPcrs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAzureSnp {
    name: String,
    purpose: Purpose,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    freshness: RawFreshness,
    /// An SNP policy, as text.
    snp: String,
    pcrs: RawPcrs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGcpTd {
    name: String,
    purpose: Purpose,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    freshness: RawFreshness,
    google: RawGoogle,
    roots: Vec<String>,
    tcb: RawTcb,
    attributes: RawAttributes,
    machines: Option<RawMachines>,
    mr_seam: RawRegister,
    mr_td: RawRegister,
    rtmr0: RawRegister,
    rtmr1: RawRegister,
    rtmr2: RawRegister,
    pcrs: RawPcrs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGcpSnp {
    name: String,
    purpose: Purpose,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    freshness: RawFreshness,
    google: RawGoogle,
    /// An SNP policy, as text.
    snp: String,
    pcrs: RawPcrs,
}

type RawPcrs = BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFreshness {
    #[expect(dead_code, reason = "its one value is checked by being read")]
    nonce: NonceRule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGoogle {
    ak_roots: Vec<String>,
    projects: RawProjects,
    report_data: Binds,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawProjects {
    List(Vec<String>),
    Word(String),
}

/// What the hardware of a guest of Google's must have been asked to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Binds {
    /// The nonce, then zeros, as Google's tools have it unless they are told otherwise.
    Nonce,
    /// Nonce and attestation key: [`key_report_data`].
    NonceAndKey,
}

/// Whose guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    Azure,
    Gcp,
}

/// Whose virtual TPMs, and what binds them to their hardware.
#[derive(Clone, Debug)]
pub(super) struct GoogleRule {
    roots: Vec<Digest>,
    /// None stands for any.
    projects: Option<Vec<String>>,
    binds: Binds,
}

impl GoogleRule {
    pub(super) fn trusts_root(&self, root: Digest) -> bool {
        self.roots.contains(&root)
    }

    pub(super) fn allows_project(&self, project: &str) -> bool {
        let listed = self.projects.as_ref();
        listed.is_none_or(|listed| listed.iter().any(|one| one == project))
    }

    /// What the report data must be; none for a nonce that is longer.
    pub(super) fn report_data(&self, nonce: &[u8], key: &[u8]) -> Option<[u8; REPORT_DATA_BYTES]> {
        if self.binds == Binds::NonceAndKey {
            return Some(key_report_data(nonce, key));
        }
        let mut data = [0; REPORT_DATA_BYTES];
        data.get_mut(..nonce.len())?.copy_from_slice(nonce);
        Some(data)
    }
}

/// What the hardware must be.
#[derive(Clone, Debug)]
pub(super) enum Hardware {
    Tdx(Box<TdRule>),
    Snp(Box<SnpAppraisalPolicy>),
}

/// What a TD must be. RTMRs of a TD with a paravisor are the paravisor's to use, and Azure's leaves them zero.
#[derive(Clone, Debug)]
pub(super) struct TdRule {
    pub(super) platform: PlatformRule,
    registers: Vec<(Register, RegisterRule)>,
}

impl TdRule {
    pub(super) fn judge_registers(&self, claims: &TdClaims) -> Out {
        let differs = |(register, rule): &&(Register, RegisterRule)| {
            let found = claims.register(*register);
            !rule.fits(&found) || found.repeated_byte().is_some()
        };
        match self.registers.iter().find(differs) {
            Some((register, _)) => {
                let words = "it has no reference value of the policy";
                refused(register, "reference-mismatch", words)
            }
            None => Out::Pass,
        }
    }
}

/// A policy that pins everything it must. See `docs/spec/vtpm.md` for the file's format.
#[derive(Clone, Debug)]
pub struct VtpmPolicy {
    name: String,
    digest: Digest,
    /// None in a policy for guests of Azure.
    google: Option<GoogleRule>,
    hardware: Hardware,
    pcrs: BTreeMap<u32, Vec<[u8; 32]>>,
}

impl VtpmPolicy {
    /// Reads a policy from TOML text; `file` is named in problems.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] that was found, never none.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        let read = read(text, file, |raw: RawPolicy, problems| {
            raw.read(Digest::of(text), problems)
        });
        // No policy always comes with a problem, which is returned here.
        read?.ok_or_else(Vec::new)
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the policy's file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What an acceptance under this policy means.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        Assurance::of_policy(&self.name)
    }

    /// What the hardware of guests of that cloud must be; none where the policy is for another's.
    pub(super) fn hardware_of(&self, cloud: Cloud) -> Option<&Hardware> {
        let own = self.google.as_ref().map_or(Cloud::Azure, |_| Cloud::Gcp);
        (own == cloud).then_some(&self.hardware)
    }

    /// What Google's word must be, in a policy for its guests.
    pub(super) const fn google(&self) -> Option<&GoogleRule> {
        self.google.as_ref()
    }

    /// The registers that it compares.
    pub(super) fn compared(&self) -> impl Iterator<Item = u32> {
        self.pcrs.keys().copied()
    }

    pub(super) fn judge_registers(&self, found: &[[u8; 32]; VTPM_REGISTERS]) -> Out {
        let fits = |pcr: u32, values: &[[u8; 32]]| {
            let place = usize::try_from(pcr).ok();
            let value = place.and_then(|place| found.get(place));
            value.is_some_and(|value| values.contains(value))
        };
        match self.pcrs.iter().find(|(pcr, values)| !fits(**pcr, values)) {
            Some((pcr, _)) => Out::fail(
                VtpmCause::ReferenceMismatch,
                format!("PCR {pcr} has no reference value of the policy"),
            ),
            None => Out::Pass,
        }
    }
}

impl RawPolicy {
    fn read(self, digest: Digest, problems: &mut Problems<'_>) -> Option<VtpmPolicy> {
        let (name, purpose, google, hardware, pcrs) = match self {
            Self::AzureTdx(raw) => {
                let registers = [(Register::MrSeam, raw.mr_seam), (Register::MrTd, raw.mr_td)];
                let platform = RawPlatform {
                    roots: raw.roots,
                    tcb: raw.tcb,
                    attributes: raw.attributes,
                    machines: raw.machines,
                };
                let platform = platform.read(&raw.name, problems);
                let hardware = Some(read_td(platform, registers, problems));
                (raw.name, raw.purpose, None, hardware, raw.pcrs)
            }
            Self::GcpTdx(raw) => {
                let registers = [
                    (Register::MrSeam, raw.mr_seam),
                    (Register::MrTd, raw.mr_td),
                    (Register::Rtmr0, raw.rtmr0),
                    (Register::Rtmr1, raw.rtmr1),
                    (Register::Rtmr2, raw.rtmr2),
                ];
                let platform = RawPlatform {
                    roots: raw.roots,
                    tcb: raw.tcb,
                    attributes: raw.attributes,
                    machines: raw.machines,
                };
                let platform = platform.read(&raw.name, problems);
                let hardware = Some(read_td(platform, registers, problems));
                let google = Some(raw.google.read(&raw.name, problems));
                (raw.name, raw.purpose, google, hardware, raw.pcrs)
            }
            Self::AzureSnp(raw) => {
                let hardware = read_snp(&raw.snp, &raw.name, problems);
                (raw.name, raw.purpose, None, hardware, raw.pcrs)
            }
            Self::GcpSnp(raw) => {
                let hardware = read_snp(&raw.snp, &raw.name, problems);
                let google = Some(raw.google.read(&raw.name, problems));
                (raw.name, raw.purpose, google, hardware, raw.pcrs)
            }
        };
        purpose.check(Purpose::ProductionUpstream, &name, problems);
        let pcrs = read_pcrs(&pcrs, problems);
        Some(VtpmPolicy {
            name: read_name(name, problems),
            digest,
            google,
            hardware: hardware?,
            pcrs,
        })
    }
}

fn read_td<const N: usize>(
    platform: PlatformRule,
    registers: [(Register, RawRegister); N],
    problems: &mut Problems<'_>,
) -> Hardware {
    let mut read = |(register, raw): (Register, RawRegister)| {
        let rule = read_register(register, &raw, "hardware", problems);
        (register, rule)
    };
    let registers = registers.into_iter().map(&mut read).collect();
    Hardware::Tdx(Box::new(TdRule {
        platform,
        registers,
    }))
}

impl RawGoogle {
    fn read(self, name: &str, problems: &mut Problems<'_>) -> GoogleRule {
        let mut roots = Vec::new();
        for root in &self.ak_roots {
            match root.parse() {
                _ if root == GOOGLE_ROOT_NAME => roots.push(GOOGLE_EK_AK_ROOT),
                Ok(digest) if digest == GOOGLE_EK_AK_ROOT || name.contains(SIMULATED) => {
                    roots.push(digest);
                }
                Ok(_) => problems.add(
                    "policy-root-simulated",
                    format!("root `{root}` is not Google's: a policy that trusts it must have `simulated` in its name"),
                ),
                Err(_) => problems.add(
                    "policy-roots",
                    format!("root `{root}` is neither `{GOOGLE_ROOT_NAME}` nor `sha256:<64 hex digits>`"),
                ),
            }
        }
        if self.ak_roots.is_empty() {
            problems.add(
                "policy-roots",
                "`google.ak_roots` must name at least one root",
            );
        }
        let projects = match self.projects {
            RawProjects::Word(word) if word == "any" => None,
            RawProjects::Word(_) => Some(Vec::new()),
            RawProjects::List(listed) => Some(listed),
        };
        if projects.as_ref().is_some_and(Vec::is_empty) {
            let words = "`google.projects` must be a list of project ids or `\"any\"`";
            problems.add("policy-unpinned", words);
        }
        GoogleRule {
            roots,
            projects,
            binds: self.report_data,
        }
    }
}

/// The policy within must not be simulated in one that does not say so.
fn read_snp(text: &str, name: &str, problems: &mut Problems<'_>) -> Option<Hardware> {
    match SnpAppraisalPolicy::parse(text, problems.file) {
        Ok(policy) if policy.assurance() == Assurance::of_policy(name) => {
            Some(Hardware::Snp(Box::new(policy)))
        }
        Ok(_) => {
            let words = "`snp` and the policy must both say `simulated` in their names, or neither";
            problems.add("policy-purpose", words);
            None
        }
        Err(found) => {
            problems.found.extend(found);
            None
        }
    }
}

/// Registers that the guest's own programs reset (TCG PC Client Platform TPM Profile, section 4.6).
const RESETTABLE: [u32; 2] = [16, 23];

fn read_pcrs(
    raw: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems<'_>,
) -> BTreeMap<u32, Vec<[u8; 32]>> {
    let mut read = BTreeMap::new();
    for (number, values) in raw {
        let known = number
            .parse()
            .ok()
            .filter(|pcr: &u32| (0..24).contains(pcr) && pcr.to_string() == *number);
        let values: Option<Vec<[u8; 32]>> = values.iter().map(|text| of_hex(text)).collect();
        match (known, values) {
            (Some(pcr), Some(_)) if RESETTABLE.contains(&pcr) => problems.add(
                "policy-measurement",
                format!("`pcrs.{pcr}` pins nothing: whatever runs in the guest can reset that register"),
            ),
            (Some(pcr), Some(values)) if !values.is_empty() => {
                read.insert(pcr, values);
            }
            _ => problems.add(
                "policy-measurement",
                format!("`pcrs.{number}` must be a register from 0 to 23 with lists of 64 hex digits, no placeholder"),
            ),
        }
    }
    if raw.is_empty() {
        problems.add("policy-unpinned", "`pcrs` must name at least one register");
    }
    read
}

/// A value that is no placeholder.
fn of_hex(text: &str) -> Option<[u8; 32]> {
    let mut value = [0; 32];
    hex::decode_to_slice(text, &mut value).ok()?;
    let [first, ..] = value;
    (value != [first; 32]).then_some(value)
}
