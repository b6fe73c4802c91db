//! The Landlock domain of an agent command. A hard requirement: on a kernel without ABI 6 (Linux
//! 6.12) nothing starts. It judges real objects, so it holds where a notification's path is racy.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetStatus, Scope,
};

use crate::{
    AgentCommand, CHANNEL_PORT, Loopback, NameService, RESOLVER_PORT,
    error::{AtStep as _, StageFailure},
};

/// The oldest ABI with everything that is asked for: truncate, device ioctl, TCP, scopes.
pub(crate) const REQUIRED_ABI: ABI = ABI::V6;
/// What `doctor` says about it.
pub(crate) const REQUIRED_ABI_NUMBER: i64 = 6;
/// Devices that may be written.
const WRITABLE_DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty"];

/// Confines this thread and its future children.
pub(crate) fn restrict(command: &AgentCommand) -> Result<(), StageFailure> {
    let missing = |e: &dyn ToString| {
        StageFailure::mechanism(
            "landlock",
            e.to_string(),
            "use Linux 6.12 or newer with `landlock` in the `lsm=` list",
        )
    };
    let rules = ruleset(command).map_err(|e| missing(&e))?;
    let rules = files(rules, command)?;
    let status = rules.restrict_self().map_err(|e| missing(&e))?;
    if status.ruleset != RulesetStatus::FullyEnforced {
        return Err(missing(&"the ruleset is not fully enforced"));
    }
    Ok(())
}

fn ruleset(command: &AgentCommand) -> Result<RulesetCreated, landlock::RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED_ABI))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    match command.loopback {
        Loopback::ChannelOnly => rules
            .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
            .create()?
            .add_rules(
                ports(&command.names).map(|port| Ok(NetPort::new(port, AccessNet::ConnectTcp))),
            ),
        Loopback::TestServers => rules.create(),
    }
}

/// Where the agent may connect to: everything that listens on these ports is the supervisor's.
fn ports(names: &NameService) -> impl Iterator<Item = u16> {
    let named = match names {
        NameService::Absent => None,
        NameService::Present { ports } => Some([RESOLVER_PORT].iter().chain(ports).copied()),
    };
    std::iter::once(CHANNEL_PORT).chain(named.into_iter().flatten())
}

fn files(rules: RulesetCreated, command: &AgentCommand) -> Result<RulesetCreated, StageFailure> {
    let everything = AccessFs::from_all(REQUIRED_ABI);
    // Devices cannot be made (no capability), and none is beneath a writable directory.
    let writing = everything & !(AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev);
    // The root holds only what the room was given; what may be read there, file modes decide.
    let mut rules = beneath(rules, Path::new("/"), AccessFs::from_read(REQUIRED_ABI))?;
    for directory in &command.writable {
        rules = beneath(rules, directory, writing)?;
    }
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    for path in WRITABLE_DEVICES {
        rules = beneath(rules, Path::new(path), device)?;
    }
    Ok(rules)
}

fn beneath(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, StageFailure> {
    let step = format!("allow `{}`", path.display());
    let fd = PathFd::new(path).at(&step)?;
    rules.add_rule(PathBeneath::new(fd, access)).at(&step)
}
