//! Fetching collateral from Intel's Provisioning Certification Service, or from a caching one. Whoever
//! answers can withhold it or answer with something old; what it says is signed, and judged elsewhere.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use proofroom_evidence::{Collateral, Fmspc};

use super::answer::{Answer, Answers};

/// Intel's own service.
pub const INTEL: &str = "https://api.trustedservices.intel.com";
/// Where Intel publishes the root's revocation list, which its service does not answer with.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// The most bytes of one answer. Revocation lists have tens of thousands.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The certificate authority that issued a platform's PCK certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PckAuthority {
    /// Platforms of several processors, and those that were registered: all TDX machines.
    Platform,
    /// Platforms of one processor.
    Processor,
}

/// Why there is no collateral.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An address that is not used.
    #[error("`{0}` is no address of a collateral service: https, or http at a loopback address")]
    Address(String),
    /// No answer, not in time, or broken off.
    #[error("`{address}` did not answer: {problem}")]
    Unreachable {
        /// What was asked.
        address: String,
        /// What went wrong.
        problem: String,
    },
    /// Another status than 200.
    #[error("`{address}` answered {status}; does the service know this platform?")]
    Status {
        /// What was asked.
        address: String,
        /// The status.
        status: StatusCode,
    },
    /// An answer that is none.
    #[error("the answers of `{base}` are no collateral: {problem}")]
    Malformed {
        /// The service.
        base: String,
        /// What is wrong.
        problem: String,
    },
}

impl FetchError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "collateral-service-address",
            Self::Unreachable { .. } => "collateral-service-unreachable",
            Self::Status { .. } => "collateral-service-status",
            Self::Malformed { .. } => "collateral-service-answer",
        }
    }
}

/// A service that publishes collateral.
#[derive(Clone, Debug)]
pub struct CollateralService {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl CollateralService {
    /// The service at `base`, without a path of the API.
    ///
    /// # Errors
    /// `collateral-service-address` unless it is https, or http at a loopback address.
    pub fn new(base: &str) -> Result<Self, FetchError> {
        let refused = || FetchError::Address(base.to_owned());
        let uri: Uri = base.parse().map_err(|_| refused())?;
        let host = uri.host().ok_or_else(refused)?;
        let local = host.trim_matches(['[', ']']).parse::<IpAddr>();
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if local.is_ok_and(|ip| ip.is_loopback()) => {}
            _ => return Err(refused()),
        }
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// What is said today about platforms with this FMSPC. Nothing of it is verified.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(
        &self,
        fmspc: Fmspc,
        authority: PckAuthority,
    ) -> Result<Collateral, FetchError> {
        let base = &self.base;
        let authority = match authority {
            PckAuthority::Platform => "platform",
            PckAuthority::Processor => "processor",
        };
        let sgx = format!("{base}/sgx/certification/v4");
        let tdx = format!("{base}/tdx/certification/v4");
        let answers = Answers {
            pck_crl: self
                .get(&format!("{sgx}/pckcrl?ca={authority}&encoding=der"))
                .await?,
            root_crl: self.root_crl(&sgx).await?,
            tcb: self.get(&format!("{tdx}/tcb?fmspc={fmspc}")).await?,
            identity: self.get(&format!("{tdx}/qe/identity")).await?,
        };
        answers
            .collateral()
            .map_err(|problem| self.malformed(problem))
    }

    /// A caching service has the root's list too, in hex.
    async fn root_crl(&self, sgx: &str) -> Result<Vec<u8>, FetchError> {
        if self.base == INTEL {
            return Ok(self.get(INTEL_ROOT_CRL).await?.body);
        }
        let answer = self.get(&format!("{sgx}/rootcacrl")).await?;
        hex::decode(answer.body.trim_ascii())
            .map_err(|error| self.malformed(format!("the root's revocation list: {error}")))
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn malformed(&self, problem: String) -> FetchError {
        let base = self.base.clone();
        FetchError::Malformed { base, problem }
    }

    pub(super) async fn get(&self, address: &str) -> Result<Answer, FetchError> {
        let unreachable = |problem: String| FetchError::Unreachable {
            address: address.to_owned(),
            problem,
        };
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(address)).await;
        let (status, answer) = asked
            .map_err(|_| unreachable(format!("not within {} s", ANSWER_TIMEOUT.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        match status {
            StatusCode::OK => Ok(answer),
            status => Err(FetchError::Status {
                address: address.to_owned(),
                status,
            }),
        }
    }

    async fn ask(&self, address: &str) -> Result<(StatusCode, Answer), Problem> {
        let response: Response<Incoming> = self.client.get(address.parse()?).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
        let answer = Answer {
            headers: parts.headers,
            body: body.to_bytes().to_vec(),
        };
        Ok((parts.status, answer))
    }
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::CollateralService;

    #[test]
    fn answers_do_not_come_in_the_clear_from_elsewhere() {
        for base in [
            "https://pccs.example:8081/",
            "http://127.0.0.1:80",
            "http://[::1]:80",
        ] {
            CollateralService::new(base).unwrap();
        }
        for base in [
            "http://pccs.example",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "pccs",
            "",
        ] {
            let refused = CollateralService::new(base).unwrap_err();
            assert_eq!(refused.code(), "collateral-service-address");
        }
    }
}
