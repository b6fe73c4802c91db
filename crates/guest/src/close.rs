//! The end of a session: the result handed over, the last event, the signed record.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use proofroom_authz::Operation;
use proofroom_canonical::{Digest, Nonce, Timestamp, json};
use proofroom_clock::steady;
use proofroom_record::{
    attest_api::Moment,
    dsse::Envelope,
    event::{Action, Outcome, SessionEnd},
    predicate::seal,
    room_api::{self, COMMIT_HEADER, CloseAnswer, CloseRequest, ResultAccepted},
    statement::{
        AgentSession, Closing, EventSummary, ModelRunReference, RoomEvidenceClaims, SessionResult,
        Signer,
    },
};

use crate::{
    attest::{self, AttestError, Attester},
    channel::ChannelError,
    git::GitError,
    identity::Identity,
    journal::JournalError,
    observe::{Files, Watch},
    session::Session,
    tools::{self, ToolError, commit},
};

/// How long a cancelled session may take for its delivery; well below what the host allows for all
/// of the closing.
const CANCELLED_DELIVERY: Duration = Duration::from_secs(10);
/// How long the host may check and take a delivery: its own steps have limits that add up to this.
const DELIVERY: Duration = Duration::from_secs(900);

/// Why a session has no record from inside the room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The host did not take the record.
    #[error("the host did not take the session record")]
    Host(#[source] ChannelError),
    /// The last event is not durable.
    #[error("the session's last event is not durable")]
    Journal(#[source] JournalError),
    /// The host names another record than the one sent.
    #[error("the host took record `{0}`, which is not the one sent")]
    Other(Digest),
    /// The record could not be written.
    #[error("the session record could not be written")]
    Record,
    /// The room has an attester, and it made no evidence of the end.
    #[error("the room could not show what it was at its end")]
    Attest(#[source] AttestError),
}

impl CloseError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Host(_) => "close-not-taken",
            Self::Journal(_) => "close-not-durable",
            Self::Other(_) => "close-other-record",
            Self::Record => "close-record",
            Self::Attest(error) => error.code(),
        }
    }
}

/// Hands the new commits to the broker; commits first what a command left uncommitted.
///
/// # Errors
/// [`JournalError`] when the chain took no event; everything else is an outcome.
pub async fn deliver(session: &Session) -> Result<(), JournalError> {
    let observer = session.observer(Files::Unrecorded);
    let watch = || -> Arc<dyn Watch> { Arc::clone(&observer) as _ };
    if session.assignment.command.is_some() && session.ended() == Some(SessionEnd::Completed) {
        let message = format!("Changes by {}\n", session.assignment.agent);
        // Whatever comes of it is in its outcome event.
        if let Err(ToolError::Ended(_)) = commit_leftovers(session, message, watch()).await {
            return Err(JournalError::Ended);
        }
    }
    let Ok(tip) = session.git.object("HEAD^{commit}", watch()).await else {
        return Ok(());
    };
    if tip == session.assignment.commit {
        return Ok(());
    }
    let action = Action::Deliver {
        commit: tip.clone(),
    };
    let intent = session.journal.intent(action).await?;
    let handed = tokio::select! {
        handed = hand_over(session, &tip, watch()) => handed,
        () = out_of_patience(session) => Err(ToolError::Failed {
            code: "cancelled",
            reason: "the session was cancelled while the commits were handed over; whether the \
                     host made the branch is not known"
                .to_owned(),
        }),
    };
    let outcome = match handed {
        Ok(taken) => {
            let outcome = Outcome::Delivered {
                reference: taken.reference.clone(),
                commit: taken.commit.clone(),
            };
            let mut result = session
                .result
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *result = Some(taken);
            outcome
        }
        Err(ToolError::Denied { code, reason }) => Outcome::Denied { code, reason },
        Err(error) => Outcome::Failed {
            code: error.code().to_owned(),
            reason: error.to_string(),
        },
    };
    session.journal.outcome(intent, outcome).await
}

/// A cancelled session still hands over what was committed, but not for long: the host waits for its
/// record.
async fn out_of_patience(session: &Session) {
    session.until_cancelled().await;
    tokio::time::sleep(CANCELLED_DELIVERY).await;
}

async fn commit_leftovers(
    session: &Session,
    message: String,
    watch: Arc<dyn Watch>,
) -> Result<(), ToolError> {
    let changed = session
        .git
        .run(
            &["status", "--porcelain", "-z", "--ignore-submodules"],
            vec![],
            watch,
        )
        .await?;
    if changed.is_empty() {
        return Ok(());
    }
    commit::commit(session, message).await.map(drop)
}

async fn hand_over(
    session: &Session,
    tip: &str,
    watch: Arc<dyn Watch>,
) -> Result<SessionResult, ToolError> {
    let operation = Operation::Deliver {
        repository: session.assignment.repository.clone(),
    };
    tools::decide(session, &operation)?;
    let base = &session.assignment.commit;
    let changed = [
        "diff",
        "--name-only",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "-z",
        base,
        tip,
        "--",
    ];
    let paths = session.git.paths(&changed, Arc::clone(&watch)).await?;
    commit::judge(session, &paths)?;
    let objects = ["pack-objects", "--revs", "--stdout", "--quiet"];
    let revisions = format!("{tip}\n^{base}\n").into_bytes();
    let pack: Vec<u8> = session.git.run(&objects, revisions, watch).await?;
    let mut headers = HeaderMap::new();
    let name = HeaderValue::from_str(tip).map_err(|_| GitError::Answer("rev-parse".to_owned()))?;
    headers.insert(COMMIT_HEADER, name);
    let taken: ResultAccepted = session
        .channel
        .post_patiently(room_api::RESULT, &headers, pack.into(), DELIVERY)
        .await
        .map_err(|error| match error {
            ChannelError::Refused { code, message, .. } => ToolError::Denied {
                code,
                reason: message,
            },
            other => ToolError::Failed {
                code: "not-delivered",
                reason: other.to_string(),
            },
        })?;
    Ok(SessionResult {
        reference: taken.reference,
        commit: taken.commit,
        tree: taken.tree,
    })
}

/// Writes the last event, shows what the room still is, signs the record and hands it over. Returns the record's digest.
///
/// # Errors
/// See [`CloseError`].
pub async fn close(
    session: &Session,
    identity: &Identity,
    attester: &Arc<dyn Attester>,
    end: SessionEnd,
    started: Timestamp,
) -> Result<Digest, CloseError> {
    let events = session
        .journal
        .close(end)
        .await
        .map_err(CloseError::Journal)?;
    let closing = Closing::of(session.assignment.session, identity.binding, &events);
    let closing = json::to_bytes(&closing).map_err(|_| CloseError::Record)?;
    let closing = String::from_utf8(closing).map_err(|_| CloseError::Record)?;
    let offer = attest::attest(attester, Moment::End, closing)
        .await
        .map_err(CloseError::Attest)?;
    let policies = &session.assignment.policies;
    let evidence = RoomEvidenceClaims {
        start: identity.room_evidence.clone(),
        end: attest::claim(&offer, &identity.appraised, policies).map_err(CloseError::Attest)?,
    };
    let record = record(session, identity, evidence, events, end, started)?;
    let sealed = seal(&record, &identity.key).map_err(|_| CloseError::Record)?;
    let sent = sealed.digest;
    let request = CloseRequest {
        session_record: Envelope::parse(&sealed.bytes).map_err(|_| CloseError::Record)?,
        room_evidence: offer,
    };
    let body = json::to_bytes(&request).map_err(|_| CloseError::Record)?;
    let answer: CloseAnswer = session
        .channel
        .post(room_api::CLOSE, &HeaderMap::new(), body.into())
        .await
        .map_err(CloseError::Host)?;
    if answer.record == sent {
        Ok(sent)
    } else {
        Err(CloseError::Other(answer.record))
    }
}

fn record(
    session: &Session,
    identity: &Identity,
    room_evidence: RoomEvidenceClaims,
    events: EventSummary,
    end: SessionEnd,
    started: Timestamp,
) -> Result<AgentSession, CloseError> {
    let assignment = &session.assignment;
    let mut mechanisms = assignment.mechanisms.clone();
    mechanisms.extend(session.spawner.mechanisms());
    mechanisms.sort();
    mechanisms.dedup();
    let mut blinding = [0; 32];
    getrandom::fill(&mut blinding).map_err(|_| CloseError::Record)?;
    let high_water = session.high_water();
    let runs = session.runs.lock().unwrap_or_else(PoisonError::into_inner);
    let model_runs = runs.values().map(|run| ModelRunReference {
        run: run.run,
        record: run.record,
        status: run.status,
    });
    let result = session
        .result
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(AgentSession {
        session: assignment.session,
        spiffe_id: assignment.spiffe_id.clone(),
        agent: assignment.agent.clone(),
        isolation: assignment.isolation,
        mechanisms,
        not_proven: not_proven(session),
        binding: identity.binding,
        room_evidence,
        events,
        model_runs: model_runs.collect(),
        high_water,
        result: result.clone(),
        end,
        started,
        ended: steady(),
        signer: Signer::Session,
        blinding: Nonce::from_random(blinding),
    })
}

fn not_proven(session: &Session) -> Vec<String> {
    let mut words = vec![session.assignment.isolation.not_proven().to_owned()];
    words.push(
        "isolation level and mechanisms of the room are what its host said; those of commands were \
         seen by the supervisor"
            .to_owned(),
    );
    if session.assignment.command.is_some() {
        words.push(
            "the command's own tools are not mediated: what it did was contained and recorded, not \
             approved beforehand"
                .to_owned(),
        );
    }
    words
}
