//! The SNP policy file as written (TOML), and its reading into a [`SnpAppraisalPolicy`]. Reports every
//! problem at once.

use proofroom_canonical::Digest;
use proofroom_evidence::{
    Measurement,
    snp::{ChipId, GuestPolicyBit, PlatformBit, SigningKey, SnpProduct, TcbParts},
};
use serde::Deserialize;

use super::{
    AMD_ARK_GENOA, AMD_ARK_MILAN, AMD_ARK_TURIN, ChipRule, GuestRule, HostDataRule, KeyRule,
    Reference, SIMULATED, SnpAppraisalPolicy,
};
use crate::{
    PolicyProblem,
    policy::{Problems, Purpose, read, read_name},
};

mod examples;

/// A day: nobody should live on an appraisal for longer.
const MAX_AGE_SECONDS: u32 = 24 * 3600;
const NOT_COMPARED: &str = "not-compared";
const ABSENT: &str = "absent";
const ANY: &str = "any";

const ROOTS: [(&str, Digest); 3] = [
    ("amd-ark-milan", AMD_ARK_MILAN),
    ("amd-ark-genoa", AMD_ARK_GENOA),
    ("amd-ark-turin", AMD_ARK_TURIN),
];

/// Whether a guest policy bit, when set, lets others in or lowers a barrier. The rest raise one.
pub(super) const fn opens(bit: GuestPolicyBit) -> bool {
    matches!(
        bit,
        GuestPolicyBit::Smt
            | GuestPolicyBit::MigrateMa
            | GuestPolicyBit::Debug
            | GuestPolicyBit::CxlAllow
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: String,
    purpose: Purpose,
    roots: Vec<String>,
    vmpl: Vec<u8>,
    freshness: RawFreshness,
    signing: RawSigning,
    tcb: RawTcb,
    guest_policy: RawGuest,
    platform: RawPlatform,
    #[serde(default)]
    reference: Vec<RawReference>,
    #[serde(default, rename = "match")]
    matches: Vec<examples::RawExample>,
    #[serde(default)]
    not_match: Vec<examples::RawExample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFreshness {
    #[expect(dead_code, reason = "its one value is checked by being read")]
    report_data: RequiredRule,
    max_age_seconds: u32,
}

/// The one rule there is. Written out so that a reader of the file sees it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RequiredRule {
    Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSigning {
    keys: Vec<SigningKey>,
    csp_ids: Vec<String>,
    chip_ids: RawList,
    #[expect(dead_code, reason = "its one value is checked by being read")]
    revocation_list: RequiredRule,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawList {
    List(Vec<String>),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcb {
    milan: Option<RawParts>,
    genoa: Option<RawParts>,
    turin: Option<RawPartsFmc>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParts {
    boot_loader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPartsFmc {
    fmc: u8,
    boot_loader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

impl From<RawParts> for TcbParts {
    fn from(raw: RawParts) -> Self {
        Self {
            fmc: None,
            boot_loader: raw.boot_loader,
            tee: raw.tee,
            snp: raw.snp,
            microcode: raw.microcode,
        }
    }
}

impl From<RawPartsFmc> for TcbParts {
    fn from(raw: RawPartsFmc) -> Self {
        Self {
            fmc: Some(raw.fmc),
            boot_loader: raw.boot_loader,
            tee: raw.tee,
            snp: raw.snp,
            microcode: raw.microcode,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGuest {
    min_abi: [u8; 2],
    allow: Vec<GuestPolicyBit>,
    require: Vec<GuestPolicyBit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlatform {
    require: Vec<PlatformBit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    name: String,
    measurement: Vec<String>,
    host_data: RawList,
    id_key: RawList,
    author_key: RawList,
    min_guest_svn: u32,
}

pub(super) fn parse(text: &str, file: &str) -> Result<SnpAppraisalPolicy, Vec<PolicyProblem>> {
    read(text, file, |raw: RawPolicy, problems| {
        let wanted = Purpose::ProductionUpstream;
        raw.purpose.check(wanted, &raw.name, problems);
        let policy = SnpAppraisalPolicy {
            digest: Digest::of(text),
            roots: read_roots(&raw.roots, &raw.name, problems),
            name: read_name(raw.name, problems),
            max_age_seconds: read_age(raw.freshness.max_age_seconds, problems),
            csp_ids: read_providers(&raw.signing, problems),
            keys: read_keys(raw.signing.keys, problems),
            chips: read_chips(&raw.signing.chip_ids, problems),
            minimum: read_minimum(&raw.tcb, problems),
            guest: read_guest(raw.guest_policy, problems),
            platform: raw.platform.require,
            vmpl: read_vmpl(raw.vmpl, problems),
            references: read_references(raw.reference, problems),
        };
        examples::run(&policy, &raw.matches, true, problems);
        examples::run(&policy, &raw.not_match, false, problems);
        policy
    })
}

fn read_roots(roots: &[String], name: &str, problems: &mut Problems<'_>) -> Vec<Digest> {
    if roots.is_empty() {
        problems.add("policy-roots", "`roots` must name at least one root");
    }
    let mut read = Vec::new();
    for root in roots {
        if let Some((_, digest)) = ROOTS.iter().find(|(known, _)| known == root) {
            read.push(*digest);
            continue;
        }
        match root.parse::<Digest>() {
            Ok(digest) if is_amd(digest) || name.contains(SIMULATED) => read.push(digest),
            Ok(_) => problems.add(
                "policy-root-simulated",
                format!(
                    "root `{root}` is not AMD's: a policy that trusts it must have `simulated` in its name"
                ),
            ),
            Err(_) => problems.add(
                "policy-roots",
                format!(
                    "root `{root}` is none of `amd-ark-milan`, `amd-ark-genoa`, `amd-ark-turin` and `sha256:<64 hex digits>`"
                ),
            ),
        }
    }
    read
}

fn is_amd(root: Digest) -> bool {
    ROOTS.iter().any(|(_, digest)| *digest == root)
}

fn read_age(seconds: u32, problems: &mut Problems<'_>) -> u32 {
    if seconds == 0 || seconds > MAX_AGE_SECONDS {
        problems.add(
            "policy-freshness",
            format!("`freshness.max_age_seconds` must be 1 to {MAX_AGE_SECONDS}"),
        );
    }
    seconds
}

fn read_keys(keys: Vec<SigningKey>, problems: &mut Problems<'_>) -> Vec<SigningKey> {
    if keys.is_empty() || keys.contains(&SigningKey::None) {
        problems.add(
            "policy-signing",
            "`signing.keys` must list `vcek`, `vlek` or both",
        );
    }
    keys
}

fn read_providers(signing: &RawSigning, problems: &mut Problems<'_>) -> Vec<String> {
    let loaded = signing.keys.contains(&SigningKey::Vlek);
    if loaded == signing.csp_ids.is_empty() || signing.csp_ids.iter().any(String::is_empty) {
        problems.add(
            "policy-signing",
            "`signing.csp_ids` must name the providers whose VLEKs are accepted, and be empty without `vlek`",
        );
    }
    signing.csp_ids.clone()
}

fn read_chips(chips: &RawList, problems: &mut Problems<'_>) -> ChipRule {
    let values = match chips {
        RawList::Word(word) if word == ANY => return ChipRule::Any,
        RawList::Word(_) => &[][..],
        RawList::List(values) => values.as_slice(),
    };
    if values.is_empty() {
        problems.add(
            "policy-unpinned",
            "`signing.chip_ids` must be a list of chip ids or `\"any\"`",
        );
    }
    let ids = read_hex::<64>(values, "signing.chip_ids", problems);
    let ids: Vec<ChipId> = ids.into_iter().map(ChipId::from_bytes).collect();
    if ids.iter().any(ChipId::is_masked) {
        problems.add(
            "policy-placeholder",
            "`signing.chip_ids` has the id of all zeros, which every hidden chip shows",
        );
    }
    ChipRule::OneOf(ids)
}

fn read_minimum(tcb: &RawTcb, problems: &mut Problems<'_>) -> Vec<(SnpProduct, TcbParts)> {
    let minimum: Vec<(SnpProduct, TcbParts)> = [
        (SnpProduct::Milan, tcb.milan.map(TcbParts::from)),
        (SnpProduct::Genoa, tcb.genoa.map(TcbParts::from)),
        (SnpProduct::Turin, tcb.turin.map(TcbParts::from)),
    ]
    .into_iter()
    .filter_map(|(product, parts)| Some((product, parts?)))
    .collect();
    if minimum.is_empty() {
        problems.add(
            "policy-tcb",
            "`tcb` must have a minimum for at least one product",
        );
    }
    for (product, parts) in &minimum {
        if parts.snp == 0 || parts.microcode == 0 {
            let words = format!(
                "the minimum of {product} must say which SNP firmware and microcode it wants"
            );
            problems.add("policy-tcb", words);
        }
    }
    minimum
}

fn read_guest(raw: RawGuest, problems: &mut Problems<'_>) -> GuestRule {
    for bit in &raw.allow {
        if matches!(bit, GuestPolicyBit::Debug | GuestPolicyBit::MigrateMa) {
            let words = format!("`guest_policy.allow`: no policy may allow {bit}");
            problems.add("policy-guest", words);
        } else if !opens(*bit) {
            let words =
                format!("`guest_policy.allow`: {bit} needs no permission, it can be required");
            problems.add("policy-guest", words);
        }
    }
    if let Some(bit) = raw.require.iter().find(|bit| opens(**bit)) {
        let words =
            format!("`guest_policy.require`: {bit} lowers a barrier, it cannot be required");
        problems.add("policy-guest", words);
    }
    let [major, minor] = raw.min_abi;
    GuestRule {
        allow: raw.allow,
        require: raw.require,
        min_abi: (major, minor),
    }
}

fn read_vmpl(levels: Vec<u8>, problems: &mut Problems<'_>) -> Vec<u8> {
    if levels.is_empty() || levels.iter().any(|level| *level > 3) {
        problems.add("policy-vmpl", "`vmpl` must list levels from 0 to 3");
    }
    levels
}

fn read_references(raw: Vec<RawReference>, problems: &mut Problems<'_>) -> Vec<Reference> {
    if raw.is_empty() {
        problems.add(
            "policy-unpinned",
            "at least one `[[reference]]` set of measurements is needed",
        );
    }
    for reference in raw.iter().filter(|reference| reference.min_guest_svn > 0) {
        if !matches!(reference.id_key, RawList::List(_)) {
            let words = format!(
                "reference `{}`: `min_guest_svn` means nothing unless `id_key` lists who may sign it",
                reference.name
            );
            problems.add("policy-unpinned", words);
        }
    }
    raw.into_iter()
        .map(|reference| Reference {
            measurements: read_measurements(&reference, problems),
            host_data: read_host_data(&reference, problems),
            id_key: read_key(&reference.id_key, "id_key", &reference.name, problems),
            author_key: read_key(
                &reference.author_key,
                "author_key",
                &reference.name,
                problems,
            ),
            min_guest_svn: reference.min_guest_svn,
            name: reference.name,
        })
        .collect()
}

fn read_measurements(reference: &RawReference, problems: &mut Problems<'_>) -> Vec<Measurement> {
    let place = format!("reference `{}`: `measurement`", reference.name);
    if reference.measurement.is_empty() {
        problems.add(
            "policy-unpinned",
            format!("{place} must be a list of values"),
        );
    }
    let read = read_digests(&reference.measurement, &place, problems);
    if read.iter().any(|value| value.repeated_byte().is_some()) {
        problems.add(
            "policy-placeholder",
            format!("{place} is pinned to a placeholder"),
        );
    }
    read
}

fn read_host_data(reference: &RawReference, problems: &mut Problems<'_>) -> HostDataRule {
    let place = format!("reference `{}`: `host_data`", reference.name);
    match &reference.host_data {
        RawList::Word(word) if word == NOT_COMPARED => HostDataRule::NotCompared,
        RawList::List(values) if !values.is_empty() => {
            HostDataRule::OneOf(read_hex(values, &place, problems))
        }
        _ => {
            let words = format!("{place} must be a list of values or `\"{NOT_COMPARED}\"`");
            problems.add("policy-unpinned", words);
            HostDataRule::OneOf(Vec::new())
        }
    }
}

fn read_key(rule: &RawList, key: &str, reference: &str, problems: &mut Problems<'_>) -> KeyRule {
    let place = format!("reference `{reference}`: `{key}`");
    match rule {
        RawList::Word(word) if word == NOT_COMPARED => KeyRule::NotCompared,
        RawList::Word(word) if word == ABSENT => KeyRule::Absent,
        RawList::List(values) if !values.is_empty() => {
            KeyRule::OneOf(read_digests(values, &place, problems))
        }
        _ => {
            let words = format!(
                "{place} must be a list of digests, `\"{ABSENT}\"` or `\"{NOT_COMPARED}\"`"
            );
            problems.add("policy-unpinned", words);
            KeyRule::OneOf(Vec::new())
        }
    }
}

fn read_digests(values: &[String], place: &str, problems: &mut Problems<'_>) -> Vec<Measurement> {
    read_hex(values, place, problems)
        .into_iter()
        .map(Measurement::from_bytes)
        .collect()
}

fn read_hex<const N: usize>(
    values: &[String],
    place: &str,
    problems: &mut Problems<'_>,
) -> Vec<[u8; N]> {
    let mut read = Vec::new();
    for value in values {
        let mut bytes = [0; N];
        let lower = !value.bytes().any(|b| b.is_ascii_uppercase());
        if lower && hex::decode_to_slice(value, &mut bytes).is_ok() {
            read.push(bytes);
        } else {
            let digits = 2 * N;
            problems.add(
                "policy-measurement",
                format!("{place}: `{value}` is not {digits} lower-case hex digits"),
            );
        }
    }
    read
}
