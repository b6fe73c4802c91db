//! From an image on disk to its reference manifest: reads the files that `image.json` lists, checks
//! each against the list, and has the measured boot computed. Starts nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use proofroom_canonical::{HexError, Refusal};
use proofroom_layer::{LayerDescriptor, LayerError, MAX_DESCRIPTOR_BYTES};
use proofroom_measure::{
    AcpiEntry, AcpiTables, Boot, Firmware, ImageFile, ImageList, Kernel, KernelInputs,
    MAX_ACPI_BYTES, MAX_FIRMWARE_BYTES, MAX_IMAGE_LIST_BYTES, MAX_INITRD_BYTES, MAX_KERNEL_BYTES,
    Machine, MeasureError, PageOrder, TdBoot,
};
use proofroom_verifier::reference::{
    Component, Hash256, REFERENCE_FORMAT, Reference, ReferenceLayer, ReferenceManifest, Shape,
    TdxReference,
};

/// The list of an image's files.
const LIST: &str = "image.json";

/// Why an image has no reference manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureFailure {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it must be.
    #[error("`{}`", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: MeasureError,
    },
    /// A layer's description is not one.
    #[error("`{}` is not a layer's description", path.display())]
    Layer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<LayerError>,
    },
    /// A layer's root is not a digest.
    #[error("`root` of `{}`", path.display())]
    LayerRoot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: HexError,
    },
    /// The image has no ACPI tables for the machine that was asked for.
    #[error("the image has no ACPI tables of a machine with {wanted}; it has {available}")]
    NoSuchShape {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// The manifest's own reader refuses what was computed.
    #[error("the manifest is not valid")]
    Manifest(#[source] Refusal),
}

impl MeasureFailure {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "file-unreadable",
            Self::Refused { source, .. } => source.code(),
            Self::Layer { source, .. } => source.code(),
            Self::LayerRoot { .. } => "layer-root",
            Self::NoSuchShape { .. } => "shape-not-captured",
            Self::Manifest(error) => error.code(),
        }
    }
}

/// Which of the machines that an image lists is meant; what is not said matches any.
#[derive(Clone, Debug, Default)]
pub struct WantedShape {
    /// Virtual processors.
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// QEMU's version.
    pub qemu: Option<String>,
}

/// Computes the reference manifest of the image in `directory`, with the layers whose descriptions
/// are in `layers`.
///
/// # Errors
/// See [`MeasureFailure`].
pub fn reference(
    directory: &Path,
    wanted: &WantedShape,
    layers: &[PathBuf],
) -> Result<ReferenceManifest, MeasureFailure> {
    let image = Image::read(directory)?;
    let layers: Vec<ReferenceLayer> = layers
        .iter()
        .map(|path| layer(path))
        .collect::<Result<_, _>>()?;
    let entry = image.machine(wanted, layers.len())?;
    let list = &image.list;
    let firmware = Firmware::parse(&image.firmware).map_err(image.refuse(&list.firmware().file))?;
    let acpi = image.acpi(entry)?;
    let booted = image
        .boot(&firmware, entry)?
        .with_tpm(&acpi)
        .map_err(image.refuse(&entry.directory))?;
    let contents = Reference {
        format: REFERENCE_FORMAT.to_owned(),
        image: list.digest(),
        command_line: list.command_line().to_owned(),
        shape: Shape {
            vcpus: entry.vcpus,
            memory_mib: entry.memory_mib,
            qemu: entry.qemu.clone(),
        },
        components: image.components(entry),
        events: booted.events,
        tpm2: booted.registers,
        tdx: image.tdx(&firmware, entry)?,
        layers,
    };
    ReferenceManifest::new(contents).map_err(MeasureFailure::Manifest)
}

/// An image's files, each as its list says.
struct Image {
    directory: PathBuf,
    list: ImageList,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    firmware: Vec<u8>,
}

impl Image {
    fn read(directory: &Path) -> Result<Self, MeasureFailure> {
        let path = directory.join(LIST);
        let list = read(&path, "image list", MAX_IMAGE_LIST_BYTES)?;
        let list =
            ImageList::parse(&list).map_err(|source| MeasureFailure::Refused { path, source })?;
        let listed = |file: &ImageFile, what, max| {
            let path = directory.join(&file.file);
            let bytes = read(&path, what, max)?;
            file.check(&bytes)
                .map_err(|source| MeasureFailure::Refused { path, source })?;
            Ok(bytes)
        };
        Ok(Self {
            directory: directory.to_owned(),
            kernel: listed(list.kernel(), "kernel", MAX_KERNEL_BYTES)?,
            initrd: listed(list.initrd(), "initrd", MAX_INITRD_BYTES)?,
            firmware: listed(list.firmware(), "firmware", MAX_FIRMWARE_BYTES)?,
            list,
        })
    }

    fn refuse(&self, file: &str) -> impl FnOnce(MeasureError) -> MeasureFailure + use<> {
        let path = self.directory.join(file);
        move |source| MeasureFailure::Refused { path, source }
    }

    /// The boot on the machine of `entry`, up to its ACPI tables.
    fn boot<'a>(
        &self,
        firmware: &'a Firmware<'a>,
        entry: &AcpiEntry,
    ) -> Result<Boot<'a>, MeasureFailure> {
        let machine = Machine::new(entry.memory_mib, &entry.qemu).map_err(self.refuse(LIST))?;
        let kernel = &self.list.kernel().file;
        let inputs = KernelInputs {
            kernel: Kernel::parse(&self.kernel).map_err(self.refuse(kernel))?,
            initrd: &self.initrd,
            command_line: self.list.command_line(),
        };
        Boot::new(firmware, &inputs, machine).map_err(self.refuse(kernel))
    }

    /// The one machine with a TPM that is meant, with as many disks as there are layers.
    fn machine(&self, wanted: &WantedShape, layers: usize) -> Result<&AcpiEntry, MeasureFailure> {
        let machines = || self.list.acpi().iter().filter(|entry| entry.has_tpm());
        let mut fitting =
            machines().filter(|entry| wanted.fits(entry) && entry.fits_layers(layers));
        if let (Some(entry), None) = (fitting.next(), fitting.next()) {
            return Ok(entry);
        }
        let available: Vec<String> = machines().map(shape).collect();
        Err(MeasureFailure::NoSuchShape {
            wanted: format!("{wanted}, {layers} layers"),
            available: if available.is_empty() {
                "none: capture them when the image is built".to_owned()
            } else {
                available.join("; ")
            },
        })
    }

    fn acpi(&self, entry: &AcpiEntry) -> Result<AcpiTables, MeasureFailure> {
        let directory = self.directory.join(&entry.directory);
        let mut files = BTreeMap::new();
        for name in entry.files.keys() {
            let path = directory.join(name);
            let bytes = read(&path, "ACPI capture", MAX_ACPI_BYTES)?;
            entry
                .check(name, &bytes)
                .map_err(|source| MeasureFailure::Refused { path, source })?;
            files.insert(name.clone(), bytes);
        }
        AcpiTables::new(files).map_err(|source| MeasureFailure::Refused {
            path: directory,
            source,
        })
    }

    /// The registers of a TD with the same processors, memory and disks, if its tables were captured.
    fn tdx(
        &self,
        firmware: &Firmware<'_>,
        entry: &AcpiEntry,
    ) -> Result<TdxReference, MeasureFailure> {
        let same = |other: &&AcpiEntry| {
            !other.has_tpm()
                && (other.vcpus, other.memory_mib, other.disks)
                    == (entry.vcpus, entry.memory_mib, entry.disks)
        };
        let Some(td) = self.list.acpi().iter().find(same) else {
            return Ok(TdxReference::NotComputed {
                reason: format!(
                    "the image has no ACPI tables of a TD with {} vCPUs and {} MiB (an entry without `tpm-log`)",
                    entry.vcpus, entry.memory_mib
                ),
            });
        };
        let acpi = self.acpi(td)?;
        let booted = self.boot(firmware, td)?.as_td(&acpi, PageOrder::SinglePass);
        Ok(match booted {
            Ok(TdBoot {
                mrtd,
                events,
                rtmrs: [rtmr0, rtmr1, rtmr2],
            }) => TdxReference::Computed {
                mrtd,
                rtmr0,
                rtmr1,
                rtmr2,
                events,
            },
            Err(error) => TdxReference::NotComputed {
                reason: error.to_string(),
            },
        })
    }

    fn components(&self, entry: &AcpiEntry) -> Vec<Component> {
        let list = &self.list;
        let files = [
            ("kernel", list.kernel()),
            ("initrd", list.initrd()),
            ("firmware", list.firmware()),
        ];
        let files = files.map(|(name, file)| Component {
            name: name.to_owned(),
            sha256: file.sha256,
            bytes: file.bytes,
        });
        let tables = entry.files.iter().map(|(name, sha256)| {
            let path = self.directory.join(&entry.directory).join(name);
            Component {
                name: format!("{}/{name}", entry.directory),
                sha256: *sha256,
                bytes: fs::metadata(path).map_or(0, |meta| meta.len()),
            }
        });
        files.into_iter().chain(tables).collect()
    }
}

impl WantedShape {
    fn fits(&self, entry: &AcpiEntry) -> bool {
        self.vcpus.is_none_or(|vcpus| vcpus == entry.vcpus)
            && self
                .memory_mib
                .is_none_or(|memory| memory == entry.memory_mib)
            && self.qemu.as_ref().is_none_or(|qemu| *qemu == entry.qemu)
    }
}

impl std::fmt::Display for WantedShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let any = |number: Option<u32>| number.map_or_else(|| "any".to_owned(), |n| n.to_string());
        let qemu = self.qemu.as_deref().unwrap_or("any");
        let (vcpus, memory) = (any(self.vcpus), any(self.memory_mib));
        write!(
            f,
            "exactly one match of {vcpus} vCPUs, {memory} MiB, QEMU {qemu}"
        )
    }
}

fn shape(entry: &AcpiEntry) -> String {
    let AcpiEntry {
        qemu,
        vcpus,
        memory_mib,
        disks,
        ..
    } = entry;
    let layers = disks.map_or_else(String::new, |disks| format!(", {disks} layers"));
    format!("{vcpus} vCPUs, {memory_mib} MiB, QEMU {qemu}{layers}")
}

/// Reads a layer's description. That the layer's file agrees is for whoever uses it to check.
fn layer(path: &Path) -> Result<ReferenceLayer, MeasureFailure> {
    let bytes = read(path, "layer description", MAX_DESCRIPTOR_BYTES)?;
    let refuse = |source| MeasureFailure::Layer {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let found = LayerDescriptor::parse(&bytes).map_err(refuse)?;
    let root = found.root().parse();
    Ok(ReferenceLayer {
        name: found.name().as_str().to_owned(),
        root: root.map_err(|problem: HexError| MeasureFailure::LayerRoot {
            path: path.to_owned(),
            problem,
        })?,
        image: Hash256::from_bytes(*found.image().as_bytes()),
    })
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// `file-unreadable`, `input-too-large`.
pub fn read(path: &Path, what: &'static str, max: usize) -> Result<Vec<u8>, MeasureFailure> {
    let unreadable = |source| MeasureFailure::Unreadable {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let have = bytes.len();
    if have > max {
        return Err(MeasureFailure::Refused {
            path: path.to_owned(),
            source: MeasureError::TooLarge { what, have, max },
        });
    }
    Ok(bytes)
}
