//! Sessions whose models prove themselves in their own formats: the session's own gateway verifies each before its first
//! prompt byte, and what stood behind each run is in the bundle, where the verifier judges it again.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{fs, process::Command, sync::Arc};

use proofroom_canonical::Digest;
use proofroom_e2e::{Bundle, Deployment, program, server::Server};
use serde_json::{Value, json};

use simulated::{Conduct, Format, Provider, write_policies};

#[path = "providers/simulated.rs"]
mod simulated;

/// Restricted, so that the tier `tee` alone may have it.
const PROMPT: &str = "The card is 4485 2757 4230 8327, keep it.";
/// What the agent does: tries each address by itself, then asks each model once. It is told what to send.
const AGENT: &str = r#"
import os, socket, sys, urllib.error, urllib.request as r
addresses, bodies = sys.argv[1].split(), sys.argv[2:]
for address in addresses:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 2)
        print("reached", address)
    except OSError:
        pass
for body in bodies:
    path = "/messages" if "max_tokens" in body else "/chat/completions"
    url = os.environ["OPENAI_BASE_URL"] + path
    try:
        print(r.urlopen(r.Request(url, body.encode(), {"content-type": "application/json"})).status)
    except urllib.error.HTTPError as refused:
        print(refused.code, refused.read().decode())
"#;

/// A deployment whose tier `tee` is these providers.
struct World {
    providers: Vec<(Arc<Provider>, Server)>,
    deployment: Deployment,
}

impl World {
    fn new(formats: &[Format]) -> Self {
        let providers: Vec<_> = formats.iter().copied().map(Provider::start).collect();
        let deployment = Deployment::empty();
        let world = Self {
            providers,
            deployment,
        };
        let addresses: Vec<_> = (world.providers.iter())
            .map(|(provider, server)| (provider.format, server.address.as_str()))
            .collect();
        let collateral = world.deployment.path().join("collateral");
        write_policies(&world.deployment.policy(), &collateral, &addresses);
        world
    }

    /// A session in a room on this kernel, whose agent asks each model once.
    fn session(&self) -> Bundle {
        let formats = self.providers.iter().map(|(provider, _)| provider.format);
        self.asking(&formats.map(body).collect::<Vec<_>>())
    }

    /// The same, whose agent asks this.
    fn asking(&self, bodies: &[String]) -> Bundle {
        let repository = self.deployment.repository("plain", &[("agent.py", AGENT)]);
        let addresses: Vec<&str> = (self.providers.iter())
            .map(|(_, server)| server.address.as_str())
            .collect();
        let addresses = addresses.join(" ");
        let mut command = vec!["python3", "agent.py", &addresses];
        command.extend(bodies.iter().map(String::as_str));
        let collateral = self.deployment.path().join("collateral");
        self.deployment
            .session(&repository)
            .arguments(&["--collateral".as_ref(), collateral.as_os_str()])
            .command(&command)
            .run()
    }

    /// The prompts that the provider at this place was sent.
    fn prompts(&self, place: usize) -> Vec<Vec<u8>> {
        let asked = self.providers[place].1.asked("/v1/chat/completions");
        asked.into_iter().map(|request| request.body).collect()
    }
}

fn body(format: Format) -> String {
    let messages = json!([{"role": "user", "content": PROMPT}]);
    json!({"model": format.model(), "messages": messages}).to_string()
}

/// The same in the format of the Messages API, which no provider here speaks.
fn messages(format: Format) -> String {
    let messages = json!([{"role": "user", "content": PROMPT}]);
    json!({"model": format.model(), "max_tokens": 100, "messages": messages}).to_string()
}

fn statuses(bundle: &Bundle) -> Vec<Value> {
    let runs = bundle.model_runs();
    runs.iter().map(|run| run["status"].clone()).collect()
}

/// What the verifier says of the rung `evidence`.
fn evidence_rung(said: &Value) -> &Value {
    let checks = said["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["name"] == "evidence");
    found.expect("the rung")
}

#[test]
fn a_session_asks_an_enclave_and_a_provider_that_were_verified_first_and_its_bundle_shows_what_each_proved()
 {
    let world = World::new(&[Format::Enclave, Format::NearAi]);
    let bundle = world.session();
    assert_eq!(bundle.end(), Some("completed"), "{bundle:#?}");
    assert_eq!(statuses(&bundle), ["complete", "complete"], "{bundle:#?}");
    for (place, format) in [Format::Enclave, Format::NearAi].into_iter().enumerate() {
        assert_eq!(world.prompts(place), [body(format).into_bytes()]);
        // the host's process connects; the room reaches no address by itself
        let address = &world.providers[place].1.address;
        let printed = format!("reached {address}");
        assert!(
            !bundle
                .lines
                .iter()
                .any(|line| line.to_string().contains(&printed))
        );
    }
    let runs = bundle.model_runs();
    for (run, (provider, _)) in runs.iter().zip(&world.providers) {
        assert_eq!(run["classification"]["high_water_after"], "restricted");
        assert_eq!(run["routing"]["tier"], "tee");
        let (upstream, receipt) = (&run["upstream"], &run["response"]["receipt"]);
        let assurance = &upstream["assurance"];
        assert_eq!(assurance["provider"]["format"], provider.format.name());
        assert_eq!(assurance["tls_spki"], provider.spki.to_string());
        let request = Digest::of(body(provider.format));
        assert!(
            receipt["text"]
                .as_str()
                .expect("signed")
                .contains(&request.to_hex())
        );
        let (appraised, sent) = (&assurance["appraised"], &upstream["sent"]);
        assert!(appraised.as_str() <= sent.as_str(), "{run:#}");
    }
    bundle.assert_accepted();
    let (_, said) = bundle.verify();
    let shown = said["upstreams"].as_array().expect("upstreams");
    let shown: Vec<_> = (shown.iter())
        .map(|one| {
            (
                &one["format"],
                &one["model"],
                &one["policy"],
                &one["held"],
                &one["receipt"],
                &one["not_made"],
            )
        })
        .collect();
    let wanted = json!([
        [
            "proofroom-enclave",
            Format::Enclave.model(),
            "simulated-enclave",
            10,
            "model-0",
            []
        ],
        [
            "near-ai",
            Format::NearAi.model(),
            "simulated-provider",
            20,
            "model-0",
            []
        ],
    ]);
    assert_eq!(json!(shown), wanted, "{said:#}");
    let words = said["remarks"].to_string();
    assert!(words.contains("SIMULATED"), "{words}");
    the_auditors_own_policies_count(&world, &bundle);
    altered_evidence_is_refused(&bundle);
}

/// Under policies of the auditor's, which must accept what the session's accepted.
fn the_auditors_own_policies_count(world: &World, bundle: &Bundle) {
    let own = world.deployment.path().join("own");
    fs::create_dir(&own).expect("a directory");
    let verify = || {
        let done = Command::new(program("proofroom-verify"))
            .arg(&bundle.path)
            .arg("--provider-policies")
            .arg(&own)
            .output()
            .expect("proofroom-verify starts");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code(), said)
    };
    let (code, said) = verify();
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("[provider-policy-missing]"), "{said}");
    for (name, bytes) in bundle.files() {
        if let Some(name) = name.strip_prefix("trust/policies/providers/") {
            fs::write(own.join(name), bytes).expect("written");
        }
    }
    let (code, said) = verify();
    assert_eq!(code, Some(0), "{said}");
    let line = "run 1 on near-ai: near-ai under `simulated-provider`, 20 checks hold";
    assert!(said.contains(line), "{said}");
    let file = own.join("simulated-proofroom-enclave.toml");
    let text = fs::read_to_string(&file).expect("readable");
    let weights = proofroom_testkit::enclave::weights().to_string();
    let text = text.replace(&weights, &Digest::of("others").to_string());
    fs::write(&file, text).expect("written");
    let (code, said) = verify();
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("[weights-not-allowed]"), "{said}");
}

/// Whoever changes a document, a policy or a record has to answer for it.
fn altered_evidence_is_refused(bundle: &Bundle) {
    let script = r#"
import hashlib, sys, zipfile
source, target, prefix, old, new = sys.argv[1:]
files = {}
with zipfile.ZipFile(source) as bundle:
    for name in bundle.namelist():
        data = bundle.read(name)
        if name.startswith(prefix):
            changed = data.replace(old.encode(), new.encode(), 1)
            if changed != data and name.startswith("evidence/"):
                name = "evidence/" + hashlib.sha256(changed).hexdigest() + ".json"
            data = changed
        files[name] = data
del files["MANIFEST.sha256"]
lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
files["MANIFEST.sha256"] = lines.encode()
with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
    for name in sorted(files):
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.create_system, info.external_attr, info.create_version = 3, 0o100644 << 16, 20
        bundle.writestr(info, files[name])
"#;
    let altered = |prefix: &str, old: &str, new: &str| {
        let path = bundle.path.with_extension("altered");
        let made = Command::new("python3")
            .args(["-c", script])
            .args([bundle.path.as_os_str(), path.as_os_str()])
            .args([prefix, old, new])
            .status();
        assert!(made.expect("python3 starts").success());
        Bundle::at(path).verify()
    };
    // the tool itself makes a bundle that is accepted, where it changes nothing
    assert_eq!(altered("nothing", "", "").0, 0);
    let (code, said) = altered("evidence/", "intel_quote", "intel_quotf");
    assert_eq!(
        (code, &evidence_rung(&said)["code"]),
        (10, &json!("evidence-not-cited"))
    );
    let (code, said) = altered(
        "trust/policies/providers/simulated-near-ai",
        "receipts = \"required\"",
        "receipts = \"not-offered\"",
    );
    let code_of = &evidence_rung(&said)["code"];
    assert_eq!((code, code_of), (10, &json!("evidence-policy-differs")));
}

#[test]
fn a_session_may_ask_an_upstream_of_every_format() {
    for (format, not_made) in [
        (Format::Dstack, json!([])),
        (Format::Aci, json!(["provider: model", "model-0: gpu"])),
        (
            Format::Tinfoil,
            json!(["provider: model", "model-0: release-provenance"]),
        ),
    ] {
        let world = World::new(&[format]);
        let bundle = world.session();
        assert_eq!(statuses(&bundle), ["complete"], "{bundle:#?}");
        assert_eq!(world.prompts(0), [body(format).into_bytes()]);
        bundle.assert_accepted();
        let (_, said) = bundle.verify();
        let shown = &said["upstreams"][0];
        let open = shown["not_made"].as_array().expect("checks");
        let open: Vec<_> = open.iter().map(|check| &check["check"]).collect();
        assert_eq!(
            (&shown["format"], json!(open)),
            (&json!(format.name()), not_made)
        );
    }
}

#[test]
fn an_answer_that_was_said_in_another_format_is_still_its_machines_word_in_the_bundle() {
    let formats = [Format::Enclave, Format::NearAi, Format::Aci];
    let world = World::new(&formats);
    let bundle = world.asking(&formats.map(messages));
    assert_eq!(statuses(&bundle), ["complete"; 3], "{bundle:#?}");
    for run in bundle.model_runs() {
        assert_eq!(run["request"]["endpoint"], "/v1/messages");
        assert_eq!(run["translated"]["endpoint"], "/v1/chat/completions");
    }
    bundle.assert_accepted();
    let (_, said) = bundle.verify();
    let shown = said["upstreams"].as_array().expect("upstreams");
    let signers: Vec<_> = shown.iter().map(|one| &one["receipt"]).collect();
    assert_eq!(signers, ["model-0"; 3], "{said:#}");
}

#[test]
fn an_answer_whose_receipt_is_about_another_is_withheld_and_its_run_is_in_the_bundle() {
    let world = World::new(&[Format::NearAi]);
    world.providers[0].0.behaves(Conduct::OtherAnswer);
    let bundle = world.session();
    assert_eq!(statuses(&bundle), ["upstream-error"], "{bundle:#?}");
    let run = &bundle.model_runs()[0];
    assert_eq!(
        run["failure"]["code"], "receipt-response-differs",
        "{run:#}"
    );
    assert!(run["response"]["receipt"].is_null());
    bundle.assert_accepted();
}

#[test]
fn evidence_that_binds_another_key_closes_the_route_before_any_prompt_byte_and_the_refusal_is_in_the_bundle()
 {
    for (format, conduct, code) in [
        (Format::NearAi, Conduct::OtherKey, "tls-key-other"),
        (Format::Enclave, Conduct::OtherKey, "tls-key-other"),
        (Format::Enclave, Conduct::OtherProgram, "reference-mismatch"),
    ] {
        let world = World::new(&[format]);
        world.providers[0].0.behaves(conduct);
        let bundle = world.session();
        assert_eq!(world.prompts(0), Vec::<Vec<u8>>::new());
        let runs = bundle.model_runs();
        assert_eq!(statuses(&bundle), ["refused"], "{bundle:#?}");
        assert_eq!(runs[0]["failure"]["code"], code, "{:#}", runs[0]);
        assert!(runs[0]["upstream"].is_null() && runs[0]["request"]["forwarded"].is_null());
        let sent = world.providers[0].1.received();
        let card = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("4485");
        assert!(!sent.is_empty(), "nobody asked for evidence");
        assert!(!sent.iter().any(|one| card(&one.head) || card(&one.body)));
        bundle.assert_accepted();
    }
}
