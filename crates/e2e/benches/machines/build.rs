//! The build in a virtual machine's room, against a bare machine of the same kernel, processors, memory and
//! layers, in alternating rounds. Two builds in each machine: the first reads the tool chain from the
//! layers, the second finds it in memory. `PROOFROOM_BENCH_AUDIT` (`every-open`) is the room's `file_audit`.
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

use crate::{bare, elapsed, load};

/// Two builds, each by the command's own clock.
const BUILD: &str = "export HOME=/home/agent CARGO_HOME=/home/agent/cargo TMPDIR=/tmp \
     PATH=/usr/lib/bench-rust/bin:/usr/bin:/bin; \
     for turn in 1 2; do rm -rf target; begin=$(date +%s%N); \
     cargo build --offline --locked --quiet || exit 1; \
     end=$(date +%s%N); echo elapsed $((end - begin)) ns; done";

/// Processors and memory of both: what `proofroom run` takes unless it is told otherwise.
const SHAPE: Shape = Shape {
    vcpus: 1,
    memory_mib: 2048,
};

/// The first build and the second.
type Builds = [Duration; 2];

pub(crate) fn run(rounds: usize) {
    let genuine = match image_directory() {
        Ok(image) => image,
        Err(why) => return skip("builds in machines", &why),
    };
    let deployment = Deployment::empty_with_hello();
    let layers = layers(&genuine, deployment.path());
    let image = image_with(&genuine, &layers, deployment.path());
    let repository = small(&deployment);
    // What a room tells of opened files, as `room.toml` spells it.
    let audit = std::env::var("PROOFROOM_BENCH_AUDIT").unwrap_or_else(|_| "every-open".to_owned());
    let policy = deployment.policy().join("room.toml");
    let text = fs::read_to_string(&policy).expect("room.toml");
    let audited = format!("file_audit = \"{audit}\"");
    let text = text.replacen("file_audit = \"every-open\"", &audited, 1);
    fs::write(&policy, text).expect("room.toml");
    let bare = BareMachine::new(&image, &layers, &repository, deployment.path());
    println!("{audit}; load before: {}", load());
    let mut rows: Vec<(Builds, Builds)> = Vec::new();
    for round in 0..rounds {
        let in_room = || room(&deployment, &repository, &image, &layers);
        let row = if round % 2 == 0 {
            let first = bare.build();
            (first, in_room())
        } else {
            let first = in_room();
            (bare.build(), first)
        };
        println!("bare {:.2?}, vm {:.2?}", row.0, row.1);
        rows.push(row);
    }
    println!("load after: {}", load());
    for (at, name) in ["first build", "second build"].iter().enumerate() {
        let mut ratios: Vec<f64> = rows
            .iter()
            .map(|(bare, room)| room[at].as_secs_f64() / bare[at].as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios[ratios.len() / 2];
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!("{name}: {middle:.3} times a bare machine's (pairs {least:.3} to {most:.3})");
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
fn image_with(genuine: &Path, layers: &[PathBuf], work: &Path) -> PathBuf {
    let image = work.join("image");
    let copied = Command::new("cp")
        .arg("-r")
        .args([genuine, &image])
        .status();
    assert!(copied.expect("cp").success());
    let mut measure = Command::new(program("proofroom"));
    measure.args(["measure", "--image"]).arg(&image);
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

fn room(deployment: &Deployment, repository: &Path, image: &Path, layers: &[PathBuf]) -> Builds {
    let mut session: Session = deployment.machine_session_of(repository, image);
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
    fn new(image: &Path, layers: &[PathBuf], repository: &Path, work: &Path) -> Self {
        Self {
            machine: MachineConfig {
                image: Image::open(image).expect("the image"),
                layers: Vec::new(),
                accelerator: Accelerator::Tcg,
                shape: SHAPE,
                attestation: Attestation::SoftwareTpm,
                disk_directory: std::env::temp_dir(),
            },
            initrd: initial_file_system(image, layers.len(), repository, work),
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
fn initial_file_system(image: &Path, disks: usize, repository: &Path, work: &Path) -> PathBuf {
    let tree = work.join("bare");
    fs::create_dir_all(&tree).expect("a directory");
    compile(&tree.join("init"));
    fs::write(tree.join("script"), BUILD).expect("a file");
    fs::write(tree.join("disks"), disks.to_string()).expect("a file");
    let (from, to) = (repository.to_string_lossy(), tree.join("work"));
    git(work, &["clone", "--quiet", &from, &to.to_string_lossy()]);
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
