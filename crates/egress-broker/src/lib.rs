//! The host's side of egress. A room has no network; what its policy allows is done here, on its
//! behalf: names are resolved, addresses are checked before and after they are dialled, connections
//! are pumped, requests are made anew. The room is a client like any other hostile one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderValue, StatusCode};
use proofroom_egress::{Denial, EgressPolicy, Endpoint, Meter, Target, meter::CapReached};
use proofroom_record::room_api::EgressAccount;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

mod body;
mod dial;
mod request;
mod setup;
mod tunnel;

pub use body::{Body, BodyError, header as account_header};
pub use dial::{Resolve, Resolving, SystemResolver};
pub use setup::SetupProblem;

/// Where the account of a connection or request goes, besides the end of its answer.
pub type Report = tokio::sync::oneshot::Sender<EgressAccount>;

/// The most connections and requests of a session at a time.
const MAX_AT_ONCE: usize = 64;

/// Does what one session's egress policy allows.
pub struct Broker {
    policy: EgressPolicy,
    resolver: Arc<dyn Resolve>,
    tls: BTreeMap<String, Arc<ClientConfig>>,
    credentials: BTreeMap<String, (http::HeaderName, HeaderValue)>,
    meter: Mutex<Meter>,
    begun: Instant,
    at_once: Arc<Semaphore>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("policy", &self.policy.digest())
            .finish_non_exhaustive()
    }
}

/// Why something did not go out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It may not.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// It may, and it did not work.
    #[error("{reason}")]
    Failed {
        /// Stable code.
        code: &'static str,
        /// For a person.
        reason: String,
    },
    /// Part of it went out, and no answer came.
    #[error("{reason}")]
    Cut {
        /// Stable code.
        code: &'static str,
        /// For a person.
        reason: String,
        /// What went out.
        account: EgressAccount,
    },
}

impl From<CapReached> for Refusal {
    fn from(reached: CapReached) -> Self {
        Self::Denied(reached.into())
    }
}

impl Refusal {
    pub(crate) fn failed(code: &'static str, reason: impl Into<String>) -> Self {
        Self::Failed {
            code,
            reason: reason.into(),
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Failed { code, .. } | Self::Cut { code, .. } => code,
        }
    }

    /// The status that a client gets.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Denied(Denial::Cap(_)) => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Failed { .. } | Self::Cut { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// What an event says of it.
    #[must_use]
    pub fn account(&self) -> EgressAccount {
        let (code, reason) = (self.code().to_owned(), self.to_string());
        match self {
            Self::Denied(_) => EgressAccount::Denied { code, reason },
            Self::Failed { .. } => EgressAccount::Failed { code, reason },
            Self::Cut { account, .. } => account.clone(),
        }
    }
}

/// What a room asks for, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A connection.
    Connection(Endpoint),
    /// One request.
    Request {
        /// Its method.
        method: String,
        /// What it is for.
        target: Target,
    },
}

impl Wanted {
    /// Reads a method and a target: `CONNECT` with name and port, or another with a URL.
    ///
    /// # Errors
    /// A [`Denial`].
    pub fn parse(method: &str, target: &str) -> Result<Self, Denial> {
        if method == "CONNECT" {
            return Endpoint::of_connect(target).map(Self::Connection);
        }
        Ok(Self::Request {
            method: method.to_owned(),
            target: Target::of_url(target)?,
        })
    }

    /// Where it goes.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Connection(endpoint) => endpoint,
            Self::Request { target, .. } => &target.endpoint,
        }
    }
}

impl Broker {
    fn meter<T>(&self, count: impl FnOnce(&mut Meter, Duration) -> T) -> T {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut meter, self.begun.elapsed())
    }

    fn admit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
        self.meter(Meter::begin)?;
        let permit = Arc::clone(&self.at_once).try_acquire_owned();
        permit.map_err(|_| CapReached("64 at a time").into())
    }
}
