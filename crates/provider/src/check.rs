//! The named checks of a provider's appraisal, and what one may answer. No check lives here.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

/// The code of a check that found things in order, where what it rests on did not pass.
pub(crate) const UNPROVED: &str = "unproved";

/// What of a provider a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The provider as a whole.
    Provider,
    /// The machine that ends the connection and passes requests on.
    Gateway,
    /// One of the machines that run the model, by its place in the report.
    Model(usize),
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider => f.write_str("provider"),
            Self::Gateway => f.write_str("gateway"),
            Self::Model(place) => write!(f, "model-{place}"),
        }
    }
}

/// A check. Every appraisal answers those of [`ProviderCheckName::PROVIDER`] once, and for each machine
/// those of [`ProviderCheckName::GATEWAY`], [`ProviderCheckName::MODEL`], [`ProviderCheckName::ENCLAVE`],
/// [`ProviderCheckName::SEALED_ENCLAVE`], [`ProviderCheckName::ACI`] or [`ProviderCheckName::TINFOIL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderCheckName {
    /// The document and the report in it are of the known formats.
    Report,
    /// Every machine says that it serves the model of the policy.
    Model,
    /// The key of the connection is the one that the quote of its end binds.
    TlsKey,
    /// The quote is accepted under the policy for quotes: chain, collateral, signature, TCB,
    /// attributes, reference values.
    Quote,
    /// The quote's report data binds the key that signs receipts.
    SigningKey,
    /// The quote's report data holds the challenge of this very exchange.
    Nonce,
    /// The event log replays to the quote's RTMRs, and says each thing of the boot once.
    EventLog,
    /// The deployment in the report is the one that was measured, and one that the policy allows.
    Compose,
    /// The application's identity is one that the policy allows.
    AppId,
    /// The image of the operating system is one that the policy allows.
    OsImage,
    /// The keys of the application come from a service that the policy allows.
    KeyProvider,
    /// The enclave's statement, or what stands for one, can be read, and is what the quote's report data binds.
    Statement,
    /// The enclave still stands by its statement.
    StatementExpiry,
    /// The weights that the enclave read are ones that the policy allows.
    Weights,
    /// The image that the enclave names for the model's server is one that the policy allows.
    Image,
    /// The keyset can be read, and is what the quote's report data binds.
    Keyset,
    /// The keyset has not expired and does not promise too much.
    KeysetExpiry,
    /// The keys that sign receipts come from a key service that the policy allows.
    KeyCustody,
    /// The machine's measurements are those of a public release, by the release's own signatures.
    ReleaseProvenance,
    /// The statement has a key that requests can be sealed to.
    SealingKey,
    /// The machine's GPUs are accepted under the policy for devices, for the same challenge.
    Gpu,
}

impl ProviderCheckName {
    /// The checks on the provider as a whole.
    pub const PROVIDER: &'static [Self] = &[Self::Report, Self::Model, Self::TlsKey];
    /// The checks on a gateway.
    pub const GATEWAY: &'static [Self] = &[
        Self::Quote,
        Self::SigningKey,
        Self::Nonce,
        Self::EventLog,
        Self::Compose,
        Self::AppId,
        Self::OsImage,
        Self::KeyProvider,
    ];
    /// The checks on a machine that runs the model.
    pub const MODEL: &'static [Self] = &[
        Self::Quote,
        Self::SigningKey,
        Self::Nonce,
        Self::EventLog,
        Self::Compose,
        Self::AppId,
        Self::OsImage,
        Self::KeyProvider,
        Self::Gpu,
    ];

    /// The checks on `proofroom-enclave`.
    pub const ENCLAVE: &'static [Self] = &[
        Self::Quote,
        Self::Statement,
        Self::Nonce,
        Self::StatementExpiry,
        Self::Weights,
        Self::Image,
        Self::Gpu,
    ];
    /// The checks on `proofroom-enclave` where requests are sealed to it.
    pub const SEALED_ENCLAVE: &'static [Self] = &[
        Self::Quote,
        Self::Statement,
        Self::Nonce,
        Self::StatementExpiry,
        Self::Weights,
        Self::Image,
        Self::SealingKey,
        Self::Gpu,
    ];

    /// The checks on a service of ACI that runs the model itself.
    pub const ACI: &'static [Self] = &[
        Self::Quote,
        Self::Keyset,
        Self::Nonce,
        Self::KeysetExpiry,
        Self::SigningKey,
        Self::EventLog,
        Self::Compose,
        Self::AppId,
        Self::OsImage,
        Self::KeyProvider,
        Self::KeyCustody,
        Self::Gpu,
    ];
    /// The checks on a service of ACI that passes requests on: it has no devices to show.
    pub const ACI_AGGREGATOR: &'static [Self] = without_devices(Self::ACI);

    /// The checks on a Tinfoil enclave that runs the model itself.
    pub const TINFOIL: &'static [Self] = &[
        Self::Quote,
        Self::Statement,
        Self::Nonce,
        Self::ReleaseProvenance,
        Self::Gpu,
    ];
    /// The checks on a Tinfoil enclave that passes requests on: it has no devices to show.
    pub const TINFOIL_AGGREGATOR: &'static [Self] = without_devices(Self::TINFOIL);

    /// The stable spelling in JSON, policies and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Model => "model",
            Self::TlsKey => "tls-key",
            Self::Quote => "quote",
            Self::SigningKey => "signing-key",
            Self::Nonce => "nonce",
            Self::EventLog => "event-log",
            Self::Compose => "compose",
            Self::AppId => "app-id",
            Self::OsImage => "os-image",
            Self::KeyProvider => "key-provider",
            Self::Statement => "statement",
            Self::StatementExpiry => "statement-expiry",
            Self::Weights => "weights",
            Self::Image => "image",
            Self::Keyset => "keyset",
            Self::KeysetExpiry => "keyset-expiry",
            Self::KeyCustody => "key-custody",
            Self::ReleaseProvenance => "release-provenance",
            Self::SealingKey => "sealing-key",
            Self::Gpu => "gpu",
        }
    }
}

/// `all` but the last, where that is the devices': of who has none to show.
const fn without_devices(all: &'static [ProviderCheckName]) -> &'static [ProviderCheckName] {
    match all {
        [before @ .., ProviderCheckName::Gpu] => before,
        all => all,
    }
}

/// What a check answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// What the check is about holds.
    Pass,
    /// It does not hold.
    Fail {
        /// Why, for programs.
        code: &'static str,
        /// Why, for a person.
        words: String,
    },
    /// Nobody looked, or what was seen is unproved. Never a pass.
    NotEvaluated {
        /// Why, for programs.
        code: &'static str,
        /// Why, for a person.
        words: String,
    },
}

impl CheckOutcome {
    pub(crate) fn fail(code: &'static str, words: impl Into<String>) -> Self {
        Self::Fail {
            code,
            words: words.into(),
        }
    }

    pub(crate) fn not_evaluated(code: &'static str, words: impl Into<String>) -> Self {
        Self::NotEvaluated {
            code,
            words: words.into(),
        }
    }

    pub(crate) fn when(holds: bool, code: &'static str, words: &str) -> Self {
        if holds {
            return Self::Pass;
        }
        Self::fail(code, words)
    }

    /// This outcome, but not a pass if what it rests on did not pass.
    pub(crate) fn resting_on(self, needed: &Self) -> Self {
        match (self, needed) {
            (Self::Pass, Self::Fail { .. } | Self::NotEvaluated { .. }) => {
                Self::not_evaluated(UNPROVED, "in order, but what it rests on did not pass")
            }
            (outcome, _) => outcome,
        }
    }

    /// The code of an outcome that is no pass.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Pass => None,
            Self::Fail { code, .. } | Self::NotEvaluated { code, .. } => Some(code),
        }
    }

    /// The stable spelling in JSON and records.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::NotEvaluated { .. } => "not-evaluated",
        }
    }
}

/// A check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCheck {
    /// What it is about.
    pub component: Component,
    /// Which check.
    pub name: ProviderCheckName,
    /// What it answered.
    pub outcome: CheckOutcome,
}

impl ProviderCheck {
    /// Component and name as records spell them, such as `model-0: gpu`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}: {}", self.component, self.name.as_str())
    }
}

impl Serialize for ProviderCheck {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("check", &self.label())?;
        map.serialize_entry("outcome", self.outcome.word())?;
        match &self.outcome {
            CheckOutcome::Pass => {}
            CheckOutcome::Fail { code, words } | CheckOutcome::NotEvaluated { code, words } => {
                map.serialize_entry("code", code)?;
                map.serialize_entry("words", words)?;
            }
        }
        map.end()
    }
}
