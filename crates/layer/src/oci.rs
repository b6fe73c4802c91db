//! Images in the OCI image layout on disk (image-spec 1.1): `index.json` to one manifest to its
//! layers. Every blob is read by its digest and its size.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use proofroom_canonical::{Digest, Hasher, json};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    archive::{Whiteouts, extract},
    error::LayerError,
    packed::Packing,
    tree::Tree,
};

/// Manifests and indexes are small.
const MAX_JSON_BYTES: u64 = 4 << 20;
/// The most that one layer has as it lies on disk.
const MAX_BLOB_BYTES: u64 = 16 << 30;
const MAX_LAYERS: usize = 256;
/// An index may name indexes; this deep.
const MAX_NESTING: usize = 3;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Clone, Debug, Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "schemaVersion")]
    schema_version: u64,
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u64,
    layers: Vec<Descriptor>,
}

/// An image whose manifest was read; its layers are not yet.
#[derive(Clone, Debug)]
pub struct Image {
    layout: PathBuf,
    manifest: Digest,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    digest: Digest,
    size: u64,
    packing: Packing,
}

/// Reads the layout at `path` as far as the manifest of its one image for this machine's kind.
///
/// # Errors
/// See the group of input errors of [`LayerError`].
pub fn read_layout(path: &Path) -> Result<Image, LayerError> {
    let layout: Layout = document(path, "oci-layout", "oci-layout")?;
    if !layout.version.starts_with("1.") {
        return Err(refuse("oci-layout", "has a version that is not supported"));
    }
    let index: Index = document(path, "index.json", "index.json")?;
    let (digest, manifest) = one_manifest(path, &index, 0)?;
    if manifest.schema_version != 2 {
        return Err(refuse("the manifest", "has a schema version other than 2"));
    }
    if manifest.layers.is_empty() || manifest.layers.len() > MAX_LAYERS {
        return Err(refuse("the manifest", "has no layers, or too many"));
    }
    let layers = manifest
        .layers
        .iter()
        .map(layer)
        .collect::<Result<_, _>>()?;
    Ok(Image {
        layout: path.to_owned(),
        manifest: digest,
        layers,
    })
}

impl Image {
    /// The manifest's digest.
    #[must_use]
    pub const fn manifest(&self) -> Digest {
        self.manifest
    }

    /// The layers' digests, the lowest first.
    #[must_use]
    pub fn layers(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.digest).collect()
    }

    /// Puts all layers into `tree`, one over the other.
    ///
    /// # Errors
    /// See the group of input errors of [`LayerError`]. The tree is of no use after one.
    pub fn extract(&self, tree: &mut Tree, note: &mut dyn FnMut(&str)) -> Result<(), LayerError> {
        for (number, layer) in self.layers.iter().enumerate() {
            note(&format!(
                "image layer {} of {}: {}",
                number + 1,
                self.layers.len(),
                layer.digest
            ));
            // Whiteouts concern what is below their layer, wherever in it they stand.
            self.pass(layer, tree, Whiteouts::Apply)?;
            self.pass(layer, tree, Whiteouts::PassOver)?;
        }
        Ok(())
    }

    fn pass(&self, layer: &Layer, tree: &mut Tree, whiteouts: Whiteouts) -> Result<(), LayerError> {
        let what = format!("of image layer {}", layer.digest);
        let mut blob = Blob::open(&self.layout, layer.digest, layer.size)?;
        {
            let mut plain = layer.packing.unpacked(&mut blob);
            extract(&what, &mut plain, tree, whiteouts, &|_| true)?;
        }
        blob.finish()
    }
}

fn layer(descriptor: &Descriptor) -> Result<Layer, LayerError> {
    let packing = match descriptor.media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar" => Packing::Plain,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Packing::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd" => Packing::Zstd,
        _ => return Err(refuse("a layer", "has a media type that is not supported")),
    };
    if descriptor.size > MAX_BLOB_BYTES {
        return Err(LayerError::TooLarge {
            what: "an image layer in bytes".to_owned(),
            max: MAX_BLOB_BYTES,
        });
    }
    Ok(Layer {
        digest: digest(descriptor)?,
        size: descriptor.size,
        packing,
    })
}

/// The manifest for this machine's kind; the only one where none says what it is for.
fn one_manifest(
    path: &Path,
    index: &Index,
    nesting: usize,
) -> Result<(Digest, Manifest), LayerError> {
    if index.schema_version != 2 {
        return Err(refuse("an index", "has a schema version other than 2"));
    }
    if nesting >= MAX_NESTING {
        return Err(refuse("an index", "is nested too deep"));
    }
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| {
            platform.os == "linux" && platform.architecture == architecture()
        })
    };
    let fitting: BTreeMap<&str, &Descriptor> = index
        .manifests
        .iter()
        .filter(fits)
        .map(|descriptor| (descriptor.digest.as_str(), descriptor))
        .collect();
    let mut fitting = fitting.into_values();
    let (Some(one), None) = (fitting.next(), fitting.next()) else {
        return Err(refuse(
            "an index",
            "does not name exactly one image for this kind of machine; copy one image into a layout of its own",
        ));
    };
    let digest = digest(one)?;
    let what = format!("blob {digest}");
    let bytes = small_blob(path, one, digest)?;
    let unreadable = |source| LayerError::ImageJson {
        what: what.clone(),
        source,
    };
    let max = bytes.len();
    match one.media_type.as_str() {
        MANIFEST | "application/vnd.docker.distribution.manifest.v2+json" => {
            Ok((digest, json::parse(&bytes, max).map_err(unreadable)?))
        }
        INDEX | "application/vnd.docker.distribution.manifest.list.v2+json" => {
            let inner: Index = json::parse(&bytes, max).map_err(unreadable)?;
            one_manifest(path, &inner, nesting + 1)
        }
        _ => Err(refuse(&what, "has a media type that is not supported")),
    }
}

/// This machine's architecture, in the words of image indexes.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(descriptor: &Descriptor) -> Result<Digest, LayerError> {
    (descriptor.digest.parse())
        .map_err(|_| refuse("a descriptor", "has a digest other than SHA-256"))
}

fn small_blob(path: &Path, descriptor: &Descriptor, digest: Digest) -> Result<Vec<u8>, LayerError> {
    if descriptor.size > MAX_JSON_BYTES {
        return Err(LayerError::TooLarge {
            what: format!("blob {digest}"),
            max: MAX_JSON_BYTES,
        });
    }
    let mut blob = Blob::open(path, digest, descriptor.size)?;
    let mut bytes = Vec::new();
    let read = blob.read_to_end(&mut bytes);
    read.map_err(LayerError::disk("read", &blob.path.clone()))?;
    blob.finish()?;
    Ok(bytes)
}

/// A blob that is hashed while it is read. Only [`Blob::finish`] says that it was the right one.
struct Blob {
    path: PathBuf,
    file: io::Take<File>,
    hasher: Hasher,
    want: Digest,
    size: u64,
    passed: u64,
}

impl Blob {
    fn open(layout: &Path, want: Digest, size: u64) -> Result<Self, LayerError> {
        let path = layout.join("blobs/sha256").join(want.to_hex());
        Ok(Self {
            // One byte more than it should have, so that a longer one is noticed.
            file: open_file(&path)?.take(size.saturating_add(1)),
            path,
            hasher: Hasher::new(),
            want,
            size,
            passed: 0,
        })
    }

    fn finish(mut self) -> Result<(), LayerError> {
        let drained = io::copy(&mut self, &mut io::sink());
        drained.map_err(LayerError::disk("read", &self.path))?;
        if self.passed != self.size {
            let what = format!("blob {}", self.want);
            return Err(refuse(&what, "has another size than its descriptor says"));
        }
        let have = self.hasher.finish();
        if have != self.want {
            return Err(LayerError::BlobDigest {
                want: self.want,
                have,
            });
        }
        Ok(())
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        self.hasher.update(read);
        self.passed = self.passed.saturating_add(read.len() as u64);
        Ok(count)
    }
}

/// Opens a plain file; a layout has no links and no devices.
fn open_file(path: &Path) -> Result<File, LayerError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let failed = LayerError::disk("open", path);
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a file")));
    }
    Ok(file)
}

fn document<T: DeserializeOwned>(dir: &Path, name: &str, what: &str) -> Result<T, LayerError> {
    let path = dir.join(name);
    let mut bytes = Vec::new();
    let read = open_file(&path)?
        .take(MAX_JSON_BYTES + 1)
        .read_to_end(&mut bytes);
    read.map_err(LayerError::disk("read", &path))?;
    let max = usize::try_from(MAX_JSON_BYTES).unwrap_or(usize::MAX);
    json::parse(&bytes, max).map_err(|source| LayerError::ImageJson {
        what: what.to_owned(),
        source,
    })
}

fn refuse(what: &str, problem: &'static str) -> LayerError {
    LayerError::Image {
        what: what.to_owned(),
        problem,
    }
}
