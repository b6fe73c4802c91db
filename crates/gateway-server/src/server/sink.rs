//! The gateway's records, on their way into the store.

use std::sync::Arc;

use proofroom_canonical::Digest;
use proofroom_gateway::{BoxFuture, RecordSink, SinkError, Submission};
use proofroom_tlog::LeafKind;

use crate::{
    prices::Prices,
    sessions::{Event, Recorded},
    store::{RecordStore, StoreError},
};

/// Keeps what the gateway submits.
pub(super) struct StoreSink {
    pub(super) store: Arc<RecordStore>,
    pub(super) prices: Arc<Prices>,
}

impl RecordSink for StoreSink {
    fn ready(&self) -> Result<(), SinkError> {
        self.store.ready().map_err(|error| of(&error))
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>> {
        let event = self.event(&submission);
        Box::pin(async move {
            let Submission {
                session,
                log,
                record,
                ..
            } = submission;
            self.store
                .record(LeafKind::ModelRun, session, record, event, log)
                .await
                .map_err(|error| of(&error))
        })
    }
}

impl StoreSink {
    fn event(&self, submission: &Submission) -> Event {
        let said = &submission.said;
        let run = &said.finished;
        Event::Run(Recorded {
            run: run.run,
            sequence: said.sequence,
            high_water: said.high_water.clone(),
            tier: run.tier.clone(),
            spending: self.prices.of_ended(run),
            at: run.finished,
        })
    }
}

fn of(error: &StoreError) -> SinkError {
    SinkError {
        reason: error.to_string(),
    }
}
