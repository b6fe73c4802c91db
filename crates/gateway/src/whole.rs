//! An answer that is one JSON document: read to its end, recorded, and then given to the client at
//! once, so that its head can name the record. No client can use part of such an answer.

use std::sync::Arc;

use http::{Response, StatusCode, response::Parts};
use proofroom_llm::{Framing, MAX_ANSWER_BYTES, Restorer};
use proofroom_record::event::RunStatus;

use crate::{
    answer::{AnswerBody, trailers},
    draft::Draft,
    prompt::Prompt,
    pump::{self, Arriving, Limits, Passed, Stop, head},
    receipt,
    refusal::{Refusal, UpstreamFault},
    run::{Reply, answer_alone},
};

/// The most bytes that are held. A longer answer is passed on while it arrives, but for one that needs a
/// receipt: nothing of that is given before.
const HELD_BYTES: usize = 1024 * 1024;

/// How reading ended.
enum Read {
    /// All is there.
    Whole(Vec<u8>),
    /// More than is held.
    TooLong(Vec<u8>),
    Stopped(Stop),
}

/// Gives the answer to the client and closes the run's record.
pub(crate) async fn answer(
    mut draft: Box<Draft>,
    parts: Parts,
    (mut body, mut restorer): (Arriving, Option<Restorer>),
    mut passed: Passed,
    mut reply: Reply,
) {
    let limits = Limits::of(&draft.core.limits);
    let read = tokio::select! {
        biased;
        () = reply.closed() => Read::Stopped(Stop::ClientGone),
        read = read(&mut body, limits, held_bytes(&draft)) => read,
    };
    match read {
        Read::Whole(held) => {
            let stop = receipt::settle(&mut draft, body, parts.status, Stop::End).await;
            if stop != Stop::End {
                return stopped(draft, parts.status, passed, stop, reply).await;
            }
            let held = match &mut restorer {
                Some(restorer) => restored(restorer, &held),
                None => held,
            };
            pump::note_restored(&mut draft, restorer.as_ref());
            passed.take_last(&held);
            let head = head(&draft, &parts, AnswerBody::empty());
            give(draft, head, held, passed, reply).await;
        }
        Read::TooLong(_) if draft.signed.is_some() => {
            drop(body);
            let stop = Stop::Fault(UpstreamFault::TooLarge);
            stopped(draft, parts.status, passed, stop, reply).await;
        }
        Read::TooLong(held) => {
            let body = body.with(Prompt::new(held).to_bytes());
            let body = (body, Framing::Json, restorer);
            Box::pin(pump::stream(draft, parts, body, passed, reply)).await;
        }
        Read::Stopped(stop) => {
            drop(body);
            stopped(draft, parts.status, passed, stop, reply).await;
        }
    }
}

const fn held_bytes(draft: &Draft) -> usize {
    match draft.signed {
        Some(_) => MAX_ANSWER_BYTES,
        None => HELD_BYTES,
    }
}

async fn read(body: &mut Arriving, limits: Limits, held_bytes: usize) -> Read {
    let mut held = Vec::with_capacity(body.expected().min(HELD_BYTES));
    loop {
        match body.next(limits).await {
            Ok(chunk) => held.extend_from_slice(&chunk),
            Err(Stop::End) => return Read::Whole(held),
            Err(stop) => return Read::Stopped(stop),
        }
        if held.len() as u64 > limits.bytes {
            return Read::Stopped(Stop::Fault(UpstreamFault::TooLarge));
        }
        if held.len() > held_bytes {
            return Read::TooLong(held);
        }
    }
}

/// The answer with everything put back.
pub(crate) fn restored(restorer: &mut Restorer, held: &[u8]) -> Vec<u8> {
    let mut whole = restorer.push(held);
    whole.extend(restorer.finish());
    whole
}

/// Record first, then the answer, whose head names the record.
pub(crate) fn give(
    draft: Box<Draft>,
    mut head: Response<AnswerBody>,
    held: Vec<u8>,
    passed: Passed,
    reply: Reply,
) -> impl Future<Output = ()> + Send {
    let api = draft.opening.api;
    let (end, status) = pump::end(&draft, head.status(), passed, Stop::End);
    let core = Arc::clone(&draft.core);
    let closing = draft.close(end);
    async move {
        let closed = closing.await;
        core.company.gather().await;
        let answer = match closed {
            Ok(record) => {
                let named = trailers(record, status);
                for (name, value) in &named {
                    head.headers_mut().insert(name, value.clone());
                }
                let body = Prompt::new(held).to_bytes();
                head.map(|_| AnswerBody::ready(body, Some(named)))
            }
            Err(_) => Refusal::closed().response(api),
        };
        // a client that is gone needs no answer; the record is kept
        drop(reply.send(answer));
    }
}

/// The client gets an error in its API's format and nothing of the answer.
async fn stopped(
    draft: Box<Draft>,
    http_status: StatusCode,
    passed: Passed,
    stop: Stop,
    reply: Reply,
) {
    match stop {
        Stop::Fault(fault) => {
            let http_status = Some(http_status.as_u16());
            let status = RunStatus::UpstreamError;
            answer_alone(draft, &fault.refusal(), status, http_status, reply).await;
        }
        Stop::ClientGone | Stop::End => {
            let (end, _) = pump::end(&draft, http_status, passed, stop);
            // nobody is there to be told; a record that is lost closes the gateway
            drop(draft.close(end).await);
        }
    }
}
