//! The kernel modules of the initial file system, in an order in which each comes after what it
//! depends on. The modules themselves say what that is (`modinfo`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::machine;

/// The modules `wanted` and everything that they need: file name and content, in loading order.
pub(super) fn closure(tree: &Path, wanted: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    list(tree, &mut files)?;
    let mut loaded = Vec::new();
    for name in wanted {
        add(&files, name, &mut loaded)?;
    }
    Ok(loaded)
}

fn add(
    files: &BTreeMap<String, PathBuf>,
    name: &str,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let name = canonical(name);
    let file = format!("{name}.ko");
    if loaded.iter().any(|(there, _)| *there == file) {
        return Ok(());
    }
    let path = files
        .get(&name)
        .with_context(|| format!("the kernel's packages have no module `{name}`"))?;
    let compressed = fs::read(path)?;
    let bytes = machine::filter("xz", &["-dc"], &compressed)?;
    for needed in depends(&bytes) {
        add(files, &needed, loaded)?;
    }
    loaded.push((file, bytes));
    Ok(())
}

fn list(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            list(&path, files)?;
        } else if let Some(name) = entry.file_name().to_string_lossy().strip_suffix(".ko.xz") {
            files.insert(canonical(name), path);
        }
    }
    Ok(())
}

/// The kernel takes both spellings for one.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The `depends=` entry of a module's `.modinfo` section, whose entries end with a zero byte.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value: Vec<u8> = module
        .iter()
        .skip(at + key.len())
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
