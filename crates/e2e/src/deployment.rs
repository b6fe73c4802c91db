//! One deployment: state, policies and upstreams of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Session, program, repository_root};

/// A cassette upstream; it ends with the value.
#[derive(Debug)]
pub struct Upstream {
    child: Child,
    /// Host and port.
    pub address: String,
}

impl Upstream {
    /// Starts an upstream that plays `cassette`, with further arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(cassette: &Path, arguments: &[&str]) -> Self {
        Self::with_cassettes(&[cassette], arguments)
    }

    /// Starts an upstream that plays the first of `cassettes` that fits, with further arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with_cassettes<P: AsRef<Path>>(cassettes: &[P], arguments: &[&str]) -> Self {
        let mut command = Command::new(program("proofroom-cassette"));
        for cassette in cassettes {
            command.arg("--cassette").arg(cassette.as_ref());
        }
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the upstream starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the upstream says where it listens");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("one JSON line");
        let address = ready["address"].as_str().expect("an address").to_owned();
        Self { child, address }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A deployment in a temporary directory. It is gone with the value.
#[derive(Debug)]
pub struct Deployment {
    dir: TempDir,
    upstreams: Vec<Upstream>,
}

impl Deployment {
    /// A deployment with the default policies, a standard upstream and a simulated attested one,
    /// both playing `cassette`.
    ///
    /// # Panics
    /// When anything of it cannot be made.
    #[must_use]
    pub fn with_cassette(cassette: &Path) -> Self {
        Self::with_cassettes(&[cassette])
    }

    /// The same with several cassettes, of which the first that fits a conversation is played.
    ///
    /// # Panics
    /// When anything of it cannot be made.
    #[must_use]
    pub fn with_cassettes<P: AsRef<Path>>(cassettes: &[P]) -> Self {
        let standard = Upstream::with_cassettes(cassettes, &[]);
        let tee = Upstream::with_cassettes(cassettes, &["--tls-attested"]);
        let deployment = Self::empty();
        let simulated = repository_root().join("crates/verifier/policies/simulated-upstream.toml");
        fs::copy(simulated, deployment.policy().join("appraisal.toml")).expect("appraisal policy");
        let upstreams = fs::read_to_string(repository_root().join("demo/upstreams.toml"))
            .expect("the demo's upstreams")
            .replace("STANDARD_ADDRESS", &standard.address)
            .replace("TEE_ADDRESS", &tee.address);
        fs::write(deployment.policy().join("upstreams.toml"), upstreams).expect("upstreams file");
        Self {
            upstreams: vec![standard, tee],
            ..deployment
        }
    }

    /// A deployment whose models are never asked: its sessions run commands.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn empty_with_hello() -> Self {
        Self::with_cassette(&repository_root().join("crates/testkit/cassettes/hello.json"))
    }

    /// A deployment with the default policies and no upstream.
    ///
    /// # Panics
    /// When `proofroom policy init` fails.
    #[must_use]
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("proofroom-e2e-")
            .tempdir()
            .expect("temporary directory");
        let deployment = Self {
            dir,
            upstreams: Vec::new(),
        };
        let made = Command::new(program("proofroom"))
            .args(["policy", "init"])
            .arg(deployment.policy())
            .output()
            .expect("proofroom starts");
        assert!(made.status.success(), "{made:?}");
        deployment
    }

    /// The temporary directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The policy directory.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.path().join("policy")
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Stops an upstream: `standard` is the first, `tee` the second.
    pub fn stop_upstream(&mut self, number: usize) {
        self.upstreams.remove(number);
    }

    /// Makes a git repository with these files and one commit.
    ///
    /// # Panics
    /// When git fails.
    #[must_use]
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("repository directory");
        for (file, content) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("directories");
            fs::write(file, content).expect("file");
        }
        git(&path, &["init", "-q", "-b", "main"]);
        git(&path, &["add", "-A"]);
        git(&path, &["commit", "-q", "--allow-empty", "-m", "first"]);
        path
    }

    /// The demo's repository, as a git repository.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn demo_repository(&self) -> PathBuf {
        let path = self.path().join("demo-repository");
        let from = repository_root().join("demo/repo");
        let copied = Command::new("cp").arg("-r").arg(from).arg(&path).status();
        assert!(copied.expect("cp").success());
        drop(fs::remove_dir_all(path.join("__pycache__")));
        git(&path, &["init", "-q", "-b", "main"]);
        git(&path, &["add", "-A"]);
        git(&path, &["commit", "-q", "-m", "Import the library"]);
        path
    }

    /// A session of this deployment on `repository`, not started, in a room on this kernel.
    #[must_use]
    pub fn session(&self, repository: &Path) -> Session {
        Session::new(self, repository).arguments(&["--isolation", "process"])
    }

    /// The same in a virtual machine on an emulated processor, or why there is none here.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn machine_session(&self, repository: &Path) -> Result<Session, String> {
        Ok(self.machine_session_of(repository, &image_directory()?))
    }

    /// The same with an image of the test's own.
    #[must_use]
    pub fn machine_session_of(&self, repository: &Path, image: &Path) -> Session {
        Session::new(self, repository)
            .arguments(&["--isolation", "vm", "--accel", "tcg", "--image"])
            .arguments(&[image])
    }
}

/// The image of virtual machines, when it and what boots it are here.
///
/// # Errors
/// What is missing, in words.
pub fn image_directory() -> Result<PathBuf, String> {
    image("PROOFROOM_IMAGE_DIR", "image", "cargo xtask image")
}

/// The image that plays a TDX module, when it and what boots it are here.
///
/// # Errors
/// What is missing, in words.
pub fn simulated_image_directory() -> Result<PathBuf, String> {
    let how = "cargo xtask image --simulated";
    image("PROOFROOM_SIMULATED_IMAGE_DIR", "image-simulated", how)
}

fn image(variable: &str, name: &str, how: &str) -> Result<PathBuf, String> {
    for program in ["/usr/bin/qemu-system-x86_64", "/usr/bin/swtpm"] {
        if !Path::new(program).exists() {
            return Err(format!("no `{program}`"));
        }
    }
    let beside = || {
        program("proofroom")
            .ancestors()
            .nth(2)
            .map(|target| target.join(name))
    };
    let image = std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(beside)
        .filter(|image| image.join("reference.json").is_file());
    image.ok_or_else(|| format!("no image; `{how}` builds it"))
}

/// Runs git in `dir` and returns what it printed.
///
/// # Panics
/// When git fails.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(arguments)
        .output()
        .expect("git starts");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
