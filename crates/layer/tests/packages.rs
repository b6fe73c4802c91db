//! A layer of real Debian packages, from this machine's own sources.

use std::{collections::BTreeMap, path::Path, process::Command};

use proofroom_layer::{
    Build, Compression, Input, LayerError, Origin, Packages, Place, Stored, build, verify,
};

const TEST: &str = "packages_come_with_their_dependencies_and_give_the_same_bytes_twice";

fn build_into(out: &Path) -> Result<Stored, LayerError> {
    let links = BTreeMap::from([("usr/bin/own".to_owned(), "mawk".to_owned())]);
    let without = vec!["gcc-*".to_owned(), "libgcc-*".to_owned()];
    let packages = Packages::new(vec!["mawk".to_owned()], without, links)?;
    let request = Build {
        name: "awk".parse()?,
        input: Input::Packages(packages),
        compression: Compression::Lz4,
    };
    build(&request, &Place::Directory(out.to_owned()), &mut |_| {})
}

#[test]
fn packages_come_with_their_dependencies_and_give_the_same_bytes_twice() {
    for program in ["apt-get", "dpkg-deb", "mkfs.erofs"] {
        if Command::new(program).arg("--help").output().is_err() {
            eprintln!("SKIPPED {TEST}: `{program}` is not installed");
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let one = match build_into(&dir.path().join("one")) {
        Ok(layer) => layer,
        Err(
            error @ LayerError::Program {
                program: "apt-get", ..
            },
        ) => {
            eprintln!("SKIPPED {TEST}: no package source answers: {error}");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    verify(&one).unwrap();
    let Origin::DebianPackages {
        packages, links, ..
    } = &one.descriptor.source().from
    else {
        panic!("{:?}", one.descriptor.source());
    };
    let names: Vec<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert!(
        names.contains(&"mawk") && names.contains(&"libc6"),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.starts_with("gcc-")),
        "{names:?}"
    );
    assert!(names.is_sorted());
    for link in ["usr/bin/awk -> /usr/bin/mawk", "usr/bin/own -> mawk"] {
        assert!(links.iter().any(|found| found == link), "{links:?}");
    }
    let other = build_into(&dir.path().join("other")).unwrap();
    assert_eq!(one.descriptor, other.descriptor);
}
