//! One deployment, whose provider key is a secret too, and its sessions.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use proofroom_e2e::{
    Deployment, Live, Process,
    canary::{Canaries, inputs, random},
};
use serde_json::Value;

use crate::{
    kernel::{self, Traces},
    ways::Way,
};

/// How long one of a session's lines may take: a machine boots on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(300);

/// What one session was seen to have.
pub(crate) struct Seen {
    pub(crate) way: Way,
    pub(crate) id: String,
    pub(crate) processes: Vec<Process>,
    pub(crate) namespaces: BTreeSet<String>,
    /// When it was over, in clock ticks since the machine's start.
    pub(crate) over: u64,
}

/// What the rooms of a stage are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rooms {
    Processes,
    Machines,
}

/// The stage.
pub(crate) struct Stage {
    pub(crate) deployment: Deployment,
    pub(crate) inputs: tempfile::TempDir,
    /// Every secret of the stage's sessions begins with it: one search finds all of them.
    pub(crate) stem: String,
    /// The secret of the session that lives after all others.
    pub(crate) last: String,
    rooms: Rooms,
    repository: PathBuf,
    canaries: Canaries,
    own: BTreeSet<String>,
    /// Block devices that were there before.
    blocks: BTreeSet<String>,
}

impl Stage {
    pub(crate) fn of_processes() -> Self {
        let stage = Self::new(Rooms::Processes);
        stage.configure(&[
            ("output_bytes = 268435456", "output_bytes = 1000000"),
            ("idle_seconds = 1800", "idle_seconds = 8"),
        ]);
        stage
    }

    pub(crate) fn of_machines() -> Self {
        Self::new(Rooms::Machines)
    }

    fn new(rooms: Rooms) -> Self {
        let canaries = Canaries::new();
        let inputs = inputs();
        let cassette = inputs.path().join("cassette.json");
        fs::write(&cassette, canaries.cassette().to_string()).expect("cassette");
        let deployment = Deployment::with_cassette(&cassette);
        let stem = canaries.secret.clone();
        let keyed = "key = { from = \"env\", name = \"RESIDUE_KEY\", header = \"bearer\" }";
        change(
            &deployment.policy().join("upstreams.toml"),
            &[("key = { from = \"none\" }", keyed)],
        );
        let repository = deployment.repository("repository", &[("README.md", "Nothing here.\n")]);
        Self {
            deployment,
            inputs,
            stem,
            last: random(),
            rooms,
            repository,
            canaries,
            own: kernel::namespaces_of(std::process::id()),
            blocks: kernel::block_devices(),
        }
    }

    fn configure(&self, changes: &[(&str, &str)]) {
        change(&self.deployment.policy().join("room.toml"), changes);
    }

    /// What is to be looked for of these sessions.
    pub(crate) fn traces<'a>(&'a self, seen: &[&'a Seen]) -> Traces<'a> {
        Traces {
            deployment: &self.deployment,
            blocks: &self.blocks,
            seen: seen.to_vec(),
        }
    }

    /// One session from its start to an end of this way.
    pub(crate) fn session(&self, way: Way, turn: usize) -> Seen {
        let mut live = match way {
            Way::Completed => self.built_in(turn),
            // A machine's boot counts, and takes longest beside others.
            Way::TimeLimit if self.rooms == Rooms::Machines => {
                self.command(&self.secret(turn), way, &["--seconds", "120"])
            }
            Way::TimeLimit => self.command(&self.secret(turn), way, &["--seconds", "8"]),
            _ => self.command(&self.secret(turn), way, &[]),
        };
        let seen = self.see(way, &mut live);
        self.over(seen, live)
    }

    /// A session that runs, and has its secret everywhere.
    pub(crate) fn living(&self) -> (Seen, Live) {
        let mut live = self.command(&self.last, Way::EndedByRequest, &[]);
        let seen = self.see(Way::EndedByRequest, &mut live);
        (seen, live)
    }

    /// Ends it.
    pub(crate) fn over(&self, seen: Seen, live: Live) -> Seen {
        seen.way.end(self, live, &seen.id);
        Process::assert_gone(&seen.processes);
        let over = kernel::ticks();
        Seen { over, ..seen }
    }

    fn secret(&self, turn: usize) -> String {
        format!("{}-{turn}", self.stem)
    }

    /// What a session has, once its agent works.
    fn see(&self, way: Way, live: &mut Live) -> Seen {
        live.wait_for("start", started);
        let processes = live.processes();
        let namespaces = processes.iter();
        let namespaces = namespaces.flat_map(|process| kernel::namespaces_of(process.pid));
        Seen {
            way,
            id: live.id(),
            namespaces: namespaces.filter(|one| !self.own.contains(one)).collect(),
            processes,
            over: u64::MAX,
        }
    }

    /// A session whose command puts a secret, which stands nowhere whole, into a file, its output and
    /// its memory, says that it did, and goes on as told.
    fn command(&self, secret: &str, way: Way, arguments: &[&str]) -> Live {
        let (left, right) = secret.split_at(self.stem.len() / 2);
        let then = way.then();
        let script = format!(
            "s={left}; s=$s{right}; echo $s > notes; echo $s > /tmp/$s; echo $s; echo started; {then}"
        );
        let session = self.begin(secret).arguments(arguments);
        let live = session.command(&["sh", "-c", &script]).live();
        live.patient(PATIENCE)
    }

    fn built_in(&self, turn: usize) -> Live {
        let task = self.inputs.path().join(format!("task-{turn}"));
        fs::write(&task, format!("Note this: {}", self.canaries.task)).expect("task");
        let session = self.begin(&self.secret(turn));
        let session = session.arguments(&[Path::new("--task-file"), &task]);
        session.live().patient(PATIENCE)
    }

    /// A session whose provider key begins with its secret.
    fn begin(&self, secret: &str) -> proofroom_e2e::Session {
        let key = format!("{secret}-key");
        let session = match self.rooms {
            Rooms::Processes => self.deployment.session(&self.repository),
            Rooms::Machines => {
                let session = self.deployment.machine_session(&self.repository);
                session.expect("an image was found")
            }
        };
        session.env("RESIDUE_KEY", key.as_ref())
    }

    /// Makes the note of a dead host's session one of an earlier boot.
    pub(crate) fn age(&self, id: &str) {
        let note = self
            .deployment
            .state()
            .join(format!("sessions/{id}/room.json"));
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
        change(&note, &[(boot.trim(), &random())]);
    }
}

/// The agent has begun: its command said so, or its first tool call is on record.
fn started(line: &Value) -> bool {
    let text = line["text"].as_str().unwrap_or_default();
    text.contains("started") || line["event"]["body"]["type"] == "intent"
}

/// Replaces the first of each in a file, which must have it.
fn change(file: &Path, changes: &[(&str, &str)]) {
    let mut text = fs::read_to_string(file).expect("a file");
    for (from, to) in changes {
        assert!(text.contains(from), "`{}` has no `{from}`", file.display());
        text = text.replacen(from, to, 1);
    }
    fs::write(file, text).expect("a file");
}
