//! The auditor's own policies for providers, from the directory that `--provider-policies` names.

use std::{io, path::Path};

use proofroom_record::bundle::ProviderFiles;

use crate::{MAX_ANCHOR_BYTES, RunError, read};

/// The most files that the directory may have.
const MAX_FILES: usize = 256;

/// The files of a directory, by name.
pub(crate) fn files(dir: &Path) -> Result<ProviderFiles, RunError> {
    let refused = |source| RunError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut files = ProviderFiles::new();
    for entry in dir.read_dir().map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if files.len() >= MAX_FILES {
            let words = format!("more than the {MAX_FILES} files allowed");
            return Err(refused(io::Error::other(words)));
        }
        if entry.path().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, read(&entry.path(), MAX_ANCHOR_BYTES)?);
        }
    }
    Ok(files)
}
