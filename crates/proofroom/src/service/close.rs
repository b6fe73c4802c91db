//! The room closes its session: its record must be signed by its key and agree with what the host
//! has seen, event for event and run for run.

use std::sync::PoisonError;

use bytes::Bytes;
use http::{Response, StatusCode};
use proofroom_canonical::json as strict;
use proofroom_evidence::Moment;
use proofroom_record::{
    predicate,
    room_api::{CloseAnswer, CloseRequest, MAX_ATTESTED_REQUEST_BYTES, RoomEvidenceOffer},
    statement::{AgentSession, Closing, Signer},
};
use proofroom_tlog::LeafKind;

use super::{
    Closed, Identified, SessionService, State,
    body::{Body, Refusal, json},
};
use crate::causes::chain;

impl SessionService {
    pub(super) async fn close(&self, body: Bytes) -> Result<Response<Body>, Refusal> {
        let request: CloseRequest = strict::parse(&body, MAX_ATTESTED_REQUEST_BYTES)
            .map_err(|error| Refusal::bad("close-malformed", chain(&error)))?;
        let envelope = request
            .session_record
            .to_bytes()
            .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
        let mut state = self.state.lock().await;
        let State::Identified(identified) = &*state else {
            return Err(Refusal::bad(
                "not-open",
                "there is no open session to close",
            ));
        };
        let record = predicate::open::<AgentSession>(&envelope, &identified.key)
            .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
        if let Some(words) = self.disagreement(identified, record.predicate()) {
            return Err(Refusal::bad("record-mismatch", words));
        }
        self.shown_at_the_end(identified, record.predicate(), &request.room_evidence)?;
        let digest = self
            .services
            .shelf
            .keep(LeafKind::AgentSession, "session", envelope)
            .await
            .map_err(|error| Refusal::failed(error.code(), chain(&error)))?;
        *state = State::Closed(Box::new(Closed {
            record: record.predicate().clone(),
            digest,
        }));
        Ok(json(StatusCode::OK, &CloseAnswer { record: digest }))
    }

    /// Appraises the evidence of the room's end and keeps it; the record must name this evidence.
    fn shown_at_the_end(
        &self,
        identified: &Identified,
        record: &AgentSession,
        offer: &RoomEvidenceOffer,
    ) -> Result<(), Refusal> {
        let session = self.facts.assignment.session;
        let closing = Closing::of(session, identified.binding, &record.events);
        let closing = strict::to_bytes(&closing)
            .map_err(|error| Refusal::failed("internal", chain(&error)))?;
        let shown = self.shown(Moment::End, &closing, offer)?;
        let claims = &record.room_evidence;
        if claims.start != identified.room_evidence || claims.end != shown.claim {
            let words = "it names other evidence of the room than was shown";
            return Err(Refusal::bad("record-mismatch", words));
        }
        self.keep(&shown)
    }

    /// The first thing in which the room's record differs from what the host knows.
    fn disagreement(&self, identified: &Identified, record: &AgentSession) -> Option<&'static str> {
        let assignment = &self.facts.assignment;
        let journal = identified
            .journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let checks = [
            (
                record.session == assignment.session,
                "it names another session",
            ),
            (
                record.spiffe_id == assignment.spiffe_id,
                "it names another identity",
            ),
            (record.agent == assignment.agent, "it names another agent"),
            (
                record.isolation == assignment.isolation,
                "it claims another isolation level",
            ),
            (
                record.binding == identified.binding,
                "it names another binding",
            ),
            (
                record.signer == Signer::Session,
                "it is not signed as the session",
            ),
            (
                record.events.count == journal.count(),
                "it counts other events",
            ),
            (
                record.events.head == journal.head(),
                "it names another last event",
            ),
            (
                u64::try_from(record.model_runs.len()) == Ok(identified.caller.runs()),
                "it counts other model runs than the gateway",
            ),
        ];
        checks
            .into_iter()
            .find_map(|(holds, words)| (!holds).then_some(words))
    }
}
