//! The gateway's records, on their way into the store.

use std::sync::Arc;

use proofroom_canonical::Digest;
use proofroom_gateway::{BoxFuture, RecordSink, SinkError, Submission};
use proofroom_tlog::LeafKind;

use crate::store::{RecordStore, StoreError};

/// Keeps what the gateway submits.
pub(super) struct StoreSink(pub(super) Arc<RecordStore>);

impl RecordSink for StoreSink {
    fn ready(&self) -> Result<(), SinkError> {
        self.0.ready().map_err(|error| of(&error))
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>> {
        Box::pin(async move {
            let Submission {
                session,
                run,
                log,
                envelope,
                ..
            } = submission;
            self.0
                .record(LeafKind::ModelRun, session, Some(run), envelope, log)
                .await
                .map_err(|error| of(&error))
        })
    }
}

fn of(error: &StoreError) -> SinkError {
    SinkError {
        reason: error.to_string(),
    }
}
