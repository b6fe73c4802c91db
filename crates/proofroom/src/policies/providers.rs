//! The policies for providers that attest in their own format: those that an upstreams file names, and those that these
//! rest on. One reader of them for sessions and for the standalone gateway.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_canonical::Digest;
use proofroom_gateway::{
    ProviderPolicy, Providers, UpstreamsConfig, config::AttestationRequirement,
};
use proofroom_record::bundle::ProviderFiles;

use crate::collateral::CollateralSource;

/// The most files: their names and digests are in every session's binding statement, which has 16 KiB.
const MAX_FILES: usize = 32;
/// The most bytes of a file's name.
const MAX_NAME_BYTES: usize = 64;

/// Policies for providers, parsed, and the files that they were read from.
#[derive(Debug, Default)]
pub struct ProviderPolicies {
    files: BTreeMap<String, String>,
    by_name: BTreeMap<PathBuf, ProviderPolicy>,
}

impl ProviderPolicies {
    /// Reads what `upstreams` names in `dir`.
    ///
    /// # Errors
    /// Every problem of every file.
    pub(super) fn load(upstreams: &UpstreamsConfig, dir: &Path) -> Result<Self, Vec<String>> {
        let reader = Reader {
            dir,
            files: RefCell::default(),
        };
        let (mut by_name, mut problems) = (BTreeMap::new(), Vec::new());
        for upstream in upstreams.iter() {
            let AttestationRequirement::Provider { policy: name, .. } = &upstream.attestation
            else {
                continue;
            };
            if by_name.contains_key(name) {
                continue;
            }
            match reader.policy(name) {
                Ok(policy) => drop(by_name.insert(name.clone(), policy)),
                Err(found) => problems.extend(found),
            }
        }
        let files = reader.files.into_inner();
        if files.len() > MAX_FILES {
            problems.push(format!(
                "{}: {} policies for providers and what they rest on are more than the {MAX_FILES} allowed",
                dir.display(),
                files.len()
            ));
        }
        match problems.is_empty() {
            true => Ok(Self { files, by_name }),
            false => Err(problems),
        }
    }

    /// The policies by the file names that the upstreams file gives.
    #[must_use]
    pub const fn by_name(&self) -> &BTreeMap<PathBuf, ProviderPolicy> {
        &self.by_name
    }

    /// What a gateway judges providers by, with what Intel says of their platforms taken from `collateral`. Without it
    /// no platform is known, and no provider whose evidence has a quote is accepted.
    #[must_use]
    pub fn with(&self, collateral: Option<CollateralSource>) -> Providers {
        let policies = self.by_name.clone();
        let none = Providers::default().collateral;
        Providers {
            policies,
            collateral: collateral.map_or(none, |source| Arc::new(source) as _),
        }
    }

    /// The digest of every file.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, Digest> {
        let files = self.files.iter();
        files
            .map(|(name, text)| (name.clone(), Digest::of(text)))
            .collect()
    }

    /// The files as a bundle holds them.
    #[must_use]
    pub fn files(&self) -> ProviderFiles {
        let files = self.files.iter();
        files
            .map(|(name, text)| (name.clone(), text.clone().into_bytes()))
            .collect()
    }

    /// Keeps the files in `dir`, which is made where there are any.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        for (name, text) in &self.files {
            crate::files::replace(&dir.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Reads the files that [`ProviderPolicies::save`] kept.
pub(super) fn read_saved(dir: &Path) -> io::Result<ProviderFiles> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ProviderFiles::new()),
        Err(error) => return Err(error),
    };
    let mut files = ProviderFiles::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read(entry.path())?);
    }
    Ok(files)
}

/// Reads policies, and remembers what was read.
struct Reader<'a> {
    dir: &'a Path,
    files: RefCell<BTreeMap<String, String>>,
}

impl Reader<'_> {
    fn policy(&self, name: &Path) -> Result<ProviderPolicy, Vec<String>> {
        let named = name.to_str().filter(|name| is_plain(name));
        let Some(file) = named else {
            let shown = name.display();
            return Err(vec![format!(
                "`{shown}` cannot be the name of a policy for a provider: give a file's name of at most {MAX_NAME_BYTES} letters, digits and `-_.`"
            )]);
        };
        let text = self.text(file).map_err(|problem| vec![problem])?;
        // what is wrong with it is told as what it does to the policy that names it
        let sibling = |name: &str| self.text(name).ok();
        ProviderPolicy::parse(&text, file, &sibling)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn text(&self, name: &str) -> Result<String, String> {
        if let Some(text) = self.files.borrow().get(name) {
            return Ok(text.clone());
        }
        let path = self.dir.join(name);
        if !is_plain(name) {
            return Err(format!("{}: not a plain file name", path.display()));
        }
        let mut problems = Vec::new();
        let text = super::read(&path, &mut problems);
        if let Some(problem) = problems.pop() {
            return Err(problem);
        }
        self.files
            .borrow_mut()
            .insert(name.to_owned(), text.clone());
        Ok(text)
    }
}

/// Whether `name` is that of a file in the same directory, in the alphabet of bundles.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
