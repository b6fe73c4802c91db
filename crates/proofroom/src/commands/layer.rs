//! `proofroom layer`: the tool chains that rooms get, as read-only layers.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anstyle::Style;
use clap::{Args, Subcommand, ValueEnum};
use proofroom::state::StateDir;
use proofroom_layer::{
    Build, Compression, Input, LayerError, LayerName, Origin, Packages, Place, Recipe, Store,
    Stored, build, verify,
};
use serde_json::{Value, json};

use super::{Failure, INCOMPLETE, INTERNAL, UNAVAILABLE, USAGE};

const DIM: Style = Style::new().dimmed();

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a layer from a directory, from Debian packages or from an OCI image layout.
    Build(Box<BuildOptions>),
    /// Show every layer of the store.
    List(Shared),
    /// Compute every hash of a layer again, and name the first block that is wrong.
    Verify {
        /// A name or a root from the store, or a layer's directory.
        layer: String,
        #[command(flatten)]
        shared: Shared,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Shared {
    /// Where state is kept; layers are in `layers` below it.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// JSON on standard output, one object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BuildOptions {
    /// The layer's name. A recipe has its own.
    #[arg(long, required_unless_present = "recipe")]
    name: Option<LayerName>,
    #[command(flatten)]
    source: SourceOptions,
    /// How files are stored; a recipe says it itself.
    #[arg(long, value_enum, default_value = "lz4", conflicts_with = "recipe")]
    compression: Storage,
    /// Put the layer into this new directory instead of the store.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SourceOptions {
    /// A directory whose files are the layer.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Debian packages, with everything that they depend on.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    packages: Option<Vec<String>>,
    /// An OCI image layout on disk with one image for this kind of machine.
    #[arg(long, value_name = "DIR")]
    oci: Option<PathBuf>,
    /// A file that names packages, links and what to leave out.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Storage {
    None,
    Lz4,
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Build(options) => make(options),
        Command::List(shared) => list(shared),
        Command::Verify { layer, shared } => check(layer, shared),
    }
}

fn make(options: &BuildOptions) -> Result<ExitCode, Failure> {
    let request = request(options).map_err(failure)?;
    let place = match &options.out {
        Some(dir) => Place::Directory(dir.clone()),
        None => Place::Store(store(&options.shared)?),
    };
    let shared = &options.shared;
    let mut said = Ok(());
    let made = build(&request, &place, &mut |step| {
        if said.is_ok() {
            said = note(shared, step);
        }
    });
    let layer = made.map_err(failure)?;
    said.map_err(unsaid)?;
    let human = format!(
        "{} {}\n{} in `{}`\n",
        layer.descriptor.name(),
        layer.descriptor.root(),
        size(layer.descriptor.image_bytes()),
        layer.dir.display()
    );
    say(shared, &human, &as_json("built", &layer)).map_err(unsaid)?;
    Ok(ExitCode::SUCCESS)
}

fn request(options: &BuildOptions) -> Result<Build, LayerError> {
    let mut compression = match options.compression {
        Storage::None => Compression::None,
        Storage::Lz4 => Compression::Lz4,
    };
    let mut name = options.name.clone();
    let SourceOptions {
        from,
        packages,
        oci,
        recipe,
    } = &options.source;
    let input = if let Some(dir) = from {
        Input::Directory(dir.clone())
    } else if let Some(dir) = oci {
        Input::Image(dir.clone())
    } else if let Some(path) = recipe {
        let recipe = Recipe::read(path)?;
        compression = recipe.compression;
        name.get_or_insert(recipe.name);
        Input::Packages(recipe.packages)
    } else {
        let names = packages.clone().unwrap_or_default();
        Input::Packages(Packages::new(names, Vec::new(), BTreeMap::new())?)
    };
    let name = name.ok_or_else(|| LayerError::Name(String::new()))?;
    Ok(Build {
        name,
        input,
        compression,
    })
}

fn list(shared: &Shared) -> Result<ExitCode, Failure> {
    let layers = store(shared)?.list().map_err(failure)?;
    let mut damaged = false;
    for layer in layers {
        match layer {
            Ok(layer) => {
                let human = format!(
                    "{:<20} {}  {:>9}  {}\n",
                    layer.descriptor.name().as_str(),
                    layer.descriptor.root(),
                    size(layer.descriptor.image_bytes()),
                    origin(&layer.descriptor.source().from)
                );
                say(shared, &human, &as_json("layer", &layer)).map_err(unsaid)?;
            }
            Err(error) => {
                damaged = true;
                let code = error.code();
                let words = format!("{:#}", anyhow::Error::new(error));
                let value = json!({"type": "damaged", "error": words, "code": code});
                say(shared, &format!("damaged: {words} ({code})\n"), &value).map_err(unsaid)?;
            }
        }
    }
    Ok(if damaged {
        ExitCode::from(INCOMPLETE)
    } else {
        ExitCode::SUCCESS
    })
}

fn check(wanted: &str, shared: &Shared) -> Result<ExitCode, Failure> {
    let found = if wanted.contains('/') {
        Stored::open(Path::new(wanted))
    } else {
        store(shared)?.find(wanted)
    };
    let verified = found.and_then(|layer| verify(&layer)).map_err(failure)?;
    let layer = verified.stored();
    let human = format!(
        "{} {}\nevery block leads to this root: {} blocks of files\n",
        layer.descriptor.name(),
        layer.descriptor.root(),
        layer.descriptor.data_blocks()
    );
    say(shared, &human, &as_json("verified", layer)).map_err(unsaid)?;
    Ok(ExitCode::SUCCESS)
}

fn store(shared: &Shared) -> Result<Store, Failure> {
    let usage = |error: proofroom::state::StateError| Failure::new(USAGE, error.code(), error);
    let path = match &shared.state {
        Some(path) => path.clone(),
        None => StateDir::default_path().map_err(usage)?,
    };
    let state = StateDir::open(&path).map_err(usage)?;
    Ok(Store::at(state.layers()))
}

fn note(shared: &Shared, step: &str) -> io::Result<()> {
    if shared.json {
        return say(shared, "", &json!({"type": "note", "text": step}));
    }
    writeln!(anstream::stderr().lock(), "{DIM}·  {step}{DIM:#}")
}

fn say(shared: &Shared, human: &str, machine: &Value) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    if shared.json {
        writeln!(out, "{machine}")
    } else {
        out.write_all(human.as_bytes())
    }
}

fn as_json(kind: &str, layer: &Stored) -> Value {
    json!({
        "type": kind,
        "name": layer.descriptor.name(),
        "root": layer.descriptor.root(),
        "image_bytes": layer.descriptor.image_bytes(),
        "directory": layer.dir,
        "source": layer.descriptor.source(),
    })
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Directory {} => "a directory".to_owned(),
        Origin::DebianPackages { packages, .. } => format!("{} packages", packages.len()),
        Origin::OciImage { manifest, .. } => format!("image {manifest}"),
    }
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn unsaid(error: io::Error) -> Failure {
    Failure::new(INTERNAL, "output", error)
}

/// Who is to blame decides the exit code.
fn failure(error: LayerError) -> Failure {
    let exit = match &error {
        LayerError::NoProgram { .. } | LayerError::Program { .. } => UNAVAILABLE,
        // What was named is not there.
        LayerError::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound => USAGE,
        LayerError::Disk { .. } => INTERNAL,
        LayerError::Length { .. }
        | LayerError::Salt
        | LayerError::Superblock { .. }
        | LayerError::HashBlock { .. }
        | LayerError::DataBlock { .. }
        | LayerError::ImageDigest { .. }
        | LayerError::WrongPlace { .. } => INCOMPLETE,
        _ => USAGE,
    };
    Failure::new(exit, error.code(), error)
}
