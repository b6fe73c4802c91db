//! The verified way to an attested upstream: fetch evidence with a fresh nonce, appraise it, and
//! from then on speak only to the key that it names, until it expires and not longer.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_provider::VerifiedProvider;
use proofroom_record::statement::Assurance;
use proofroom_sealing::SealError;
use zeroize::Zeroizing;

use crate::{
    channel::ChannelError,
    config::{BaseUrl, Upstream},
    evidence::EvidenceNotKept,
    gateway::Core,
    observe::RunEvent,
    proof::{Proof, RoutePolicy},
    sealed,
    tls::KeyVerifier,
    transport::{self, FetchFailure, HttpClient, RequestFault, UpstreamResponse},
    waiting::{RETRY_MILLIS, is_closed, is_due, later, renewal},
};

/// Where an attested upstream serves its evidence.
pub const EVIDENCE_PATH: &str = "/.well-known/proofroom-attestation";

/// An attested upstream and what is currently known of it.
pub(crate) struct AttestedRoute {
    upstream: Arc<Upstream>,
    policy: RoutePolicy,
    state: Mutex<State>,
    /// One verification at a time; the others wait for its outcome.
    turn: tokio::sync::Mutex<()>,
    renewing: AtomicBool,
}

#[derive(Clone)]
enum State {
    Unknown,
    Open(Arc<Verified>),
    Closed {
        error: ChannelError,
        until: Timestamp,
    },
}

/// A verified upstream with the connections that are bound to its key. Dropped as a whole when the
/// verification is replaced, so no connection outlives it for another request.
pub(crate) struct Verified {
    proof: Proof,
    connection: Digest,
    appraised: Timestamp,
    renew_at: Timestamp,
    key: Arc<KeyVerifier>,
    client: HttpClient,
}

impl Verified {
    /// Sends a request for below `base`: sealed where the policy demands that, and then never otherwise.
    pub(crate) async fn request(
        &self,
        core: &Core,
        base: &BaseUrl,
        request: Request<Full<Bytes>>,
    ) -> Result<UpstreamResponse, RequestFault> {
        let Some(key) = self.proof.sealing_key() else {
            return transport::plain(&self.client, request).await;
        };
        let unsealable = || RequestFault::Sealed(SealError::Unsealable.into());
        let random = Zeroizing::new(core.random().ok_or_else(unsealable)?);
        let sealed = sealed::seal(&key, &random, base, request).await;
        let (request, opener) = sealed.map_err(|_| unsealable())?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(RequestFault::Client)?;
        sealed::open(answer, opener)
            .await
            .map_err(RequestFault::Sealed)
    }

    /// Whether the evidence is about `model`.
    pub(crate) fn serves(&self, model: &str) -> Result<(), ChannelError> {
        if self.proof.model() == model {
            return Ok(());
        }
        Err(ChannelError::ModelNotAttested {
            attested: self.proof.model().to_owned(),
        })
    }

    pub(crate) fn assurance(&self) -> Assurance {
        self.proof.assurance(self.connection, self.appraised)
    }

    /// Digest of the evidence.
    pub(crate) fn evidence(&self) -> Digest {
        self.proof.evidence()
    }

    /// The provider whose answers need receipts.
    pub(crate) fn signs_answers(&self) -> Option<&VerifiedProvider> {
        self.proof.signs_answers()
    }
}

impl AttestedRoute {
    pub(crate) fn new(upstream: Arc<Upstream>, policy: RoutePolicy) -> Self {
        Self {
            upstream,
            policy,
            state: Mutex::new(State::Unknown),
            turn: tokio::sync::Mutex::new(()),
            renewing: AtomicBool::new(false),
        }
    }

    pub(crate) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The verified upstream, verifying it now if no valid verification is at hand.
    pub(crate) async fn open(
        self: &Arc<Self>,
        core: &Arc<Core>,
    ) -> Result<Arc<Verified>, ChannelError> {
        if let Some(known) = self.known(core) {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(core) {
            return known;
        }
        let outcome = self.verify(core).await;
        self.settle(core, &outcome);
        outcome
    }

    /// Keeps the verification ahead of traffic: made before the first request, renewed before its
    /// expiry, made again after a failure. Returns at once; the work is done behind.
    pub(crate) fn keep(self: &Arc<Self>, core: &Arc<Core>) {
        let now = core.clock.now();
        let due = match self.state() {
            State::Unknown => true,
            State::Open(verified) => now >= verified.renew_at || now < verified.appraised,
            State::Closed { until, .. } => is_due(now, until),
        };
        if due {
            self.renew_behind(core);
        }
    }

    /// Whether a request would have to wait for a verification.
    pub(crate) fn waits(&self, core: &Core) -> bool {
        self.at_hand(core.clock.now()).is_none()
    }

    /// What is known without asking the upstream, if that still holds; renewed behind where that is due.
    fn known(self: &Arc<Self>, core: &Arc<Core>) -> Option<Result<Arc<Verified>, ChannelError>> {
        let now = core.clock.now();
        let known = self.at_hand(now)?;
        if known
            .as_ref()
            .is_ok_and(|verified| now >= verified.renew_at)
        {
            self.renew_behind(core);
        }
        Some(known)
    }

    fn at_hand(&self, now: Timestamp) -> Option<Result<Arc<Verified>, ChannelError>> {
        match self.state() {
            State::Open(verified) if verified.appraised <= now && verified.proof.holds_at(now) => {
                Some(Ok(verified))
            }
            State::Closed { error, until } if is_closed(now, until) => Some(Err(error)),
            State::Unknown | State::Open(_) | State::Closed { .. } => None,
        }
    }

    /// Renews in the background while the present verification still holds.
    fn renew_behind(self: &Arc<Self>, core: &Arc<Core>) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (route, core) = (Arc::clone(self), Arc::clone(core));
        tokio::spawn(async move {
            let _turn = route.turn.lock().await;
            let outcome = route.verify(&core).await;
            let holds = matches!(route.state(), State::Open(known) if known.proof.holds_at(core.clock.now()));
            let spared =
                |error: &ChannelError| error.is_outage() || *error == ChannelError::EvidenceNotKept;
            let away = outcome.as_ref().is_err_and(spared) && holds;
            // an upstream that is away for a moment stays verified until its expiry, as does one whose newer evidence
            // found no room; one that shows wrong evidence does not
            if !away {
                route.settle(&core, &outcome);
            }
            route.renewing.store(false, Ordering::Release);
        });
    }

    async fn verify(&self, core: &Core) -> Result<Arc<Verified>, ChannelError> {
        let mut random = [0; 32];
        core.entropy
            .fill(&mut random)
            .map_err(|_| ChannelError::Internal)?;
        let nonce = Nonce::from_random(random);
        let base = &self.upstream.base_url;
        let (path, max) = self.policy.evidence_at(nonce);
        let uri = base.join(&path).map_err(|_| ChannelError::Internal)?;
        let fetched = transport::fetch_evidence(base, &uri, max)
            .await
            .map_err(of_fetch)?;
        let appraised = core.clock.now();
        let (proof, document) = self.policy.appraise(core, &fetched, nonce, appraised)?;
        let key = proof.key_verifier(fetched.tls_spki)?;
        if !proof.holds_at(appraised) {
            return Err(ChannelError::EvidenceExpired);
        }
        let client =
            transport::pinned_client(Arc::clone(&key)).map_err(|_| ChannelError::Internal)?;
        let kept = core.evidence_sink.keep(proof.evidence(), &document);
        kept.map_err(|EvidenceNotKept| ChannelError::EvidenceNotKept)?;
        core.evidence.keep(proof.evidence(), document);
        Ok(Arc::new(Verified {
            renew_at: renewal(appraised, proof.expires()),
            proof,
            connection: fetched.tls_spki,
            appraised,
            key,
            client,
        }))
    }

    /// The upstream's word on an answer is worth nothing, or it has another key: closes the way at once.
    pub(crate) fn close(&self, core: &Core, verified: &Arc<Verified>, error: ChannelError) {
        if self.is_current(verified) {
            self.settle(core, &Err(error));
        }
    }

    fn is_current(&self, verified: &Arc<Verified>) -> bool {
        matches!(self.state(), State::Open(current) if Arc::ptr_eq(&current, verified))
    }

    /// A connection to the verified upstream failed. Another key closes the way at once.
    pub(crate) fn connect_failed(&self, core: &Core, verified: &Arc<Verified>) -> ChannelError {
        if !verified.key.met_another_key() {
            return ChannelError::Unreachable;
        }
        if self.is_current(verified) {
            self.settle(core, &Err(ChannelError::KeyChanged));
        }
        ChannelError::KeyChanged
    }

    fn settle(&self, core: &Core, outcome: &Result<Arc<Verified>, ChannelError>) {
        let (state, event) = match outcome {
            Ok(verified) => (
                State::Open(Arc::clone(verified)),
                RunEvent::UpstreamVerified {
                    upstream: self.upstream.name.clone(),
                    policy: verified.proof.policy_name().to_owned(),
                    evidence: verified.proof.evidence(),
                },
            ),
            Err(error) => (
                State::Closed {
                    error: error.clone(),
                    until: later(core.clock.now(), RETRY_MILLIS),
                },
                RunEvent::UpstreamClosed {
                    upstream: self.upstream.name.clone(),
                    code: error.code(),
                },
            ),
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        core.observer.observe(&event);
    }

    fn state(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

const fn of_fetch(failure: FetchFailure) -> ChannelError {
    match failure {
        FetchFailure::Unreachable => ChannelError::Unreachable,
        FetchFailure::Status(status) => ChannelError::NoEvidence(status),
        FetchFailure::Body => ChannelError::EvidenceUnreadable,
        FetchFailure::NoKey => ChannelError::Internal,
    }
}
