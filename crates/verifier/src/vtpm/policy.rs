//! The policy for guests behind Azure's paravisor: which hardware, which paravisor, which boot.

use std::collections::BTreeMap;

use proofroom_canonical::Digest;
use proofroom_evidence::{Register, TdClaims};
use serde::Deserialize;

use super::{Out, VTPM_REGISTERS, VtpmCause, refused};
use crate::{
    Assurance, PolicyProblem, SnpAppraisalPolicy,
    policy::{
        PlatformRule, Problems, Purpose, RawAttributes, RawMachines, RawPlatform, RawRegister,
        RawTcb, RegisterRule, read, read_name, read_register,
    },
};

#[derive(Deserialize)]
#[serde(tag = "accept", rename_all = "kebab-case", deny_unknown_fields)]
enum RawPolicy {
    AzureTdx(Box<RawTd>),
    AzureSnp {
        name: String,
        purpose: Purpose,
        /// An SNP policy, as text.
        snp: String,
        pcrs: BTreeMap<String, Vec<String>>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTd {
    name: String,
    purpose: Purpose,
    roots: Vec<String>,
    tcb: RawTcb,
    attributes: RawAttributes,
    machines: Option<RawMachines>,
    mr_seam: RawRegister,
    mr_td: RawRegister,
    pcrs: BTreeMap<String, Vec<String>>,
}

/// What the hardware must be.
#[derive(Clone, Debug)]
pub(super) enum Hardware {
    Tdx(Box<TdRule>),
    Snp(Box<SnpAppraisalPolicy>),
}

/// What a TD with a paravisor must be. RTMRs are the paravisor's to use, and Azure's leaves them zero.
#[derive(Clone, Debug)]
pub(super) struct TdRule {
    pub(super) platform: PlatformRule,
    mr_seam: RegisterRule,
    mr_td: RegisterRule,
}

impl TdRule {
    pub(super) fn judge_registers(&self, claims: &TdClaims) -> Out {
        let rules = [
            (Register::MrSeam, &self.mr_seam),
            (Register::MrTd, &self.mr_td),
        ];
        let differs = |(register, rule): &(Register, &RegisterRule)| {
            let found = claims.register(*register);
            !rule.fits(&found) || found.repeated_byte().is_some()
        };
        match rules.iter().find(|rule| differs(rule)) {
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
            let read = raw.read(problems)?;
            let (name, hardware, pcrs) = read;
            Some(Self {
                name,
                digest: Digest::of(text),
                hardware,
                pcrs,
            })
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

    pub(super) const fn hardware(&self) -> &Hardware {
        &self.hardware
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

type Read = (String, Hardware, BTreeMap<u32, Vec<[u8; 32]>>);

impl RawPolicy {
    fn read(self, problems: &mut Problems<'_>) -> Option<Read> {
        let (name, purpose, pcrs, hardware) = match self {
            Self::AzureTdx(raw) => {
                let platform = RawPlatform {
                    roots: raw.roots,
                    tcb: raw.tcb,
                    attributes: raw.attributes,
                    machines: raw.machines,
                };
                let rule = TdRule {
                    platform: platform.read(&raw.name, problems).of_a_paravisor(),
                    mr_seam: read_register(Register::MrSeam, &raw.mr_seam, "hardware", problems),
                    mr_td: read_register(Register::MrTd, &raw.mr_td, "hardware", problems),
                };
                let hardware = Some(Hardware::Tdx(Box::new(rule)));
                (raw.name, raw.purpose, raw.pcrs, hardware)
            }
            Self::AzureSnp {
                name,
                purpose,
                snp,
                pcrs,
            } => {
                let hardware = read_snp(&snp, &name, problems);
                (name, purpose, pcrs, hardware)
            }
        };
        purpose.check(Purpose::ProductionUpstream, &name, problems);
        let pcrs = read_pcrs(&pcrs, problems);
        Some((read_name(name, problems), hardware?, pcrs))
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
