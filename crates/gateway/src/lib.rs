//! The confidential gateway: a request is classified, routed by the customer's rules, sent byte for
//! byte to an upstream that was verified first, and its answer streams back while a signed record is
//! made of what happened. It keeps digests and counts; prompts and answers are never written
//! anywhere. Not here: who may call (the channel proves that), and the ledger (see [`RecordSink`]).

#![forbid(unsafe_code)]

mod ambient;
mod answer;
mod attested;
mod beginnings;
mod caller;
mod channel;
mod commitment;
mod company;
pub mod config;
mod control;
mod credential;
mod draft;
mod evidence;
mod gate;
mod gateway;
pub mod headers;
mod identity;
mod invoked;
mod models;
mod observe;
mod offers;
mod ongoing;
mod prompt;
mod proof;
mod provider;
mod pump;
mod receipt;
mod redaction;
mod refusal;
mod run;
mod sealed;
mod sending;
mod served;
mod setup;
mod shadow;
mod sink;
mod tls;
pub mod trace;
mod translated;
mod transport;
mod waiting;
mod whole;

pub use ambient::{Clock, Entropy, NoEntropy, SteadyClock, SystemClock, SystemEntropy};
pub use answer::{AnswerBody, AnswerError};
pub use attested::EVIDENCE_PATH;
pub use caller::{Caller, CallerIdentity, Standing};
pub use channel::ChannelError;
pub use commitment::{CommitmentKey, MAX_COMMITMENTS, RunKey};
pub use config::UpstreamsConfig;
pub use control::Control;
pub use credential::KeyError;
pub use draft::{NOT_ROUTED, UNCLASSIFIED};
pub use evidence::{EvidenceNotKept, EvidenceSink, InMemoryAlone, MAX_EVIDENCE_DOCUMENTS};
pub use gate::{Admission, Asked, Denial, Finished, Gate, OpenGate};
pub use gateway::{Config, Gateway, Limits};
pub use identity::{Answered, IdentityError, ask_identity};
pub use observe::{NoObserver, RunEvent, RunObserver};
pub use proofroom_provider::{Format as ProviderFormat, ProviderPolicy, ProviderPolicyProblem};
pub use proofroom_verifier::AppraisalPolicy;
pub use provider::{CollateralStore, NoCollateral, Providers};
pub use served::{ServedModelsError, served_models};
pub use setup::{SetupProblem, contradictions};
pub use shadow::ShadowRules;
pub use sink::{BoxFuture, MODEL_RUN, RecordSink, Said, SinkError, Submission};
pub use tls::authorities_in;
pub use transport::{
    CONNECT_TIMEOUT, EVIDENCE_TIMEOUT, HttpClient, client_of_key, standard_client,
};
pub use waiting::renewal;
