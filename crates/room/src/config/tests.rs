//! Parsing and refusing `room.toml`.

use std::path::Path;

use super::{DEFAULT_ROOM, RoomConfig, WorkspaceStore};

fn codes(text: &str) -> Vec<&'static str> {
    match RoomConfig::parse(text, Path::new("/var/lib/proofroom")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|p| p.code).collect(),
    }
}

fn with(from: &str, to: &str) -> Vec<&'static str> {
    assert!(DEFAULT_ROOM.contains(from));
    codes(&DEFAULT_ROOM.replace(from, to))
}

#[test]
fn the_default_file_is_usable() {
    assert_eq!(codes(DEFAULT_ROOM), [""; 0]);
}

#[test]
fn unknown_keys_are_refused() {
    assert_eq!(
        codes(&format!("network = \"host\"\n{DEFAULT_ROOM}")),
        ["malformed"]
    );
    assert_eq!(
        codes(&format!("{DEFAULT_ROOM}\nsecond = 1\n")),
        ["malformed"]
    );
}

#[test]
fn a_workspace_lies_in_memory_or_on_an_encrypted_disk_and_nowhere_else() {
    let line = "workspace = \"memory\"";
    assert_eq!(with(line, "workspace = \"disk\""), ["malformed"]);
    assert_eq!(with(line, "workspace = true"), ["malformed"]);
    let unsaid = DEFAULT_ROOM.replace(line, "");
    let unsaid = RoomConfig::parse(&unsaid, Path::new("/var/lib/proofroom")).unwrap();
    assert_eq!(unsaid.workspace, WorkspaceStore::Memory);
    // What does not fit into the room's memory fits onto a disk.
    let large = DEFAULT_ROOM.replace(
        "workspace_bytes = 2147483648",
        "workspace_bytes = 1000000000000",
    );
    assert_eq!(codes(&large), ["memory-too-small"]);
    let on_a_disk = large.replace(line, "workspace = \"encrypted-disk\"");
    assert_eq!(codes(&on_a_disk), [""; 0]);
}

#[test]
fn paths_that_hold_secrets_or_state_are_refused() {
    let extra = |path: &str| with("extra = []", &format!("extra = [{path:?}]"));
    assert_eq!(extra("relative"), ["path-not-absolute"]);
    assert_eq!(extra("/"), ["path-not-absolute"]);
    assert_eq!(extra("/no/such/place"), ["path-missing"]);
    for path in [
        "/proc",
        "/proc/sys",
        "/home",
        "/root",
        "/dev",
        "/run",
        "/etc",
        "/var",
        "/tmp",
    ] {
        assert_eq!(extra(path), ["path-forbidden"], "{path}");
    }
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    let inner = home.join("tools");
    std::fs::create_dir(&inner).unwrap();
    std::fs::create_dir(home.join(".ssh")).unwrap();
    let toml = |path: &Path| DEFAULT_ROOM.replace("extra = []", &format!("extra = [{path:?}]"));
    let parse = |path: &Path, state: &Path| {
        RoomConfig::parse(&toml(path), state).map_err(|p| p.first().map(|p| p.code))
    };
    // The temporary directory is below /tmp, which rooms make themselves.
    assert_eq!(
        parse(&home, Path::new("/nowhere")),
        Err(Some("path-forbidden"))
    );
    let usr = std::fs::canonicalize("/usr").unwrap();
    assert_eq!(
        parse(&usr, Path::new("/usr/lib")),
        Err(Some("path-holds-state"))
    );
    assert_eq!(
        parse(Path::new("/usr/../usr/bin"), Path::new("/nowhere")),
        Err(Some("path-not-canonical"))
    );
}

#[test]
fn limits_that_would_end_the_audit_are_refused() {
    assert_eq!(
        with("memory_bytes = 4294967296", "memory_bytes = 3221225472"),
        ["memory-too-small"]
    );
    assert_eq!(
        with("processes = 512", "processes = 0"),
        ["limit-out-of-range"]
    );
    assert_eq!(with("version = 1", "version = 2"), ["version-unknown"]);
}
