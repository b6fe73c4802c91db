//! Why a layer cannot be built, kept or trusted, grouped by blame.

use std::{io, path::PathBuf};

use proofroom_canonical::{Digest, json::JsonError};

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The request: not a layer's name.
    #[error(
        "`{0}` is not a name of a layer; use 1 to 63 lower-case letters, digits, `.` and `-`, a letter or digit first"
    )]
    Name(String),
    /// The request: not a package's name.
    #[error("`{0}` is not a name of a Debian package")]
    PackageName(String),
    /// The request: no packages.
    #[error("no packages are named")]
    NoPackages,
    /// The request: something is there already.
    #[error("`{}` exists already; name a directory that does not", .0.display())]
    Exists(PathBuf),
    /// The request: no layer of this name or root.
    #[error("there is no layer `{0}`; `proofroom layer list` shows all")]
    Unknown(String),
    /// The request: a name that several layers have.
    #[error("there are {count} layers with the name `{name}`; use the root of one of them")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many have it.
        count: usize,
    },
    /// Another build uses the directory.
    #[error("another build works in `{}`; wait for its end", .0.display())]
    Busy(PathBuf),
    /// The recipe cannot be read.
    #[error("the recipe `{}` is refused", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: toml::de::Error,
    },

    /// The descriptor is not the JSON that it must be.
    #[error("the descriptor of the layer is refused")]
    Descriptor(#[source] JsonError),
    /// A member of the descriptor cannot be.
    #[error("`{member}` of the layer's descriptor {problem}")]
    Member {
        /// The member.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The descriptor is not spelt as this crate writes it.
    #[error("the layer's descriptor is not in its one spelling: compact JSON, members in order")]
    Spelling,

    /// An input has an entry that no layer can have.
    #[error("entry `{entry}` {problem}")]
    Entry {
        /// The entry, as the input names it.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An input has an entry that would lie, or point, outside of the layer.
    #[error("entry `{entry}` leads out of the layer: {problem}")]
    Escapes {
        /// The entry, as the input names it.
        entry: String,
        /// How.
        problem: &'static str,
    },
    /// An input has a device, a pipe or a socket.
    #[error("entry `{entry}` is {kind}, which no layer can have; leave it out")]
    Special {
        /// The entry, as the input names it.
        entry: String,
        /// What it is.
        kind: &'static str,
    },
    /// An input is larger than is read.
    #[error("{what} is larger than the {max} allowed")]
    TooLarge {
        /// What is.
        what: String,
        /// The most there may be.
        max: u64,
    },
    /// An archive cannot be read.
    #[error("the archive {what} cannot be read")]
    Archive {
        /// Which.
        what: String,
        /// What its reader said.
        #[source]
        source: io::Error,
    },
    /// An image layout is not one that is read.
    #[error("the image layout is refused: {what} {problem}")]
    Image {
        /// The part.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A JSON document of an image layout cannot be read.
    #[error("the image layout is refused: {what} cannot be read")]
    ImageJson {
        /// The document.
        what: String,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A blob is not what its digest says.
    #[error("blob {want} of the image layout has the digest {have}")]
    BlobDigest {
        /// The digest by which it is named.
        want: Digest,
        /// The digest of its bytes.
        have: Digest,
    },

    /// The machine lacks a program.
    #[error("`{program}` is needed; install the package `{package}`")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed: {said}")]
    Program {
        /// The program.
        program: &'static str,
        /// The end of what it said.
        said: String,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} `{}`", path.display())]
    Disk {
        /// What was being done, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The image has another length than its descriptor says.
    #[error("the image has {have} bytes, but its descriptor says {want}")]
    Length {
        /// What the descriptor says.
        want: u64,
        /// What was found.
        have: u64,
    },
    /// The salt is not the one that belongs to the file system.
    #[error("the salt is not derived from the file system; the layer was made by something else")]
    Salt,
    /// The verity superblock differs.
    #[error("the verity superblock differs from the descriptor (byte {offset} of the image)")]
    Superblock {
        /// Where it begins.
        offset: u64,
    },
    /// A block of the hash tree differs.
    #[error(
        "block {block} of the hash tree is corrupt (level {level} from the data, byte {offset} of the image)"
    )]
    HashBlock {
        /// The block, counted from the tree's start.
        block: u64,
        /// The level, 0 next to the data.
        level: usize,
        /// Where it begins.
        offset: u64,
    },
    /// A block of the file system differs.
    #[error("block {block} of the file system is corrupt (byte {offset} of the image)")]
    DataBlock {
        /// The block.
        block: u64,
        /// Where it begins.
        offset: u64,
    },
    /// The image's digest differs though every block leads to the root.
    #[error("the image has the digest {have}, but its descriptor says {want}")]
    ImageDigest {
        /// What the descriptor says.
        want: Digest,
        /// What was found.
        have: Digest,
    },
    /// A layer lies under the root of another.
    #[error("`{}` holds the layer with the root {root}", path.display())]
    WrongPlace {
        /// The directory.
        path: PathBuf,
        /// The root that its descriptor says.
        root: String,
    },
}

impl LayerError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "layer-name",
            Self::PackageName(_) => "layer-package-name",
            Self::NoPackages => "layer-no-packages",
            Self::Exists(_) => "layer-exists",
            Self::Unknown(_) => "layer-unknown",
            Self::Ambiguous { .. } => "layer-ambiguous",
            Self::Busy(_) => "layer-busy",
            Self::Recipe { .. } => "layer-recipe",
            Self::Descriptor(cause) => cause.code(),
            Self::Member { .. } => "layer-descriptor-member",
            Self::Spelling => "layer-descriptor-spelling",
            Self::Entry { .. } => "layer-entry",
            Self::Escapes { .. } => "layer-entry-escapes",
            Self::Special { .. } => "layer-entry-special",
            Self::TooLarge { .. } => "layer-too-large",
            Self::Archive { .. } => "layer-archive",
            Self::Image { .. } | Self::ImageJson { .. } => "layer-oci-image",
            Self::BlobDigest { .. } => "layer-blob-digest",
            Self::NoProgram { .. } => "layer-program-missing",
            Self::Program { .. } => "layer-program-failed",
            Self::Disk { .. } => "layer-disk",
            Self::Length { .. } => "layer-length-differs",
            Self::Salt => "layer-salt-differs",
            Self::Superblock { .. } => "layer-superblock-differs",
            Self::HashBlock { .. } => "layer-hash-block-corrupt",
            Self::DataBlock { .. } => "layer-data-block-corrupt",
            Self::ImageDigest { .. } => "layer-image-differs",
            Self::WrongPlace { .. } => "layer-wrong-place",
        }
    }

    /// A disk error, for `map_err`.
    pub(crate) fn disk(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Disk {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
