//! A layer's recipe as a file: which packages, which not, which links.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

use crate::{
    build::Compression,
    debian::{Bytecode, Packages},
    descriptor::LayerName,
    error::LayerError,
};

/// What a recipe says.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The layer's name.
    pub name: LayerName,
    /// What goes in.
    pub packages: Packages,
    /// How files are stored.
    pub compression: Compression,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: LayerName,
    packages: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    links: BTreeMap<String, String>,
    compression: Compression,
    #[serde(default)]
    bytecode: Bytecode,
}

impl Recipe {
    /// Reads the recipe at `path`.
    ///
    /// # Errors
    /// `layer-disk`, `layer-recipe`, or what [`Packages::new`] says.
    pub fn read(path: &Path) -> Result<Self, LayerError> {
        let text = fs::read_to_string(path).map_err(LayerError::disk("read", path))?;
        let document: Document = toml::from_str(&text).map_err(|source| LayerError::Recipe {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            name: document.name,
            packages: Packages::new(document.packages, document.without, document.links)?
                .with_bytecode(document.bytecode),
            compression: document.compression,
        })
    }
}
