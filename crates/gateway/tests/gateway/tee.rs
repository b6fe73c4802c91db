//! An attested upstream in this process: a simulated TEE behind TLS.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use proofroom_canonical::{Digest, Timestamp};
use proofroom_testkit::{
    tee::{Plan, SimulatedTee},
    tls::TlsIdentity,
};
use rustls::ServerConfig;

use crate::{
    upstream::{FakeUpstream, Tls},
    world::NOW,
};

const TEMPLATE: &str = include_str!("../../../verifier/policies/simulated-upstream.toml");

/// The shipped simulated policy, naming this test's root.
pub fn policy() -> String {
    let root = SimulatedTee::demo().root_digest().to_string();
    let line = TEMPLATE
        .lines()
        .find(|line| line.starts_with("roots"))
        .unwrap();
    TEMPLATE.replace(line, &format!("roots = [\"{root}\"]"))
}

/// The policy for real hardware.
pub const PRODUCTION: &str = include_str!("../../../verifier/policies/production-upstream.toml");

pub struct TeeUpstream {
    pub upstream: FakeUpstream,
    pub tls: Tls,
    pub spki: Digest,
    pub fetches: Arc<AtomicUsize>,
}

impl TeeUpstream {
    pub async fn start() -> Self {
        let (config, spki) = identity();
        let tls: Tls = Arc::new(Mutex::new(config));
        let upstream = FakeUpstream::start(Some(Arc::clone(&tls))).await;
        let made = Self {
            upstream,
            tls,
            spki,
            fetches: Arc::default(),
        };
        made.attest(NOW, |_| ());
        made
    }

    /// Serves evidence as of `now`, after `change`.
    pub fn attest(&self, now: Timestamp, change: impl Fn(&mut Plan) + Send + Sync + 'static) {
        let (spki, fetches) = (self.spki, Arc::clone(&self.fetches));
        *self.upstream.evidence.lock().unwrap() = Box::new(move |nonce| {
            fetches.fetch_add(1, Ordering::SeqCst);
            let tee = SimulatedTee::demo();
            let mut plan = tee.plan(nonce.parse().unwrap(), spki, "tee-model", now);
            change(&mut plan);
            (200, tee.document(&plan))
        });
    }

    pub fn fetched(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Shows another key from now on.
    pub fn change_key(&self) {
        *self.tls.lock().unwrap() = identity().0;
    }
}

/// A fresh TLS key with a certificate that no authority signed.
pub fn identity() -> (Arc<ServerConfig>, Digest) {
    let TlsIdentity { config, spki, .. } = TlsIdentity::self_signed();
    (config, spki)
}
