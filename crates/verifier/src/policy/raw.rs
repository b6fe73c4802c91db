//! The policy file as written (TOML), and its reading into an [`AppraisalPolicy`]. Reports every
//! problem at once.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{Measurement, Register};
use serde::Deserialize;

use super::{
    AppraisalPolicy, INTEL_SGX_ROOT, MAX_POLICY_BYTES, PolicyProblem, Reference, RegisterRule,
    SIMULATED, TcbRule, TcbStatus, Tolerance,
};

const MAX_NAME_BYTES: usize = 64;
/// A day: nobody should live on an appraisal for longer.
const MAX_AGE_SECONDS: u32 = 24 * 3600;
/// Thirty days: Intel's collateral does not hold for longer either.
const MAX_KEYSET_SECONDS: u32 = 30 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: String,
    roots: Vec<String>,
    models: Vec<String>,
    freshness: RawFreshness,
    tcb: RawTcb,
    attributes: RawAttributes,
    #[serde(default)]
    reference: Vec<RawReference>,
    #[serde(default, rename = "match")]
    matches: Vec<RawExample>,
    #[serde(default)]
    not_match: Vec<RawExample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFreshness {
    #[expect(dead_code, reason = "its one value is checked by being read")]
    nonce: NonceRule,
    max_age_seconds: u32,
    max_keyset_seconds: u32,
}

/// The one rule there is. Written out so that a reader of the file sees it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NonceRule {
    Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcb {
    accept: Vec<TcbStatus>,
    min_evaluation_data_number: u32,
    refuse_advisories: Vec<String>,
    #[serde(default)]
    tolerate: Vec<RawTolerance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTolerance {
    status: TcbStatus,
    until: Timestamp,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttributes {
    allow: Vec<AttributeName>,
}

/// Attribute bits that do not let others in (TDX module ABI specification, TD attributes).
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum AttributeName {
    Icssd,
    Lass,
    SeptVeDisable,
    Pks,
    Kl,
    Tpa,
    Perfmon,
}

impl AttributeName {
    const fn bit(self) -> u64 {
        1 << match self {
            Self::Icssd => 16,
            Self::Lass => 27,
            Self::SeptVeDisable => 28,
            Self::Pks => 30,
            Self::Kl => 31,
            Self::Tpa => 62,
            Self::Perfmon => 63,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    name: String,
    mr_seam: RawRegister,
    mr_td: RawRegister,
    rtmr0: RawRegister,
    rtmr1: RawRegister,
    rtmr2: RawRegister,
    rtmr3: RawRegister,
    mr_config_id: RawRegister,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawRegister {
    List(Vec<String>),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExample {
    model: Option<String>,
    tcb: Option<RawStatusAt>,
    root: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStatusAt {
    status: TcbStatus,
    at: Timestamp,
}

struct Problems<'a> {
    file: &'a str,
    found: Vec<PolicyProblem>,
}

impl Problems<'_> {
    fn add(&mut self, code: &'static str, words: impl Into<String>) {
        self.found.push(PolicyProblem {
            file: self.file.to_owned(),
            code,
            words: words.into(),
        });
    }
}

pub(super) fn parse(text: &str, file: &str) -> Result<AppraisalPolicy, Vec<PolicyProblem>> {
    let mut problems = Problems {
        file,
        found: Vec::new(),
    };
    if text.len() > MAX_POLICY_BYTES {
        let words = format!("{} bytes are more than {MAX_POLICY_BYTES}", text.len());
        problems.add("policy-too-large", words);
        return Err(problems.found);
    }
    let raw: RawPolicy = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            problems.add("policy-syntax", error.to_string().trim_end());
            return Err(problems.found);
        }
    };
    let (matches, not_matches) = (raw.matches, raw.not_match);
    let policy = AppraisalPolicy {
        digest: Digest::of(text),
        roots: read_roots(&raw.roots, &raw.name, &mut problems),
        name: read_name(raw.name, &mut problems),
        models: read_models(raw.models, &mut problems),
        max_age_seconds: raw.freshness.max_age_seconds,
        max_keyset_seconds: raw.freshness.max_keyset_seconds,
        tcb: read_tcb(raw.tcb, &mut problems),
        allowed_attributes: raw
            .attributes
            .allow
            .iter()
            .fold(0, |bits, name| bits | name.bit()),
        references: read_references(raw.reference, &mut problems),
    };
    check_limits(&policy, &mut problems);
    run_examples(&policy, &matches, Expect::Match, &mut problems);
    run_examples(&policy, &not_matches, Expect::NoMatch, &mut problems);
    if problems.found.is_empty() {
        Ok(policy)
    } else {
        Err(problems.found)
    }
}

fn read_name(name: String, problems: &mut Problems<'_>) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        problems.add(
            "policy-name",
            "`name` must have 1 to 64 lower-case letters, digits and hyphens",
        );
    }
    name
}

fn read_roots(roots: &[String], name: &str, problems: &mut Problems<'_>) -> Vec<Digest> {
    if roots.is_empty() {
        problems.add("policy-roots", "`roots` must name at least one root");
    }
    let mut read = Vec::new();
    for root in roots {
        if root == "intel-sgx-root" {
            read.push(INTEL_SGX_ROOT);
            continue;
        }
        match root.parse::<Digest>() {
            Ok(digest) if digest == INTEL_SGX_ROOT || name.contains(SIMULATED) => {
                read.push(digest);
            }
            Ok(_) => problems.add(
                "policy-root-simulated",
                format!(
                    "root `{root}` is no vendor's: a policy that trusts it must have `simulated` in its name"
                ),
            ),
            Err(_) => problems.add(
                "policy-roots",
                format!("root `{root}` is neither `intel-sgx-root` nor `sha256:<64 hex digits>`"),
            ),
        }
    }
    read
}

fn read_models(models: Vec<String>, problems: &mut Problems<'_>) -> Vec<String> {
    let misplaced = |model: &String| model.trim_end_matches('*').contains('*');
    if models.is_empty() || models.iter().any(|m| m.is_empty() || misplaced(m)) {
        problems.add(
            "policy-models",
            "`models` must list model names, with `*` at their end alone",
        );
    }
    models
}

fn read_tcb(tcb: RawTcb, problems: &mut Problems<'_>) -> TcbRule {
    if tcb.accept.is_empty() {
        problems.add("policy-tcb", "`tcb.accept` must list at least one status");
    }
    let tolerated = tcb.tolerate.iter().map(|t| t.status);
    if tcb
        .accept
        .iter()
        .copied()
        .chain(tolerated)
        .any(|status| status == TcbStatus::Revoked)
    {
        problems.add("policy-tcb", "a `Revoked` TCB can not be accepted");
    }
    if tcb.tolerate.iter().any(|t| t.reason.trim().is_empty()) {
        problems.add("policy-tcb", "`tcb.tolerate` needs a `reason`");
    }
    TcbRule {
        accept: tcb.accept,
        tolerate: tcb
            .tolerate
            .into_iter()
            .map(|t| Tolerance {
                status: t.status,
                until: t.until,
            })
            .collect(),
        min_evaluation: tcb.min_evaluation_data_number,
        refuse_advisories: tcb.refuse_advisories,
    }
}

fn read_references(raw: Vec<RawReference>, problems: &mut Problems<'_>) -> Vec<Reference> {
    if raw.is_empty() {
        problems.add(
            "policy-unpinned",
            "at least one `[[reference]]` set of measurements is needed",
        );
    }
    raw.into_iter()
        .map(|reference| {
            let name = reference.name;
            let registers = [
                (Register::MrSeam, reference.mr_seam),
                (Register::MrTd, reference.mr_td),
                (Register::Rtmr0, reference.rtmr0),
                (Register::Rtmr1, reference.rtmr1),
                (Register::Rtmr2, reference.rtmr2),
                (Register::Rtmr3, reference.rtmr3),
                (Register::MrConfigId, reference.mr_config_id),
            ];
            let registers = registers
                .into_iter()
                .map(|(register, rule)| (register, read_register(register, &rule, &name, problems)))
                .collect();
            Reference { name, registers }
        })
        .collect()
}

fn read_register(
    register: Register,
    rule: &RawRegister,
    reference: &str,
    problems: &mut Problems<'_>,
) -> RegisterRule {
    let must_be_pinned = matches!(
        register,
        Register::MrTd | Register::Rtmr0 | Register::Rtmr1 | Register::Rtmr2
    );
    let values = match rule {
        RawRegister::Word(word) if word == "not-compared" && !must_be_pinned => {
            return RegisterRule::NotCompared;
        }
        RawRegister::Word(_) => &[][..],
        RawRegister::List(values) => values.as_slice(),
    };
    if values.is_empty() {
        let or_not = if must_be_pinned {
            ""
        } else {
            " or `\"not-compared\"`"
        };
        problems.add(
            "policy-unpinned",
            format!("reference `{reference}`: `{register}` must be a list of values{or_not}"),
        );
    }
    let mut read = Vec::new();
    for value in values {
        match value.parse::<Measurement>() {
            Ok(measurement) if must_be_pinned && measurement.repeated_byte().is_some() => {
                problems.add(
                    "policy-placeholder",
                    format!("reference `{reference}`: `{register}` is pinned to a placeholder"),
                );
            }
            Ok(measurement) => read.push(measurement),
            Err(_) => problems.add(
                "policy-measurement",
                format!(
                    "reference `{reference}`: `{register}` value `{value}` is not 96 lower-case hex digits"
                ),
            ),
        }
    }
    RegisterRule::OneOf(read)
}

fn check_limits(policy: &AppraisalPolicy, problems: &mut Problems<'_>) {
    for (key, value, max) in [
        ("max_age_seconds", policy.max_age_seconds, MAX_AGE_SECONDS),
        (
            "max_keyset_seconds",
            policy.max_keyset_seconds,
            MAX_KEYSET_SECONDS,
        ),
    ] {
        if value == 0 || value > max {
            problems.add(
                "policy-freshness",
                format!("`freshness.{key}` must be 1 to {max}"),
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Match,
    NoMatch,
}

fn run_examples(
    policy: &AppraisalPolicy,
    examples: &[RawExample],
    expect: Expect,
    problems: &mut Problems<'_>,
) {
    for (index, example) in examples.iter().enumerate() {
        let judged: Vec<bool> = [
            example.model.as_ref().map(|m| policy.allows_model(m)),
            example
                .tcb
                .as_ref()
                .map(|t| policy.judge_status(t.status, t.at).is_ok()),
            example.root.map(|root| policy.trusts_root(root)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let holds = judged.iter().all(|accepted| *accepted);
        let (key, as_wanted) = match expect {
            Expect::Match => ("match", holds),
            Expect::NoMatch => ("not_match", !holds),
        };
        if judged.is_empty() {
            problems.add("policy-example", format!("[[{key}]] {index} says nothing"));
        } else if !as_wanted {
            problems.add(
                "policy-example",
                format!("[[{key}]] {index} does not hold under this policy"),
            );
        }
    }
}
