//! `GET /v1/records/{id}`: a record and the proof that the log holds it, for the key or person that it is about. `GET
//! /v1/evidence/{digest}`: the document by which a record's upstream was accepted, for whoever has a key.

use std::sync::Arc;

use http::{Response, StatusCode};
use proofroom_record::{predicate::read_unverified, statement::ModelRun};

use super::{Front, Own, record_answer, typed};
use crate::{
    body::Departing,
    held::Held,
    store::{Found, RecordStore, StoreError},
};

impl Front {
    pub(super) async fn record(&self, id: String, held: &Held) -> Result<Response<Departing>, Own> {
        let store = Arc::clone(&self.permission.store);
        let key = held.holder.to_string();
        let read = move || find(&store, &id, &key);
        let found = tokio::task::spawn_blocking(read).await;
        let failed = |code| {
            let words = "the record or its receipt could not be read; ask the gateway's operator";
            Own::new(StatusCode::SERVICE_UNAVAILABLE, code, words)
        };
        let (found, receipt) = found
            .map_err(|_| failed("record-unreadable"))?
            .map_err(|error| failed(error.code()))?
            .ok_or_else(|| {
                let words = "the gateway has no such record for this key";
                Own::new(StatusCode::NOT_FOUND, "no-such-record", words)
            })?;
        Ok(record_answer(found.digest, &found.envelope, &receipt))
    }

    /// It is about an upstream and about no client.
    pub(super) fn evidence(&self, digest: &str) -> Result<Response<Departing>, Own> {
        let digest = digest.parse().ok();
        match digest.and_then(|digest| self.gateway.evidence(digest)) {
            Some(document) => Ok(typed(StatusCode::OK, "application/json", document)),
            None => {
                let words = "the gateway holds no such document any more, or never did";
                Err(Own::new(StatusCode::NOT_FOUND, "no-such-evidence", words))
            }
        }
    }
}

/// The record if `key` made it, with its receipt. What others did looks like nothing at all.
fn find(store: &RecordStore, id: &str, key: &str) -> Result<Option<(Found, String)>, StoreError> {
    let found = match (id.parse(), id.parse()) {
        (Ok(run), _) => store.of_run(run)?,
        (_, Ok(digest)) => store.of_digest(digest)?,
        _ => None,
    };
    let Some(found) = found else { return Ok(None) };
    let own = read_unverified::<ModelRun>(&found.envelope)
        .is_ok_and(|run| run.client.is_some_and(|client| client.key == key));
    if !own {
        return Ok(None);
    }
    let receipt = store.receipt(&found)?;
    Ok(Some((found, receipt)))
}
