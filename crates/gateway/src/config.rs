//! `upstreams.toml`: which models the gateway may reach, and what stands behind each. Reads keys
//! through [`SecretSource`] at load; opens no connection.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use globset::GlobMatcher;
use http::{
    Uri,
    uri::{Authority, Scheme},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proofroom_canonical::Digest;
use proofroom_llm::{Api, Delivery};
use proofroom_provider::Format;
use proofroom_record::statement::ModelSource;
use rustls::RootCertStore;
use serde::Deserialize;

use crate::control::Control;

mod bedrock;
mod check;
mod secret;

pub use crate::credential::{Credential, KeyHeader};
pub use check::UpstreamsProblem;
pub use secret::{FileStamp, MAX_KEY_BYTES, SecretSource, SystemSecrets};

/// The most bytes that an upstreams file may have.
pub const MAX_UPSTREAMS_BYTES: usize = 256 * 1024;

/// The tier whose upstreams must prove what they are before each connection.
pub const TEE_TIER: &str = "tee";

/// The commented file that a new deployment starts from.
pub const DEFAULT_UPSTREAMS: &str = include_str!("../upstreams.default.toml");

/// Every upstream of a deployment, in the order of its file.
#[derive(Clone, Debug)]
pub struct UpstreamsConfig {
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// What is done about upstreams that are busy or fail.
    pub(crate) control: Control,
    digest: Digest,
}

/// One upstream: where it is, what it serves, what is known about it.
#[derive(Debug)]
pub struct Upstream {
    /// Name in records and routing rules.
    pub name: String,
    /// Tier that routing rules speak of, such as `standard` or `tee`.
    pub tier: String,
    /// Scheme, authority and path before what `paths` says.
    pub base_url: BaseUrl,
    /// Where below that address the APIs are.
    pub paths: Paths,
    /// Wire formats that it speaks.
    pub apis: Vec<UpstreamApi>,
    /// Models that it serves: names or globs.
    pub models: Vec<String>,
    /// Names that clients may use, and the model that each stands for.
    pub aliases: BTreeMap<String, String>,
    /// How the gateway proves itself to the upstream.
    pub credential: Credential,
    /// Region as contracted, for routing rules and records.
    pub region: String,
    /// What the upstream keeps.
    pub retention: Retention,
    /// Where answers come from.
    pub source: ModelSource,
    /// What the upstream must prove before it gets a prompt.
    pub attestation: AttestationRequirement,
    /// Who may certify it; the public authorities where nobody is named.
    pub(crate) authorities: Option<RootCertStore>,
    /// Its share among the candidates of one tier; a spare behind those that have one where it has none.
    pub weight: Option<u32>,
    globs: Vec<GlobMatcher>,
}

/// A wire format that an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamApi {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/messages`, and `POST /v1/messages/count_tokens`.
    Messages,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/rerank`.
    Rerank,
}

impl UpstreamApi {
    /// The wire format of a client's API.
    pub(crate) const fn of(api: Api) -> Self {
        match api {
            Api::ChatCompletions => Self::Chat,
            Api::Messages | Api::CountTokens => Self::Messages,
            Api::Responses => Self::Responses,
            Api::Embeddings => Self::Embeddings,
            Api::Rerank => Self::Rerank,
        }
    }
}

/// Where below an upstream's address its APIs are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Paths {
    /// `/v1/chat/completions` and the like: most servers.
    #[default]
    V1,
    /// `/chat/completions` and the like: OpenAI-compatible endpoints of Gemini and Vertex.
    Bare,
    /// `/openai/deployments/<model>/chat/completions?api-version=<version>`: Azure OpenAI, whose
    /// deployments are named as models here. Responses have no deployment in their path.
    AzureDeployments {
        /// The `api-version`, such as `2024-10-21`.
        api_version: String,
    },
    /// `/model/<model>/invoke` and `/model/<model>/invoke-with-response-stream`: models of Anthropic behind Amazon
    /// Bedrock's own API, which is asked for Messages alone.
    Bedrock,
}

impl Paths {
    /// Path and query of `api` for `model` and an answer that is delivered so; `None` if this form cannot say them.
    pub(crate) fn path(
        &self,
        api: Api,
        (model, delivery): (&str, Delivery),
        query: &str,
    ) -> Option<String> {
        let path = api.path();
        let bare = path.strip_prefix("/v1")?;
        match self {
            Self::V1 => Some(format!("{path}{query}")),
            Self::Bare => Some(format!("{bare}{query}")),
            Self::AzureDeployments { api_version } => {
                let deployment = match api {
                    Api::Responses => String::new(),
                    // anything else could name another path
                    _ if is_segment(model) => format!("/deployments/{model}"),
                    _ => return None,
                };
                Some(format!(
                    "/openai{deployment}{bare}?api-version={api_version}"
                ))
            }
            Self::Bedrock => {
                let model = utf8_percent_encode(model, &NOT_IN_A_SEGMENT).to_string();
                // dots are no part of the set, and two of them would be another path
                let named = is_segment(&model.replace('%', ""));
                let operation = invoke_operation(delivery);
                (named && api == Api::Messages).then(|| format!("/model/{model}/{operation}"))
            }
        }
    }
}

/// The operation of Bedrock that answers so.
pub(crate) const fn invoke_operation(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Whole => "invoke",
        Delivery::Stream => "invoke-with-response-stream",
    }
}

/// Everything but the unreserved characters (RFC 3986 section 2.3).
const NOT_IN_A_SEGMENT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Whether `text` is one segment of a path as it stands (RFC 3986 section 2.3), and not a dot segment.
pub(crate) fn is_segment(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !text.is_empty() && text.bytes().all(unreserved) && !text.bytes().all(|byte| byte == b'.')
}

/// Scheme, authority and path prefix of an upstream, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    pub(crate) transport: Transport,
    /// Host without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: Authority,
    pub(crate) prefix: String,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP: loopback only.
    Plain,
    /// HTTP over TLS.
    Tls,
}

/// What an upstream keeps of prompts and answers, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// What is promised.
    pub mode: RetentionMode,
    /// Reference to the contract that promises it; empty where hardware evidence takes its place.
    #[serde(default)]
    pub contract: String,
}

/// What is promised about prompts and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetentionMode {
    /// A contract says that nothing is kept.
    ZeroRetentionContract,
    /// The upstream holds prompts in memory while it answers.
    InMemory,
    /// The upstream keeps prompts.
    Retains,
    /// Nobody knows: treated by policies as keeping.
    Unknown,
}

impl fmt::Display for RetentionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroRetentionContract => "zero-retention-contract",
            Self::InMemory => "in-memory",
            Self::Retains => "retains",
            Self::Unknown => "unknown",
        })
    }
}

/// What an upstream must prove before it gets a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestationRequirement {
    /// Nothing: only the contract stands behind it.
    None,
    /// A `proofroom-upstream` evidence document, appraised under the named policy file.
    ProofroomUpstream {
        /// File name of the appraisal policy, the key by which the gateway is given it.
        appraisal_policy: PathBuf,
    },
    /// A provider's own report, appraised under the named policy file, and its receipts.
    Provider {
        /// Whose format it has.
        format: Format,
        /// File name of the policy for the provider, the key by which the gateway is given it.
        policy: PathBuf,
    },
}

impl UpstreamsConfig {
    /// The upstreams, in file order.
    pub fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.upstreams.iter().map(Arc::as_ref)
    }

    /// Reads an upstreams file and the keys that it names, which `secrets` gives now and whenever they change.
    ///
    /// # Errors
    /// Every problem found, in file order; never a key's value.
    pub fn parse(
        text: &str,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<Self, Vec<UpstreamsProblem>> {
        Self::read(text, &check::Keys::From(secrets))
    }

    /// Reads an upstreams file to judge by it. Its keys are not read, and nothing can be sent to its upstreams that need one.
    ///
    /// # Errors
    /// Every problem found, in file order.
    pub fn parse_without_keys(text: &str) -> Result<Self, Vec<UpstreamsProblem>> {
        Self::read(text, &check::Keys::NotRead)
    }

    fn read(text: &str, keys: &check::Keys) -> Result<Self, Vec<UpstreamsProblem>> {
        let (upstreams, control) = check::read(text, keys)?;
        Ok(Self {
            upstreams: upstreams.into_iter().map(Arc::new).collect(),
            control,
            digest: Digest::of(text),
        })
    }

    /// SHA-256 of the file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The upstreams in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.upstreams.iter().map(|upstream| &**upstream)
    }
}

impl Upstream {
    /// The model that a request for `model` asks this upstream for, if it serves that.
    #[must_use]
    pub fn served<'a>(&'a self, model: &'a str) -> Option<&'a str> {
        if let Some(real) = self.aliases.get(model) {
            return Some(real);
        }
        let named = || self.listed().any(|listed| listed == model);
        let matched = || self.globs.iter().any(|glob| glob.is_match(model));
        (named() || matched()).then_some(model)
    }

    /// Whether it can be asked for what clients post to `path` for, in that format or another.
    #[must_use]
    pub fn answers(&self, path: &str) -> bool {
        Api::at_path(path).is_some_and(|api| self.spoken(api).is_some())
    }

    pub(crate) fn speaks(&self, api: Api) -> bool {
        // Bedrock counts tokens by an operation of its own, which is not asked for
        let counts = self.paths != Paths::Bedrock;
        self.apis.contains(&UpstreamApi::of(api)) && (api != Api::CountTokens || counts)
    }

    /// The API in which this upstream is asked for what a client asks in `api`: the same, or else the
    /// first that it speaks of those into which that is translated.
    pub(crate) fn spoken(&self, api: Api) -> Option<Api> {
        let others: &[Api] = match api {
            Api::ChatCompletions => &[Api::Responses, Api::Messages],
            Api::Responses => &[Api::ChatCompletions, Api::Messages],
            Api::Messages => &[Api::Responses, Api::ChatCompletions],
            Api::Embeddings | Api::Rerank | Api::CountTokens => &[],
        };
        std::iter::once(&api)
            .chain(others)
            .copied()
            .find(|api| self.speaks(*api))
    }

    /// Names that a client can ask for: globs are left out, because nobody can ask for a glob.
    pub(crate) fn listed_models(&self) -> impl Iterator<Item = &str> {
        let aliases = self.aliases.keys().map(String::as_str);
        self.listed().chain(aliases)
    }

    /// The models that match themselves alone.
    fn listed(&self) -> impl Iterator<Item = &str> {
        let models = self.models.iter().map(String::as_str);
        models.filter(|model| !model.contains(['*', '?', '[', '{', '\\']))
    }
}

impl BaseUrl {
    /// Takes an address apart: `https://host[:port][/prefix]`, or `http://` with a loopback host.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let base = check::base_url(text, &Paths::V1).ok()?;
        let clear = base.transport == Transport::Plain && !check::is_loopback(&base.host);
        (!clear).then_some(base)
    }

    /// The address of `path_and_query` below this base.
    ///
    /// # Errors
    /// When it is not of an address's form.
    pub fn join(&self, path_and_query: &str) -> Result<Uri, http::Error> {
        let scheme = match self.transport {
            Transport::Plain => Scheme::HTTP,
            Transport::Tls => Scheme::HTTPS,
        };
        Uri::builder()
            .scheme(scheme)
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path_and_query}", self.prefix))
            .build()
    }
}

#[cfg(test)]
mod tests;
