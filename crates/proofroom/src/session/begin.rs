//! The beginning of a session: repository, gateway, assignment, room. When anything of it fails
//! there is no session yet, and the error says what to do.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use proofroom_canonical::{Nonce, SessionId};
use proofroom_confine::{FileAudit, Loopback};
use proofroom_egress_broker::{Broker, SystemResolver};
use proofroom_gateway::{
    Config, Gateway, Limits as GatewayLimits, SteadyClock, SystemEntropy,
    config::{AttestationRequirement, Upstream},
};
use proofroom_record::{
    room_api::{Assignment, CommandRules, LoopbackUse, OpenAudit},
    statement::ModelSource,
};
use proofroom_room::{Diagnostics, Pool, Programs, Recall, Room, RoomConfig, RoomError, Spare};
use tokio::{net::UnixStream, task::JoinHandle};

use super::{
    Deployment, SessionError, SessionRequest,
    channel::Interrupts,
    evidence::{Ahead, EvidenceKeeper},
    inspection::DeliveryInspector,
    reference::Judging,
    save_room,
};
use crate::{
    broker::{Origin, OriginError, WorkspaceLimits},
    collateral::CollateralSource,
    isolation::Backend,
    keys::random,
    policies::{APPRAISAL, PolicySet},
    progress::Progress,
    service::{Services, SessionFacts, SessionService},
    shelf::Shelf,
};

/// Half of a workspace is for the agent's own work; the other half may be the repository.
const REPOSITORY_SHARE: u64 = 2;

/// How long what was started ahead may wait for its session.
const STARTED_AHEAD: Duration = Duration::from_secs(300);

/// A session whose room has started.
pub(super) struct Begun {
    pub(super) room: Room,
    pub(super) channel: UnixStream,
    pub(super) service: Arc<SessionService>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) ahead: Ahead,
}

/// Which session, of which deployment, and where it is kept.
pub(super) struct Place<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) session: SessionId,
    pub(super) dir: &'a Path,
}

#[expect(
    clippy::too_many_lines,
    reason = "one step after another, none of which stands alone"
)]
pub(super) async fn begin(
    place: &Place<'_>,
    mut policies: PolicySet,
    request: SessionRequest,
    interrupts: &mut Interrupts,
    progress: &Arc<Progress>,
) -> anyhow::Result<Begun> {
    let (deployment, session, dir) = (place.deployment, place.session, place.dir);
    let room_config = policies.room.clone();
    let collateral = request.collateral.as_ref();
    let now = (deployment.clock)();
    let judging = Judging::of(&mut policies, &request.backend, collateral, now)?;
    let starter = Starter::new(
        request.backend.clone(),
        session.to_string(),
        room_config.clone(),
    )?;
    let spiffe_id = deployment.keys.spiffe_id(session, &request.agent);
    progress.fact("session", &session.to_string());
    progress.fact("identity", &spiffe_id);
    let opening = open_repository(&policies, &request, dir)?;
    let origin = opened(opening, interrupts, progress).await?;
    policies.save(&dir.join("policies"))?;
    judging.save(&dir.join("policies"))?;
    let log = Arc::clone(&deployment.log);
    let shelf = Arc::new(Shelf::new(dir.join("records"), session, log)?);
    let (digests, access_policy) = (policies.digests(), policies.access_text().to_owned());
    let egress_policy = policies.egress_text().to_owned();
    let egress = egress_broker(&policies, progress)?;
    let repository = repository_name(&request.repository);
    let inspector =
        DeliveryInspector::new(&policies, &request.agent, &repository, deployment.clock);
    let commands = command_rules(&room_config);
    let idle = Duration::from_secs(room_config.limits.idle_seconds);
    let gateway = gateway(place, policies, request.collateral, &shelf, progress)?;
    let ahead = Ahead::of(gateway.clone());
    let (room, channel) = start_room(starter, session, room_config, progress).await?;
    save_room(dir, &room, &request.agent, (deployment.clock)())?;
    let assignment = Assignment {
        session,
        nonce: Nonce::from_random(random()?),
        spiffe_id,
        agent: request.agent,
        task: request.task,
        command: request.command,
        repository,
        commit: origin.commit().to_owned(),
        policies: digests,
        access_policy,
        egress_policy,
        grant: request.grant,
        limits: request.limits,
        commands,
        model: request.model,
        isolation: room.isolation(),
        mechanisms: room.mechanisms().to_vec(),
        time: (deployment.clock)(),
    };
    let facts = SessionFacts {
        assignment,
        purpose: request.purpose,
        reference: format!("refs/heads/proofroom/{session}"),
        origin,
        dir: dir.to_owned(),
        inspector,
        meter: room.meter(),
        idle,
        attestation: judging.of_room(&room, &deployment.keys, session, (deployment.clock)())?,
    };
    let services = Services {
        keys: Arc::clone(&deployment.keys),
        gateway,
        egress,
        shelf: Arc::clone(&shelf),
        progress: Arc::clone(progress),
        clock: deployment.clock,
    };
    Ok(Begun {
        room,
        channel,
        service: Arc::new(SessionService::new(facts, services)),
        shelf,
        ahead,
    })
}

/// What starts the room.
enum Starter {
    /// What becomes this session's room, begun before anything is known of the session.
    Process(Pool<Spare>),
    Machine(JoinHandle<Result<Room, RoomError>>, Unwanted),
}

/// Takes a machine's start back when it is dropped, unless its room was wanted.
struct Unwanted(Option<Recall>);

impl Unwanted {
    fn keep_room(mut self) {
        self.0 = None;
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        if let Some(recall) = self.0.take() {
            recall.recall();
        }
    }
}

impl Starter {
    fn new(backend: Backend, name: String, config: RoomConfig) -> anyhow::Result<Self> {
        let programs = programs()?;
        Ok(match backend {
            Backend::Process => {
                let mut pool = Pool::new(programs, 1, STARTED_AHEAD);
                pool.tend(Instant::now())?;
                Self::Process(pool)
            }
            // Boots while the repository and the policies are looked at. A session that does not
            // begin takes it back.
            Backend::Machine(machine) => {
                let recall = Recall::default();
                let unwanted = Unwanted(Some(recall.clone()));
                let starting = tokio::task::spawn_blocking(move || {
                    Room::start_machine(&name, &config, &programs, &machine, &recall)
                });
                Self::Machine(starting, unwanted)
            }
        })
    }
}

async fn start_room(
    starter: Starter,
    session: SessionId,
    config: RoomConfig,
    progress: &Progress,
) -> anyhow::Result<(Room, UnixStream)> {
    let name = session.to_string();
    let started = Instant::now();
    let (starting, unwanted) = match starter {
        Starter::Process(mut pool) => {
            let start = move || pool.take(Instant::now())?.start(&name, &config);
            (tokio::task::spawn_blocking(start), Unwanted(None))
        }
        Starter::Machine(starting, unwanted) => (starting, unwanted),
    };
    let mut room = starting.await??;
    unwanted.keep_room();
    let took = started.elapsed();
    let level = room.isolation();
    progress.fact("isolation", &format!("{level}: {}", level.not_proven()));
    progress.fact(
        "room",
        &format!("started in {:.1} ms", took.as_secs_f64() * 1e3),
    );
    if let Some(failed) = room.failed_boot() {
        progress.note(&format!("the machine was booted again: {}", failed.detail));
    }
    let channel = room.take_channel().context("the room has no channel")?;
    channel.set_nonblocking(true)?;
    Ok((room, UnixStream::from_std(channel)?))
}

/// The part of `room.toml` that the supervisor carries out.
fn command_rules(room: &RoomConfig) -> CommandRules {
    CommandRules {
        readable: room
            .system
            .iter()
            .chain(&room.extra)
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
        loopback: match room.loopback {
            Loopback::ChannelOnly => LoopbackUse::ChannelOnly,
            Loopback::TestServers => LoopbackUse::TestServers,
        },
        file_audit: match room.file_audit {
            FileAudit::EveryOpen => OpenAudit::EveryOpen,
            FileAudit::Writes => OpenAudit::Writes,
        },
        processes: room.limits.processes,
        open_files: room.limits.open_files,
        file_bytes: room.limits.file_bytes,
    }
}

/// The opened repository; from the room's start on, an interrupt is for the room.
async fn opened(
    opening: impl FnOnce() -> Result<Origin, OriginError> + Send + 'static,
    interrupts: &mut Interrupts,
    progress: &Progress,
) -> anyhow::Result<Origin> {
    let mut opening = tokio::task::spawn_blocking(opening);
    let origin = tokio::select! {
        opened = &mut opening => opened??,
        () = interrupts.next() => {
            // It writes into the session's folder until it ends; only then can that be removed.
            drop(opening.await);
            return Err(SessionError::Interrupted.into());
        }
    };
    progress.fact("commit", origin.commit());
    for path in origin.submodules() {
        progress.note(&format!(
            "submodule `{path}` stays outside: its content is not in the room"
        ));
    }
    Ok(origin)
}

/// The work of opening the repository: it may take long, and it blocks.
fn open_repository(
    policies: &PolicySet,
    request: &SessionRequest,
    dir: &Path,
) -> anyhow::Result<impl FnOnce() -> Result<Origin, OriginError> + Send + use<>> {
    let limits = policies.room.limits;
    let repository = request
        .repository
        .canonicalize()
        .map_err(|source| OriginError::Missing {
            path: request.repository.clone(),
            source,
        })?;
    let scratch = dir.join("scratch.git");
    let limits = WorkspaceLimits {
        tree_bytes: limits.workspace_bytes / REPOSITORY_SHARE,
        // The bundle is put into the room's /tmp before it becomes the workspace.
        history_bytes: (limits.workspace_bytes / REPOSITORY_SHARE).min(limits.tmp_bytes),
        files: limits.inodes / REPOSITORY_SHARE,
    };
    Ok(move || Origin::open(&repository, &scratch, limits))
}

/// The name by which routing rules and records know a repository: its directory's, never its path.
fn repository_name(path: &Path) -> String {
    path.canonicalize()
        .ok()
        .and_then(|path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })
        .map(|name| name.trim_end_matches(".git").to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "repository".to_owned())
}

fn gateway(
    place: &Place<'_>,
    policies: PolicySet,
    collateral: Option<CollateralSource>,
    shelf: &Arc<Shelf>,
    progress: &Arc<Progress>,
) -> anyhow::Result<Gateway> {
    for upstream in policies.upstreams.iter() {
        progress.fact("upstream", &described(upstream));
    }
    let keeper = EvidenceKeeper::new(place.dir.to_owned(), Arc::clone(progress));
    let keeper = Arc::new(keeper);
    let keys = &place.deployment.keys;
    Gateway::new(Config {
        classification: policies.classification,
        routing: policies.routing,
        shadow: policies.shadow,
        upstreams: policies.upstreams,
        appraisal: BTreeMap::from([(PathBuf::from(APPRAISAL), policies.appraisal)]),
        providers: policies.providers.with(collateral),
        signing_key: keys.gateway().clone(),
        commitments: Some(keys.commitments()),
        clock: Arc::new(SteadyClock),
        entropy: Arc::new(SystemEntropy),
        sink: Arc::clone(shelf) as _,
        evidence: Arc::clone(&keeper) as _,
        observer: keeper,
        limits: GatewayLimits::default(),
        tracing: None,
    })
    .map_err(|problems| {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        SessionError::Contradiction(words).into()
    })
}

/// The broker for what `egress.toml` allows. One that lacks a credential is no broker.
fn egress_broker(policies: &PolicySet, progress: &Progress) -> anyhow::Result<Arc<Broker>> {
    let policy = policies.egress.clone();
    let words = if policy.is_closed() {
        "nothing leaves the room but model requests".to_owned()
    } else {
        let rules = policy.rules().iter();
        let open = rules.map(|rule| {
            let inside = rule.allow_addresses.iter().map(ToString::to_string);
            let inside = inside.collect::<Vec<_>>().join(", ");
            match inside.as_str() {
                "" => rule.name.clone(),
                inside => format!("{} (may lead to {inside})", rule.name),
            }
        });
        format!("rules {}", open.collect::<Vec<_>>().join(", "))
    };
    progress.fact("egress", &words);
    Ok(Broker::open(policy, Arc::new(SystemResolver))?)
}

/// An upstream in one line: what it is, and what stands behind it.
fn described(upstream: &Upstream) -> String {
    let source = match upstream.source {
        ModelSource::Live => "live",
        ModelSource::Cassette => "cassette: recorded answers, played back",
    };
    let behind = match &upstream.attestation {
        AttestationRequirement::None => "a contract and no evidence",
        AttestationRequirement::ProofroomUpstream { .. }
        | AttestationRequirement::Provider { .. } => "evidence, verified before each use",
    };
    format!(
        "{} ({source}), tier {}, behind it {behind}",
        upstream.name, upstream.tier
    )
}

/// The programs that go into the room; they lie beside this one.
///
/// # Errors
/// When one of them is missing.
pub fn programs() -> anyhow::Result<Programs> {
    let own = std::env::current_exe().context("cannot find the running program")?;
    let beside = |name: &str| -> anyhow::Result<PathBuf> {
        let path = own.with_file_name(name);
        anyhow::ensure!(
            path.is_file(),
            "`{}` is missing; it belongs beside `{}`",
            path.display(),
            own.display()
        );
        Ok(path)
    };
    Ok(Programs {
        guest: beside("proofroom-guest")?,
        others: vec![beside("proofroom-agent")?],
        supervisor_arguments: vec!["supervise".into()],
        environment: Vec::new(),
        diagnostics: Diagnostics::Discard,
    })
}
