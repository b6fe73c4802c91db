//! What each kind of room needs of this machine: available, or everything that is missing and what to
//! do about it. For people; a session finds out for itself and is never given a weaker room.

use std::{fmt, path::Path};

use proofroom_canonical::IsolationLevel;
use proofroom_confine::probe::{Finding, HighestLevel, MachineReport, Need};
use proofroom_room::hardware::{
    HardwareBackend, HardwareReport, HostPaths, Requirement, State, qemu_at_least,
};
use serde::Serialize;

use crate::isolation::NO_RUNTIME_REGISTER;

/// The oldest QEMU that takes an opened KVM device, and the oldest that was tried with emulation.
const QEMU_FOR_KVM: u32 = 9;
const QEMU_FOR_TCG: u32 = 7;

/// One kind of room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendReport {
    /// Its name on command lines; a virtual machine's with what executes it.
    pub backend: &'static str,
    /// The level of its rooms.
    pub level: IsolationLevel,
    /// Whether rooms of this kind start.
    pub answer: BackendAnswer,
    /// What it needs, in a fixed order.
    pub requirements: Vec<Requirement>,
}

/// Whether rooms of one kind start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendAnswer {
    /// They do, for all that was tried.
    Available,
    /// They do, when somebody asks for them by name.
    OnRequest,
    /// Nothing is known to be missing, and the deciding thing was not tried.
    NotTried,
    /// They do not.
    Missing,
}

/// Whether a machine boots on this processor, in words: a canary's answer. Blocking.
pub type KvmCanary<'a> = &'a dyn Fn(&Path) -> State;

/// Looks at every backend. Executes QEMU, and `canary` if all else that it needs is there.
#[must_use]
pub fn backends(report: &MachineReport, image: &Path, canary: KvmCanary<'_>) -> Vec<BackendReport> {
    let paths = HostPaths::of_image(image);
    let mut all = vec![
        process(report),
        machine("vm (kvm)", QEMU_FOR_KVM, &paths, image),
        machine("vm (tcg)", QEMU_FOR_TCG, &paths, image),
    ];
    for backend in &mut all {
        match backend.backend {
            "vm (kvm)" => backend.judge_by_canary(image, canary),
            "vm (tcg)" => backend.allow_on_request(),
            _ => {}
        }
    }
    for backend in [HardwareBackend::Tdx, HardwareBackend::SevSnp] {
        let mut requirements = HardwareReport::of(backend, &paths).requirements;
        requirements.push(proof(backend));
        all.push(BackendReport::new(
            backend.as_str(),
            backend.level(),
            requirements,
        ));
    }
    all
}

/// The highest level that rooms get without being asked for by name.
#[must_use]
pub fn highest(backends: &[BackendReport]) -> HighestLevel {
    let offers = |level| {
        backends
            .iter()
            .any(|one| one.level == level && one.answer == BackendAnswer::Available)
    };
    [
        IsolationLevel::Hardware,
        IsolationLevel::Vm,
        IsolationLevel::Process,
    ]
    .into_iter()
    .find(|level| offers(*level))
    .map_or(HighestLevel::None, HighestLevel::Level)
}

impl BackendReport {
    fn new(backend: &'static str, level: IsolationLevel, requirements: Vec<Requirement>) -> Self {
        let mut report = Self {
            backend,
            level,
            answer: BackendAnswer::Available,
            requirements,
        };
        report.answer = report.judged();
        report
    }

    fn judged(&self) -> BackendAnswer {
        let mut answer = BackendAnswer::Available;
        for requirement in &self.requirements {
            match requirement.state {
                State::Met(_) => {}
                State::NotTried(_) => answer = BackendAnswer::NotTried,
                State::Missing { .. } => return BackendAnswer::Missing,
            }
        }
        answer
    }

    /// `/dev/kvm` says nothing: only a machine that boots does.
    fn judge_by_canary(&mut self, image: &Path, canary: KvmCanary<'_>) {
        let state = if self.answer == BackendAnswer::Available {
            canary(image)
        } else {
            State::NotTried("not booted: something else is missing".to_owned())
        };
        let name = "kvm-canary";
        self.requirements.push(Requirement { name, state });
        self.answer = self.judged();
    }

    /// An emulated processor is nobody's default.
    fn allow_on_request(&mut self) {
        if self.answer == BackendAnswer::Available {
            self.answer = BackendAnswer::OnRequest;
        }
    }
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.answer {
            BackendAnswer::Available => "available",
            BackendAnswer::OnRequest => "available with `--accel tcg`: an emulated processor",
            BackendAnswer::NotTried => "nothing known to be missing, not tried",
            BackendAnswer::Missing => "not available",
        };
        writeln!(f, "{} (level {}): {answer}", self.backend, self.level)?;
        for Requirement { name, state } in &self.requirements {
            match state {
                State::Met(detail) => writeln!(f, "  yes        {name:<28} {detail}")?,
                State::NotTried(detail) => writeln!(f, "  not tried  {name:<28} {detail}")?,
                State::Missing { why, what_to_do } => {
                    writeln!(f, "  no         {name:<28} {why}; {what_to_do}")?;
                }
            }
        }
        Ok(())
    }
}

/// What would decide, when nothing else is missing.
fn proof(backend: HardwareBackend) -> Requirement {
    let name = "room-quote";
    let state = match backend {
        HardwareBackend::Tdx => State::NotTried(
            "only a room whose quote is verified tells, which every session begins with".to_owned(),
        ),
        HardwareBackend::SevSnp => State::Missing {
            why: NO_RUNTIME_REGISTER.to_owned(),
            what_to_do: "use `--isolation tdx` or `vm`".to_owned(),
        },
    };
    Requirement { name, state }
}

fn process(report: &MachineReport) -> BackendReport {
    let requirements = report
        .mechanisms
        .iter()
        .filter(|mechanism| mechanism.need == Need::EveryRoom)
        .map(|mechanism| Requirement {
            name: mechanism.name,
            state: match &mechanism.finding {
                Finding::Available(detail) => State::Met(detail.clone()),
                Finding::NotTried(detail) => State::NotTried(detail.clone()),
                Finding::Missing { why, what_to_do } => State::Missing {
                    why: why.clone(),
                    what_to_do: what_to_do.clone(),
                },
            },
        })
        .collect();
    BackendReport::new("process", IsolationLevel::Process, requirements)
}

fn machine(
    backend: &'static str,
    oldest_qemu: u32,
    paths: &HostPaths,
    image: &Path,
) -> BackendReport {
    let requirement = |name, state| Requirement { name, state };
    let requirements = vec![
        requirement("qemu-version", qemu_at_least(&paths.qemu, oldest_qemu)),
        requirement(
            "swtpm",
            file(
                Path::new(proofroom_room::SWTPM),
                "install swtpm (Debian: package swtpm)",
            ),
        ),
        requirement(
            "image",
            file(
                &image.join("image.json"),
                "build it with `cargo xtask image`",
            ),
        ),
    ];
    BackendReport::new(backend, IsolationLevel::Vm, requirements)
}

fn file(path: &Path, what_to_do: &str) -> State {
    match std::fs::File::open(path) {
        Ok(_) => State::Met(format!("`{}`", path.display())),
        Err(error) => State::Missing {
            why: format!("`{}`: {error}", path.display()),
            what_to_do: what_to_do.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, path::Path};

    use proofroom_confine::probe::{HighestLevel, probe};
    use proofroom_room::hardware::State;

    use super::{BackendAnswer, BackendReport, IsolationLevel, Requirement, backends, highest};

    fn report(states: Vec<State>) -> BackendReport {
        let named = |state| Requirement {
            name: "something",
            state,
        };
        let requirements = states.into_iter().map(named).collect();
        BackendReport::new("vm (kvm)", IsolationLevel::Vm, requirements)
    }

    fn met() -> State {
        State::Met("there".to_owned())
    }

    fn missing() -> State {
        State::Missing {
            why: "gone".to_owned(),
            what_to_do: "bring it back".to_owned(),
        }
    }

    #[test]
    fn a_kvm_room_is_available_only_if_its_canary_booted() {
        let judged = |state: State| {
            let mut report = report(vec![met()]);
            report.judge_by_canary(Path::new("/image"), &|_| state.clone());
            report.answer
        };
        assert_eq!(judged(met()), BackendAnswer::Available);
        assert_eq!(judged(missing()), BackendAnswer::Missing);
        let not_tried = State::NotTried("why".to_owned());
        assert_eq!(judged(not_tried), BackendAnswer::NotTried);
    }

    #[test]
    fn no_canary_boots_where_something_else_is_missing() {
        let booted = Cell::new(0);
        let mut report = report(vec![met(), missing()]);
        report.judge_by_canary(Path::new("/image"), &|_| {
            booted.set(booted.get() + 1);
            met()
        });
        assert_eq!(report.answer, BackendAnswer::Missing);
        assert_eq!(booted.get(), 0);
    }

    #[test]
    fn a_confidential_room_is_never_called_available_before_it_was_tried() {
        let all = backends(&probe(), Path::new("/nowhere"), &|_| met());
        let of = |name| all.iter().find(|one| one.backend == name).unwrap();
        let last = |name| of(name).requirements.last().unwrap().state.clone();
        assert!(matches!(last("tdx"), State::NotTried(_)));
        assert!(matches!(last("sev-snp"), State::Missing { .. }));
        let mut everything_else = report(vec![met(), last("tdx")]);
        everything_else.level = IsolationLevel::Hardware;
        everything_else.answer = everything_else.judged();
        assert_eq!(everything_else.answer, BackendAnswer::NotTried);
        assert_eq!(highest(&[everything_else]), HighestLevel::None);
    }

    #[test]
    fn an_emulated_machine_is_never_the_highest_level() {
        let mut emulated = report(vec![met()]);
        emulated.allow_on_request();
        assert_eq!(emulated.answer, BackendAnswer::OnRequest);
        assert_eq!(highest(&[emulated]), HighestLevel::None);
        let real = report(vec![met()]);
        assert_eq!(highest(&[real]), HighestLevel::Level(IsolationLevel::Vm));
    }

    #[test]
    fn every_backend_is_explained_and_everything_missing_says_what_to_do() {
        let all = backends(&probe(), Path::new("/nowhere"), &|_| met());
        let names: Vec<_> = all.iter().map(|one| one.backend).collect();
        let wanted = ["process", "vm (kvm)", "vm (tcg)", "tdx", "sev-snp"];
        assert_eq!(names, wanted);
        for one in &all {
            print!("{one}");
            assert!(!one.requirements.is_empty(), "{}", one.backend);
            let lacks = |state: &State| matches!(state, State::Missing { .. });
            let missing = one.requirements.iter().any(|found| lacks(&found.state));
            assert_eq!(missing, one.answer == BackendAnswer::Missing, "{one}");
        }
    }
}
