//! Counters and histograms in Prometheus's text format. Labels come from the configuration and from
//! fixed lists: nothing that a request says becomes one.

mod histogram;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use proofroom_gateway::{Finished, RunEvent, RunObserver};

use histogram::{Histogram, SECONDS, TOKENS, line};

/// What stands for a model that the configuration does not name.
const OTHER: &str = "other";
/// What stands for the tier or upstream of a run of which nothing was sent.
const NONE: &str = "none";

/// Labels of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RunLabels {
    tier: String,
    upstream: String,
    model: String,
}

/// What was counted since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// The names that the configuration gives to models.
    models: BTreeSet<String>,
    counted: Mutex<Counted>,
    pub(crate) connections: AtomicU64,
}

#[derive(Debug, Default)]
struct Counted {
    runs: BTreeMap<(RunLabels, &'static str, String), u64>,
    durations: BTreeMap<RunLabels, Histogram>,
    tokens: BTreeMap<(String, &'static str), Histogram>,
    first_bytes: Option<Histogram>,
    unauthenticated: BTreeMap<&'static str, u64>,
    /// By upstream and the status that said busy.
    sent_again: BTreeMap<(String, u16), u64>,
    /// How often each upstream began to rest, and whether it does.
    rests: BTreeMap<String, (u64, bool)>,
    /// By upstream and why it closed.
    closed: BTreeMap<(String, &'static str), u64>,
    keys_read: BTreeMap<String, u64>,
}

/// The wait for an answer's first byte.
#[derive(Debug)]
pub(crate) struct FirstByte {
    metrics: Arc<Metrics>,
    asked: Instant,
}

impl FirstByte {
    pub(crate) fn since_now(metrics: &Arc<Metrics>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            asked: Instant::now(),
        }
    }

    pub(crate) fn seen(self) {
        let waited = self.asked.elapsed().as_secs_f64();
        let mut counted = self.metrics.counted();
        counted
            .first_bytes
            .get_or_insert_with(|| Histogram::new(&SECONDS))
            .observe(waited);
    }
}

/// What is true at the moment of asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) ready: bool,
    pub(crate) sessions: u64,
    pub(crate) memory_locked: bool,
}

impl Metrics {
    pub(crate) fn new(models: BTreeSet<String>) -> Self {
        Self {
            models,
            counted: Mutex::default(),
            connections: AtomicU64::new(0),
        }
    }

    pub(crate) fn unauthenticated(&self, code: &'static str) {
        let mut counted = self.counted();
        let count = counted.unauthenticated.entry(code).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn ended(&self, run: &Finished) {
        let labels = RunLabels {
            tier: run.tier.clone().unwrap_or_else(|| NONE.to_owned()),
            upstream: run.upstream.clone().unwrap_or_else(|| NONE.to_owned()),
            model: self.model(&run.model),
        };
        let millis = run
            .finished
            .unix_millis()
            .saturating_sub(run.started.unix_millis());
        let seconds =
            u32::try_from(millis.max(0)).map_or(f64::MAX, |millis| f64::from(millis) / 1e3);
        let mut counted = self.counted();
        for (kind, tokens) in run
            .tokens
            .iter()
            .flat_map(|tokens| [("input", tokens.input), ("output", tokens.output)])
        {
            counted
                .tokens
                .entry((labels.model.clone(), kind))
                .or_insert_with(|| Histogram::new(&TOKENS))
                .observe(u32::try_from(tokens).map_or(f64::MAX, f64::from));
        }
        counted
            .durations
            .entry(labels.clone())
            .or_insert_with(|| Histogram::new(&SECONDS))
            .observe(seconds);
        let key = (labels, run.status.as_str(), run.code.clone());
        let count = counted.runs.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    fn rests(&self, upstream: &str, rests: bool) {
        let mut counted = self.counted();
        let (began, now) = counted.rests.entry(upstream.to_owned()).or_default();
        *began = began.saturating_add(rests.into());
        *now = rests;
    }

    fn closed(&self, upstream: &str, code: &'static str) {
        let mut counted = self.counted();
        let count = counted
            .closed
            .entry((upstream.to_owned(), code))
            .or_default();
        *count = count.saturating_add(1);
    }

    fn key_read(&self, upstream: &str) {
        let mut counted = self.counted();
        let count = counted.keys_read.entry(upstream.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    fn sent_again(&self, upstream: &str, status: u16) {
        let mut counted = self.counted();
        let count = counted
            .sent_again
            .entry((upstream.to_owned(), status))
            .or_default();
        *count = count.saturating_add(1);
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self, gauges: Gauges) -> String {
        let counted = self.counted();
        let mut out = String::new();
        let gauge = |out: &mut String, name: &str, value: u64| {
            line(out, format_args!("# TYPE {name} gauge\n{name} {value}"));
        };
        let connections = self.connections.load(Ordering::Relaxed);
        gauge(&mut out, "proofroom_gateway_connections", connections);
        gauge(&mut out, "proofroom_gateway_ready", gauges.ready.into());
        gauge(&mut out, "proofroom_gateway_sessions", gauges.sessions);
        let locked = gauges.memory_locked.into();
        gauge(&mut out, "proofroom_gateway_memory_locked", locked);
        out.push_str("# TYPE proofroom_gateway_unauthenticated_total counter\n");
        for (code, count) in &counted.unauthenticated {
            let name = "proofroom_gateway_unauthenticated_total";
            line(&mut out, format_args!("{name}{{code=\"{code}\"}} {count}"));
        }
        out.push_str("# TYPE proofroom_gateway_runs_total counter\n");
        for ((labels, status, code), count) in &counted.runs {
            let labels = labels.render();
            let name = "proofroom_gateway_runs_total";
            line(
                &mut out,
                format_args!("{name}{{{labels},status=\"{status}\",code=\"{code}\"}} {count}"),
            );
        }
        counted.render_control(&mut out);
        counted.render_keys(&mut out);
        out.push_str("# TYPE gen_ai_server_request_duration_seconds histogram\n");
        for (labels, histogram) in &counted.durations {
            let name = "gen_ai_server_request_duration_seconds";
            histogram.render(&mut out, name, &labels.render());
        }
        out.push_str("# TYPE gen_ai_server_time_to_first_token_seconds histogram\n");
        if let Some(histogram) = &counted.first_bytes {
            histogram.render(&mut out, "gen_ai_server_time_to_first_token_seconds", "");
        }
        out.push_str("# TYPE gen_ai_client_token_usage histogram\n");
        for ((model, kind), histogram) in &counted.tokens {
            let labels = format!(
                "gen_ai_request_model=\"{}\",gen_ai_token_type=\"{kind}\"",
                escaped(model)
            );
            histogram.render(&mut out, "gen_ai_client_token_usage", &labels);
        }
        out
    }

    fn model(&self, asked: &str) -> String {
        let known = self.models.contains(asked);
        if known { asked } else { OTHER }.to_owned()
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// What was done about busy and failing upstreams.
    fn render_control(&self, out: &mut String) {
        out.push_str("# TYPE proofroom_gateway_sent_again_total counter\n");
        for ((upstream, status), count) in &self.sent_again {
            let labels = format!("upstream=\"{}\",status=\"{status}\"", escaped(upstream));
            let name = "proofroom_gateway_sent_again_total";
            line(out, format_args!("{name}{{{labels}}} {count}"));
        }
        out.push_str("# TYPE proofroom_gateway_upstream_rests_total counter\n");
        for (upstream, (began, _)) in &self.rests {
            let name = "proofroom_gateway_upstream_rests_total";
            line(
                out,
                format_args!("{name}{{upstream=\"{}\"}} {began}", escaped(upstream)),
            );
        }
        out.push_str("# TYPE proofroom_gateway_upstream_resting gauge\n");
        for (upstream, (_, now)) in &self.rests {
            let name = "proofroom_gateway_upstream_resting";
            let now = u8::from(*now);
            line(
                out,
                format_args!("{name}{{upstream=\"{}\"}} {now}", escaped(upstream)),
            );
        }
    }
}

impl Counted {
    /// Which upstreams closed, and whose keys were read again.
    fn render_keys(&self, out: &mut String) {
        let name = "proofroom_gateway_upstream_closed_total";
        line(out, format_args!("# TYPE {name} counter"));
        for ((upstream, code), count) in &self.closed {
            let upstream = escaped(upstream);
            line(
                out,
                format_args!("{name}{{upstream=\"{upstream}\",code=\"{code}\"}} {count}"),
            );
        }
        let name = "proofroom_gateway_upstream_keys_read_total";
        line(out, format_args!("# TYPE {name} counter"));
        for (upstream, count) in &self.keys_read {
            let upstream = escaped(upstream);
            line(
                out,
                format_args!("{name}{{upstream=\"{upstream}\"}} {count}"),
            );
        }
    }
}

impl RunObserver for Metrics {
    fn observe(&self, event: &RunEvent) {
        match event {
            RunEvent::SentAgain {
                upstream, status, ..
            } => self.sent_again(upstream, *status),
            RunEvent::UpstreamRests { upstream, .. } => self.rests(upstream, true),
            RunEvent::UpstreamBack { upstream } => self.rests(upstream, false),
            RunEvent::UpstreamClosed { upstream, code } => self.closed(upstream, code),
            RunEvent::UpstreamKeyRead { upstream } => self.key_read(upstream),
            // runs are counted as they end, and the rest is asked for when it is shown
            RunEvent::UpstreamVerified { .. } | RunEvent::GatewayClosed => {}
        }
    }
}

impl RunLabels {
    fn render(&self) -> String {
        format!(
            "tier=\"{}\",upstream=\"{}\",gen_ai_request_model=\"{}\"",
            escaped(&self.tier),
            escaped(&self.upstream),
            escaped(&self.model)
        )
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
