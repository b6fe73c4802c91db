//! What can be asked for: an action with the resource it is about.

use std::fmt;

use crate::path::WorkspacePath;

/// An action on one workspace path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathAction {
    /// Read a file.
    ReadFile,
    /// List a directory.
    List,
    /// Search a directory's files.
    Search,
    /// Change an existing file in place.
    Edit,
    /// Create, overwrite or remove a file.
    WriteFile,
}

impl PathAction {
    /// Whether it changes the workspace.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Edit | Self::WriteFile)
    }

    /// The action's name in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadFile => "read_file",
            Self::List => "list",
            Self::Search => "search",
            Self::Edit => "edit",
            Self::WriteFile => "write_file",
        }
    }
}

/// One thing that an agent asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An action on a workspace path.
    Path(PathAction, WorkspacePath),
    /// Start a program.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Commit the workspace's changes.
    GitCommit {
        /// Origin repository.
        repository: String,
    },
    /// Send a model request to the gateway.
    ModelRun {
        /// Request path, such as `/v1/messages`.
        endpoint: String,
    },
    /// Hand commits to the git broker.
    Deliver {
        /// Origin repository.
        repository: String,
    },
    /// Open a network connection.
    Connect {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Operation {
    /// The action's name in the policy.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Path(action, _) => action.as_str(),
            Self::Run { .. } => "run",
            Self::GitCommit { .. } => "git_commit",
            Self::ModelRun { .. } => "model_run",
            Self::Deliver { .. } => "deliver",
            Self::Connect { .. } => "connect",
        }
    }

    /// Reads an action's name and its argument, as examples in policy files write them.
    pub(crate) fn read(action: &str, argument: &str) -> Option<Self> {
        let path = |action| Some(Self::Path(action, WorkspacePath::parse(argument).ok()?));
        match action {
            "read_file" => path(PathAction::ReadFile),
            "list" => path(PathAction::List),
            "search" => path(PathAction::Search),
            "edit" => path(PathAction::Edit),
            "write_file" => path(PathAction::WriteFile),
            "run" => Some(Self::Run {
                argv: argument.split_whitespace().map(str::to_owned).collect(),
            }),
            "git_commit" => Some(Self::GitCommit {
                repository: argument.to_owned(),
            }),
            "model_run" => Some(Self::ModelRun {
                endpoint: argument.to_owned(),
            }),
            "deliver" => Some(Self::Deliver {
                repository: argument.to_owned(),
            }),
            "connect" => {
                let (host, port) = argument.rsplit_once(':')?;
                Some(Self::Connect {
                    host: host.to_owned(),
                    port: port.parse().ok()?,
                })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action();
        match self {
            Self::Path(_, path) => write!(f, "{action} {path}"),
            // Arguments may hold a credential, and a denial's reason is written down.
            Self::Run { argv } => write!(f, "{action} {}", argv.first().map_or("", String::as_str)),
            Self::GitCommit { repository } | Self::Deliver { repository } => {
                write!(f, "{action} {repository}")
            }
            Self::ModelRun { endpoint } => write!(f, "{action} {endpoint}"),
            Self::Connect { host, port } => write!(f, "{action} {host}:{port}"),
        }
    }
}
