//! From content to a layer: a tree of files, the file system made of it, the hash tree after that,
//! and the descriptor. Everything happens beside the place where the layer will be; it appears
//! there whole, by one rename.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use proofroom_canonical::{Digest, Hasher};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use crate::{
    DESCRIPTOR, IMAGE,
    debian::{self, Packages},
    descriptor::{LayerDescriptor, LayerName, Origin, Source},
    directory, erofs,
    error::LayerError,
    oci,
    store::{Place, Stored},
    tree::{DirectoryLinks, Limits, Tree},
    verity::{BLOCK, HashTree, Salt, superblock},
};

/// What goes into a layer.
#[derive(Clone, Debug)]
pub enum Input {
    /// A directory's files.
    Directory(PathBuf),
    /// Debian packages with everything that they depend on.
    Packages(Packages),
    /// The image in an OCI image layout.
    Image(PathBuf),
}

/// How the files of a layer are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As they are.
    None,
    /// Compressed by LZ4.
    Lz4,
}

/// Told about each step of a build.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// One layer to build.
#[derive(Clone, Debug)]
pub struct Build {
    /// Its name.
    pub name: LayerName,
    /// What goes in.
    pub input: Input,
    /// How files are stored.
    pub compression: Compression,
}

/// Builds a layer and puts it into `place`.
///
/// # Errors
/// See [`LayerError`]; nothing is in the place then.
pub fn build(build: &Build, place: &Place, note: Progress<'_>) -> Result<Stored, LayerError> {
    let workshop = Workshop::open(place)?;
    let files = workshop.make("files")?;
    let made_with = erofs::version()?;
    let from = content(&build.input, &files, note)?;
    note("making the file system");
    let layer = workshop.make("layer")?;
    let image = layer.join(IMAGE);
    erofs::write(&files, &image, build.compression)?;
    note("hashing");
    let sealed = seal(&image)?;
    let descriptor = LayerDescriptor {
        name: build.name.clone(),
        data_blocks: sealed.tree.data_blocks(),
        root: *sealed.tree.root(),
        salt: sealed.salt,
        source: Source {
            made_with,
            compression: match build.compression {
                Compression::None => "none".to_owned(),
                Compression::Lz4 => "lz4".to_owned(),
            },
            from,
        },
        image: sealed.digest,
    };
    let path = layer.join(DESCRIPTOR);
    write_durably(&path, &descriptor.to_bytes()?)?;
    let dir = workshop.deliver(&layer, &descriptor, place)?;
    Ok(Stored { dir, descriptor })
}

fn content(input: &Input, files: &Path, note: Progress<'_>) -> Result<Origin, LayerError> {
    let tree = |links| Tree::new(files, Limits::default(), links);
    match input {
        Input::Directory(from) => {
            note(&format!("copying `{}`", from.display()));
            directory::copy(from, &mut tree(DirectoryLinks::Replace)?)?;
            Ok(Origin::Directory {})
        }
        Input::Packages(packages) => {
            debian::install(packages, &mut tree(DirectoryLinks::Follow)?, note)
        }
        Input::Image(layout) => {
            let image = oci::read_layout(layout)?;
            image.extract(&mut tree(DirectoryLinks::Replace)?, note)?;
            Ok(Origin::OciImage {
                manifest: image.manifest(),
                layers: image.layers(),
            })
        }
    }
}

struct Sealed {
    tree: HashTree,
    salt: Salt,
    digest: Digest,
}

/// Appends superblock and hash tree to the file system in `image`.
fn seal(image: &Path) -> Result<Sealed, LayerError> {
    let failed = LayerError::disk("write", image);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(image)
        .map_err(failed)?;
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.set_len(length.next_multiple_of(BLOCK))
        .map_err(failed)?;
    file.rewind().map_err(failed)?;
    let salt = salt_of(&digest_rest(&mut file).map_err(failed)?);
    file.rewind().map_err(failed)?;
    let tree =
        HashTree::of(&mut BufReader::with_capacity(1 << 20, &mut file), &salt).map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.write_all(&superblock(tree.data_blocks(), &salt, &uuid_of(&salt)))
        .and_then(|()| file.write_all(&tree.to_bytes()))
        .and_then(|()| file.rewind())
        .map_err(failed)?;
    let digest = digest_rest(&mut file).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    read_only(image)?;
    Ok(Sealed { tree, salt, digest })
}

/// The salt that belongs to a file system: the same files give the same root.
pub(crate) fn salt_of(erofs: &Digest) -> Salt {
    let mut hasher = Hasher::new();
    hasher.update("proofroom.layer-salt.v1\n");
    hasher.update(erofs.as_bytes());
    Salt(*hasher.finish().as_bytes())
}

/// The superblock's identifier; version and variant bits of RFC 9562, section 5.8.
pub(crate) fn uuid_of(salt: &Salt) -> [u8; 16] {
    let mut hasher = Hasher::new();
    hasher.update("proofroom.layer-uuid.v1\n");
    hasher.update(salt.0);
    let digest = hasher.finish();
    let mut uuid = [0; 16];
    for (at, (to, from)) in uuid.iter_mut().zip(digest.as_bytes()).enumerate() {
        *to = match at {
            6 => from & 0x0f | 0x80,
            8 => from & 0x3f | 0x80,
            _ => *from,
        };
    }
    uuid
}

fn digest_rest(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), LayerError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(LayerError::disk("write", path))?;
    read_only(path)
}

fn read_only(path: &Path) -> Result<(), LayerError> {
    let mode = fs::Permissions::from_mode(0o444);
    fs::set_permissions(path, mode).map_err(LayerError::disk("set the mode of", path))
}

/// Where one layer is put together: a directory beside its place, locked, emptied at the start and
/// removed at the end, so that an interrupted build leaves nothing that a later one does not clear.
struct Workshop {
    path: PathBuf,
    _lock: File,
}

impl Workshop {
    fn open(place: &Place) -> Result<Self, LayerError> {
        let path = place.workshop()?;
        fs::create_dir_all(&path).map_err(LayerError::disk("make", &path))?;
        let failed = LayerError::disk("lock", &path);
        let lock = File::open(&path).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| LayerError::Busy(path.clone()))?;
        for entry in fs::read_dir(&path).map_err(failed)? {
            clear(&entry.map_err(failed)?.path())?;
        }
        Ok(Self { path, _lock: lock })
    }

    fn make(&self, name: &str) -> Result<PathBuf, LayerError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(LayerError::disk("make", &path))?;
        Ok(path)
    }

    /// Moves the finished layer to its place. A layer with the same root is replaced: it has the
    /// same files, and may be damaged.
    fn deliver(
        &self,
        layer: &Path,
        descriptor: &LayerDescriptor,
        place: &Place,
    ) -> Result<PathBuf, LayerError> {
        let target = place.directory(descriptor);
        let failed = LayerError::disk("write", &target);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(layer, mode).map_err(failed)?;
        if matches!(place, Place::Store(_)) && target.exists() {
            fs::rename(&target, self.path.join("replaced")).map_err(failed)?;
        }
        fs::rename(layer, &target).map_err(failed)?;
        let parent = target.parent().unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        Ok(target)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build.
        drop(clear(&self.path));
    }
}

fn clear(path: &Path) -> Result<(), LayerError> {
    let found = fs::symlink_metadata(path).map_err(LayerError::disk("look at", path))?;
    let removed = if found.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(LayerError::disk("remove", path))
}
