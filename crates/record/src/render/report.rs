//! `report.html`: one self-contained page about a session, for a person who decides. No scripts, no
//! external resources, every value escaped; the same records always give the same page.

use std::fmt::Write as _;

use super::printable;
use crate::{
    facts::{BundleFacts, StoppedAttempt},
    ladder::{Check, Outcome, Requirement, end_words},
    statement::{Assurance, ModelRun, ModelSource, ObservedFact},
};

/// The page's format, named in its first line.
pub const REPORT_FORMAT: &str = "proofroom-report.v1";

/// The most rows that a table of the page shows; what is left out is counted below it.
pub(super) const MAX_ROWS: usize = 1000;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}\
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}\
code{font-size:.85em;overflow-wrap:anywhere}.warn{border:2px solid #b00;padding:.5rem 1rem;margin:1rem 0}.ok{color:#060}.no{color:#b00}";

const RUN_HEADS: [&str; 6] = [
    "#",
    "Status",
    "Label",
    "Tier",
    "Upstream",
    "What stands behind it",
];

/// Renders the page. `checks` are those that follow from the records alone.
#[must_use]
pub fn report_html(facts: &BundleFacts, checks: &[Check]) -> String {
    let session = &facts.session;
    let mut page = Page::default();
    page.raw(&format!(
        "<!-- {REPORT_FORMAT} -->\n<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Proofroom session {}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        session.session
    ));
    page.raw("<h1>What this session did, and what proves it</h1>");
    page.raw("<p>This page was made from the signed records beside it. It is a summary, not the proof: \
              check the bundle with <code>proofroom-verify</code>, or by hand with <code>VERIFY.md</code>.</p>");
    warnings(&mut page, facts);
    overview(&mut page, facts);
    isolation(&mut page, facts);
    page.raw("<h2>Checks</h2>");
    page.raw("<p>As they came out when the bundle was written, with the keys that the bundle itself holds.</p>");
    page.table(&["Check", "Outcome", "Found"], checks.iter().map(check_row));
    page.raw("<h2>Model runs</h2>");
    page.table(&RUN_HEADS, facts.runs.iter().map(|(_, run)| run_row(run)));
    page.raw("<h2>Stopped attempts</h2>");
    let heads = ["Event", "Tried", "Stopped by", "Times"];
    page.table(&heads, facts.stopped.iter().map(stopped_row));
    page.raw("</body>\n</html>");
    page.0
}

const SIMULATED: &str = "<b>Simulated.</b> Attestation evidence was signed with test keys and proves nothing about hardware.";
const CASSETTE: &str = "<b>Cassette.</b> Model answers were recorded ones, played back; no model computed them in this session.";
const INTERRUPTED: &str = "<b>Interrupted.</b> The room was lost. The gateway closed the record from what was durable; later events may be missing.";

fn warnings(page: &mut Page, facts: &BundleFacts) {
    for text in facts.said_aloud([SIMULATED, CASSETTE, INTERRUPTED]) {
        page.raw(&format!("<p class=\"warn\">{text}</p>"));
    }
}

fn overview(page: &mut Page, facts: &BundleFacts) {
    let session = &facts.session;
    let result = session.result.as_ref().map_or_else(
        || "nothing".to_owned(),
        |result| format!("{} at {}", result.commit, result.reference),
    );
    let time = format!("{} to {}", session.started, session.ended);
    let rows = [
        ("Session", session.session.to_string()),
        ("Agent", session.agent.clone()),
        ("Identity", session.spiffe_id.clone()),
        ("Started from commit", facts.binding.commit.clone()),
        ("Delivered", result),
        ("Ended", end_words(session.end).to_owned()),
        ("Time (the deployment's own clocks)", time),
        ("Events", session.events.count.to_string()),
        ("Highest label", session.high_water.clone()),
        ("Attempts stopped", session.events.stopped.to_string()),
    ];
    page.raw("<h2>What happened</h2>");
    let rows = rows.into_iter();
    page.table(
        &["", ""],
        rows.map(|(name, value)| vec![name.to_owned(), value]),
    );
}

fn isolation(page: &mut Page, facts: &BundleFacts) {
    let session = &facts.session;
    page.raw("<h2>Isolation and destruction</h2>");
    page.raw(&format!(
        "<p>Level <b>{}</b>, with {}.</p>",
        session.isolation,
        escape(&session.mechanisms.join(", "))
    ));
    match &facts.destruction {
        Some(gone) => {
            page.raw("<p>Destroyed; the host saw:</p>");
            let row = |seen: &ObservedFact| {
                vec![seen.fact.clone(), seen.detail.clone(), seen.at.to_string()]
            };
            page.table(&["What", "Which", "When"], gone.observed.iter().map(row));
        }
        None => page
            .raw("<p class=\"no\">No destruction record: nobody states that the room is gone.</p>"),
    }
    page.raw("<h3>Not proven</h3>\n<ul>");
    page.raw(&format!(
        "<li>{}</li>",
        escape(session.isolation.not_proven())
    ));
    let gone = facts.destruction.iter().flat_map(|gone| &gone.not_proven);
    for words in session.not_proven.iter().chain(gone) {
        page.raw(&format!("<li>{}</li>", escape(words)));
    }
    page.raw("<li>Time: no trusted time stamp. Log: no witness.</li>\n</ul>");
}

fn check_row(check: &Check) -> Vec<String> {
    let (outcome, words) = match &check.outcome {
        Outcome::Pass { found } => ("ok", found.clone()),
        Outcome::Fail(failure) => ("FAILED", failure.cause.clone()),
        Outcome::NotEvaluated { reason } => ("not evaluated", reason.clone()),
    };
    let outcome = match check.requirement {
        Requirement::Required => outcome.to_owned(),
        Requirement::Advisory => format!("{outcome} (advisory)"),
    };
    vec![check.name.to_owned(), outcome, words]
}

fn run_row(run: &ModelRun) -> Vec<String> {
    let none = || "none: nothing was sent".to_owned();
    let upstream = run.upstream.as_ref();
    let behind = upstream.map_or_else(none, |upstream| match &upstream.assurance {
        Assurance::ContractOnly { contract } => {
            format!("contract {contract} and nothing else: no hardware proof")
        }
        Assurance::Attested {
            appraisal_policy, ..
        } => {
            format!("evidence accepted under `{appraisal_policy}` before the first byte was sent")
        }
    });
    let name = upstream.map_or_else(none, |upstream| match upstream.source {
        ModelSource::Live => upstream.name.clone(),
        ModelSource::Cassette => format!("{} (cassette: recorded answers)", upstream.name),
    });
    let earlier = run.earlier.iter().map(|attempt| {
        format!(
            "; sent before to {}, which answered {}",
            attempt.upstream.name, attempt.http_status
        )
    });
    let name = std::iter::once(name).chain(earlier).collect();
    let status = match &run.failure {
        None => format!("{:?}", run.status).to_lowercase(),
        Some(failure) => {
            format!("{:?}: {} ({})", run.status, failure.reason, failure.code).to_lowercase()
        }
    };
    vec![
        run.sequence.to_string(),
        status,
        run.classification.high_water_after.clone(),
        run.routing.tier.clone().unwrap_or("none".to_owned()),
        name,
        behind,
    ]
}

fn stopped_row(stopped: &StoppedAttempt) -> Vec<String> {
    vec![
        stopped.seq.to_string(),
        stopped.attempt.clone(),
        stopped.by.clone(),
        stopped.times.to_string(),
    ]
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        // writing to a string cannot fail
        let _written = writeln!(self.0, "{html}");
    }

    fn table(&mut self, heads: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
        let count = rows.len();
        self.raw("<table>");
        if heads.iter().any(|head| !head.is_empty()) {
            let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
            self.row("th", &heads);
        }
        for row in rows.take(MAX_ROWS) {
            self.row("td", &row);
        }
        self.raw("</table>");
        if count == 0 {
            self.raw("<p>None.</p>");
        }
        if count > MAX_ROWS {
            self.raw(&format!(
                "<p>And {} more, in the records.</p>",
                count - MAX_ROWS
            ));
        }
    }

    fn row(&mut self, tag: &str, cells: &[String]) {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect();
        self.raw(&format!("<tr>{cells}</tr>"));
    }
}

fn escape(text: &str) -> String {
    printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
