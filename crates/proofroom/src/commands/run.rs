//! `proofroom run`: one session, shown while it runs, verified when it ends.

mod isolation;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use proofroom::{
    broker::OriginError,
    collateral::CollateralSource,
    isolation::Backend,
    policies::PolicySet,
    policy_history::{InForce, PolicyStore},
    progress::{Format, Progress},
    session::{self, SessionError, SessionReport, SessionRequest},
    shadow_rules,
    state::StateError,
    upstreams,
};
use proofroom_clock::steady;
use proofroom_egress_broker::SetupProblem;
use proofroom_record::{
    event::SessionEnd,
    ladder::{Anchors, Report, Verdict, verify_bundle},
    room_api::{Grant, Limits, TaskText},
};
use proofroom_room::RoomError;
use serde_json::json;

use super::{
    Failure, INCOMPLETE, INTERNAL, UNAVAILABLE, USAGE,
    classify::warn_of_expired,
    deployment::{open_deployment, open_state},
    policy::history,
};

pub(crate) use self::isolation::Accel;
use self::isolation::{Isolation, Level};

/// Name of the built-in agent in policies and records.
const BUILT_IN: &str = "builtin";
/// The longest purpose.
const MAX_PURPOSE: usize = 128;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The git repository; its HEAD commit goes into the room.
    #[arg(long, value_name = "PATH")]
    repo: PathBuf,
    /// What the session is for, as routing rules name purposes.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = purpose)]
    purpose: String,
    /// What the built-in agent is to do. Every user of this machine sees it in the process list;
    /// `--task-file` keeps it out.
    #[arg(long, required_unless_present_any = ["task_file", "command"])]
    task: Option<String>,
    /// File with what the built-in agent is to do.
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    task_file: Option<PathBuf>,
    /// Model to ask for.
    #[arg(long)]
    model: Option<String>,
    /// OpenAI-compatible server to use as the standard tier, such as http://127.0.0.1:8000/v1.
    #[arg(long, value_name = "URL", conflicts_with = "upstreams")]
    upstream: Option<String>,
    /// Upstreams file, instead of the one in the policy directory.
    #[arg(long, value_name = "FILE")]
    upstreams: Option<PathBuf>,
    /// Directory with policy files; see `proofroom policy init`. Default: the built-in ones.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Where keys, log and sessions are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Write the bundle here as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Files that the agent's tools may read (globs).
    #[arg(long, value_name = "GLOB", default_value = "**")]
    read: Vec<String>,
    /// Files that the agent's tools may change (globs).
    #[arg(long, value_name = "GLOB", default_value = "**")]
    write: Vec<String>,
    /// Programs that the agent's `run` tool may start (globs).
    #[arg(long, value_name = "GLOB", default_value = "*")]
    programs: Vec<String>,
    /// Most tool calls.
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Most tokens, input and output together.
    #[arg(long, default_value_t = 2_000_000)]
    tokens: u64,
    /// Longest time for the session, in seconds; `room.toml` may set a lower one.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// How the room is isolated: the strongest that the machine has, or this.
    #[arg(long, value_enum, default_value_t = Isolation::Auto)]
    isolation: Isolation,
    /// The weakest isolation that is acceptable, besides what `room.toml` says.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Level::Process)]
    min_isolation: Level,
    /// What executes a virtual machine. An emulated processor (`tcg`) is used only when it is asked
    /// for here.
    #[arg(long, value_enum, value_name = "ACCEL")]
    accel: Option<Accel>,
    /// The image that virtual machines boot.
    #[arg(long, value_name = "DIR")]
    image: Option<PathBuf>,
    /// Layer for a virtual machine, a directory with `layer.json`; lowest first, repeatable.
    #[arg(long, value_name = "DIR")]
    layer: Vec<PathBuf>,
    /// Directory with what the vendor says about TDX platforms, `<fmspc>.json` for each.
    #[arg(long, value_name = "DIR")]
    collateral: Option<PathBuf>,
    /// The unix socket of the host's quote generation service, for TDX.
    #[arg(long, value_name = "SOCKET")]
    quote_service: Option<PathBuf>,
    /// Memory of a virtual machine, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    vm_memory: u32,
    /// Processors of a virtual machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    vm_cpus: u16,
    /// One JSON object per line on standard output.
    #[arg(long)]
    json: bool,
    /// Program and arguments to run in the agent's place.
    #[arg(last = true, conflicts_with_all = ["task", "task_file"])]
    command: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let format = if options.json {
        Format::Json
    } else {
        Format::Human
    };
    let out: Box<dyn io::Write + Send> = match format {
        Format::Human => Box::new(anstream::stdout()),
        Format::Json => Box::new(io::stdout()),
    };
    let progress = Arc::new(Progress::new(format, out));
    let source = upstreams::choose(
        options.upstream.as_deref(),
        options.upstreams.as_deref(),
        options.policy.as_deref(),
    )
    .map_err(|error| Failure::new(USAGE, "no-upstream", error))?;
    let state = open_state(options.state.as_deref())?;
    let store = PolicyStore::of(&state);
    let version = store.in_force(steady()).map_err(history)?;
    let policy = options.policy.as_deref();
    let mut policies = PolicySet::load_in_force(policy, &source, state.path(), version)
        .map_err(|problems| Failure::new(USAGE, "policy-refused", problems))?;
    warn_of_expired(&policies.classification);
    match shadow_rules::load(&state) {
        Ok(rules) => policies.shadow = rules,
        // without effect either way; a session does not fail for what it only tries
        Err(error) => progress.warning(&format!("no rules are tried beside: {error:#}")),
    }
    if policies.shadow.is_some() {
        progress.fact("shadow", "other rules are tried beside, with no effect");
    }
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(UNAVAILABLE, "runtime", error))?;
    let model = match &options.model {
        Some(model) => Ok(model.clone()),
        None => runtime.block_on(upstreams::default_model(&source, &policies.upstreams)),
    };
    let model = model.map_err(|error| Failure::new(USAGE, "no-model", error))?;
    let chosen = isolation::chosen(options, &policies, state.path())?;
    progress.fact("backend", &chosen.reason);
    let request = request(options, model, &policies, chosen.backend)
        .map_err(|error| Failure::new(USAGE, "request", error))?;
    let deployment = open_deployment(state)?;
    policies
        .log_version(&store, &deployment.log)
        .map_err(history)?;
    if let Some(version) = policies.version() {
        progress.fact("policy", &in_force(version));
    }
    let done = runtime.block_on(async {
        session::recover(&deployment, &progress).await?;
        session::run(&deployment, policies, request, Arc::clone(&progress)).await
    });
    // Nothing that still runs is of use: what had to be kept was waited for.
    runtime.shutdown_background();
    let report = done.map_err(failure)?;
    let verified = verify_bundle(&report.bundle_bytes, &Anchors::from_bundle(), steady());
    show(&progress, &report, &verified);
    Ok(exit_code(&report, &verified))
}

/// The version in force, in one line.
fn in_force(version: &InForce) -> String {
    let claim = version.version.predicate();
    let (number, from) = (claim.number, claim.in_force_from);
    format!("version {number}, in force from {from}")
}

/// Whose fault it was that there is no session, as an exit code.
fn failure(error: anyhow::Error) -> Failure {
    let (exit, code) = if let Some(error) = error.downcast_ref::<SessionError>() {
        let exit = match error {
            SessionError::Interrupted => INCOMPLETE,
            SessionError::Contradiction(_) => USAGE,
            SessionError::NotKept { .. } => INTERNAL,
            _ => UNAVAILABLE,
        };
        (exit, error.code())
    } else if let Some(error) = error.downcast_ref::<OriginError>() {
        let exit = match error {
            OriginError::Missing { .. }
            | OriginError::NotARepository { .. }
            | OriginError::Shallow { .. }
            | OriginError::TooLarge(_) => USAGE,
            OriginError::Git(_) | OriginError::Scratch { .. } => UNAVAILABLE,
        };
        (exit, error.code())
    } else if let Some(error) = error.downcast_ref::<RoomError>() {
        (UNAVAILABLE, error.code())
    } else if let Some(error) = error.downcast_ref::<SetupProblem>() {
        (USAGE, error.code())
    } else if let Some(error) = error.downcast_ref::<StateError>() {
        (UNAVAILABLE, error.code())
    } else {
        (UNAVAILABLE, "session")
    };
    Failure::new(exit, code, error)
}

fn request(
    options: &Options,
    model: String,
    policies: &PolicySet,
    backend: Backend,
) -> anyhow::Result<SessionRequest> {
    let task = match (&options.task, &options.task_file) {
        (Some(task), _) => Some(task.clone()),
        (None, Some(path)) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?,
        ),
        (None, None) => None,
    };
    let agent = options
        .command
        .first()
        .map_or_else(|| BUILT_IN.to_owned(), |program| agent_name(program));
    Ok(SessionRequest {
        repository: options.repo.clone(),
        purpose: options.purpose.clone(),
        agent,
        task: task.map(TaskText::new),
        command: (!options.command.is_empty()).then(|| options.command.clone()),
        model,
        grant: Grant {
            read: options.read.clone(),
            write: options.write.clone(),
            run: options.programs.clone(),
        },
        limits: Limits {
            steps: options.steps,
            seconds: options.seconds.min(policies.room.limits.seconds),
            command_seconds: 600,
            tokens: options.tokens,
            output_bytes: 256 * 1024,
            session_output_bytes: policies.room.limits.output_bytes,
        },
        out: options.out.clone(),
        backend,
        collateral: options.collateral.clone().map(CollateralSource::Directory),
    })
}

/// A purpose as records hold it.
fn purpose(text: &str) -> Result<String, &'static str> {
    let printable = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if printable && text.len() <= MAX_PURPOSE {
        Ok(text.to_owned())
    } else {
        Err("at most 128 printable ASCII characters")
    }
}

/// A program's name in the alphabet of SPIFFE path segments.
fn agent_name(program: &str) -> String {
    let name = Path::new(program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(60)
        .collect();
    match plain.trim_start_matches('.') {
        "" => "command".to_owned(),
        named => named.to_owned(),
    }
}

fn show(progress: &Progress, report: &SessionReport, verified: &Report) {
    let record = &report.record;
    let mut human = String::new();
    let mut line = |name: &str, value: &str| {
        human.push_str(&format!("{name:>10}  {value}\n"));
    };
    let limit = progress
        .last_limit()
        .filter(|_| record.end == SessionEnd::LimitReached);
    match &limit {
        Some(limit) => line(
            "ended",
            &Progress::harmless(&format!(
                "{}: {}, {}",
                ended(record.end),
                limit.resource,
                limit.detail
            )),
        ),
        None => line("ended", ended(record.end)),
    }
    if let Some(result) = &record.result {
        line("branch", result.reference.trim_start_matches("refs/heads/"));
    }
    line(
        "recorded",
        &format!(
            "{} events, {} model runs, {} attempts stopped",
            record.events.count,
            record.model_runs.len(),
            record.events.stopped
        ),
    );
    for remark in &verified.remarks {
        line("note", remark);
    }
    line("bundle", &report.bundle.display().to_string());
    line("verdict", verdict(verified.verdict));
    for check in &verified.checks {
        if let proofroom_record::ladder::Outcome::Fail(failure) = &check.outcome {
            line(check.name, &failure.cause);
        }
    }
    let machine = json!({
        "type": "session",
        "session": report.session,
        "end": record.end,
        "limit": limit,
        "isolation": record.isolation,
        "events": record.events,
        "model_runs": record.model_runs.len(),
        "result": record.result,
        "bundle": report.bundle,
        "verdict": verified.verdict,
        "remarks": verified.remarks,
        "not_proven": verified.not_proven,
    });
    progress.closing(&human, &machine);
}

const fn ended(end: SessionEnd) -> &'static str {
    match end {
        SessionEnd::Completed => "completed",
        SessionEnd::AgentFailed => "the agent did not finish its task",
        SessionEnd::LimitReached => "a limit was reached",
        SessionEnd::Cancelled => "cancelled",
        SessionEnd::Interrupted => "interrupted: the record was closed from what was durable",
        SessionEnd::Refused => "refused",
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Incomplete => "incomplete",
        Verdict::Unsupported => "unsupported",
        Verdict::Rejected => "REJECTED",
        Verdict::Malformed => "MALFORMED",
    }
}

fn exit_code(report: &SessionReport, verified: &Report) -> ExitCode {
    match (verified.verdict, report.record.end) {
        (Verdict::Accepted, SessionEnd::Completed) => ExitCode::SUCCESS,
        (Verdict::Accepted, _) => ExitCode::FAILURE,
        _ => ExitCode::from(INTERNAL),
    }
}
