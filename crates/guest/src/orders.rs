//! What the host wants of a room at work: it is asked for orders for as long as the agent works. A
//! person's command is an action like the agent's own, with the same decision, the same confinement
//! and events that name the person.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_authz::Operation;
use proofroom_canonical::json;
use proofroom_confine::Expendable;
use proofroom_record::{
    event::{Action, Exit, Observation, Outcome},
    room_api::{
        self, LimitEffect, MAX_ANSWER_BYTES, MAX_ORDER_ARGV_BYTES, MAX_REPORT_OUTPUT_BYTES, ORDERS,
        ORDERS_DUE, Order, OrderKind, OrderReport, OrdersGiven, Person, ReportKind, StandardStream,
        parse_orders,
    },
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    channel::ChannelError,
    journal::JournalError,
    observe::Files,
    process::{self, Audience, Job, Piece, Stream},
    redact,
    session::Session,
    tools::{self, ToolError},
};

/// How long after a failed request the host is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Pieces of a person's output that wait for the host before the command has to.
const PIECES: usize = 16;

/// Follows the host's orders until the future is dropped.
pub async fn follow(session: Arc<Session>) {
    loop {
        let next = session.next_order.load(Ordering::Relaxed);
        match ask(&session, ORDERS, next).await {
            Ok(given) => {
                for order in given.orders {
                    obey(&session, order);
                }
            }
            // A host without orders.
            Err(ChannelError::Refused { .. }) => return,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Takes every order that is there now. Commands that are ordered so late are not run.
pub async fn take_due(session: &Arc<Session>) {
    loop {
        let next = session.next_order.load(Ordering::Relaxed);
        match ask(session, ORDERS_DUE, next).await {
            Ok(given) if !given.orders.is_empty() => {
                for order in given.orders {
                    obey(session, order);
                }
            }
            _ => return,
        }
    }
}

async fn ask(session: &Session, path: &str, next: u64) -> Result<OrdersGiven, ChannelError> {
    let path = format!("{path}{next}");
    let bytes = session.channel.get_bytes(&path, MAX_ANSWER_BYTES).await?;
    parse_orders(&bytes).map_err(|source| ChannelError::Answer { path, source })
}

fn obey(session: &Arc<Session>, order: Order) {
    // What the host says a second time was obeyed already.
    let after = order.number.saturating_add(1);
    if session.next_order.fetch_max(after, Ordering::Relaxed) >= after {
        return;
    }
    match order.what {
        OrderKind::Execute { argv, by } => {
            let session = Arc::clone(session);
            drop(tokio::spawn(execute(session, order.number, argv, by)));
        }
        OrderKind::Limit {
            resource,
            detail,
            effect: LimitEffect::Ends,
        } => session.limit(&resource, detail),
        OrderKind::Limit {
            resource,
            detail,
            effect: LimitEffect::Noted,
        } => {
            session.remember_limit(&resource);
            session
                .journal
                .note(Observation::LimitReached { resource, detail });
        }
        OrderKind::Paused { from, to } => session.journal.note(Observation::Paused { from, to }),
    }
}

async fn execute(session: Arc<Session>, number: u64, argv: Vec<String>, by: Person) {
    if session.ended().is_some() {
        let refused = ToolError::Ended("its room takes no more commands".to_owned());
        return report(&session, number, refusal(&refused)).await;
    }
    let _action = session.action().await;
    let what = match perform(&session, number, argv, by).await {
        Ok(exit) => ReportKind::Ended { exit },
        Err(error) => refusal(&error),
    };
    report(&session, number, what).await;
}

/// The intent, the decision, the command, the outcome; as of a tool.
async fn perform(
    session: &Arc<Session>,
    number: u64,
    argv: Vec<String>,
    by: Person,
) -> Result<Exit, ToolError> {
    let size: usize = argv.iter().map(String::len).sum();
    let usable = !argv.is_empty()
        && size <= MAX_ORDER_ARGV_BYTES
        && !argv.iter().any(|one| one.contains('\0'));
    let action = Action::RunByPerson {
        argv: if usable {
            redact::arguments(&argv)
        } else {
            vec![]
        },
        uid: by.uid,
        user: by.name,
    };
    let operation = usable.then(|| Operation::Run { argv: argv.clone() });
    let act = async {
        if !usable {
            let reason = "a command has a program, at most 32 KiB of arguments, and no NUL";
            return Err(ToolError::Arguments(reason.to_owned()));
        }
        run(session, number, argv).await
    };
    let mut exit = None;
    let done = async {
        let (outcome, how) = act.await?;
        exit = Some(how);
        Ok(tools::Done {
            outcome,
            answer: Value::Null,
        })
    };
    tools::perform(session, action, operation, done).await?;
    exit.ok_or_else(|| ToolError::Ended(JournalError::Ended.to_string()))
}

async fn run(
    session: &Arc<Session>,
    number: u64,
    argv: Vec<String>,
) -> Result<(Outcome, Exit), ToolError> {
    let program = argv.first().cloned().unwrap_or_default();
    let argv = argv.into_iter().map(Into::into).collect();
    let job = Job {
        command: process::in_workspace(session, argv, Expendable::First),
        input: vec![],
        time: Duration::from_secs(session.assignment.limits.command_seconds),
        keep: 0,
        output: Arc::clone(&session.output),
    };
    let (live, mut pieces) = mpsc::channel::<Piece>(PIECES);
    let telling = Arc::clone(session);
    let tell = tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            for part in piece.bytes.chunks(MAX_REPORT_OUTPUT_BYTES) {
                let what = ReportKind::Output {
                    stream: match piece.stream {
                        Stream::Stdout => StandardStream::Stdout,
                        Stream::Stderr => StandardStream::Stderr,
                    },
                    data: STANDARD.encode(part),
                };
                report(&telling, number, what).await;
            }
        }
    });
    let observer = session.observer(Files::Recorded);
    let stop = async {
        session.until_ended().await;
    };
    let spawner = Arc::clone(&session.spawner);
    let audience = Audience::Waits(live);
    let finished = process::run(spawner, job, Arc::clone(&observer) as _, audience, stop).await;
    let first = observer.first_program();
    observer.finish();
    drop(tell.await);
    let finished = finished?;
    let outcome = Outcome::Ran {
        executable: tools::executable(&session.root, first, Path::new(&program)),
        exit: finished.exit,
        stdout: finished.stdout.digest,
        stderr: finished.stderr.digest,
        wall_ms: finished.wall_ms,
    };
    Ok((outcome, finished.exit))
}

fn refusal(error: &ToolError) -> ReportKind {
    ReportKind::Refused {
        code: error.code().to_owned(),
        message: error.to_string(),
    }
}

/// Tells the host. Nothing depends on whether it arrives: what happened is in the events.
async fn report(session: &Session, number: u64, what: ReportKind) {
    let Ok(body) = json::to_bytes(&OrderReport { number, what }) else {
        return;
    };
    drop(session.channel.tell(room_api::REPORTS, body.into()).await);
}
