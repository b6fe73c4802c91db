//! The image's software bill of materials, SPDX 2.3: the Debian packages and every crate that our
//! static programs are built from.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Package, output};
use crate::machine;

/// The document's text. It has no time and no random name: the same parts give the same text.
pub(super) fn parts(packages: &[Package], programs: &[&str]) -> Result<String> {
    let mut listed: Vec<Value> = packages.iter().map(debian).collect();
    let mut names = Vec::new();
    for program in programs {
        let tree = output(
            Command::new("cargo")
                .current_dir(machine::root())
                .args(["tree", "--locked", "--edges=normal", "--prefix=none"])
                .args(["--format={p}|{l}", "--package", program]),
        )?;
        names.extend(tree.lines().filter_map(named));
    }
    names.sort();
    names.dedup();
    listed.extend(names.iter().map(krate));
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "proofroom-image",
        "documentNamespace": "https://proofroom.dev/image/sbom",
        "creationInfo": { "created": "1970-01-01T00:00:00Z", "creators": ["Tool: proofroom"] },
        "packages": listed,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Name, version and licence of a line `name v1.2.3 (path)|licence`.
fn named(line: &str) -> Option<(String, String, String)> {
    let (package, licence) = line.split_once('|')?;
    let mut words = package.split(' ');
    let name = words.next()?.to_owned();
    let version = words.next()?.trim_start_matches('v').to_owned();
    Some((name, version, licence.trim_end_matches(" (*)").to_owned()))
}

fn debian(package: &Package) -> Value {
    json!({
        "SPDXID": format!("SPDXRef-deb-{}", identifier(&package.name)),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": package.sha256 }],
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!("pkg:deb/debian/{}@{}", package.name, package.version),
        }],
    })
}

fn krate((name, version, licence): &(String, String, String)) -> Value {
    let licence = if licence.is_empty() {
        "NOASSERTION"
    } else {
        licence
    };
    json!({
        "SPDXID": format!("SPDXRef-crate-{}-{}", identifier(name), identifier(version)),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "licenseDeclared": licence,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!("pkg:cargo/{name}@{version}"),
        }],
    })
}

/// SPDX identifiers have letters, digits, dots and hyphens.
fn identifier(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}
