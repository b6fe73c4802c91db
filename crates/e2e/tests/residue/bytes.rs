//! Bytes of secrets: in files, and in the memory of what runs.

use std::{env, fs, path::Path, time::SystemTime};

use proofroom_e2e::{
    Live,
    canary::{random, scan, scan_memory, scan_memory_files},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    kernel,
    plant::{Holder, Where},
    stage::{Seen, Stage},
};

/// Searches the memory of a session that lives now, after all the others: its host's process, which has
/// looked at what they left, and its room, which got pages that were theirs. Whether the searches find
/// anything is seen by what this session has.
pub(crate) fn assert_in_no_memory(stage: &Stage) -> Seen {
    assert_memory_is_searched();
    let (seen, live) = stage.living();
    kernel::assert_every_search_finds(&stage.traces(&[&seen]));
    assert_memory_is_its_own(stage, &live);
    assert_no_memory_file(stage);
    stage.over(seen, live)
}

fn assert_memory_is_searched() {
    let planted = random();
    let holder = Holder::of(&planted, Where::Memory);
    let found = scan_memory(&[&planted], &[holder.pid()]);
    assert_eq!(found["found"], json!([[holder.pid(), planted]]), "{found}");
}

fn assert_memory_is_its_own(stage: &Stage, live: &Live) {
    let mut pids: Vec<u32> = live.processes().iter().map(|one| one.pid).collect();
    pids.extend(kernel::survivors(&stage.deployment));
    pids.sort_unstable();
    pids.dedup();
    let found = scan_memory(&[&stage.stem, &stage.last], &pids);
    let holds = found["found"].as_array().expect("a list");
    assert!(
        holds.iter().all(|one| one[1] == stage.last.as_str()),
        "memory holds a secret of an earlier session: {found}"
    );
    assert!(!holds.is_empty(), "the room itself knows its own: {found}");
    let searched = found["searched"].as_array().expect("a list").len();
    assert!(searched >= 3, "host, room and agent, or TPM: {found}");
}

/// Memory files, and files whose name is gone, which any process of the machine holds open: a guest's
/// memory may lie in one.
fn assert_no_memory_file(stage: &Stage) {
    let planted = random();
    let holder = Holder::of(&planted, Where::MemoryFile);
    let found = scan_memory_files(&[&stage.stem, &stage.last, &planted]);
    let only = json!([[holder.pid(), planted]]);
    assert_eq!(found["found"], only, "a memory file: {found}");
}

/// Searches every file that changed since, wherever it is on the disk of `/`, and all files of the
/// deployment and of what else programs write to. One file is planted in each place.
pub(crate) fn assert_on_no_disk(stage: &Stage, since: SystemTime) {
    let planted = random();
    let places = ["/dev/shm", "/run", "/var/tmp"].map(Path::new);
    let mut roots: Vec<&Path> = places.into_iter().filter(|root| root.is_dir()).collect();
    let tmp = env::temp_dir();
    let dirs: Vec<TempDir> = roots.iter().chain([&tmp.as_path()]).map(in_place).collect();
    let mut wanted: Vec<Value> = dirs.iter().map(|dir| plant(dir, &planted)).collect();
    roots.push(stage.deployment.path());
    let skip = env::var("PROOFROOM_RESIDUE_SKIP").unwrap_or_default();
    let skip = skip.split(':').filter(|path| !path.is_empty());
    let mut skip: Vec<&Path> = skip.map(Path::new).collect();
    skip.push(stage.inputs.path());
    let canaries = [stage.stem.as_str(), &stage.last, &planted];
    let said = scan(&canaries, Some(since), &roots, &skip);
    let mut found = said["found"].as_array().expect("a list").clone();
    found.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    assert_eq!(found, wanted, "{said:#}");
}

fn in_place(place: &&Path) -> TempDir {
    tempfile::tempdir_in(place).expect("a directory")
}

/// Puts the string into a file; how the search must report it.
fn plant(dir: &TempDir, planted: &str) -> Value {
    let file = dir.path().join("planted");
    fs::write(&file, planted).expect("a file");
    json!([file, planted, "raw"])
}
