//! `room.toml`: parsed into a [`RoomConfig`] or refused with every problem at once. Paths are judged
//! against this machine; the limits are not yet in force.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use proofroom_canonical::IsolationLevel;
use proofroom_confine::{FileAudit, Loopback, RoomLimits};
use serde::Deserialize;

/// Longest accepted configuration.
const MAX_CONFIG_BYTES: usize = 64 * 1024;
/// What the supervisor needs beside the file systems, so that filling them never ends the audit.
pub(crate) const SUPERVISOR_HEADROOM_BYTES: u64 = 256 << 20;
/// Directory names that hold somebody's secrets.
const SECRET_DIRECTORIES: [&str; 8] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".proofroom",
];
/// Directories that are never bound into a room.
const FORBIDDEN: [&str; 9] = [
    "/proc", "/sys", "/dev", "/run", "/var", "/boot", "/root", "/home", "/tmp",
];
/// Paths that the room makes itself.
const TAKEN: [&str; 7] = [
    "/etc",
    "/workspace",
    "/proofroom",
    "/tmp",
    "/proc",
    "/dev",
    "/home/agent",
];

/// The file that is used when the operator wrote none.
pub const DEFAULT_ROOM: &str = include_str!("../policies/room.toml");

/// A parsed and judged room configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomConfig {
    /// The weakest acceptable isolation.
    pub minimum_isolation: IsolationLevel,
    /// Host directories visible at the same path.
    pub system: Vec<PathBuf>,
    /// Paths below `/etc` that exist here.
    pub etc: Vec<PathBuf>,
    /// Further read-only directories.
    pub extra: Vec<PathBuf>,
    /// What the agent may do on the room's loopback.
    pub loopback: Loopback,
    /// Which opens are notified.
    pub file_audit: FileAudit,
    /// Where `/workspace` lies.
    pub workspace: WorkspaceStore,
    /// Caps.
    pub limits: Limits,
    /// Whether commands have memory groups of their own.
    pub command_groups: CommandGroups,
}

/// Whether a room's commands have memory groups of their own, which leave memory to the supervisor. They
/// need version 2 groups that only this room's starter divides: those of a machine of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandGroups {
    /// One group holds the whole room.
    OneForAll,
    /// The supervisor, the session's own command, and the commands beside it have one each.
    OfTheirOwn,
}

/// Where a room's `/workspace` lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkspaceStore {
    /// In the room's memory.
    #[default]
    Memory,
    /// On a disk without a name, under a key that only the room's machine has. Other rooms have none.
    EncryptedDisk,
}

/// The caps of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of the whole room, its file systems in memory included.
    pub memory_bytes: u64,
    /// Processes and threads of the agent.
    pub processes: u64,
    /// Bytes of `/workspace`.
    pub workspace_bytes: u64,
    /// Bytes of `/tmp`, and again of `/home/agent`.
    pub tmp_bytes: u64,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: u64,
    /// Inodes of each file system.
    pub inodes: u64,
    /// Wall clock seconds of the session.
    pub seconds: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Processors' worth of time that the whole room may use at once.
    pub cpus: u64,
    /// Seconds that the session may do nothing: no event and no model traffic.
    pub idle_seconds: u64,
    /// Bytes that all commands of the session may write to their standard streams together.
    pub output_bytes: u64,
}

impl Limits {
    /// What the room's file systems in memory can hold together; scratch is `/tmp` and the home directory.
    pub(crate) fn bytes_in_memory(&self, workspace: WorkspaceStore) -> u64 {
        let workspace = match workspace {
            WorkspaceStore::Memory => self.workspace_bytes,
            WorkspaceStore::EncryptedDisk => 0,
        };
        self.tmp_bytes
            .saturating_mul(2)
            .saturating_add(workspace)
            .saturating_add(self.shm_bytes)
    }

    pub(crate) fn room(&self) -> RoomLimits {
        RoomLimits {
            workspace_bytes: self.workspace_bytes,
            tmp_bytes: self.tmp_bytes,
            shm_bytes: self.shm_bytes,
            inodes: self.inodes,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    version: u32,
    minimum_isolation: IsolationLevel,
    system: Vec<PathBuf>,
    etc: Vec<PathBuf>,
    extra: Vec<PathBuf>,
    loopback: Loopback,
    file_audit: FileAudit,
    #[serde(default)]
    workspace: WorkspaceStore,
    limits: Limits,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The stable code.
    pub code: &'static str,
    /// Which key, and what to do.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigProblem {}

fn problem(code: &'static str, message: String) -> ConfigProblem {
    ConfigProblem { code, message }
}

impl RoomConfig {
    /// Parses `room.toml`. `state_directory` is where Proofroom keeps records and keys: no bind may
    /// hold it or lie in it.
    ///
    /// # Errors
    /// Every problem found: `too-long`, `malformed`, `version-unknown`, `path-not-absolute`,
    /// `path-missing`, `path-not-canonical`, `path-forbidden`, `path-holds-state`,
    /// `path-holds-secrets`, `limit-out-of-range`, `memory-too-small`.
    pub fn parse(text: &str, state_directory: &Path) -> Result<Self, Vec<ConfigProblem>> {
        if text.len() > MAX_CONFIG_BYTES {
            let message = format!("the file is longer than {MAX_CONFIG_BYTES} bytes");
            return Err(vec![problem("too-long", message)]);
        }
        let raw: RawConfig = toml::from_str(text).map_err(|e| {
            vec![problem(
                "malformed",
                e.to_string().trim().replace('\n', " "),
            )]
        })?;
        let mut problems = Vec::new();
        if raw.version != 1 {
            problems.push(problem("version-unknown", "`version` must be 1".to_owned()));
        }
        judge_limits(&raw.limits, raw.workspace, &mut problems);
        for path in raw.system.iter().chain(&raw.extra) {
            problems.extend(judge_path(path, state_directory));
        }
        for path in &raw.extra {
            problems.extend(judge_canonical(path));
        }
        for path in &raw.etc {
            if !path.starts_with("/etc/") || path.components().any(|c| c.as_os_str() == "..") {
                let message = format!("`etc`: `{}` is not below /etc", path.display());
                problems.push(problem("path-forbidden", message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            minimum_isolation: raw.minimum_isolation,
            system: raw.system,
            etc: raw
                .etc
                .into_iter()
                .filter(|path| fs::symlink_metadata(path).is_ok())
                .collect(),
            extra: raw.extra,
            loopback: raw.loopback,
            file_audit: raw.file_audit,
            workspace: raw.workspace,
            limits: raw.limits,
            command_groups: CommandGroups::OneForAll,
        })
    }
}

fn judge_limits(limits: &Limits, workspace: WorkspaceStore, problems: &mut Vec<ConfigProblem>) {
    let bounds = [
        ("processes", limits.processes, 4, 100_000),
        ("workspace_bytes", limits.workspace_bytes, 1 << 20, 1 << 40),
        ("tmp_bytes", limits.tmp_bytes, 1 << 20, 1 << 40),
        ("shm_bytes", limits.shm_bytes, 1 << 12, 1 << 36),
        ("inodes", limits.inodes, 100, 100_000_000),
        ("seconds", limits.seconds, 1, 7 * 24 * 3600),
        ("open_files", limits.open_files, 16, 1 << 20),
        ("file_bytes", limits.file_bytes, 1 << 12, 1 << 40),
        ("cpus", limits.cpus, 1, 4096),
        ("idle_seconds", limits.idle_seconds, 1, 7 * 24 * 3600),
        ("output_bytes", limits.output_bytes, 1 << 10, 1 << 40),
    ];
    for (name, value, least, most) in bounds {
        if !(least..=most).contains(&value) {
            let message = format!("`limits.{name}` is {value}, must be {least} to {most}");
            problems.push(problem("limit-out-of-range", message));
        }
    }
    let least = limits
        .bytes_in_memory(workspace)
        .saturating_add(SUPERVISOR_HEADROOM_BYTES);
    if limits.memory_bytes < least {
        let message = format!(
            "`limits.memory_bytes` is {}, must be at least {least} (file systems in memory plus headroom)",
            limits.memory_bytes
        );
        problems.push(problem("memory-too-small", message));
    }
}

fn judge_path(path: &Path, state: &Path) -> Option<ConfigProblem> {
    let shown = path.display();
    if !path.is_absolute() || path == Path::new("/") {
        return Some(problem(
            "path-not-absolute",
            format!("`{shown}` must be an absolute path below /"),
        ));
    }
    let Ok(real) = path.canonicalize() else {
        return Some(problem(
            "path-missing",
            format!("`{shown}` does not exist here"),
        ));
    };
    for candidate in [path, &real] {
        let forbidden = FORBIDDEN.iter().any(|f| candidate == Path::new(f))
            || FORBIDDEN[..4].iter().any(|f| candidate.starts_with(f));
        if forbidden || TAKEN.iter().any(|t| candidate.starts_with(t)) {
            return Some(problem(
                "path-forbidden",
                format!("`{shown}` is never part of a room"),
            ));
        }
    }
    let state = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    if state.starts_with(&real) || real.starts_with(&state) {
        let message = format!("`{shown}` holds or is held by the state directory");
        return Some(problem("path-holds-state", message));
    }
    let secret = SECRET_DIRECTORIES.iter().find(|name| {
        real.components().any(|part| part.as_os_str() == **name) || real.join(name).exists()
    });
    secret.map(|name| problem("path-holds-secrets", format!("`{shown}` holds `{name}`")))
}

fn judge_canonical(path: &Path) -> Option<ConfigProblem> {
    let real = path.canonicalize().ok()?;
    (real != path).then(|| {
        let message = format!(
            "`{}` is really `{}`: write that",
            path.display(),
            real.display()
        );
        problem("path-not-canonical", message)
    })
}

#[cfg(test)]
mod tests;
