//! `proofroom gateway serve`.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use proofroom::{
    collateral::CollateralSource,
    keys::DeploymentKeys,
    policies::{APPRAISAL, PolicySet, UpstreamSource},
    state::StateDir,
};
use proofroom_attester::{TsmAttester, TsmPaths};
use proofroom_clock::wall;
use proofroom_confine::MemoryNotLocked;
use proofroom_evidence::ReportData;
use proofroom_gateway_server::{
    Config, Parts, Prices, Progress, Server, TelemetryNews,
    config::MemoryMode,
    identity::{Attester, Standing},
};
use proofroom_record::gateway::GatewayPolicies;
use proofroom_tlog::{KeyName, NoteSigner};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior, setrlimit,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    super::{Failure, INTERNAL, UNAVAILABLE, USAGE, deployment::TRUST_DOMAIN},
    configuration, read,
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The configuration; `proofroom gateway config` prints one to start from.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    unreadable_from_outside()
        .map_err(|error| Failure::new(UNAVAILABLE, "process-hardening", error))?;
    let config = configuration(&options.config)?;
    // before any key is read
    let memory = lock_memory(config.memory)?;
    let parts = Parts {
        memory_locked: memory.is_none(),
        ..parts(config)?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INTERNAL, "runtime", error))?;
    runtime.block_on(serve(parts, memory.as_ref()))
}

/// Why memory is not locked, where that may be.
fn lock_memory(mode: MemoryMode) -> Result<Option<MemoryNotLocked>, Failure> {
    match (proofroom_confine::lock_memory(), mode) {
        (Ok(()), _) => Ok(None),
        (Err(why), MemoryMode::LockedIfPossible) => Ok(Some(why)),
        (Err(why), MemoryMode::Locked) => Err(Failure::new(UNAVAILABLE, "memory-not-locked", why)),
    }
}

/// No other process of this user may read the memory through which prompts pass, and connections may
/// be as many as the system lets a process have. `main` has switched core dumps off.
fn unreadable_from_outside() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    setrlimit(Resource::Nofile, all)
}

async fn serve(parts: Parts, not_locked: Option<&MemoryNotLocked>) -> Result<ExitCode, Failure> {
    let failed = |error: proofroom_gateway_server::ServerError| {
        Failure::new(UNAVAILABLE, error.code(), error)
    };
    let mut term = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    // a file that may not grow is a record that cannot be kept, and no reason to die in the middle
    let _file_size = signals(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let shown = format!("{:?}", parts.standing).to_lowercase();
    let server = Server::open(parts).await.map_err(failed)?;
    announce(&server, &shown, not_locked)?;
    let stop = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.run(stop).await.map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(INTERNAL, "signals", error))
}

/// One line of JSON once it listens: for whoever started it.
fn announce(
    server: &Server,
    standing: &str,
    not_locked: Option<&MemoryNotLocked>,
) -> Result<(), Failure> {
    let line = json!({
        "listening": server.address().to_string(),
        "operations": server.operations_address().map(|address| address.to_string()),
        // `outside` of a TEE the operator's word stands for what this gateway is
        "attestation": standing,
        "memory": not_locked.map_or("locked".to_owned(), |why| format!("not locked: {why}")),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(INTERNAL, "output", error))
}

/// What records are kept with.
pub(super) struct Kept {
    pub(super) state: StateDir,
    pub(super) keys: DeploymentKeys,
    pub(super) log: NoteSigner,
    pub(super) prices: Prices,
}

pub(super) fn kept(config: &Config) -> Result<Kept, Failure> {
    let state =
        StateDir::open(&config.state).map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let keys = DeploymentKeys::open(&state.keys(), TRUST_DOMAIN, wall())
        .map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let log = log_signer(&keys).map_err(|error| Failure::new(INTERNAL, "log", error))?;
    let prices = match &config.prices {
        None => Prices::default(),
        Some(path) => Prices::parse(&read(path)?)
            .map_err(|problem| Failure::new(USAGE, problem.code(), problem))?,
    };
    Ok(Kept {
        state,
        keys,
        log,
        prices,
    })
}

/// For whoever waits for a start that has much to read.
pub(super) fn tell(progress: Progress) {
    let Progress { files, of, records } = progress;
    let line = format!("record files read: {files} of {of}, {records} records so far");
    // nobody may be there to read it
    writeln!(anstream::stderr().lock(), "{line}").ok();
}

/// For whoever looks for spans that are not there.
fn tell_of_collector(news: TelemetryNews) {
    let line = match news {
        TelemetryNews::Failing { code } => format!(
            "spans cannot be delivered [{code}]; runs go on, and spans that find no place are lost and counted in /metrics"
        ),
        TelemetryNews::Delivered => "spans are delivered again".to_owned(),
    };
    // nobody may be there to read it
    writeln!(anstream::stderr().lock(), "{line}").ok();
}

fn parts(config: Config) -> Result<Parts, Failure> {
    let Kept {
        state,
        keys,
        log,
        prices,
    } = kept(&config)?;
    let policies = policies(&config, state.path())?;
    let digests = policies.digests();
    let collateral = config.collateral.clone().map(CollateralSource::Directory);
    let providers = policies.providers.with(collateral);
    Ok(Parts {
        policies: GatewayPolicies {
            classification: digests.classification,
            routing: digests.routing,
            appraisal: digests.appraisal,
            upstreams: policies.upstreams.digest(),
        },
        classification: policies.classification,
        routing: policies.routing,
        upstreams: policies.upstreams,
        appraisal: BTreeMap::from([(PathBuf::from(APPRAISAL), policies.appraisal)]),
        providers,
        prices,
        signing_key: keys.gateway().clone(),
        commitments: keys.commitments(),
        log,
        trust_domain: keys.trust_domain().to_owned(),
        standing: standing(config.reports.as_deref()),
        memory_locked: false,
        clock: wall,
        progress: tell,
        telemetry: tell_of_collector,
        config: Config {
            state: state.path().to_owned(),
            ..config
        },
    })
}

/// Evidence where the kernel makes any; elsewhere, why not.
fn standing(reports: Option<&Path>) -> Standing {
    let default = TsmPaths::default();
    let paths = TsmPaths {
        report: reports.map_or_else(|| default.report.clone(), Path::to_owned),
        ..default
    };
    match TsmAttester::start(paths) {
        Ok(attester) => Standing::Tee(Arc::new(Machine(Mutex::new(attester)))),
        Err(error) => Standing::Outside {
            reason: format!("the machine makes no evidence ({})", error.code()),
        },
    }
}

/// The confidential machine that this process runs in.
struct Machine(Mutex<TsmAttester>);

impl Attester for Machine {
    fn attest(&self, statement: &str) -> Result<(String, String), String> {
        let attester = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let data = ReportData::of_statement(statement.as_bytes());
        let report = attester.report(&data).map_err(|error| error.to_string())?;
        Ok((
            STANDARD.encode(&report.outblob),
            STANDARD.encode(&report.auxblob),
        ))
    }
}

fn policies(config: &Config, state: &Path) -> Result<PolicySet, Failure> {
    let upstreams = match (&config.upstreams, &config.policy) {
        (Some(file), _) => UpstreamSource::File(file.clone()),
        (None, Some(_)) => UpstreamSource::PolicyDirectory,
        (None, None) => {
            let words = anyhow::anyhow!("the configuration names neither `policy` nor `upstreams`");
            return Err(Failure::new(USAGE, "gateway-no-upstreams", words));
        }
    };
    PolicySet::load(config.policy.as_deref(), &upstreams, state)
        .map_err(|problems| Failure::new(USAGE, "policies", problems))
}

fn log_signer(keys: &DeploymentKeys) -> anyhow::Result<NoteSigner> {
    let name = KeyName::parse(&format!("{}/log", keys.trust_domain()))
        .context("the trust domain cannot name a log")?;
    NoteSigner::from_seed(name, keys.log().as_bytes()).context("the log's key cannot sign")
}
