//! `cargo xtask image`: kernel, initial file system and firmware of a room's virtual machine, from
//! pinned Debian packages and our own static programs. The same inputs give the same bytes.

mod cpio;
mod debs;
mod modules;
mod sbom;
mod template;

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::cpio::Archive;
use crate::machine::{self, Purpose};

/// Programs of the initial file system.
const PROGRAMS: [&str; 2] = ["proofroom-guest", "proofroom-agent"];
/// What plays a TDX module in a simulated image, and the package that it comes from.
const SIMULATION: [&str; 2] = ["proofroom-simulated-init", "proofroom-tsm-double"];
const TEST_KIT: &str = "proofroom-testkit";

/// What an image is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Rooms.
    Release,
    /// Tests and demonstrations: it plays the hardware that it attests with.
    Simulated,
}

impl Kind {
    /// The first program of the initial file system.
    const fn init(self) -> &'static str {
        match self {
            Self::Release => "proofroom/proofroom-guest",
            Self::Simulated => "simulated/proofroom-simulated-init",
        }
    }

    /// What its own programs are built from. Built one after the other: what the test kit needs of a
    /// library must not change the release's programs.
    const fn packages(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Release => &[&PROGRAMS],
            Self::Simulated => &[&PROGRAMS, &[TEST_KIT]],
        }
    }
}

/// Options of the image's build.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the image goes; `image` in the target directory by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Build twice, our own programs compiled anew, and compare every byte.
    #[arg(long)]
    twice: bool,
    /// Build the image that plays a TDX module, with keys that everybody has, instead; it goes to
    /// `image-simulated`.
    #[arg(long, conflicts_with = "twice")]
    simulated: bool,
}

/// `image/inputs.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inputs {
    package: Vec<Package>,
    tool: Vec<Package>,
    modules: Modules,
    command_line: CommandLine,
}

/// One pinned Debian package.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    name: String,
    version: String,
    suite: String,
    sha256: String,
    /// What of it is used.
    files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Modules {
    room: Vec<String>,
    workspace_disk: Vec<String>,
    confidential: Vec<String>,
    capture: Vec<String>,
    spare: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandLine {
    text: String,
}

/// `image.json`.
#[derive(Serialize)]
struct Manifest {
    format: &'static str,
    kernel: Component,
    initrd: Component,
    firmware: Component,
    command_line: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated: Option<&'static str>,
    inputs: Vec<Input>,
    acpi: Vec<Value>,
}

#[derive(Serialize)]
struct Component {
    file: &'static str,
    sha256: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Input {
    package: String,
    version: String,
    sha256: String,
}

/// The default place of the image.
pub(crate) fn directory() -> PathBuf {
    machine::target().join("image")
}

/// The default place of the simulated image.
fn simulated_directory() -> PathBuf {
    directory().with_file_name("image-simulated")
}

/// Builds the image.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.simulated {
        let out = options.out.clone();
        return simulated(&out.unwrap_or_else(simulated_directory));
    }
    let out = options.out.clone().unwrap_or_else(directory);
    machine::prepare(Purpose::Image)?;
    build(&out, Kind::Release)?;
    base_layer(&out)?;
    if options.twice {
        twice(&out)?;
    }
    measure(&out)
}

/// Builds the simulated image beside the release's, whose layer it has.
fn simulated(out: &Path) -> Result<()> {
    machine::prepare(Purpose::Image)?;
    build(out, Kind::Simulated)?;
    base_layer(&directory())?;
    let layers = out.join("layers");
    fs::create_dir_all(&layers)?;
    let from = directory().join("layers/base");
    machine::run(
        Command::new("cp")
            .arg("-RTu")
            .arg(from)
            .arg(layers.join("base")),
    )?;
    measure(out)
}

/// As [`ensure_built`], and builds once more to compare.
pub(crate) fn ensure_reproducible() -> Result<()> {
    ensure_built()?;
    twice(&directory())
}

/// Builds the image beside `out`, from our own crates compiled anew, and compares. What other people
/// wrote is compiled once: `Cargo.lock` and the pins fix it.
fn twice(out: &Path) -> Result<()> {
    let again = out.with_extension("again");
    machine::forget_static(&PROGRAMS)?;
    build(&again, Kind::Release)?;
    compare(out, &again)?;
    fs::remove_dir_all(&again)?;
    eprintln!("built twice: every byte is the same");
    Ok(())
}

/// Builds the image in its default place; what is there and right is not built again.
pub(crate) fn ensure_built() -> Result<()> {
    let out = directory();
    machine::prepare(Purpose::Image)?;
    build(&out, Kind::Release)?;
    base_layer(&out)?;
    measure(&out)
}

/// Builds the simulated image in its default place.
pub(crate) fn ensure_simulated_built() -> Result<()> {
    simulated(&simulated_directory())
}

fn build(out: &Path, kind: Kind) -> Result<()> {
    let inputs = fs::read_to_string(machine::root().join("image/inputs.toml"))?;
    let inputs: Inputs = toml::from_str(&inputs).context("image/inputs.toml")?;
    for packages in kind.packages() {
        machine::build_static(packages)?;
    }
    let unpacked = debs::unpacked(&inputs.package, "unpacked")?;
    let tools = debs::unpacked(&inputs.tool, "tools")?;
    fs::create_dir_all(out)?;
    let kernel = found(&unpacked, &inputs, "vmlinuz")?;
    let firmware = found(&unpacked, &inputs, "OVMF.fd")?;
    let template = template::blocks(&tools)?;
    let initrd = initial_file_system(&inputs, &unpacked, &template, kind)?;
    let manifest = Manifest {
        format: "proofroom.image.v1",
        kernel: place(out, "vmlinuz", &kernel)?,
        initrd: place(out, "initrd", &initrd)?,
        firmware: place(out, "OVMF.fd", &firmware)?,
        command_line: inputs.command_line.text.clone(),
        simulated: (kind == Kind::Simulated).then_some("tdx"),
        inputs: inputs
            .package
            .iter()
            .chain(&inputs.tool)
            .map(|package| Input {
                package: package.name.clone(),
                version: package.version.clone(),
                sha256: package.sha256.clone(),
            })
            .collect(),
        acpi: Vec::new(),
    };
    let text = manifest_text(&manifest, &out.join("image.json"))?;
    write(&out.join("image.json"), text.as_bytes())?;
    let parts = sbom::parts(&inputs.package, &kind.packages().concat())?;
    write(&out.join("sbom.spdx.json"), parts.as_bytes())?;
    eprintln!("image in {}: {}", out.display(), hex(&Sha256::digest(text)));
    Ok(())
}

/// The manifest, with the ACPI tables that were captured for an image of the same parts.
fn manifest_text(manifest: &Manifest, path: &Path) -> Result<String> {
    let mut new = serde_json::to_value(manifest)?;
    let old = fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if let Some(mut old) = old
        && let Some(captured) = old.get_mut("acpi").map(Value::take)
        && let (Some(old), Some(new)) = (old.as_object_mut(), new.as_object_mut())
    {
        old.insert("acpi".to_owned(), Value::Array(Vec::new()));
        if old == new {
            new.insert("acpi".to_owned(), captured);
        }
    }
    Ok(serde_json::to_string_pretty(&new)? + "\n")
}

/// The reference values of the image on this machine's QEMU, and the one boot that they need: to see
/// which ACPI tables it makes. Where there is no QEMU there are no machines to measure either.
fn measure(out: &Path) -> Result<()> {
    machine::prepare(Purpose::Machines)?;
    machine::build(&["proofroom", "proofroom-guest", "proofroom-agent"])?;
    let image: Value = serde_json::from_slice(&fs::read(out.join("image.json"))?)?;
    let captured = image.get("acpi").and_then(Value::as_array);
    let version = output(Command::new("qemu-system-x86_64").arg("--version"))?;
    let known = captured.into_iter().flatten().any(|entry| {
        let qemu = entry.get("qemu").and_then(Value::as_str);
        qemu.is_some_and(|qemu| version.contains(&format!("version {qemu} ")))
    });
    if !known {
        eprintln!("booting the image once, to see the ACPI tables of this QEMU");
        let mut capture = Command::new(machine::program("proofroom"));
        machine::run(capture.args(["image", "capture", "--image"]).arg(out))?;
    }
    let mut measure = Command::new(machine::program("proofroom"));
    measure.args(["measure", "--image"]).arg(out);
    measure
        .arg("--layer")
        .arg(out.join("layers/base/layer.json"));
    measure.arg("--out").arg(out.join("reference.json"));
    if let Some(key) = std::env::var_os("PROOFROOM_RELEASE_KEY") {
        measure.args(release(out, &key)?);
    }
    machine::run(measure.stdout(Stdio::null()))
}

/// How the image's maker signs its reference values: with the key that `PROOFROOM_RELEASE_KEY` names, as
/// the version of `PROOFROOM_RELEASE`, until `PROOFROOM_RELEASE_EXPIRES`.
fn release(out: &Path, key: &OsStr) -> Result<Vec<OsString>> {
    let set = |name: &str| std::env::var_os(name).with_context(|| format!("set `{name}` too"));
    let own = [
        ("--sign", key.to_owned()),
        ("--release-out", out.join("reference.release.json").into()),
        ("--name", "proofroom-room".into()),
        ("--release", set("PROOFROOM_RELEASE")?),
        ("--expires", set("PROOFROOM_RELEASE_EXPIRES")?),
    ];
    let options = own.into_iter();
    Ok(options
        .flat_map(|(name, value)| [name.into(), value])
        .collect())
}

/// The layer of a room that asks for no other, from the machine's own package sources: built once,
/// and again when its recipe changes. It is no part of the image; sessions name it by its root.
fn base_layer(out: &Path) -> Result<()> {
    let recipe = machine::root().join("layers/base.toml");
    let place = out.join("layers/base");
    let mark = out.join("layers/base.recipe");
    let digest = digest_of(&recipe)?;
    if place.is_dir() && fs::read_to_string(&mark).is_ok_and(|there| there == digest) {
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(out.join("layers"))?;
    machine::build(&["proofroom"])?;
    let mut layer = Command::new(machine::program("proofroom"));
    layer.args(["layer", "build", "--recipe"]).arg(recipe);
    machine::run(layer.arg("--out").arg(&place).stdout(Stdio::null()))?;
    fs::write(mark, digest)?;
    Ok(())
}

/// The bytes of the one file of the inputs that has this name.
fn found(unpacked: &Path, inputs: &Inputs, name: &str) -> Result<Vec<u8>> {
    let mut files = inputs.package.iter().flat_map(|package| &package.files);
    let file = files
        .find(|file| Path::new(file).file_name().is_some_and(|last| last == name))
        .with_context(|| format!("image/inputs.toml names no `{name}`"))?;
    let path = unpacked.join(file);
    fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn initial_file_system(
    inputs: &Inputs,
    unpacked: &Path,
    template: &[u8],
    kind: Kind,
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["dev", "modules", "proc", "proofroom", "run", "sys", "tmp"] {
        archive.directory(directory);
    }
    // The kernel opens it for the first process, before anything is mounted.
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    add_programs(&mut archive, "proofroom", &PROGRAMS)?;
    if kind == Kind::Simulated {
        archive.directory("simulated");
        add_programs(&mut archive, "simulated", &SIMULATION)?;
    }
    archive.symlink("init", kind.init());
    archive.file("workspace.template", 0o644, template);
    let tree = inputs
        .package
        .iter()
        .flat_map(|package| &package.files)
        .find(|file| file.ends_with("/kernel"))
        .context("image/inputs.toml names no directory of modules")?;
    let sets = &inputs.modules;
    let mut packed = Vec::new();
    for (set, wanted) in [
        ("room", &sets.room),
        ("workspace-disk", &sets.workspace_disk),
        ("confidential", &sets.confidential),
        ("capture", &sets.capture),
        ("spare", &sets.spare),
    ] {
        let mut order = String::new();
        for (name, bytes) in modules::closure(&unpacked.join(tree), wanted)? {
            order.push_str(&name);
            order.push('\n');
            if !packed.contains(&name) {
                archive.file(&format!("modules/{name}"), 0o644, &bytes);
                packed.push(name);
            }
        }
        archive.file(&format!("modules/order.{set}"), 0o644, order.as_bytes());
    }
    machine::filter(
        "zstd",
        &["-19", "--single-thread", "-q", "-c"],
        &archive.finish(),
    )
}

fn add_programs(archive: &mut Archive, directory: &str, programs: &[&str]) -> Result<()> {
    for program in programs {
        let path = machine::static_program(program);
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        archive.file(&format!("{directory}/{program}"), 0o755, &bytes);
    }
    Ok(())
}

fn place(out: &Path, file: &'static str, bytes: &[u8]) -> Result<Component> {
    write(&out.join(file), bytes)?;
    Ok(Component {
        file,
        sha256: hex(&Sha256::digest(bytes)),
        bytes: bytes.len() as u64,
    })
}

/// Writes beside and renames, so that no half file has the name; leaves an equal file alone.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).with_context(|| format!("cannot write `{}`", beside.display()))?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o644))?;
    fs::rename(&beside, path).with_context(|| format!("cannot write `{}`", path.display()))
}

fn compare(one: &Path, other: &Path) -> Result<()> {
    for file in ["vmlinuz", "initrd", "OVMF.fd", "sbom.spdx.json"] {
        let (a, b) = (fs::read(one.join(file))?, fs::read(other.join(file))?);
        ensure!(
            a == b,
            "`{file}` differs between two builds of the same inputs"
        );
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file, in hex.
fn digest_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

/// A command that is run for what it prints.
fn output(command: &mut Command) -> Result<String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(
        output.status.success(),
        "`{shown}` failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
