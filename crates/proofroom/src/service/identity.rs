//! The room says who it is: its binding statement must be the one that the host expects, word for
//! word, its evidence must show the room that the host started, and only then does its key get a
//! certificate and its session a journal.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Response, StatusCode};
use proofroom_canonical::{Digest, json as strict};
use proofroom_evidence::Moment;
use proofroom_gateway::CallerIdentity;
use proofroom_record::{
    dsse::spki_digest,
    room_api::{IdentityAnswer, IdentityRequest, MAX_ANSWER_BYTES, MAX_ATTESTED_REQUEST_BYTES},
    statement::Binding,
};

use super::{
    Identified, SessionService, State,
    body::{Body, Refusal, json},
};
use crate::{causes::chain, files, journal::Journal, keys::DeploymentKeys, session::user_name};

impl SessionService {
    pub(super) async fn identify(&self, body: Bytes) -> Result<Response<Body>, Refusal> {
        let (request, binding_bytes, binding) = parse(&body)?;
        let mut state = self.state.lock().await;
        if !matches!(*state, State::Anonymous) {
            return Err(Refusal::bad("identity-taken", "this room has its identity"));
        }
        let key = DeploymentKeys::read_session_key(&request.session_key)
            .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
        let wanted = self.facts.assignment.binding(spki_digest(&key));
        if binding != wanted || strict::to_bytes(&wanted).ok().as_deref() != Some(&binding_bytes) {
            return Err(Refusal::bad(
                "binding-mismatch",
                "the binding statement is not the one of this session",
            ));
        }
        let shown = self.shown(Moment::Start, &binding_bytes, &request.room_evidence)?;
        self.keep(&shown)?;
        self.keep_start(&shown.claim)?;
        let now = (self.services.clock)();
        let certificate = self
            .services
            .keys
            .certify_session(&key, &self.facts.assignment.spiffe_id, now)
            .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
        let digest = Digest::of(&binding_bytes);
        files::replace(&self.facts.dir.join("binding.json"), &binding_bytes)
            .and_then(|()| {
                files::replace(&self.facts.dir.join("session.pem"), certificate.as_bytes())
            })
            .map_err(|error| Refusal::failed("session-folder", chain(&error)))?;
        let journal = Journal::create(
            &self.facts.dir.join("journal.jsonl"),
            binding.session,
            digest,
            key,
        )
        .map_err(|error| Refusal::failed(error.code(), chain(&error)))?;
        let caller = self.services.gateway.admit(CallerIdentity {
            session: binding.session,
            spiffe_id: binding.spiffe_id.clone(),
            binding: digest,
            repository: self.facts.assignment.repository.clone(),
            person: user_name(rustix::process::geteuid().as_raw()),
            purpose: self.facts.purpose.clone(),
        });
        let answer = IdentityAnswer {
            certificate_chain: certificate,
            room_appraisal: shown.appraised,
        };
        *state = State::Identified(Box::new(Identified {
            binding: digest,
            room_evidence: shown.claim,
            key,
            journal: Arc::new(std::sync::Mutex::new(journal)),
            announced: Arc::default(),
            caller,
        }));
        Ok(json(StatusCode::OK, &answer))
    }
}

/// The request, and the binding statement in it with its exact bytes.
fn parse(body: &Bytes) -> Result<(IdentityRequest, Vec<u8>, Binding), Refusal> {
    let request: IdentityRequest = strict::parse(body, MAX_ATTESTED_REQUEST_BYTES)
        .map_err(|error| Refusal::bad("identity-malformed", chain(&error)))?;
    let binding_bytes = STANDARD
        .decode(&request.binding)
        .map_err(|_| Refusal::bad("binding-malformed", "the binding is not base64"))?;
    let binding: Binding = strict::parse(&binding_bytes, MAX_ANSWER_BYTES)
        .map_err(|error| Refusal::bad("binding-malformed", chain(&error)))?;
    Ok((request, binding_bytes, binding))
}
