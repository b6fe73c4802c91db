//! How long `cargo build` of a small program takes in a `process` room, against the same build outside, in
//! alternating rounds of one run:
//!
//! * `bare`: outside, in `/dev/shm`, the same command with the same few variables;
//! * `every-open` and `writes`: in a room, by what `file_audit` says.
//!
//! Timed is the build alone, inside: not the room's start, and not the delivery of what it made. Everything
//! is offline: the packages are vendored into the repository. `PROOFROOM_BENCH_ROUNDS` (5),
//! `PROOFROOM_BENCH_TOOLCHAIN` (that of `rustc`), `PROOFROOM_BENCH_EXAMPLE` (a directory with the example, its
//! packages vendored; made with `cargo vendor` where it is not given). Prints and judges nothing.
//!
//! With the argument `machines` a smaller example is built in rooms in virtual machines, against a bare
//! machine of the same kernel: `machines/build.rs`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

#[expect(dead_code, reason = "this bench boots with a first process of its own")]
#[path = "../../room/benches/machine/bare.rs"]
mod bare;
#[path = "machines/build.rs"]
mod machines;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use proofroom_e2e::{Deployment, git, repository_root};

/// What is built, by the command's own clock.
const BUILD: &str = "begin=$(date +%s%N); cargo build --offline --locked --quiet || exit 1; \
                     end=$(date +%s%N); echo elapsed $((end - begin)) ns";

/// Where a build runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Bare,
    Room(&'static str),
}

const PLACES: [Place; 3] = [
    Place::Bare,
    Place::Room("every-open"),
    Place::Room("writes"),
];

fn main() {
    let rounds = env::var("PROOFROOM_BENCH_ROUNDS").map_or(5, |n| n.parse().expect("a number"));
    if env::args().any(|argument| argument == "machines") {
        return machines::run(rounds);
    }
    let deployment = Deployment::empty_with_hello();
    let toolchain = Toolchain::new();
    let repository = example(&deployment);
    let bench = Bench {
        room: fs::read_to_string(deployment.policy().join("room.toml")).expect("room.toml"),
        deployment,
        toolchain,
        repository,
    };
    println!("load before: {}", load());
    let mut rows = Vec::new();
    for round in 0..rounds {
        let mut row = [Duration::ZERO; PLACES.len()];
        for turn in 0..PLACES.len() {
            let at = (round + turn) % PLACES.len();
            row[at] = bench.build(PLACES[at]);
        }
        println!("{}", told(&row));
        rows.push(row);
    }
    println!("load after: {}", load());
    println!("median: {}", told(&medians(&rows)));
    for (at, place) in PLACES.iter().enumerate().skip(1) {
        let mut ratios: Vec<f64> = rows.iter().map(|row| ratio(row[at], row[0])).collect();
        ratios.sort_by(f64::total_cmp);
        let (first, last) = (ratios[0], ratios[ratios.len() - 1]);
        let median = ratios[ratios.len() / 2];
        println!(
            "{}: {median:.3} times bare (pairs {first:.3} to {last:.3})",
            place.name()
        );
    }
}

struct Bench {
    deployment: Deployment,
    toolchain: Toolchain,
    repository: PathBuf,
    /// The default room configuration.
    room: String,
}

impl Bench {
    fn build(&self, place: Place) -> Duration {
        match place {
            Place::Bare => self.bare(),
            Place::Room(audit) => self.room(audit),
        }
    }

    /// The build's variables: the same everywhere but for the home.
    fn script(&self, home: &Path) -> String {
        let bin = self.toolchain.path.join("bin");
        let (home, bin) = (home.display(), bin.display());
        format!("export HOME={home} CARGO_HOME={home}/cargo PATH={bin}:/usr/bin:/bin; {BUILD}")
    }

    fn bare(&self) -> Duration {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let work = memory.path().join("work");
        let (from, to) = (self.repository.to_string_lossy(), work.to_string_lossy());
        git(memory.path(), &["clone", "--quiet", &from, &to]);
        let output = Command::new("/bin/sh")
            .args(["-c", &self.script(memory.path())])
            .current_dir(&work)
            .env_clear()
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{output:?}");
        elapsed(&String::from_utf8_lossy(&output.stdout)).expect("it says how long it took")
    }

    fn room(&self, audit: &str) -> Duration {
        let extra = format!("extra = [\"{}\"]", self.toolchain.path.display());
        let room = self.room.replacen("extra = []", &extra, 1);
        let audit = format!("file_audit = \"{audit}\"");
        let room = room.replacen("file_audit = \"every-open\"", &audit, 1);
        fs::write(self.deployment.policy().join("room.toml"), room).expect("room.toml");
        let script = self.script(Path::new("/home/agent"));
        let session = self.deployment.session(&self.repository);
        let ended = session.command(&["/bin/sh", "-c", &script]).run();
        let said = ended.lines.iter().filter_map(|line| line["text"].as_str());
        let took = said.flat_map(str::lines).find_map(elapsed);
        took.unwrap_or_else(|| panic!("no build: {ended:#?}"))
    }
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Room(audit) => audit,
        }
    }
}

fn elapsed(line: &str) -> Option<Duration> {
    let number = line.trim().strip_prefix("elapsed ")?.strip_suffix(" ns")?;
    number.parse().ok().map(Duration::from_nanos)
}

/// A tool chain at a place that may be shown to a room.
struct Toolchain {
    path: PathBuf,
    /// Made for this run.
    own: bool,
}

impl Toolchain {
    fn new() -> Self {
        let named = env::var_os("PROOFROOM_BENCH_TOOLCHAIN").map(PathBuf::from);
        let from = named.unwrap_or_else(|| {
            let output = Command::new("rustc").args(["--print", "sysroot"]).output();
            let text = String::from_utf8(output.expect("rustc").stdout).expect("a path");
            PathBuf::from(text.trim())
        });
        if from.starts_with("/usr") || from.starts_with("/opt") {
            return Self {
                path: from,
                own: false,
            };
        }
        let path = PathBuf::from(format!("/opt/proofroom-bench-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a place for the tool chain, as root");
        for part in ["bin", "lib"] {
            // hard links where the file system is the same
            let copy = |how| {
                Command::new("cp")
                    .arg(how)
                    .arg(from.join(part))
                    .arg(&path)
                    .output()
            };
            let linked = copy("-al").is_ok_and(|done| done.status.success());
            assert!(linked || copy("-a").is_ok_and(|done| done.status.success()));
        }
        Self { path, own: true }
    }
}

impl Drop for Toolchain {
    fn drop(&mut self) {
        if self.own {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// The example as a git repository, with everything that its build needs.
fn example(deployment: &Deployment) -> PathBuf {
    let path = deployment.path().join("example");
    let given = env::var_os("PROOFROOM_BENCH_EXAMPLE").map(PathBuf::from);
    let from = given.unwrap_or_else(|| repository_root().join("crates/e2e/benches/build"));
    let copied = Command::new("cp").arg("-r").arg(&from).arg(&path).status();
    assert!(copied.expect("cp").success());
    if !path.join("vendor").is_dir() {
        vendor(&path);
    }
    fs::write(path.join(".gitignore"), "/target\n").expect("a file");
    git(&path, &["init", "-q", "-b", "main"]);
    git(&path, &["add", "--all", "--force"]);
    git(&path, &["commit", "-q", "-m", "The example"]);
    path
}

fn vendor(path: &Path) {
    let output = Command::new("cargo")
        .args(["vendor", "--locked", "--versioned-dirs"])
        .current_dir(path)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{output:?}");
    fs::create_dir(path.join(".cargo")).expect("a directory");
    fs::write(path.join(".cargo/config.toml"), output.stdout).expect("a file");
}

fn medians(rows: &[[Duration; PLACES.len()]]) -> [Duration; PLACES.len()] {
    std::array::from_fn(|at| {
        let mut column: Vec<Duration> = rows.iter().map(|row| row[at]).collect();
        column.sort();
        column[column.len() / 2]
    })
}

fn told(row: &[Duration; PLACES.len()]) -> String {
    let named = PLACES.iter().zip(row);
    let words = named.map(|(place, took)| format!("{} {:.2} s", place.name(), took.as_secs_f64()));
    words.collect::<Vec<_>>().join(", ")
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
