//! Workspaces on an encrypted disk: what the host sees of them, what it can do to them, and what is left.
//! In virtual machines on an emulated processor, so few tests that look at much each.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proofroom_e2e::{
    Bundle, Deployment, Live, Process, Session, canary::random, git, repository_root, skip,
};
use serde_json::Value;

const MEBIBYTE: usize = 1 << 20;
const BLOCK: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(300);

/// A deployment whose rooms have their workspace on a disk.
fn deployment(changes: &[(&str, &str)]) -> Deployment {
    let deployment = Deployment::empty();
    let path = deployment.policy().join("room.toml");
    let mut text = fs::read_to_string(&path).expect("room.toml");
    let disk = ("workspace = \"memory\"", "workspace = \"encrypted-disk\"");
    for (from, to) in changes.iter().chain([&disk]) {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(&path, text).expect("room.toml");
    deployment
}

/// A session of one of the scripts beside this file.
fn session(deployment: &Deployment, script: &str) -> Result<(Session, PathBuf), String> {
    let path = repository_root()
        .join("crates/e2e/tests/workspace_disk")
        .join(script);
    let text = fs::read_to_string(path).expect("the script");
    let repository = deployment.repository("work", &[("script.py", &text)]);
    Ok((deployment.machine_session(&repository)?, repository))
}

/// The file behind the disk, opened through the descriptor of the QEMU that has it.
fn backing_file(live: &Live) -> File {
    let processes = live.processes();
    let descriptors = processes.iter().flat_map(|process| {
        let directory = format!("/proc/{}/fd", process.pid);
        fs::read_dir(directory).into_iter().flatten().flatten()
    });
    let mut files = descriptors.filter(|entry| {
        // A file of the deployment's state directory that has no name.
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        target.contains("/state/#") && target.ends_with(" (deleted)")
    });
    let found = files.next().expect("QEMU has a file without a name");
    let file = File::options()
        .read(true)
        .write(true)
        .open(found.path())
        .expect("the file behind the disk");
    let state = file.metadata().expect("its state");
    assert_eq!((state.nlink(), state.mode() & 0o777), (0, 0o600));
    file
}

/// How often `needle` stands in the file.
fn occurrences(file: &File, needle: &[u8]) -> usize {
    let size = usize::try_from(file.metadata().expect("its state").len()).expect("a size");
    let mut count = 0;
    let mut buffer = vec![0; MEBIBYTE + needle.len() - 1];
    for at in (0..size).step_by(MEBIBYTE) {
        let read = file.read_at(&mut buffer, at as u64).expect("a part of it");
        let part = buffer.get(..read).expect("what was read");
        if part.iter().all(|byte| *byte == 0) {
            continue;
        }
        count += part
            .windows(needle.len())
            .filter(|window| *window == needle)
            .count();
    }
    count
}

/// What the agent printed.
fn said(bundle: &Bundle) -> String {
    let texts = bundle.lines.iter().filter_map(|line| line["text"].as_str());
    texts.collect()
}

fn wait_for_word(live: &mut Live, word: &str) {
    live.wait_for(word, |line| {
        let text = line["text"].as_str().unwrap_or_default();
        text.contains(word)
    });
}

fn facts(bundle: &Bundle) -> Vec<(String, String)> {
    let record = bundle.destruction_record();
    let observed = record["predicate"]["observed"].as_array().expect("facts");
    let text = |seen: &Value, member: &str| seen[member].as_str().unwrap_or_default().to_owned();
    observed
        .iter()
        .map(|seen| (text(seen, "fact"), text(seen, "detail")))
        .collect()
}

fn detail(bundle: &Bundle, fact: &str) -> String {
    let found = facts(bundle).into_iter().find(|(name, _)| name == fact);
    found
        .unwrap_or_else(|| panic!("no `{fact}`: {:?}", facts(bundle)))
        .1
}

/// A host that has its record ends the machine at once, so its last words are not always heard.
fn assert_key_erased_where_said(bundle: &Bundle) {
    let facts = facts(bundle);
    let mut words = facts.iter().filter(|(fact, _)| fact == "guest-last-said");
    let erased = words.all(|(_, said)| said.contains("workspace-key-erased"));
    assert!(erased, "{facts:?}");
}

/// What a disk could leave on the host: mounts, block devices, files of the state directory.
fn host(deployment: &Deployment) -> (String, BTreeSet<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let blocks = fs::read_dir("/sys/block").expect("block devices").flatten();
    let mut names: BTreeSet<String> = blocks
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let large = fs::read_dir(deployment.state())
        .into_iter()
        .flatten()
        .flatten();
    names.extend(
        large
            .filter(|entry| entry.metadata().is_ok_and(|state| state.len() > 64 << 20))
            .map(|entry| entry.path().display().to_string()),
    );
    (mounts, names)
}

#[test]
fn a_disk_is_ciphertext_to_its_host_and_the_result_comes_out() {
    const TEST: &str = "a_disk_is_ciphertext_to_its_host_and_the_result_comes_out";
    // More than the machine's whole memory, which has 1 GiB. All of it is reserved, for the bytes or the
    // files, whichever need more.
    let deployment = deployment(&[
        (
            "workspace_bytes = 2147483648",
            "workspace_bytes = 1342177280",
        ),
        ("inodes = 400000", "inodes = 100000"),
    ]);
    let (session, repository) = match session(&deployment, "secrets.py") {
        Ok(ready) => ready,
        Err(why) => return skip(TEST, &why),
    };
    let before = host(&deployment);
    let (half, other) = (random(), random());
    let secret = format!("{half}{other}");
    let mut live = session
        .command(&["python3", "script.py", &half, &other])
        .live()
        .patient(PATIENCE);
    wait_for_word(&mut live, "written");
    let file = backing_file(&live);
    assert_eq!(occurrences(&file, secret.as_bytes()), 0);
    // Of 40,000 lines, a directory and 2.9 MiB of writing there is something, and none of it is legible.
    let held = file.metadata().expect("its state").blocks() * 512;
    assert!(held > 3 << 20, "{held}");
    // The search finds what is there: dm-integrity's superblock is the one thing that is not encrypted,
    // and a secret that the host itself puts into a gap of the file is found once.
    assert_eq!(occurrences(&file, b"integrt"), 1);
    let gap = file.metadata().expect("its state").len() - 4096 - 7;
    file.write_all_at(secret.as_bytes(), gap).expect("planted");
    assert_eq!(occurrences(&file, secret.as_bytes()), 1);
    file.write_all_at(&vec![0; secret.len()], gap)
        .expect("removed");

    let bundle = live.finish();
    assert_eq!(bundle.code, Some(0), "{}", said(&bundle));
    assert_eq!(occurrences(&file, secret.as_bytes()), 0);
    let words = said(&bundle);
    assert!(words.contains("has 1342177280 100000"), "{words}");
    let record = &bundle.session_record()["predicate"];
    let mechanisms = record["mechanisms"].to_string();
    assert!(
        mechanisms.contains("guest-encrypted-workspace-disk"),
        "{mechanisms}"
    );
    let branch = record["result"]["reference"].as_str().expect("a branch");
    let result = git(&repository, &["show", &format!("{branch}:result.txt")]);
    assert!(result.len() > 90, "{result}");
    bundle.assert_accepted();
    // This test has the file open, and the host has seen that somebody has.
    assert!(detail(&bundle, "workspace-disk-open-elsewhere").contains("no name"));
    assert_key_erased_where_said(&bundle);
    assert_eq!(host(&deployment), before);
}

#[test]
fn a_full_disk_is_an_event_and_both_of_its_caps_hold() {
    const TEST: &str = "a_full_disk_is_an_event_and_both_of_its_caps_hold";
    let deployment = deployment(&[
        ("workspace_bytes = 2147483648", "workspace_bytes = 50331648"),
        ("inodes = 400000", "inodes = 3000"),
    ]);
    let session = match session(&deployment, "full.py") {
        Ok((session, _)) => session,
        Err(why) => return skip(TEST, &why),
    };
    let before = host(&deployment);
    let bundle = session.command(&["python3", "script.py"]).run();
    assert_eq!(bundle.code, Some(0), "{}", said(&bundle));
    let words = said(&bundle);
    let number = |after: &str| -> u64 {
        let (_, rest) = words.split_once(after).unwrap_or_else(|| panic!("{words}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    let (bytes, files) = (number("bytes EDQUOT "), number("files EDQUOT "));
    // The repository takes some of both.
    assert!((40 << 20..48 << 20).contains(&bytes), "{bytes}");
    assert!((2800..3000).contains(&files), "{files}");
    assert!(words.contains("after there is room again"), "{words}");
    let details: Vec<String> = bundle
        .events()
        .iter()
        .map(|event| event["body"]["observation"].clone())
        .filter(|seen| seen["kind"] == "limit-reached" && seen["resource"] == "disk")
        .map(|seen| seen["detail"].to_string())
        .collect();
    for what in ["no bytes left", "no files left"] {
        let told = details
            .iter()
            .any(|said| said.contains("/workspace") && said.contains(what));
        assert!(told, "{what}: {details:?}");
    }
    bundle.assert_accepted();
    assert!(detail(&bundle, "workspace-disk-closed").contains("no name"));
    assert_key_erased_where_said(&bundle);
    assert_eq!(host(&deployment), before);
}

/// The longest run of blocks of the file that are not empty: its first block and its length.
fn longest_run(file: &File) -> (usize, usize) {
    let size = usize::try_from(file.metadata().expect("its state").len()).expect("a size");
    let (mut best, mut begin) = ((0, 0), 0);
    let mut block = [0; BLOCK];
    for number in 0..size / BLOCK {
        file.read_exact_at(&mut block, (number * BLOCK) as u64)
            .expect("a block");
        if block.iter().all(|byte| *byte == 0) {
            begin = number + 1;
        } else if number + 1 - begin > best.1 {
            best = (begin, number + 1 - begin);
        }
    }
    best
}

#[test]
fn a_host_that_changes_blocks_makes_reads_fail_and_nothing_else() {
    const TEST: &str = "a_host_that_changes_blocks_makes_reads_fail_and_nothing_else";
    let deployment = deployment(&[
        (
            "workspace_bytes = 2147483648",
            "workspace_bytes = 134217728",
        ),
        ("inodes = 400000", "inodes = 3000"),
    ]);
    let session = match session(&deployment, "reader.py") {
        Ok((session, _)) => session,
        Err(why) => return skip(TEST, &why),
    };
    let mut live = session
        .command(&["python3", "script.py"])
        .live()
        .patient(PATIENCE);
    wait_for_word(&mut live, "read ");
    let file = backing_file(&live);
    let (first, blocks) = longest_run(&file);
    // The file has 16 MiB, and tags stand between runs of as many. Nothing else is nearly as long.
    assert!(blocks * BLOCK >= 4 * MEBIBYTE, "{blocks} blocks at {first}");
    // One bit in each block in the middle of the run.
    for number in first + blocks * 3 / 8..first + blocks * 5 / 8 {
        let at = (number * BLOCK + 1000) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[byte[0] ^ 1], at).expect("the byte");
    }
    drop(file);
    let bundle = live.finish();
    assert_eq!(bundle.code, Some(0), "{}", said(&bundle));
    let words = said(&bundle);
    for word in [
        "read True",
        "refused E",
        "kept what nobody touched",
        "new written after it",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    assert!(!words.contains("another content"), "{words}");
    bundle.assert_accepted();
    assert!(detail(&bundle, "workspace-disk-closed").contains("no name"));
}

#[test]
fn a_room_on_the_hosts_kernel_has_no_such_disk_and_does_not_start() {
    let deployment = deployment(&[]);
    let repository = deployment.repository("work", &[("a", "1")]);
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert_ne!(refused.code, Some(0));
    let lines = format!("{:?}", refused.lines);
    let words = [lines.as_str(), &refused.complaint].concat();
    assert!(words.contains("encrypted-disk"), "{words}");
    assert!(words.contains("--isolation vm"), "{words}");
    assert!(!Path::new(&refused.path).exists(), "a session began");
}

#[test]
fn an_agent_gets_neither_around_the_caps_nor_below_the_files() {
    const TEST: &str = "an_agent_gets_neither_around_the_caps_nor_below_the_files";
    let deployment = deployment(&[
        ("workspace_bytes = 2147483648", "workspace_bytes = 50331648"),
        ("inodes = 400000", "inodes = 3000"),
    ]);
    let session = match session(&deployment, "intruder.py") {
        Ok((session, _)) => session,
        Err(why) => return skip(TEST, &why),
    };
    let bundle = session.command(&["python3", "script.py"]).run();
    let words = said(&bundle);
    assert_eq!(bundle.code, Some(0), "{words}");
    for wanted in [
        "attributes 0 1, 512 1, 512 1",
        "refused: project-none, project-two, no-inheriting, no-flags, immutable, append",
        "resize EPERM, group-extend EPERM, group-add EPERM, shutdown EPERM, freeze EPERM, trim EPERM, \
         checkpoint EPERM, identity EPERM, label EPERM, swap-boot EPERM",
        "quota-get EPERM, quota-set EPERM, quota-off EPERM",
        "verity ENOTSUP, encryption ENOTSUP",
        "disk-node EACCES, device-node EACCES, capability EPERM, trusted EPERM",
        "attributes at the end 0 1, 512 1, 512 1",
        "reserve EDQUOT",
        "mounted rw,nosuid,nodev,noatime",
        "holes True, reserved True, direct True, mapped True, moved True",
    ] {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    bundle.assert_accepted();
}

#[test]
fn a_host_that_is_killed_leaves_no_machine_and_nothing_more_is_written() {
    const TEST: &str = "a_host_that_is_killed_leaves_no_machine_and_nothing_more_is_written";
    let deployment = deployment(&[
        ("workspace_bytes = 2147483648", "workspace_bytes = 67108864"),
        ("inodes = 400000", "inodes = 3000"),
    ]);
    let session = match session(&deployment, "dirty.py") {
        Ok((session, _)) => session,
        Err(why) => return skip(TEST, &why),
    };
    let before = host(&deployment);
    let mut live = session
        .command(&["python3", "script.py"])
        .live()
        .patient(PATIENCE);
    wait_for_word(&mut live, "held in memory");
    let file = backing_file(&live);
    let held = || file.metadata().expect("its state").blocks() * 512;
    let written = held();
    let processes = live.processes();
    drop(live.kill());
    // The guest sees its port close; on an emulated processor it takes a while to end.
    let until = Instant::now() + PATIENCE;
    while processes.iter().any(Process::lives) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    Process::assert_gone(&processes);
    // The script wrote 48 MiB.
    let more = held() - written;
    assert!(more < 8 << 20, "{more} bytes after {written}");
    assert_eq!(host(&deployment), before);
}
