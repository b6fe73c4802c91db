//! Where layers are kept: one directory each, named by the verity root.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    DESCRIPTOR,
    descriptor::{LayerDescriptor, MAX_DESCRIPTOR_BYTES},
    error::LayerError,
};

/// A directory of layers.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// Where a built layer goes.
#[derive(Clone, Debug)]
pub enum Place {
    /// Into a store, under its root.
    Store(Store),
    /// Into a directory of its own, which is not there yet.
    Directory(PathBuf),
}

/// A layer on disk. Its image is as it is: only [`crate::verify()`] says whether it is right.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its directory.
    pub dir: PathBuf,
    /// Its descriptor.
    pub descriptor: LayerDescriptor,
}

impl Stored {
    /// Reads the descriptor of the layer in `dir`.
    ///
    /// # Errors
    /// `layer-disk`, or what [`LayerDescriptor::parse`] says.
    pub fn open(dir: &Path) -> Result<Self, LayerError> {
        let path = dir.join(DESCRIPTOR);
        let failed = LayerError::disk("read", &path);
        let mut bytes = Vec::new();
        File::open(&path)
            .map_err(failed)?
            .take(MAX_DESCRIPTOR_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Ok(Self {
            dir: dir.to_owned(),
            descriptor: LayerDescriptor::parse(&bytes)?,
        })
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.dir.join(crate::IMAGE)
    }
}

impl Store {
    /// The store in the directory `path`, which need not be there yet.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Every layer, sorted by name; what cannot be read is an error in its place.
    ///
    /// # Errors
    /// `layer-disk`.
    pub fn list(&self) -> Result<Vec<Result<Stored, LayerError>>, LayerError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LayerError::disk("read", &self.0)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(LayerError::disk("read", &self.0))?.path();
            if let Some(root) = root_of(&path) {
                found.push(Self::stored(&path, root));
            }
        }
        found.sort_by_key(|layer| {
            layer.as_ref().map_or(None, |layer| {
                Some((layer.descriptor.name().clone(), layer.dir.clone()))
            })
        });
        Ok(found)
    }

    /// The layer with this root or this name.
    ///
    /// # Errors
    /// `layer-unknown`, `layer-ambiguous`, or why it cannot be read.
    pub fn find(&self, wanted: &str) -> Result<Stored, LayerError> {
        let by_root = self.0.join(wanted);
        if let Some(root) = root_of(&by_root)
            && by_root.is_dir()
        {
            return Self::stored(&by_root, root);
        }
        let mut named: Vec<Stored> = self
            .list()?
            .into_iter()
            .flatten()
            .filter(|layer| layer.descriptor.name().as_str() == wanted)
            .collect();
        match (named.pop(), named.len()) {
            (Some(one), 0) => Ok(one),
            (Some(_), others) => Err(LayerError::Ambiguous {
                name: wanted.to_owned(),
                count: others + 1,
            }),
            (None, _) => Err(LayerError::Unknown(wanted.chars().take(80).collect())),
        }
    }

    fn stored(path: &Path, root: &str) -> Result<Stored, LayerError> {
        let stored = Stored::open(path)?;
        if stored.descriptor.root() != root {
            return Err(LayerError::WrongPlace {
                path: path.to_owned(),
                root: stored.descriptor.root(),
            });
        }
        Ok(stored)
    }
}

/// The root that a directory of a store is named by.
fn root_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let digits = name
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (name.len() == 64 && digits).then_some(name)
}

impl Place {
    /// Where the layer is put together.
    pub(crate) fn workshop(&self) -> Result<PathBuf, LayerError> {
        match self {
            Self::Store(store) => Ok(store.0.join(".building")),
            Self::Directory(path) => {
                if path.symlink_metadata().is_ok() {
                    return Err(LayerError::Exists(path.clone()));
                }
                let name = path
                    .file_name()
                    .ok_or_else(|| LayerError::Exists(path.clone()))?;
                let mut hidden = std::ffi::OsString::from(".");
                hidden.push(name);
                hidden.push(".building");
                Ok(path.with_file_name(hidden))
            }
        }
    }

    /// Where the finished layer will be.
    pub(crate) fn directory(&self, layer: &LayerDescriptor) -> PathBuf {
        match self {
            Self::Store(store) => store.0.join(layer.root()),
            Self::Directory(path) => path.clone(),
        }
    }
}
