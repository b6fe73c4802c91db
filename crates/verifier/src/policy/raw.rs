//! The policy file as written (TOML), and its reading into an [`AppraisalPolicy`]. Reports every
//! problem at once.

use proofroom_canonical::Digest;
use proofroom_evidence::{Measurement, Register};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    AppraisalPolicy, MAX_POLICY_BYTES, PolicyProblem, Purpose, RawAttributes, RawMachines,
    RawPlatform, RawPlatformExample, RawTcb, Reference, RegisterRule, platform::RawStatusAt,
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
    purpose: Purpose,
    roots: Vec<String>,
    models: Vec<String>,
    freshness: RawFreshness,
    tcb: RawTcb,
    attributes: RawAttributes,
    machines: Option<RawMachines>,
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
pub(crate) enum NonceRule {
    Required,
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
pub(crate) enum RawRegister {
    List(Vec<String>),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExample {
    model: Option<String>,
    tcb: Option<RawStatusAt>,
    root: Option<Digest>,
    ppid: Option<String>,
    fmspc: Option<String>,
}

impl RawExample {
    fn judged(&self, policy: &AppraisalPolicy) -> Vec<bool> {
        let platform = RawPlatformExample {
            tcb: self.tcb,
            root: self.root,
            ppid: self.ppid.clone(),
            fmspc: self.fmspc.clone(),
        };
        let model = self.model.iter().map(|model| policy.allows_model(model));
        model.chain(platform.judged(&policy.platform)).collect()
    }
}

/// What is wrong with a file, collected.
pub(crate) struct Problems<'a> {
    pub(crate) file: &'a str,
    pub(crate) found: Vec<PolicyProblem>,
}

impl<'a> Problems<'a> {
    pub(crate) const fn new(file: &'a str) -> Self {
        Self {
            file,
            found: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, code: &'static str, words: impl Into<String>) {
        self.found.push(PolicyProblem {
            file: self.file.to_owned(),
            code,
            words: words.into(),
        });
    }
}

/// Makes a policy of what TOML text says, unless something is wrong with text or policy.
pub(crate) fn read<R: DeserializeOwned, P>(
    text: &str,
    file: &str,
    make: impl FnOnce(R, &mut Problems<'_>) -> P,
) -> Result<P, Vec<PolicyProblem>> {
    let mut problems = Problems::new(file);
    if text.len() > MAX_POLICY_BYTES {
        let words = format!("{} bytes are more than {MAX_POLICY_BYTES}", text.len());
        problems.add("policy-too-large", words);
        return Err(problems.found);
    }
    match toml::from_str(text) {
        Ok(raw) => {
            let policy = make(raw, &mut problems);
            if problems.found.is_empty() {
                return Ok(policy);
            }
        }
        Err(error) => problems.add("policy-syntax", error.to_string().trim_end()),
    }
    Err(problems.found)
}

pub(super) fn parse(text: &str, file: &str) -> Result<AppraisalPolicy, Vec<PolicyProblem>> {
    read(text, file, |raw: RawPolicy, problems| {
        let platform = RawPlatform {
            roots: raw.roots,
            tcb: raw.tcb,
            attributes: raw.attributes,
            machines: raw.machines,
        };
        let wanted = Purpose::ProductionUpstream;
        raw.purpose.check(wanted, &raw.name, problems);
        let policy = AppraisalPolicy {
            digest: Digest::of(text),
            platform: platform.read(&raw.name, problems),
            name: read_name(raw.name, problems),
            models: read_models(raw.models, problems),
            max_age_seconds: raw.freshness.max_age_seconds,
            max_keyset_seconds: raw.freshness.max_keyset_seconds,
            references: read_references(raw.reference, problems),
        };
        check_limits(&policy, problems);
        let judged = |example: &RawExample| example.judged(&policy);
        run_examples(&raw.matches, &raw.not_match, judged, problems);
        policy
    })
}

pub(crate) fn read_name(name: String, problems: &mut Problems<'_>) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        problems.add(
            "policy-name",
            "`name` must have 1 to 64 lower-case letters, digits and hyphens",
        );
    }
    name
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

pub(crate) fn read_register(
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
        let or_not = match must_be_pinned {
            true => "",
            false => " or `\"not-compared\"`",
        };
        problems.add(
            "policy-unpinned",
            format!("reference `{reference}`: `{register}` must be a list of values{or_not}"),
        );
    }
    let place = format!("reference `{reference}`: `{register}`");
    let read = |value: &String| read_value(value, &place, must_be_pinned, problems);
    RegisterRule::OneOf(values.iter().filter_map(read).collect())
}

/// A measurement that stands at `place`; one that `must_be_pinned` is no placeholder.
pub(crate) fn read_value(
    value: &str,
    place: &str,
    must_be_pinned: bool,
    problems: &mut Problems<'_>,
) -> Option<Measurement> {
    match value.parse::<Measurement>() {
        Ok(read) if must_be_pinned && read.repeated_byte().is_some() => {
            let words = format!("{place} is pinned to a placeholder");
            problems.add("policy-placeholder", words);
        }
        Ok(read) => return Some(read),
        Err(_) => {
            let words = format!("{place} value `{value}` is not 96 lower-case hex digits");
            problems.add("policy-measurement", words);
        }
    }
    None
}

fn check_limits(policy: &AppraisalPolicy, problems: &mut Problems<'_>) {
    let (age, keyset) = (policy.max_age_seconds, policy.max_keyset_seconds);
    for (key, value, max) in [
        ("max_age_seconds", age, MAX_AGE_SECONDS),
        ("max_keyset_seconds", keyset, MAX_KEYSET_SECONDS),
    ] {
        if value == 0 || value > max {
            let words = format!("`freshness.{key}` must be 1 to {max}");
            problems.add("policy-freshness", words);
        }
    }
}

/// Runs the examples of a file: each of `matches` must be accepted in all that it says, each of `not_match` be refused
/// in something. `judged` is what the policy says to each member of an example.
pub(crate) fn run_examples<E>(
    matches: &[E],
    not_match: &[E],
    judged: impl Fn(&E) -> Vec<bool>,
    problems: &mut Problems<'_>,
) {
    let accepted = matches.iter().enumerate().map(|it| ("match", true, it));
    let refused = not_match.iter().enumerate();
    let refused = refused.map(|it| ("not_match", false, it));
    for (key, wanted, (index, example)) in accepted.chain(refused) {
        let judged = judged(example);
        let holds = judged.iter().all(|accepted| *accepted);
        let problem = match judged.is_empty() {
            true => "says nothing",
            false if holds == wanted => continue,
            false => "does not hold under this policy",
        };
        problems.add("policy-example", format!("[[{key}]] {index} {problem}"));
    }
}
