//! The build in a virtual machine's room, against bare machines of the same kernel, processors, memory and
//! layers, in alternating rounds:
//!
//! * `bare`: mounts the layers' file systems as they are;
//! * `verified`: mounts them through dm-verity, with the room's roots and salts, so that what verified layers cost is told
//!   apart from what the room adds;
//! * `vm`: the room.
//!
//! Two builds in each machine: the first reads the tool chain from the layers, the second finds it in memory.
//! `PROOFROOM_BENCH_AUDIT` (`every-open`) is the room's `file_audit`, `PROOFROOM_BENCH_VCPUS` (1) the processors of all.
//! See the bench's first page.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use proofroom_e2e::{Deployment, Session, git, image_directory, program, repository_root, skip};
use proofroom_room::{Accelerator, Attestation, Image, MachineConfig, Shape};
use proofroom_vmm::Disk;
use serde_json::Value;

use crate::{bare, elapsed, load, ratio};

/// Two builds, each by the command's own clock.
const BUILD: &str = "export HOME=/home/agent CARGO_HOME=/home/agent/cargo TMPDIR=/tmp \
     PATH=/usr/lib/bench-rust/bin:/usr/bin:/bin; \
     for turn in 1 2; do rm -rf target; begin=$(date +%s%N); \
     cargo build --offline --locked --quiet || exit 1; \
     end=$(date +%s%N); echo elapsed $((end - begin)) ns; done";

/// Memory of all machines, in MiB: what `proofroom run` takes unless it is told otherwise.
const MEMORY_MIB: u32 = 2048;

/// The first build and the second.
type Builds = [Duration; 2];
/// In each of [`PLACES`].
type Row = [Builds; PLACES.len()];

const PLACES: [&str; 3] = ["bare", "verified", "vm"];
const BARE: usize = 0;
const VERIFIED: usize = 1;
const ROOM: usize = 2;

/// Whether a bare machine's layers are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layers {
    Trusted,
    Verified,
}

pub(crate) fn run(rounds: usize) {
    let genuine = match image_directory() {
        Ok(image) => image,
        Err(why) => return skip("builds in machines", &why),
    };
    let vcpus = std::env::var("PROOFROOM_BENCH_VCPUS").map_or(1, |n| n.parse().expect("a number"));
    let deployment = Deployment::empty_with_hello();
    let layers = layers(&genuine, deployment.path());
    let image = image_with(&genuine, &layers, vcpus, deployment.path());
    let repository = small(&deployment);
    // What a room tells of opened files, as `room.toml` spells it.
    let audit = std::env::var("PROOFROOM_BENCH_AUDIT").unwrap_or_else(|_| "every-open".to_owned());
    let policy = deployment.policy().join("room.toml");
    let text = fs::read_to_string(&policy).expect("room.toml");
    let audited = format!("file_audit = \"{audit}\"");
    let text = text.replacen("file_audit = \"every-open\"", &audited, 1);
    fs::write(&policy, text).expect("room.toml");
    let bare = |how| BareMachine::new(&image, vcpus, &layers, how, &repository, deployment.path());
    let (trusting, verifying) = (bare(Layers::Trusted), bare(Layers::Verified));
    println!("{audit}, {vcpus} vCPUs; load before: {}", load());
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..rounds {
        let mut row = Row::default();
        for turn in 0..PLACES.len() {
            let at = (round + turn) % PLACES.len();
            row[at] = match at {
                BARE => trusting.build(),
                VERIFIED => verifying.build(),
                _ => room(&deployment, &repository, &image, vcpus, &layers),
            };
        }
        let told = PLACES.iter().zip(&row);
        let told: Vec<String> = told
            .map(|(name, took)| format!("{name} {took:.2?}"))
            .collect();
        println!("{}", told.join(", "));
        rows.push(row);
    }
    println!("load after: {}", load());
    for (build, name) in ["first build", "second build"].iter().enumerate() {
        for (one, other) in [(VERIFIED, BARE), (ROOM, BARE), (ROOM, VERIFIED)] {
            let mut ratios: Vec<f64> = rows
                .iter()
                .map(|row| ratio(row[one][build], row[other][build]))
                .collect();
            ratios.sort_by(f64::total_cmp);
            let (least, middle) = (ratios[0], ratios[ratios.len() / 2]);
            let most = ratios[ratios.len() - 1];
            let (one, other) = (PLACES[one], PLACES[other]);
            println!("{name}: {one} {middle:.3} times {other} ({least:.3} to {most:.3})");
        }
    }
}

/// The base layer, a C compiler for linking, and the tool chain. They are kept beside the image.
fn layers(image: &Path, work: &Path) -> Vec<PathBuf> {
    let kept = image.with_file_name("bench-layers");
    let linker = kept.join("linker");
    if !linker.is_dir() {
        build_layer("linker", &["--packages", "gcc,libc6-dev"], &linker);
    }
    let rust = kept.join("rust");
    if !rust.is_dir() {
        let from = toolchain(&work.join("rust"));
        let from = from.to_string_lossy();
        build_layer("rust", &["--from", &from], &rust);
    }
    vec![image.join("layers/base"), linker, rust]
}

/// The same image with reference values of its own: a room has the layers of its manifest and no others.
fn image_with(genuine: &Path, layers: &[PathBuf], vcpus: u16, work: &Path) -> PathBuf {
    let image = work.join("image");
    let copied = Command::new("cp")
        .arg("-r")
        .args([genuine, &image])
        .status();
    assert!(copied.expect("cp").success());
    let shape = [
        "--vcpus".to_owned(),
        vcpus.to_string(),
        "--memory".to_owned(),
        MEMORY_MIB.to_string(),
    ];
    // One boot, to see what this QEMU tells a machine of these processors about itself.
    let mut capture = Command::new(program("proofroom"));
    capture.args(["image", "capture", "--image"]).arg(&image);
    let captured = capture.args(&shape).output().expect("proofroom starts");
    assert!(captured.status.success(), "{captured:?}");
    let mut measure = Command::new(program("proofroom"));
    measure
        .args(["measure", "--image"])
        .arg(&image)
        .args(&shape);
    for layer in layers {
        measure.arg("--layer").arg(layer.join("layer.json"));
    }
    let measured = measure
        .arg("--out")
        .arg(image.join("reference.json"))
        .output()
        .expect("proofroom starts");
    assert!(measured.status.success(), "{measured:?}");
    image
}

fn build_layer(name: &str, source: &[&str], out: &Path) {
    fs::create_dir_all(out.parent().expect("a parent")).expect("a directory");
    let built = Command::new(program("proofroom"))
        .args(["layer", "build", "--name", name, "--compression", "lz4"])
        .args(source)
        .arg("--out")
        .arg(out)
        .output()
        .expect("proofroom starts");
    assert!(built.status.success(), "{built:?}");
}

/// `cargo`, `rustc` and the standard library of this machine, below `usr/lib/bench-rust`.
fn toolchain(at: &Path) -> PathBuf {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let text = String::from_utf8(output.expect("rustc").stdout).expect("a path");
    let from = PathBuf::from(text.trim());
    let to = at.join("usr/lib/bench-rust");
    fs::create_dir_all(to.join("bin")).expect("a directory");
    for part in ["bin/cargo", "bin/rustc", "lib"] {
        let copied = Command::new("cp")
            .arg("-a")
            .args([from.join(part), to.join(part)])
            .status();
        assert!(copied.expect("cp").success());
    }
    at.to_owned()
}

/// The small example as a git repository.
fn small(deployment: &Deployment) -> PathBuf {
    let path = deployment.path().join("small");
    let from = repository_root().join("crates/e2e/benches/small");
    let copied = Command::new("cp").arg("-r").arg(from).arg(&path).status();
    assert!(copied.expect("cp").success());
    fs::write(path.join(".gitignore"), "/target\n").expect("a file");
    git(&path, &["init", "-q", "-b", "main"]);
    git(&path, &["add", "--all"]);
    git(&path, &["commit", "-q", "-m", "The example"]);
    path
}

fn room(
    deployment: &Deployment,
    repository: &Path,
    image: &Path,
    vcpus: u16,
    layers: &[PathBuf],
) -> Builds {
    let shape = [
        "--vm-cpus".to_owned(),
        vcpus.to_string(),
        "--vm-memory".to_owned(),
        MEMORY_MIB.to_string(),
    ];
    let mut session: Session = deployment
        .machine_session_of(repository, image)
        .arguments(&shape);
    for layer in layers {
        session = session.arguments(&[Path::new("--layer"), layer]);
    }
    let ended = session.command(&["/bin/sh", "-c", BUILD]).run();
    let said = ended.lines.iter().filter_map(|line| line["text"].as_str());
    let took: Vec<Duration> = said.flat_map(str::lines).filter_map(elapsed).collect();
    Builds::try_from(took).unwrap_or_else(|_| panic!("no builds: {ended:#?}"))
}

/// What boots the image's kernel with a first process that only builds.
struct BareMachine {
    machine: MachineConfig,
    initrd: PathBuf,
    disks: Vec<PathBuf>,
}

impl BareMachine {
    fn new(
        image: &Path,
        vcpus: u16,
        layers: &[PathBuf],
        how: Layers,
        repository: &Path,
        work: &Path,
    ) -> Self {
        Self {
            machine: MachineConfig {
                image: Image::open(image).expect("the image"),
                layers: Vec::new(),
                accelerator: Accelerator::Tcg,
                shape: Shape {
                    vcpus,
                    memory_mib: MEMORY_MIB,
                },
                attestation: Attestation::SoftwareTpm,
                disk_directory: std::env::temp_dir(),
            },
            initrd: initial_file_system(image, layers, how, repository, work),
            disks: layers.iter().map(|layer| layer.join("layer.img")).collect(),
        }
    }

    fn build(&self) -> Builds {
        let disks = self.disks.iter().map(|path| Disk { path: path.clone() });
        let mut qemu = bare::command(&self.machine, self.initrd.clone(), disks.collect())
            .spawn()
            .expect("QEMU starts");
        let mut took = Vec::new();
        let mut said = Vec::new();
        for line in BufReader::new(qemu.stdout.take().expect("a pipe")).lines() {
            let line = line.expect("text");
            took.extend(elapsed(&line));
            let over = line.starts_with("done ") || line.starts_with("failed");
            said.push(line);
            if over {
                break;
            }
        }
        drop(qemu.kill());
        qemu.wait().expect("QEMU ends");
        Builds::try_from(took).unwrap_or_else(|_| panic!("no builds: {said:#?}"))
    }
}

/// The image's, with another first process and what it needs: a second archive adds to the first one's
/// files and replaces those of the same name.
fn initial_file_system(
    image: &Path,
    layers: &[PathBuf],
    how: Layers,
    repository: &Path,
    work: &Path,
) -> PathBuf {
    let work = work.join(match how {
        Layers::Trusted => "bare",
        Layers::Verified => "verified",
    });
    let tree = work.join("tree");
    fs::create_dir_all(&tree).expect("a directory");
    compile(&tree.join("init"));
    fs::write(tree.join("script"), BUILD).expect("a file");
    let disks: Vec<String> = layers.iter().map(|layer| table(layer, how)).collect();
    fs::write(tree.join("disks"), disks.join("\n")).expect("a file");
    let (from, to) = (repository.to_string_lossy(), tree.join("work"));
    git(&work, &["clone", "--quiet", &from, &to.to_string_lossy()]);
    let archive = work.join("bare.cpio");
    let packed = Command::new("sh")
        .args([
            "-c",
            "cd \"$0\" && find . -mindepth 1 | cpio --quiet -o -H newc > \"$1\"",
        ])
        .args([&tree, &archive])
        .status();
    assert!(packed.expect("a shell").success(), "cpio is needed");
    let mut initrd = fs::read(image.join("initrd")).expect("the image");
    initrd.resize(initrd.len().next_multiple_of(512), 0);
    initrd.extend(fs::read(archive).expect("the archive"));
    let path = work.join("bare.initrd");
    fs::write(&path, initrd).expect("a file");
    path
}

/// What the first process is told about a layer: `-`, or the length in sectors and dm-verity's words after the two
/// devices, as `crates/init` gives them to the kernel.
fn table(layer: &Path, how: Layers) -> String {
    if how == Layers::Trusted {
        return "-".to_owned();
    }
    let text = fs::read(layer.join("layer.json")).expect("the layer's description");
    let known: Value = serde_json::from_slice(&text).expect("JSON");
    let word = |name: &str| known[name].as_str().expect("text").to_owned();
    let blocks = known["data_blocks"].as_u64().expect("a number");
    let (root, salt) = (word("root"), word("salt"));
    let (sectors, hashes) = (blocks * 8, blocks + 1);
    format!("{sectors} 4096 4096 {blocks} {hashes} sha256 {root} {salt}")
}

fn compile(to: &Path) {
    let source = repository_root().join("crates/e2e/benches/machines/bare_init.rs");
    let compiled = Command::new("rustc")
        .args(["--edition=2024", "-O", "-C", "target-feature=+crt-static"])
        .arg("-o")
        .args([to, &source])
        .output()
        .expect("rustc");
    assert!(compiled.status.success(), "{compiled:?}");
}
