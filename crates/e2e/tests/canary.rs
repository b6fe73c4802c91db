//! A secret in the task, in a file that prompts hold, in a command's output and in the model's
//! answers is on no disk when the session is over.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use proofroom_e2e::{
    Bundle, Deployment,
    canary::{Canaries, inputs, random, scan},
    repository_root,
};
use serde_json::json;

fn run_with_canaries(canaries: &Canaries, deployment: &Deployment, inputs: &Path) -> Bundle {
    let task = inputs.join("task");
    fs::write(&task, format!("Note this: {}", canaries.task)).expect("task");
    let repository = deployment.repository("repository", &[("README.md", "Nothing here.\n")]);
    let arguments = [Path::new("--task-file"), &task];
    deployment.session(&repository).arguments(&arguments).run()
}

#[test]
fn what_passed_through_a_session_is_on_no_disk_after_it() {
    // a minute back: a clock of a file system may lag
    let since = SystemTime::now() - Duration::from_secs(60);
    let canaries = Canaries::new();
    let inputs = inputs();
    let cassette = inputs.path().join("cassette.json");
    fs::write(&cassette, canaries.cassette().to_string()).expect("cassette");
    let deployment = Deployment::with_cassette(&cassette);
    let bundle = run_with_canaries(&canaries, &deployment, inputs.path());
    assert_eq!(bundle.code, Some(0), "{bundle:#?}");
    bundle.assert_accepted();
    let shown = format!("{:?}", bundle.lines);
    assert!(
        shown.contains(&canaries.answer),
        "the agent's closing words are for the screen"
    );
    assert_eq!(
        bundle.model_runs().len(),
        9,
        "the canaries went all the way"
    );

    let roots = ["/dev/shm", "/run", "/var/tmp"].map(Path::new);
    let mut roots: Vec<&Path> = roots.into_iter().filter(|root| root.is_dir()).collect();
    roots.push(deployment.path());
    let planted = random();
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::write(dir.path().join("planted"), &planted).expect("file");
    let wanted = [canaries.secret.as_str(), planted.as_str()];
    let seen = scan(&wanted, Some(since), &roots, &[inputs.path()]);
    let only = json!([[dir.path().join("planted"), planted, "raw"]]);
    assert_eq!(seen["found"], only, "{seen:#}");
    assert!(seen["walked"].as_u64() > Some(10_000), "{seen:#}");
    for (name, bytes) in bundle.files() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(&canaries.secret),
            "{name} of the bundle holds a canary"
        );
    }
}

#[test]
fn the_search_finds_what_is_there_in_every_form() {
    let canary = random();
    let dir = tempfile::Builder::new()
        .prefix("proofroom-planted-")
        .tempdir()
        .expect("directory");
    let write = "import base64, sys, zipfile, zlib, os
raw, to = sys.argv[1].encode(), sys.argv[2]
for name, data in {
    'raw': b'x' + raw + b'y',
    'base64': base64.b64encode(b'ab' + raw + b'c'),
    'base64-one': base64.b64encode(b'a' + raw + b'cd'),
    'base64-none': base64.b64encode(raw),
    'hex': raw.hex().encode(),
    'utf-16': sys.argv[1].encode('utf-16-le'),
    'zlib': zlib.compress(b'blob 3\\0' + raw),
}.items():
    open(os.path.join(to, name), 'wb').write(data)
with zipfile.ZipFile(os.path.join(to, 'zip'), 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('inner', raw)
";
    let planted = Command::new("python3")
        .args(["-c", write, &canary])
        .arg(dir.path())
        .status();
    assert!(planted.expect("python3 starts").success());
    let seen = scan(&[&canary], None, &[dir.path()], &[]);
    let found: Vec<PathBuf> = seen["found"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| PathBuf::from(one[0].as_str().expect("a path")))
        .collect();
    let names = [
        "raw",
        "base64",
        "base64-one",
        "base64-none",
        "hex",
        "utf-16",
    ];
    for name in names.into_iter().chain(["zlib!inflated", "zip!inner"]) {
        let path = dir.path().join(name);
        assert!(found.contains(&path), "{name} was not found: {found:?}");
    }
}

#[test]
fn a_crash_of_the_host_leaves_no_core_and_a_task_file_keeps_the_task_out_of_the_process_list() {
    let inputs = inputs();
    let cassette = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&cassette);
    let repository = deployment.repository("repository", &[("README.md", "Nothing here.\n")]);
    let secret = random();
    let task = inputs.path().join("task");
    fs::write(&task, &secret).expect("task");
    let arguments = [Path::new("--task-file"), &task];
    let (mut child, path) = deployment
        .session(&repository)
        .arguments(&arguments)
        .start();
    let mut first = [0];
    let out = child.stdout.as_mut().expect("piped");
    out.read_exact(&mut first)
        .expect("the session says something");
    let of = |file: &str| {
        fs::read_to_string(format!("/proc/{}/{file}", child.id())).expect("a living process")
    };
    let (limits, line, environment) = (of("limits"), of("cmdline"), of("environ"));
    let bundle = Bundle::after(child, path);
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("a limit");
    let words: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert!(words == ["1", "1"] || words == ["0", "0"], "{core}");
    assert!(line.contains("--task-file") && !line.contains(&secret));
    assert!(!environment.contains(&secret));
    bundle.assert_accepted();
}
