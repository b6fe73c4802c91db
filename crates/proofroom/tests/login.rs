//! A person logs in at a simulated issuer by the device authorization grant, and programs get access tokens of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use proofroom_testkit::issuer::IssuerServer;
use serde_json::{Value, json};

const REFRESH: [&str; 2] = ["refresh-token-one", "refresh-token-two"];

struct World {
    dir: tempfile::TempDir,
    issuer: IssuerServer,
}

fn granted(access: &str, refresh: Option<&str>, lasts: i64) -> Value {
    let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": lasts});
    if let Some(refresh) = refresh {
        answer["refresh_token"] = json!(refresh);
    }
    answer
}

fn refused(error: &str) -> (u16, Value) {
    (400, json!({"error": error}))
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            issuer: IssuerServer::start(),
        };
        world.begins(&json!({}));
        world
    }

    /// The issuer answers a device, with these members changed.
    fn begins(&self, change: &Value) {
        let mut answer = json!({
            "device_code": "device-code",
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://login.test/device",
            "expires_in": 600,
            "interval": 1,
        });
        for (name, value) in change.as_object().unwrap() {
            answer[name] = value.clone();
        }
        self.issuer.answer("/device", 200, &answer);
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("config/proofroom/login.json")
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_proofroom"))
            .args(words)
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .output()
            .unwrap()
    }

    fn log_in(&self) -> Output {
        let url = &self.issuer.issuer.url;
        self.run(&[
            "login",
            "--issuer",
            url,
            "--client-id",
            "proofroom-cli",
            "--resource",
            "https://gateway.test",
        ])
    }

    /// What `proofroom token` prints; its code where it does not.
    fn token(&self) -> Result<String, String> {
        let done = self.run(&["token"]);
        assert_nothing_shown(&done);
        match done.status.success() {
            true => Ok(String::from_utf8(done.stdout).unwrap().trim().to_owned()),
            false => Err(code(&done)),
        }
    }
}

/// The code at the end of a complaint.
fn code(done: &Output) -> String {
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let (_, code) = said.trim_end().rsplit_once('(').unwrap();
    code.trim_end_matches(')').to_owned()
}

/// No refresh token, device code or code of PKCE is shown.
fn assert_nothing_shown(done: &Output) {
    let said = [done.stdout.as_slice(), &done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    for secret in [REFRESH[0], REFRESH[1], "device-code"] {
        assert!(!said.contains(secret), "{said}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The members of a form.
fn form(text: &str) -> std::collections::BTreeMap<String, String> {
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs
        .map(|(name, value)| {
            (
                name.to_owned(),
                value.replace("%2D", "-").replace("%5F", "_"),
            )
        })
        .collect()
}

#[test]
fn a_login_waits_for_its_person_and_is_kept_to_its_owner() {
    let world = World::new();
    let first = granted("access-one", Some(REFRESH[0]), 3600);
    world.issuer.answer_in_turn(
        "/token",
        &[
            refused("authorization_pending"),
            refused("authorization_pending"),
            (200, first),
        ],
    );
    let done = world.log_in();
    assert!(done.status.success(), "{done:?}");
    assert_nothing_shown(&done);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        said.starts_with("open https://login.test/device and enter WDJB-MJHT\n"),
        "{said}"
    );
    assert!(done.stdout.is_empty());
    assert_eq!(
        (mode(&world.file()), mode(world.file().parent().unwrap())),
        (0o600, 0o700)
    );
    // PKCE: the token is asked for with what the code was begun with
    let begun = form(&world.issuer.asked("/device")[0]);
    let asked = world.issuer.asked("/token");
    assert_eq!(
        (begun["code_challenge_method"].as_str(), asked.len()),
        ("S256", 3)
    );
    let verifier = &form(&asked[2])["code_verifier"];
    let digest = proofroom_canonical::Digest::of(verifier);
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    assert_eq!(
        begun["code_challenge"],
        URL_SAFE_NO_PAD.encode(digest.as_bytes())
    );
    // good for an hour: nobody is asked
    assert_eq!(world.token(), Ok("access-one".to_owned()));
    assert_eq!(world.issuer.asked("/token").len(), 3);
    // whoever else may read it, nobody uses it
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(world.token(), Err("login-file".to_owned()));
}

#[test]
fn a_token_that_ends_within_a_minute_is_renewed_and_so_is_the_refresh_token() {
    let world = World::new();
    let first = granted("access-one", Some(REFRESH[0]), 30);
    world.issuer.answer("/token", 200, &first);
    assert!(world.log_in().status.success());
    let second = granted("access-two", Some(REFRESH[1]), 30);
    let third = granted("access-three", None, 3600);
    world
        .issuer
        .answer_in_turn("/token", &[(200, second), (200, third)]);
    assert_eq!(world.token(), Ok("access-two".to_owned()));
    assert_eq!(world.token(), Ok("access-three".to_owned()));
    let asked = world.issuer.asked("/token");
    let refreshes: Vec<_> = asked[1..]
        .iter()
        .map(|text| form(text)["refresh_token"].clone())
        .collect();
    assert_eq!(refreshes, REFRESH);
    let kept = fs::read_to_string(world.file()).unwrap();
    assert!(
        kept.contains(REFRESH[1]),
        "an issuer that gives no new one leaves the old in force"
    );
}

#[test]
fn what_an_issuer_refuses_or_says_wrongly_has_its_code() {
    let world = World::new();
    assert_eq!(world.token(), Err("login-absent".to_owned()));
    for (error, expected) in [
        ("access_denied", "login-denied"),
        ("expired_token", "login-too-late"),
        ("invalid_client", "login-refused"),
    ] {
        let (status, body) = refused(error);
        world.issuer.answer("/token", status, &body);
        let done = world.log_in();
        assert_nothing_shown(&done);
        assert_eq!(code(&done), expected);
        assert!(!world.file().exists());
    }
    for wrong in [
        granted("access", None, 3600),
        granted("", Some(REFRESH[0]), 3600),
        granted("acc\u{1b}[2Jess", Some(REFRESH[0]), 3600),
        granted("access", Some(REFRESH[0]), 0),
        json!({"access_token": "a", "token_type": "mac", "expires_in": 5, "refresh_token": "r"}),
        json!({"access_token": "a", "token_type": "Bearer"}),
    ] {
        world.issuer.answer("/token", 200, &wrong);
        assert_eq!(code(&world.log_in()), "login-answer", "{wrong}");
    }
    // a page that would steer the terminal
    world.begins(&json!({"verification_uri": "https://login.test/\u{1b}]0;x\u{7}"}));
    assert_eq!(code(&world.log_in()), "login-answer");
    world.begins(&json!({}));
    world
        .issuer
        .answer("/token", 200, &granted("access", Some(REFRESH[0]), 30));
    assert!(world.log_in().status.success());
    let (status, body) = refused("invalid_grant");
    world.issuer.answer("/token", status, &body);
    assert_eq!(world.token(), Err("login-ended".to_owned()));
    let mut other = world.issuer.issuer.discovery();
    other["issuer"] = json!("https://other.test");
    world
        .issuer
        .answer("/.well-known/openid-configuration", 200, &other);
    assert_eq!(world.token(), Err("issuer-other".to_owned()));
    fs::write(world.file(), "{}").unwrap();
    assert_eq!(world.token(), Err("login-malformed".to_owned()));
}
