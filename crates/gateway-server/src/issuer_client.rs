//! Requests to an issuer of tokens: its discovery document (RFC 8414, at OpenID Connect Discovery's place), its keys, and
//! its endpoints. Bounded in bytes and time; no redirect is followed.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use proofroom_authn::{MAX_KEY_SET_BYTES, Origin};
use proofroom_canonical::json;
use proofroom_gateway::{HttpClient, authorities_in, standard_client};
use serde::Deserialize;

/// The most bytes of one answer.
const MAX_ANSWER_BYTES: usize = MAX_KEY_SET_BYTES;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Why an issuer did not say what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerClientError {
    /// An address that is not used.
    #[error("`{0}` is not https, nor http at loopback of an issuer that is there itself")]
    Address(String),
    /// The authorities cannot be read.
    #[error("`{0}` does not hold certificates of authorities in PEM")]
    Authorities(String),
    /// No answer, not in time, or broken off.
    #[error("`{address}` did not answer: {problem}")]
    Unreachable {
        /// What was asked.
        address: String,
        /// What went wrong.
        problem: String,
    },
    /// A status that says no.
    #[error("`{address}` answered {status}")]
    Status {
        /// What was asked.
        address: String,
        /// The status.
        status: StatusCode,
    },
    /// A document that is none.
    #[error("the discovery document of `{0}` cannot be read")]
    Discovery(String),
    /// A document of another issuer.
    #[error("the discovery document of `{asked}` says that it is of `{said}`")]
    OtherIssuer {
        /// Who was asked.
        asked: String,
        /// Who answered.
        said: String,
    },
}

impl IssuerClientError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "issuer-address",
            Self::Authorities(_) => "issuer-authorities",
            Self::Unreachable { .. } => "issuer-unreachable",
            Self::Status { .. } => "issuer-status",
            Self::Discovery(_) => "issuer-discovery",
            Self::OtherIssuer { .. } => "issuer-other",
        }
    }
}

/// What an issuer says of itself. What is not needed here is not read.
#[derive(Clone, Debug, Deserialize)]
pub struct Discovery {
    issuer: String,
    jwks_uri: String,
    /// Where tokens are asked for.
    pub token_endpoint: Option<String>,
    /// Where a device asks for a person's consent (RFC 8628 section 4).
    pub device_authorization_endpoint: Option<String>,
    /// How a code can be bound to whoever asked (RFC 7636).
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
}

/// A status and a body.
pub type Answer = (StatusCode, Bytes);

/// Asks one issuer.
#[derive(Clone, Debug)]
pub struct IssuerClient {
    issuer: String,
    client: HttpClient,
}

impl IssuerClient {
    /// For the issuer at `issuer`, whose certificate is of these authorities (a PEM file), or of a public one.
    ///
    /// # Errors
    /// `issuer-address`, `issuer-authorities`.
    pub fn new(issuer: &str, authorities_file: Option<&Path>) -> Result<Self, IssuerClientError> {
        check_address(issuer)?;
        let roots = match authorities_file {
            None => None,
            Some(path) => {
                let wrong = || IssuerClientError::Authorities(path.display().to_string());
                Some(authorities_in(path).ok_or_else(wrong)?)
            }
        };
        let client = standard_client(roots)
            .map_err(|error| IssuerClientError::Authorities(error.to_string()))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            client,
        })
    }

    /// Its discovery document. The issuer in it is the one that was asked, letter by letter (RFC 8414 section 3.3).
    ///
    /// # Errors
    /// See [`IssuerClientError`].
    pub async fn discover(&self) -> Result<Discovery, IssuerClientError> {
        let address = format!("{}{DISCOVERY}", self.issuer.trim_end_matches('/'));
        let bytes = self.get(&address).await?;
        let found: Discovery = json::parse(&bytes, MAX_ANSWER_BYTES)
            .map_err(|_| IssuerClientError::Discovery(self.issuer.clone()))?;
        if found.issuer == self.issuer {
            return Ok(found);
        }
        Err(IssuerClientError::OtherIssuer {
            asked: self.issuer.clone(),
            said: found.issuer.chars().take(200).collect(),
        })
    }

    /// The bytes of its key set, as its discovery document says where.
    ///
    /// # Errors
    /// See [`IssuerClientError`].
    pub async fn key_set(&self) -> Result<Bytes, IssuerClientError> {
        let found = self.discover().await?;
        self.get(&found.jwks_uri).await
    }

    async fn get(&self, address: &str) -> Result<Bytes, IssuerClientError> {
        let request = Request::get(address).body(Full::default());
        match self.ask(address, request).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(IssuerClientError::Status {
                address: address.to_owned(),
                status,
            }),
        }
    }

    /// Posts a form, and returns what is answered, whatever its status.
    ///
    /// # Errors
    /// `issuer-address`, `issuer-unreachable`.
    pub async fn post(&self, address: &str, form: String) -> Result<Answer, IssuerClientError> {
        let kind = "application/x-www-form-urlencoded";
        let request = Request::builder()
            .method(Method::POST)
            .uri(address)
            .header(header::CONTENT_TYPE, kind)
            .header(header::ACCEPT, "application/json")
            .body(Full::from(form));
        self.ask(address, request).await
    }

    async fn ask(
        &self,
        address: &str,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<Answer, IssuerClientError> {
        check_address(address)?;
        // only an issuer at loopback may name plain addresses, which are at loopback too
        if is_tls(&self.issuer) && !is_tls(address) {
            return Err(wrong_address(address));
        }
        let unreachable = |problem: String| IssuerClientError::Unreachable {
            address: address.to_owned(),
            problem,
        };
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((parts.status, body.to_bytes()))
        };
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        answered
            .map_err(|_| unreachable(format!("not within {} s", ANSWER_TIMEOUT.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))
    }
}

/// Nobody on the network reads or changes what is said there.
fn check_address(address: &str) -> Result<(), IssuerClientError> {
    let plain = address.split('?').next().unwrap_or_default();
    match Origin::of(plain) {
        Ok(_) => Ok(()),
        Err(_) => Err(wrong_address(address)),
    }
}

fn is_tls(address: &str) -> bool {
    let scheme = address.split(':').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("https")
}

fn wrong_address(address: &str) -> IssuerClientError {
    IssuerClientError::Address(address.chars().take(200).collect())
}

#[cfg(test)]
mod tests;
