//! `[people]` of `gateway.toml`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use globset::Glob;
use proofroom_authn::{Algorithm, IssuerPolicy, NameClaim, Origin, TokenKind};
use serde::Deserialize;

use super::names::{NameGlob, TooLarge};
use crate::{
    keys::{Permits, Scope, is_name},
    limits::Limits,
};

const DAY_MINUTES: u64 = 24 * 60;
/// Keys are asked for at most this often for their age, so that an issuer is not asked all the time.
const SHORTEST_KEYS_MINUTES: u64 = 5;
const DEFAULT_KEYS_MINUTES: u64 = 240;
const MAX_ISSUER: usize = 512;

/// Whose tokens are accepted, and what they permit. With no issuer, nobody's.
#[derive(Clone, Debug, Default)]
pub struct PeopleConfig {
    /// The issuers.
    pub issuers: Vec<IssuerConfig>,
    /// The rules, of which the first that is about a person counts.
    pub rules: Vec<PersonRule>,
    /// The file of who is barred.
    pub bars: PathBuf,
}

/// One issuer.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// What its tokens must be.
    pub policy: IssuerPolicy,
    /// Names that it may give (globs).
    pub names: Vec<String>,
    /// Whether its tokens have to be bound to a key of their person's.
    pub proof: ProofDemand,
    /// The authorities of its TLS certificate, instead of the public ones.
    pub authorities: Option<PathBuf>,
    /// How long its keys are used without being asked for again.
    pub keys_life: Duration,
}

/// Whether an issuer's tokens have to be bound to a key of their person's (RFC 9449).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofDemand {
    /// A token that is bound needs a proof; others are good by themselves.
    IfBound,
    /// A token that is not bound is refused.
    Required,
}

/// What people permit whose tokens have these claims.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonRule {
    /// Whose tokens.
    pub issuer: String,
    /// All of these must be so; at least one.
    pub when: Vec<ClaimIs>,
    /// The team that these people are in.
    pub team: String,
    /// What they may use the gateway for.
    pub scope: Scope,
    /// How much each of them may.
    #[serde(default)]
    pub limits: Limits,
    /// How much one session of theirs may.
    #[serde(default)]
    pub session_limits: Limits,
}

/// A claim that is a text, or has it among its entries; `scope` and `scp` among their words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimIs {
    /// Its name; several for a member of a member.
    pub claim: Vec<String>,
    /// The text.
    pub is: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPeople {
    bars: Option<PathBuf>,
    #[serde(default)]
    issuer: Vec<RawIssuer>,
    #[serde(default)]
    rule: Vec<PersonRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    url: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    tokens: TokenKind,
    name: NameClaim,
    names: Vec<String>,
    longest_life_minutes: u64,
    proof: ProofDemand,
    authorities: Option<PathBuf>,
    keys_minutes: Option<u64>,
}

impl RawPeople {
    /// Paths in it are relative to `base`; the file of bars is in `state` where it has no other place.
    pub(crate) fn read(self, base: &Path, state: &Path) -> Result<PeopleConfig, String> {
        let issuers = self.issuer.into_iter().map(|raw| raw.read(base));
        let issuers: Vec<IssuerConfig> = issuers.collect::<Result<_, String>>()?;
        for (place, issuer) in issuers.iter().enumerate() {
            let url = &issuer.policy.issuer;
            if issuers
                .iter()
                .take(place)
                .any(|before| before.policy.issuer == *url)
            {
                return Err(format!("issuer `{url}` is there twice"));
            }
        }
        check_names(&issuers)?;
        for rule in &self.rule {
            check_rule(rule)?;
            if !issuers
                .iter()
                .any(|issuer| issuer.policy.issuer == rule.issuer)
            {
                return Err(format!(
                    "a rule is about issuer `{}`, which is not there",
                    rule.issuer
                ));
            }
        }
        Ok(PeopleConfig {
            issuers,
            rules: self.rule,
            bars: self
                .bars
                .map_or_else(|| state.join("gateway-bars.json"), |path| base.join(path)),
        })
    }
}

impl RawIssuer {
    fn read(self, base: &Path) -> Result<IssuerConfig, String> {
        let url = self.url;
        let wrong = |what: &str| Err(format!("issuer `{url}`: {what}"));
        if url.len() > MAX_ISSUER || Origin::of(&url).is_err() {
            return wrong("`url` is https, or http at loopback, without query or fragment");
        }
        if self.audience.is_empty() || self.algorithms.is_empty() {
            return wrong("`audience` and `algorithms` must name something");
        }
        if self.names.is_empty() || self.names.iter().any(|glob| Glob::new(glob).is_err()) {
            return wrong("`names` are globs of the names that it may give, at least one");
        }
        if !(1..=DAY_MINUTES).contains(&self.longest_life_minutes) {
            return wrong("`longest_life_minutes` is 1 to 1440");
        }
        let keys = self.keys_minutes.unwrap_or(DEFAULT_KEYS_MINUTES);
        if !(SHORTEST_KEYS_MINUTES..=DAY_MINUTES).contains(&keys) {
            return wrong("`keys_minutes` is 5 to 1440");
        }
        let longest = self.longest_life_minutes.saturating_mul(60);
        Ok(IssuerConfig {
            policy: IssuerPolicy {
                issuer: url,
                audience: self.audience,
                algorithms: self.algorithms,
                kind: self.tokens,
                longest_life_seconds: i64::try_from(longest).unwrap_or(0),
                name: self.name,
            },
            names: self.names,
            proof: self.proof,
            authorities: self.authorities.map(|path| base.join(path)),
            keys_life: Duration::from_secs(keys.saturating_mul(60)),
        })
    }
}

/// A name is one person's for limits and clearances, so that two issuers may not both give it.
fn check_names(issuers: &[IssuerConfig]) -> Result<(), String> {
    if issuers.len() < 2 {
        return Ok(());
    }
    let read = |issuer: &IssuerConfig| {
        let url = issuer.policy.issuer.clone();
        let globs = issuer.names.iter().map(|text| {
            let wrong = |what| format!("issuer `{url}`: `{text}` of `names` {what}");
            let glob = Glob::new(text).map_err(|_| wrong("is no glob"))?;
            let glob = NameGlob::new(&glob);
            glob.map_err(|TooLarge| wrong("is too large to be compared with others' names"))
        });
        let globs = globs.collect::<Result<Vec<_>, String>>()?;
        Ok((url, globs))
    };
    let known: Vec<(String, Vec<NameGlob>)> =
        issuers.iter().map(read).collect::<Result<_, String>>()?;
    let pairs = known.iter().enumerate();
    let pairs =
        pairs.flat_map(|(place, this)| known.iter().take(place).map(move |one| (one, this)));
    for ((one, its), (other, others)) in pairs {
        for (a, b) in its.iter().flat_map(|a| others.iter().map(move |b| (a, b))) {
            let shared = a.common_name(b).map_err(|TooLarge| {
                format!("whether issuers `{one}` and `{other}` may give the same names cannot be told: make their `names` shorter")
            })?;
            if let Some(name) = shared {
                return Err(format!(
                    "issuers `{one}` and `{other}` both may give the name `{name}`; say of each which are its own"
                ));
            }
        }
    }
    Ok(())
}

fn check_rule(rule: &PersonRule) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a rule about issuer `{}`: {what}", rule.issuer));
    let empty = |claim: &ClaimIs| claim.claim.is_empty() || claim.is.is_empty();
    if rule.when.is_empty() || rule.when.iter().any(empty) {
        return wrong("`when` names at least one claim, and each what it is");
    }
    let names = [&rule.team, &rule.scope.repository, &rule.scope.purpose];
    if rule.team.is_empty() || !names.into_iter().all(|name| is_name(name)) {
        return wrong(
            "team, repository and purpose are at most 128 printable ASCII characters, and team at least one",
        );
    }
    match Permits::of(&rule.scope) {
        Ok(_) => Ok(()),
        Err(_) => wrong("its scope has a glob that cannot be read"),
    }
}
