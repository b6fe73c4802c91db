//! What a bundle says, for the pages and the transcript. The records in it are signed; whether they
//! agree with each other is the ladder's business.

use proofroom_canonical::{Digest, Timestamp};

use crate::{
    bundle::BundleParts,
    chain::{VerifiedChain, stopped_attempts},
    event::{Action, Attempt, EventBody, Observation, Outcome},
    ladder::Records,
    statement::{
        AgentSession, Assurance, Binding, Destruction, ModelRun, ModelSource, RoomEvidenceClaim,
        Signer,
    },
};

/// What a bundle says.
#[derive(Clone, Debug)]
pub struct BundleFacts {
    /// The binding statement.
    pub binding: Binding,
    /// The session record.
    pub session: AgentSession,
    /// Digest of the session record's file.
    pub session_record: Digest,
    /// The model-run records with the digests of their files, in order.
    pub runs: Vec<(Digest, ModelRun)>,
    /// The destruction record.
    pub destruction: Option<Destruction>,
    /// What was stopped, in order.
    pub stopped: Vec<StoppedAttempt>,
    /// Digests of the evidence documents in the bundle.
    pub evidence: Vec<Digest>,
}

/// Something that the policy or the room stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedAttempt {
    /// Event that says so.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// What was tried. Comes from the room: escape it.
    pub attempt: String,
    /// What stopped it. Comes from the room: escape it.
    pub by: String,
    /// How often.
    pub times: u64,
}

impl BundleFacts {
    pub(crate) fn new(
        parts: &BundleParts,
        binding: Binding,
        records: &Records,
        chain: &VerifiedChain,
    ) -> Self {
        Self {
            binding,
            session: records.session.predicate().clone(),
            session_record: records.session.digest(),
            runs: (records.runs.iter())
                .map(|run| (run.digest(), run.predicate().clone()))
                .collect(),
            destruction: (records.destruction.as_ref()).map(|gone| gone.predicate().clone()),
            stopped: (chain.events().iter())
                .filter_map(|event| stopped(event, chain))
                .collect(),
            evidence: parts.evidence.iter().map(Digest::of).collect(),
        }
    }

    /// Those of three texts that must be said aloud: that evidence was simulated, that answers were played back, that
    /// the session was interrupted.
    pub(crate) fn said_aloud(&self, words: [&'static str; 3]) -> Vec<&'static str> {
        let interrupted = self.session.signer == Signer::Gateway;
        let applies = [
            self.has_simulated_evidence(),
            self.has_cassette(),
            interrupted,
        ];
        let said = applies.into_iter().zip(words);
        said.filter_map(|(applies, words)| applies.then_some(words))
            .collect()
    }

    /// Whether any model answer was played back from a recording.
    #[must_use]
    pub fn has_cassette(&self) -> bool {
        let mut upstreams = self.runs.iter().flat_map(|(_, run)| run.sent_to());
        upstreams.any(|upstream| upstream.source == ModelSource::Cassette)
    }

    /// Whether any evidence was accepted under a policy for test keys.
    #[must_use]
    pub fn has_simulated_evidence(&self) -> bool {
        let sent = self.runs.iter().flat_map(|(_, run)| run.sent_to());
        let of_upstreams = sent.filter_map(|upstream| match &upstream.assurance {
            Assurance::Attested {
                appraisal_policy, ..
            } => Some(appraisal_policy),
            Assurance::ContractOnly { .. } => None,
        });
        let shown = &self.session.room_evidence;
        let of_room = [&shown.start, &shown.end]
            .into_iter()
            .filter_map(|claim| match claim {
                RoomEvidenceClaim::Attested {
                    appraisal_policy, ..
                } => Some(appraisal_policy),
                RoomEvidenceClaim::None { .. } => None,
            });
        of_upstreams
            .chain(of_room)
            .any(|policy| policy.contains("simulated"))
    }
}

fn stopped(event: &crate::event::Event, chain: &VerifiedChain) -> Option<StoppedAttempt> {
    let (attempt, by) = match &event.body {
        EventBody::Outcome {
            of,
            result: Outcome::Denied { code, reason },
        } => (
            chain.action_of(*of).map_or_else(String::new, action_words),
            format!("{code}: {reason}"),
        ),
        EventBody::Observed {
            observation: Observation::Blocked { attempt, .. },
        } => (attempt_words(attempt), "the room's boundary".to_owned()),
        _ => return None,
    };
    Some(StoppedAttempt {
        seq: event.seq,
        time: event.time,
        attempt,
        by,
        times: stopped_attempts(&event.body),
    })
}

fn action_words(action: &Action) -> String {
    match action {
        Action::ReadFile { path, .. } => format!("read `{path}`"),
        Action::List { path } => format!("list `{path}`"),
        Action::Search { path, .. } => format!("search `{path}`"),
        Action::Edit { path } => format!("edit `{path}`"),
        Action::WriteFile { path, .. } => format!("write `{path}`"),
        Action::Run { argv } => format!("run `{}`", argv.join(" ")),
        Action::GitCommit { .. } => "commit".to_owned(),
        Action::ModelRun { endpoint, .. } => format!("model request to `{endpoint}`"),
        Action::Egress {
            host,
            port,
            method,
            path,
            ..
        } => format!(
            "egress `{method} {host}:{port}{}`",
            path.as_deref().unwrap_or_default()
        ),
        Action::Deliver { commit } => format!("deliver `{commit}`"),
        Action::RunByPerson { argv, user, .. } => format!("`{user}` ran `{}`", argv.join(" ")),
        Action::Unknown { tool } => format!("unknown tool `{tool}`"),
    }
}

fn attempt_words(attempt: &Attempt) -> String {
    match attempt {
        Attempt::File { path, access } => format!("{access} `{path}`"),
        Attempt::Network { target } => format!("network `{target}`"),
        Attempt::Syscall { name } => format!("system call `{name}`"),
        Attempt::Process { target } => format!("process `{target}`"),
        Attempt::Secret { target } => format!("secret `{target}`"),
    }
}
