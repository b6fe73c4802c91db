//! Spans of runs on their way to the operator's collector. What a span can hold is
//! [`proofroom_gateway::trace`]'s; here are the queue, which never makes a run wait, and what is counted.

mod config;
mod encode;
mod sender;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use proofroom_gateway::trace::{RunTrace, TraceSink, Tracing};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

pub(crate) use self::config::Raw;
pub use self::config::{TelemetryConfig, TelemetryProblem};
use self::sender::Sender;

/// What became of the way to the collector, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelemetryNews {
    /// Spans cannot be delivered.
    Failing {
        /// Stable kebab-case code.
        code: &'static str,
    },
    /// They are delivered again.
    Delivered,
}

/// Why spans were not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The queue was full.
    QueueFull,
    /// The collector could not be reached, or did not take them.
    Collector,
    /// The gateway stopped first.
    Stopped,
}

/// What was counted since the start.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    queue_full: AtomicU64,
    collector: AtomicU64,
    stopped: AtomicU64,
    failing: AtomicBool,
}

impl Counts {
    fn lost(&self, why: Lost, spans: u64) {
        let count = match why {
            Lost::QueueFull => &self.queue_full,
            Lost::Collector => &self.collector,
            Lost::Stopped => &self.stopped,
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }
}

/// The way to the collector.
pub(crate) struct Telemetry {
    tracing: Tracing,
    counts: Arc<Counts>,
    queued: mpsc::WeakSender<Box<RunTrace>>,
    stop_within: Duration,
    sending: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// Takes traces from runs, and lets go of those for which there is no place.
struct Queue {
    traces: mpsc::Sender<Box<RunTrace>>,
    counts: Arc<Counts>,
}

impl TraceSink for Queue {
    fn take(&self, trace: Box<RunTrace>) {
        let why = match self.traces.try_send(trace) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(trace)) => (Lost::QueueFull, spans(&trace)),
            Err(mpsc::error::TrySendError::Closed(trace)) => (Lost::Stopped, spans(&trace)),
        };
        self.counts.lost(why.0, why.1);
    }
}

/// How many spans a trace is.
fn spans(trace: &RunTrace) -> u64 {
    let below = trace
        .verifications
        .len()
        .saturating_add(trace.sendings.len());
    (below as u64).saturating_add(1)
}

impl Telemetry {
    /// Begins to deliver, in a task of this runtime.
    ///
    /// # Errors
    /// When the files that the configuration names cannot be used.
    pub(crate) fn start(
        config: &TelemetryConfig,
        told: fn(TelemetryNews),
    ) -> Result<Self, TelemetryProblem> {
        let counts = Arc::<Counts>::default();
        let (traces, queue) = mpsc::channel(config.queue);
        let sender = Sender::new(config, Arc::clone(&counts), told)?;
        let (stop, stopping) = oneshot::channel();
        let queued = traces.downgrade();
        let sink = Queue {
            traces,
            counts: Arc::clone(&counts),
        };
        Ok(Self {
            tracing: Tracing {
                sink: Arc::new(sink),
                ratio: config.ratio,
                incoming: config.incoming,
            },
            counts,
            queued,
            stop_within: config.stop_within,
            sending: Mutex::new(Some((stop, tokio::spawn(sender.run(queue, stopping))))),
        })
    }

    /// What a gateway needs to trace its runs.
    pub(crate) fn tracing(&self) -> Tracing {
        self.tracing.clone()
    }

    /// Delivers what waits, for as long as the configuration says, and lets go of the rest.
    pub(crate) async fn stop(&self) {
        let sending = self
            .sending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((stop, mut sending)) = sending else {
            return;
        };
        // a task that ended has nothing to be told
        stop.send(()).ok();
        if timeout(self.stop_within, &mut sending).await.is_err() {
            sending.abort();
        }
    }

    /// What was counted, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let queued = self.queued.upgrade().map_or(0, |queue| {
            queue.max_capacity().saturating_sub(queue.capacity())
        });
        let failing = u8::from(self.counts.failing.load(Ordering::Relaxed));
        let (full, collector, stopped) = (
            count(&self.counts.queue_full),
            count(&self.counts.collector),
            count(&self.counts.stopped),
        );
        format!(
            "# TYPE proofroom_gateway_spans_delivered_total counter\n\
             proofroom_gateway_spans_delivered_total {}\n\
             # TYPE proofroom_gateway_spans_lost_total counter\n\
             proofroom_gateway_spans_lost_total{{reason=\"queue-full\"}} {full}\n\
             proofroom_gateway_spans_lost_total{{reason=\"collector\"}} {collector}\n\
             proofroom_gateway_spans_lost_total{{reason=\"stopped\"}} {stopped}\n\
             # TYPE proofroom_gateway_traces_queued gauge\n\
             proofroom_gateway_traces_queued {queued}\n\
             # TYPE proofroom_gateway_collector_failing gauge\n\
             proofroom_gateway_collector_failing {failing}\n",
            count(&self.counts.delivered)
        )
    }
}

#[cfg(test)]
mod tests;
