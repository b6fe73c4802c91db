//! From the text of `upstreams.toml` to upstreams, with every problem at once.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use globset::{Glob, GlobMatcher};
use http::Uri;
use proofroom_provider::Format;
use proofroom_record::statement::ModelSource;
use rustls::RootCertStore;
use serde::Deserialize;

use super::{
    AttestationRequirement, BaseUrl, Credential, KeyHeader, MAX_UPSTREAMS_BYTES, Paths, Retention,
    RetentionMode, SecretSource, TEE_TIER, Transport, Upstream, UpstreamApi, bedrock, is_segment,
};
use crate::{
    control::Control,
    credential::KeyError,
    tls::{self, MAX_AUTHORITIES},
};

/// One thing that is wrong with an upstreams file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamsProblem {
    /// The upstream's name, or its position when it has none.
    pub upstream: String,
    /// Stable kebab-case code.
    pub code: &'static str,
    /// What is wrong and what to do. Never a key's value.
    pub message: String,
}

impl fmt::Display for UpstreamsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.upstream, self.message, self.code)
    }
}

impl std::error::Error for UpstreamsProblem {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    upstream: Vec<toml::Value>,
    control: Option<RawControl>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawControl {
    attempts: u32,
    longest_wait_seconds: u64,
    rest_after: u32,
    rest_seconds: u64,
}

impl Default for RawControl {
    fn default() -> Self {
        Self {
            attempts: 3,
            longest_wait_seconds: 10,
            rest_after: 5,
            rest_seconds: 30,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    name: String,
    tier: String,
    base_url: String,
    #[serde(default)]
    pub(super) paths: Paths,
    pub(super) apis: Vec<UpstreamApi>,
    pub(super) models: Vec<String>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) key: RawKey,
    pub(super) region: String,
    retention: Retention,
    source: ModelSource,
    attestation: RawAttestation,
    certificate_authorities: Option<String>,
    weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RawKey {
    None,
    File { path: PathBuf, header: KeyHeader },
    Env { name: String, header: KeyHeader },
    Aws { path: PathBuf, region: String },
    ServiceAccount { path: PathBuf, token_host: String },
}

/// Where keys are read.
pub(super) enum Keys {
    From(Arc<dyn SecretSource>),
    /// Nowhere: the file is read to be judged.
    NotRead,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum RawAttestation {
    None,
    ProofroomUpstream { appraisal_policy: PathBuf },
    NearAi { provider_policy: PathBuf },
    Dstack { provider_policy: PathBuf },
    ProofroomEnclave { provider_policy: PathBuf },
    Aci { provider_policy: PathBuf },
    Tinfoil { provider_policy: PathBuf },
}

impl RawAttestation {
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    fn read(self) -> AttestationRequirement {
        let provider = |format, policy| AttestationRequirement::Provider { format, policy };
        match self {
            Self::None => AttestationRequirement::None,
            Self::ProofroomUpstream { appraisal_policy } => {
                AttestationRequirement::ProofroomUpstream { appraisal_policy }
            }
            Self::NearAi { provider_policy } => provider(Format::NearAi, provider_policy),
            Self::Dstack { provider_policy } => provider(Format::Dstack, provider_policy),
            Self::ProofroomEnclave { provider_policy } => {
                provider(Format::ProofroomEnclave, provider_policy)
            }
            Self::Aci { provider_policy } => provider(Format::Aci, provider_policy),
            Self::Tinfoil { provider_policy } => provider(Format::Tinfoil, provider_policy),
        }
    }
}

impl RawUpstream {
    pub(super) const fn is_unattested(&self) -> bool {
        self.attestation.is_none()
    }
}

/// Collects the problems of one upstream.
pub(super) struct Problems {
    upstream: String,
    found: Vec<UpstreamsProblem>,
}

impl Problems {
    pub(super) fn add(&mut self, code: &'static str, message: impl Into<String>) {
        self.found.push(UpstreamsProblem {
            upstream: self.upstream.clone(),
            code,
            message: message.into(),
        });
    }
}

/// Reads every upstream of `text`, or tells everything that is wrong with it.
pub(super) fn read(
    text: &str,
    keys: &Keys,
) -> Result<(Vec<Upstream>, Control), Vec<UpstreamsProblem>> {
    let mut file = Problems {
        upstream: "upstreams file".to_owned(),
        found: Vec::new(),
    };
    if text.len() > MAX_UPSTREAMS_BYTES {
        file.add(
            "upstreams-too-large",
            format!("larger than {MAX_UPSTREAMS_BYTES} bytes"),
        );
        return Err(file.found);
    }
    let raw: RawFile = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let words = format!("line {line}: {}", one_line(error.message()));
            file.add("upstreams-syntax", words);
            return Err(file.found);
        }
    };
    if raw.upstream.is_empty() {
        file.add(
            "upstreams-empty",
            "names no upstream; add an `[[upstream]]` table",
        );
    }
    let control = raw
        .control
        .map_or_else(Control::default, |raw| read_control(&raw, &mut file));
    let mut upstreams: Vec<Upstream> = Vec::new();
    for (position, value) in raw.upstream.into_iter().enumerate() {
        let (upstream, problems) = read_one(position, value, keys);
        file.found.extend(problems);
        let Some(upstream) = upstream else { continue };
        if upstreams.iter().any(|other| other.name == upstream.name) {
            file.upstream.clone_from(&upstream.name);
            file.add("upstream-name-twice", "another upstream has this name");
        }
        upstreams.push(upstream);
    }
    if file.found.is_empty() {
        Ok((upstreams, control))
    } else {
        Err(file.found)
    }
}

fn read_control(raw: &RawControl, file: &mut Problems) -> Control {
    let legal = (1..=8).contains(&raw.attempts)
        && raw.longest_wait_seconds <= 60
        && raw.rest_after <= 1000
        && (1..=3600).contains(&raw.rest_seconds);
    if !legal {
        file.add(
            "upstreams-control",
            "`[control]` takes 1 to 8 `attempts`, a `longest_wait_seconds` of at most 60, a `rest_after` of at most 1000 and `rest_seconds` of 1 to 3600",
        );
    }
    Control {
        attempts: raw.attempts,
        longest_wait: Duration::from_secs(raw.longest_wait_seconds),
        rest_after: raw.rest_after,
        rest: Duration::from_secs(raw.rest_seconds),
    }
}

fn read_one(
    position: usize,
    value: toml::Value,
    keys: &Keys,
) -> (Option<Upstream>, Vec<UpstreamsProblem>) {
    let name = value.get("name").and_then(toml::Value::as_str).map_or_else(
        || format!("upstream number {}", position + 1),
        str::to_owned,
    );
    let mut problems = Problems {
        upstream: name,
        found: Vec::new(),
    };
    let raw: RawUpstream = match value.try_into() {
        Ok(raw) => raw,
        Err(error) => {
            problems.add("upstream-shape", one_line(error.message()));
            return (None, problems.found);
        }
    };
    check_words(&raw, &mut problems);
    check_promises(&raw, &mut problems);
    let globs = compile_globs(&raw, &mut problems);
    check_paths(&raw, &mut problems);
    let base_url = read_base_url(&raw.base_url, &raw.paths, &mut problems);
    let credential = read_key(&raw.key, keys, &mut problems);
    let authorities = read_authorities(&raw, base_url.as_ref(), &mut problems);
    if let Some(base_url) = &base_url {
        check_transport(&raw, base_url, &mut problems);
        bedrock::check(&raw, base_url, &mut problems);
    }
    let upstream = base_url.map(|base_url| Upstream {
        name: raw.name,
        tier: raw.tier,
        base_url,
        paths: raw.paths,
        apis: raw.apis,
        models: raw.models,
        aliases: raw.aliases,
        credential,
        region: raw.region,
        retention: raw.retention,
        source: raw.source,
        attestation: raw.attestation.read(),
        authorities,
        weight: raw.weight,
        globs,
    });
    (upstream, problems.found)
}

fn check_words(raw: &RawUpstream, problems: &mut Problems) {
    for (field, word) in [("name", &raw.name), ("tier", &raw.tier)] {
        let legal = word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if word.is_empty() || word.len() > 64 || !legal {
            problems.add(
                "upstream-name-form",
                format!("`{field}` must be 1 to 64 lower-case letters, digits and `-`"),
            );
        }
    }
    if raw.region.is_empty() {
        problems.add(
            "upstream-region-empty",
            "`region` is empty; write `unknown` if nobody knows",
        );
    }
    if raw
        .weight
        .is_some_and(|weight| !(1..=1000).contains(&weight))
    {
        problems.add("upstream-weight", "`weight` must be 1 to 1000");
    }
    if raw.apis.is_empty() {
        problems.add(
            "upstream-apis-empty",
            "`apis` is empty; write `chat`, `messages`, `responses`, `embeddings` or `rerank`",
        );
    }
    if raw.models.is_empty() {
        problems.add(
            "upstream-models-empty",
            "`models` is empty; name at least one",
        );
    }
    for (alias, model) in &raw.aliases {
        if alias.is_empty() || model.is_empty() || model.contains(['*', '?', '[', '{']) {
            problems.add(
                "upstream-alias-form",
                format!("alias `{alias}` must stand for one model, without globs"),
            );
        }
    }
}

fn check_promises(raw: &RawUpstream, problems: &mut Problems) {
    let attested = !raw.attestation.is_none();
    if raw.tier == TEE_TIER && !attested {
        problems.add(
            "tee-without-attestation",
            "tier `tee` needs an `attestation.kind` other than `none`, and its policy",
        );
    }
    // these find receipts by an id that answers of the other formats do not have
    let by_id = matches!(
        raw.attestation,
        RawAttestation::NearAi { .. } | RawAttestation::Dstack { .. }
    );
    if by_id && raw.apis.iter().any(|api| *api != UpstreamApi::Chat) {
        problems.add(
            "provider-apis",
            "receipts of providers are read for `chat` alone; other formats are translated into it",
        );
    }
    let contract = raw.retention.contract.trim();
    if contract.is_empty() && !attested {
        problems.add(
            "contract-missing",
            "no evidence stands behind this upstream, so `retention.contract` must name what does",
        );
    }
    if raw.retention.mode == RetentionMode::ZeroRetentionContract && contract.is_empty() {
        problems.add(
            "retention-without-contract",
            "mode `zero-retention-contract` without `retention.contract` promises nothing",
        );
    }
}

fn compile_globs(raw: &RawUpstream, problems: &mut Problems) -> Vec<GlobMatcher> {
    let mut globs = Vec::new();
    for model in &raw.models {
        match Glob::new(model) {
            Ok(glob) => globs.push(glob.compile_matcher()),
            Err(error) => problems.add(
                "upstream-model-glob",
                format!("`{model}` is not a glob: {}", error.kind()),
            ),
        }
    }
    globs
}

fn check_paths(raw: &RawUpstream, problems: &mut Problems) {
    if raw.paths == Paths::Bedrock && raw.apis != [UpstreamApi::Messages] {
        problems.add(
            "paths-apis",
            "Bedrock's own API is asked for models of Anthropic: `apis` must be `[\"messages\"]`; other formats are translated into it",
        );
    }
    let Paths::AzureDeployments { api_version } = &raw.paths else {
        return;
    };
    if !is_segment(api_version) {
        problems.add(
            "paths-api-version",
            "`paths.api_version` must be a version such as `2024-10-21`",
        );
    }
    let others = [UpstreamApi::Messages, UpstreamApi::Rerank];
    if raw.apis.iter().any(|api| others.contains(api)) {
        problems.add(
            "paths-apis",
            "Azure OpenAI's deployments speak `chat`, `responses` and `embeddings` only",
        );
    }
}

fn read_base_url(text: &str, paths: &Paths, problems: &mut Problems) -> Option<BaseUrl> {
    base_url(text, paths)
        .map_err(|message| problems.add("base-url-form", format!("`base_url` {message}")))
        .ok()
}

/// Takes an address apart, or says what is wrong with it.
pub(super) fn base_url(text: &str, paths: &Paths) -> Result<BaseUrl, &'static str> {
    let Ok(uri) = text.parse::<Uri>() else {
        return Err("is not an address such as `https://api.example.com`");
    };
    let transport = match uri.scheme_str() {
        Some("http") => Transport::Plain,
        Some("https") => Transport::Tls,
        _ => return Err("must begin with `https://`, or with `http://` for loopback"),
    };
    let Some(authority) = uri
        .authority()
        .filter(|found| !found.as_str().contains('@'))
    else {
        return Err("must not carry a user name or a password");
    };
    if uri.query().is_some() {
        return Err("must not carry a query");
    }
    let prefix = uri.path().trim_end_matches('/');
    if *paths == Paths::V1 && prefix.ends_with("/v1") {
        return Err("must leave out the `/v1`: the gateway adds it");
    }
    let default_port = match transport {
        Transport::Plain => 80,
        Transport::Tls => 443,
    };
    Ok(BaseUrl {
        transport,
        host: authority.host().trim_matches(['[', ']']).to_owned(),
        port: authority.port_u16().unwrap_or(default_port),
        authority: authority.clone(),
        prefix: prefix.to_owned(),
    })
}

fn check_transport(raw: &RawUpstream, base_url: &BaseUrl, problems: &mut Problems) {
    let attested = !raw.attestation.is_none();
    if base_url.transport == Transport::Tls {
        return;
    }
    if attested {
        problems.add(
            "attestation-over-plain-http",
            "evidence binds a TLS key: an attested upstream needs `https://`",
        );
    }
    if is_loopback(&base_url.host) {
        return;
    }
    problems.add(
        "plain-http",
        "plain `http://` is for loopback only; use `https://`",
    );
    if !matches!(raw.key, RawKey::None) {
        problems.add(
            "key-over-plain-http",
            "the key would cross the network unencrypted",
        );
    }
}

/// The authorities that the upstream names, for connections that an authority vouches for.
fn read_authorities(
    raw: &RawUpstream,
    base_url: Option<&BaseUrl>,
    problems: &mut Problems,
) -> Option<RootCertStore> {
    let pem = raw.certificate_authorities.as_deref()?;
    let plain = base_url.is_some_and(|url| url.transport == Transport::Plain);
    if plain || !raw.attestation.is_none() {
        problems.add(
            "authorities-unused",
            "`certificate_authorities` is for `https://` without `attestation`: elsewhere no authority is asked",
        );
    }
    if let Some(store) = tls::authorities(pem) {
        return Some(store);
    }
    let words = format!(
        "`certificate_authorities` must be 1 to {MAX_AUTHORITIES} certificates in PEM, each an X.509 certificate"
    );
    problems.add("authorities-malformed", words);
    None
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn read_key(key: &RawKey, keys: &Keys, problems: &mut Problems) -> Credential {
    let secrets = match keys {
        _ if matches!(key, RawKey::None) => return Credential::none(),
        Keys::NotRead => return Credential::not_read(),
        Keys::From(secrets) => secrets,
    };
    let file = |path: &PathBuf| format!("file `{}`", path.display());
    let (read, place, wanted) = match key {
        RawKey::None => return Credential::none(),
        RawKey::File { path, header } => (
            Credential::file(*header, path.clone(), secrets),
            file(path),
            "one line of visible ASCII",
        ),
        RawKey::Aws { path, region } => (
            Credential::aws(region.clone(), path.clone(), secrets),
            file(path),
            "credentials of AWS as `credential_process` programs write them",
        ),
        RawKey::ServiceAccount { path, token_host } => (
            Credential::service_account(token_host.clone(), path.clone(), secrets),
            file(path),
            "a service account's JSON with an RSA key of 2048 bits or more",
        ),
        RawKey::Env { name, header } => match secrets.variable(name) {
            Some(text) => (
                Credential::fixed(*header, &text),
                format!("variable `{name}`"),
                "one line of visible ASCII",
            ),
            None => {
                problems.add("key-unreadable", format!("variable `{name}` is not set"));
                return Credential::not_read();
            }
        },
    };
    read.unwrap_or_else(|error| {
        let words = match &error {
            KeyError::Unreadable(kind) => format!("key {place}: {kind}"),
            KeyError::TokenHost => format!(
                "{place} has a `token_uri` that is not `https://` at `key.token_host`, to which alone its assertions go"
            ),
            _ => format!("{place} does not hold {wanted}"),
        };
        problems.add(error.code(), words);
        Credential::not_read()
    })
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(" ")
}
