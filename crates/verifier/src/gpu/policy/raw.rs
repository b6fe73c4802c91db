//! The policy file for NVIDIA devices as written (TOML), and its reading into a [`GpuPolicy`].
//! Reports every problem at once.

use proofroom_canonical::Digest;
use serde::Deserialize;

use super::{
    DeviceKind, DeviceMode, DeviceRule, GpuOutcome, GpuPolicy, MeasurementRule, NVIDIA_DEVICE_ROOT,
    NVIDIA_RIM_ROOT, SIMULATED, TokenRule,
};
use crate::{
    PolicyProblem,
    policy::{Problems, Purpose, read, read_name, run_examples},
};

/// A day: nobody should live on an appraisal for longer.
const MAX_AGE_SECONDS: u32 = 24 * 3600;
const MAX_COUNT: u16 = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: String,
    purpose: Purpose,
    roots: Vec<String>,
    refuse_certificates: Vec<Digest>,
    freshness: RawFreshness,
    #[serde(default)]
    device: Vec<RawDevice>,
    measurements: RawMeasurements,
    token: RawToken,
    #[serde(default, rename = "match")]
    matches: Vec<RawExample>,
    #[serde(default)]
    not_match: Vec<RawExample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFreshness {
    #[expect(dead_code, reason = "its one value is checked by being read")]
    nonce: Required,
    max_age_seconds: u32,
}

/// The one rule there is. Written out so that a reader of the file sees it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Required {
    Required,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Need {
    Required,
    NotRequired,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDevice {
    kind: DeviceKind,
    chip: String,
    count: u16,
    #[serde(default)]
    driver: Vec<String>,
    bios: Vec<String>,
    #[serde(default)]
    mode: Vec<DeviceMode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "compare_with", rename_all = "kebab-case")]
enum RawMeasurements {
    Rim { roots: Vec<String> },
    Pinned { digests: Vec<Digest> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    token: Need,
    revocation: Need,
    issuers: Vec<String>,
    jwks: Vec<Digest>,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    secure_boot: Required,
    debug_status: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExample {
    root: Option<Digest>,
    certificate: Option<Digest>,
    chips: Option<Vec<String>>,
    issuer: Option<String>,
    debug_status: Option<String>,
    measurements: Option<Digest>,
}

pub(super) fn parse(text: &str, file: &str) -> Result<GpuPolicy, Vec<PolicyProblem>> {
    read(text, file, |raw: RawPolicy, problems| {
        let wanted = Purpose::ProductionUpstream;
        raw.purpose.check(wanted, &raw.name, problems);
        let device_root = ("nvidia-device-identity-ca", NVIDIA_DEVICE_ROOT);
        let policy = GpuPolicy {
            digest: Digest::of(text),
            roots: read_roots(&raw.roots, device_root, &raw.name, problems),
            refuse_certificates: raw.refuse_certificates,
            max_age_seconds: raw.freshness.max_age_seconds,
            devices: read_devices(raw.device, problems),
            measurements: read_measurements(raw.measurements, &raw.name, problems),
            token: read_token(raw.token, problems),
            name: read_name(raw.name, problems),
        };
        if policy.max_age_seconds == 0 || policy.max_age_seconds > MAX_AGE_SECONDS {
            let words = format!("`freshness.max_age_seconds` must be 1 to {MAX_AGE_SECONDS}");
            problems.add("policy-freshness", words);
        }
        let judged = |example: &RawExample| judge_example(&policy, example);
        run_examples(&raw.matches, &raw.not_match, judged, problems);
        policy
    })
}

fn read_roots(
    roots: &[String],
    (vendor, vendors_root): (&str, Digest),
    name: &str,
    problems: &mut Problems<'_>,
) -> Vec<Digest> {
    if roots.is_empty() {
        problems.add("policy-roots", "`roots` must name at least one root");
    }
    let mut read = Vec::new();
    for root in roots {
        if root == vendor {
            read.push(vendors_root);
            continue;
        }
        match root.parse::<Digest>() {
            Ok(digest) if digest == vendors_root || name.contains(SIMULATED) => read.push(digest),
            Ok(_) => problems.add(
                "policy-root-simulated",
                format!(
                    "root `{root}` is not NVIDIA's: a policy that trusts it must have `simulated` in its name"
                ),
            ),
            Err(_) => problems.add(
                "policy-roots",
                format!("root `{root}` is neither `{vendor}` nor `sha256:<64 hex digits>`"),
            ),
        }
    }
    read
}

fn read_devices(raw: Vec<RawDevice>, problems: &mut Problems<'_>) -> Vec<DeviceRule> {
    if raw.is_empty() {
        problems.add("policy-unpinned", "at least one `[[device]]` is needed");
    }
    let mut chips: Vec<String> = Vec::new();
    raw.into_iter()
        .map(|device| {
            let chip = device.chip;
            let mut unpinned = |what: &str| {
                let words = format!("device `{chip}`: {what}");
                problems.add("policy-unpinned", words);
            };
            if chip.is_empty() || chips.contains(&chip) {
                unpinned("`chip` is empty or comes twice");
            }
            if device.count == 0 || device.count > MAX_COUNT {
                unpinned("`count` must be 1 to 32");
            }
            if device.bios.is_empty() || device.bios.iter().any(String::is_empty) {
                unpinned("`bios` must list versions");
            }
            let listed = !device.driver.is_empty() && !device.driver.iter().any(String::is_empty);
            match device.kind {
                DeviceKind::Gpu if !listed => unpinned("`driver` must list versions"),
                DeviceKind::Gpu if device.mode.is_empty() => unpinned("`mode` must list modes"),
                DeviceKind::Switch if !device.driver.is_empty() || !device.mode.is_empty() => {
                    unpinned("a switch has neither `driver` nor `mode`");
                }
                _ => {}
            }
            chips.push(chip.clone());
            DeviceRule {
                kind: device.kind,
                chip,
                count: device.count,
                driver: device.driver,
                bios: device.bios,
                mode: device.mode,
            }
        })
        .collect()
}

fn read_measurements(
    raw: RawMeasurements,
    name: &str,
    problems: &mut Problems<'_>,
) -> MeasurementRule {
    match raw {
        RawMeasurements::Rim { roots } => MeasurementRule::Rim {
            roots: read_roots(
                &roots,
                ("nvidia-corim-root-ca", NVIDIA_RIM_ROOT),
                name,
                problems,
            ),
        },
        RawMeasurements::Pinned { digests } => {
            if digests.is_empty() {
                problems.add("policy-unpinned", "`measurements.digests` is empty");
            }
            MeasurementRule::Pinned(digests)
        }
    }
}

fn read_token(raw: RawToken, problems: &mut Problems<'_>) -> TokenRule {
    let needed = raw.token == Need::Required || raw.revocation == Need::Required;
    if needed && (raw.issuers.is_empty() || raw.jwks.is_empty()) {
        problems.add(
            "policy-unpinned",
            "a required token needs `token.issuers` and `token.jwks`",
        );
    }
    if raw.debug_status.is_empty() {
        problems.add("policy-unpinned", "`token.debug_status` must list words");
    }
    TokenRule {
        required: raw.token == Need::Required,
        revocation_required: raw.revocation == Need::Required,
        issuers: raw.issuers,
        jwks: raw.jwks,
        debug_status: raw.debug_status,
    }
}

fn judge_example(policy: &GpuPolicy, example: &RawExample) -> Vec<bool> {
    let set = |chips: &Vec<String>| {
        let chips: Vec<&str> = chips.iter().map(String::as_str).collect();
        chips.iter().all(|chip| policy.kind_of(chip).is_some())
            && policy.judge_count(&chips) == GpuOutcome::Pass
    };
    let pinned = |digest| policy.judge_measurements(digest) == Some(GpuOutcome::Pass);
    [
        example.root.map(|root| policy.trusts_root(root)),
        example
            .certificate
            .map(|certificate| !policy.refuses_certificate(certificate)),
        example.chips.as_ref().map(set),
        example
            .issuer
            .as_ref()
            .map(|issuer| policy.trusts_issuer(issuer)),
        example
            .debug_status
            .as_ref()
            .map(|status| policy.allows_debug_status(status)),
        example.measurements.map(pinned),
    ]
    .into_iter()
    .flatten()
    .collect()
}
