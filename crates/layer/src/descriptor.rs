//! `layer.json`: what a layer is. Its identity is the verity root; the rest says where to find the
//! parts of the image and where its content came from.

use std::{fmt, str::FromStr};

use proofroom_canonical::{Digest, json};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    error::LayerError,
    verity::{BLOCK, Hash, Salt, level_blocks},
};

/// The most bytes that a descriptor has: thousands of packages fit.
pub const MAX_DESCRIPTOR_BYTES: usize = 1 << 20;
/// 1 TiB of data; no sum of offsets overflows.
const MAX_DATA_BLOCKS: u64 = 1 << 28;
const FORMAT: &str = "proofroom.layer.v1";

/// A layer's name, for people. It is not its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerName(String);

impl LayerName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LayerName {
    type Err = LayerError;

    fn from_str(text: &str) -> Result<Self, LayerError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = text.len() <= 63
            && text.starts_with(plain)
            && text.chars().all(|c| plain(c) || matches!(c, '.' | '-'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(LayerError::Name(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for LayerName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LayerName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a layer's content came from, and what made the image of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The program that wrote the file system, with its version.
    pub made_with: String,
    /// How its files are stored.
    pub compression: String,
    /// What went in.
    pub from: Origin,
}

/// What went into a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// A directory of the builder's.
    Directory {},
    /// Debian packages with everything that they depend on.
    DebianPackages {
        /// What was asked for.
        requested: Vec<String>,
        /// What is in the layer, sorted by name.
        packages: Vec<DebianPackage>,
        /// Packages that were depended upon and left out.
        without: Vec<String>,
        /// Links that were added, each as `path -> target`.
        links: Vec<String>,
        /// What compiled Python's bytecode, or `none`.
        bytecode: String,
    },
    /// An image in the OCI image layout.
    OciImage {
        /// The digest of its manifest.
        manifest: Digest,
        /// The digests of its layers as they lay on disk, the lowest first.
        layers: Vec<Digest>,
    },
}

/// One package of a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The digest of the `.deb`.
    pub sha256: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    name: LayerName,
    erofs_bytes: u64,
    hash_offset: u64,
    data_blocks: u64,
    root: String,
    salt: String,
    source: Source,
    image: Digest,
}

/// A descriptor whose members agree with each other. That an image agrees with it, only
/// [`crate::verify()`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDescriptor {
    pub(crate) name: LayerName,
    pub(crate) data_blocks: u64,
    pub(crate) root: Hash,
    pub(crate) salt: Salt,
    pub(crate) source: Source,
    pub(crate) image: Digest,
}

impl LayerDescriptor {
    /// Reads the bytes of a `layer.json`.
    ///
    /// # Errors
    /// `json-…`, `layer-descriptor-member` or `layer-descriptor-spelling`.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayerError> {
        let document: Document =
            json::parse(bytes, MAX_DESCRIPTOR_BYTES).map_err(LayerError::Descriptor)?;
        let refuse = |member, problem| LayerError::Member { member, problem };
        if document.format != FORMAT {
            return Err(refuse("format", "is not `proofroom.layer.v1`"));
        }
        if document.data_blocks == 0 || document.data_blocks > MAX_DATA_BLOCKS {
            return Err(refuse("data_blocks", "is not a number of blocks"));
        }
        let erofs_bytes = document.data_blocks * BLOCK;
        if document.erofs_bytes != erofs_bytes {
            return Err(refuse("erofs_bytes", "is not `data_blocks` times 4096"));
        }
        if document.hash_offset != erofs_bytes {
            return Err(refuse("hash_offset", "is not `erofs_bytes`"));
        }
        let digits = |member, text: &str| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash)
                .map(|()| hash)
                .map_err(|_| refuse(member, "is not 64 lower-case hex digits"))
        };
        let descriptor = Self {
            name: document.name,
            data_blocks: document.data_blocks,
            root: digits("root", &document.root)?,
            salt: Salt(digits("salt", &document.salt)?),
            source: document.source,
            image: document.image,
        };
        if descriptor.to_bytes()? != bytes {
            return Err(LayerError::Spelling);
        }
        Ok(descriptor)
    }

    /// The one spelling of this descriptor: the bytes of `layer.json`.
    ///
    /// # Errors
    /// A source that is too large for a descriptor.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LayerError> {
        let document = Document {
            format: FORMAT.to_owned(),
            name: self.name.clone(),
            erofs_bytes: self.erofs_bytes(),
            hash_offset: self.hash_offset(),
            data_blocks: self.data_blocks,
            root: self.root(),
            salt: self.salt(),
            source: self.source.clone(),
            image: self.image,
        };
        let bytes = json::to_bytes(&document).map_err(LayerError::Descriptor)?;
        if bytes.len() > MAX_DESCRIPTOR_BYTES {
            return Err(LayerError::TooLarge {
                what: "the descriptor".to_owned(),
                max: MAX_DESCRIPTOR_BYTES as u64,
            });
        }
        Ok(bytes)
    }

    /// The digest of the descriptor's bytes.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn digest(&self) -> Result<Digest, LayerError> {
        self.to_bytes().map(Digest::of)
    }

    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &LayerName {
        &self.name
    }

    /// The verity root in hex: the layer's identity.
    #[must_use]
    pub fn root(&self) -> String {
        hex::encode(self.root)
    }

    /// The salt in hex.
    #[must_use]
    pub fn salt(&self) -> String {
        hex::encode(self.salt.0)
    }

    /// How many blocks of 4096 bytes the file system has.
    #[must_use]
    pub const fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// Size of the file system.
    #[must_use]
    pub const fn erofs_bytes(&self) -> u64 {
        self.data_blocks * BLOCK
    }

    /// Where the verity superblock begins; the hash tree begins one block later.
    #[must_use]
    pub const fn hash_offset(&self) -> u64 {
        self.erofs_bytes()
    }

    /// Size of the whole image: file system, superblock, hash tree.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        let tree: u64 = level_blocks(self.data_blocks).iter().sum();
        (self.data_blocks + 1 + tree) * BLOCK
    }

    /// The digest of the image.
    #[must_use]
    pub const fn image(&self) -> Digest {
        self.image
    }

    /// Where its content came from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }
}

#[cfg(test)]
mod tests {
    use super::{LayerDescriptor, LayerName, Origin, Source};
    use crate::verity::Salt;
    use proofroom_canonical::Digest;

    fn sample() -> LayerDescriptor {
        LayerDescriptor {
            name: "base".parse().unwrap(),
            data_blocks: 3,
            root: [0xab; 32],
            salt: Salt([1; 32]),
            source: Source {
                made_with: "mkfs.erofs 1.5".to_owned(),
                compression: "none".to_owned(),
                from: Origin::Directory {},
            },
            image: Digest::of("image"),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = sample().to_bytes().unwrap();
        assert_eq!(LayerDescriptor::parse(&bytes).unwrap(), sample());
        assert_eq!(sample().digest().unwrap(), Digest::of(&bytes));
        assert_eq!(sample().image_bytes(), (3 + 1 + 1) * 4096);
    }

    #[test]
    fn every_change_of_shape_or_spelling_is_refused_by_its_code() {
        let good = String::from_utf8(sample().to_bytes().unwrap()).unwrap();
        for (from, to, code) in [
            ("layer.v1", "layer.v2", "layer-descriptor-member"),
            (
                r#""data_blocks":3"#,
                r#""data_blocks":0"#,
                "layer-descriptor-member",
            ),
            (
                r#""data_blocks":3"#,
                r#""data_blocks":4"#,
                "layer-descriptor-member",
            ),
            (
                r#""hash_offset":12288"#,
                r#""hash_offset":12800"#,
                "layer-descriptor-member",
            ),
            (
                r#""erofs_bytes":12288"#,
                r#""erofs_bytes":12287"#,
                "layer-descriptor-member",
            ),
            ("abab", "ABAB", "layer-descriptor-spelling"),
            (r#""root":"ab"#, r#""root":""#, "layer-descriptor-member"),
            (r#""salt":"01"#, r#""salt":"zz"#, "layer-descriptor-member"),
            ("{\"format", "{ \"format", "layer-descriptor-spelling"),
            ("}", "}\n", "layer-descriptor-spelling"),
            (r#""name":"base""#, r#""name":"../base""#, "json-shape"),
            (r#""image":"#, r#""more":1,"image":"#, "json-shape"),
            (r#""image":"#, r#""name":"base","image":"#, "json-syntax"),
            (
                r#""kind":"directory""#,
                r#""kind":"elsewhere""#,
                "json-shape",
            ),
        ] {
            let at = good.rfind(from).unwrap();
            let mut bad = good.clone();
            bad.replace_range(at..at + from.len(), to);
            let refused = LayerDescriptor::parse(bad.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), code, "{from} -> {to}");
        }
    }

    #[test]
    fn a_descriptor_larger_than_its_cap_is_refused() {
        let bytes = vec![b' '; super::MAX_DESCRIPTOR_BYTES + 1];
        let refused = LayerDescriptor::parse(&bytes).unwrap_err();
        assert_eq!(refused.code(), "json-too-large");
    }

    #[test]
    fn names_are_plain() {
        for good in ["base", "python-3.11", "0"] {
            assert_eq!(good.parse::<LayerName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "-x", "a/b", "A", "a b", &"x".repeat(64)] {
            assert_eq!(bad.parse::<LayerName>().unwrap_err().code(), "layer-name");
        }
    }
}
