//! Providers that prove themselves in their own formats, through the standalone gateway as a process and at the time that it
//! is: a prompt goes to one whose evidence was accepted, its answer counts with its receipt, and the run's record has both.

use std::{
    fs,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use proofroom_canonical::{Digest, Nonce};
use proofroom_clock::wall;
use proofroom_e2e::{
    Deployment,
    gateway::{Answer, GatewayFiles, RunningGateway, chat_body},
    program,
    server::{Received, Reply, Server},
};
use proofroom_testkit::{
    provider::{self, MODEL, ProviderKey, SimulatedProvider, aci, receipt},
    tls::TlsIdentity,
};
use serde_json::{Value, json};

/// What a provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Honest,
    /// Another program runs in its machine.
    OtherProgram,
    /// Its receipts are about another answer.
    OtherAnswer,
}

/// How a provider proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    NearAi,
    Dstack,
    Aci,
}

/// A simulated provider, behind TLS.
struct Provider {
    format: Format,
    spki: Digest,
    simulated: SimulatedProvider,
    conduct: Mutex<Conduct>,
    /// What it was sent last.
    request: Mutex<Vec<u8>>,
    plan: Mutex<Option<aci::AciPlan>>,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::NearAi => "near-ai",
            Self::Dstack => "dstack",
            Self::Aci => "aci",
        }
    }

    fn policy(self) -> String {
        match self {
            Self::NearAi | Self::Dstack => provider::policy(self.name()),
            Self::Aci => aci::policy("direct"),
        }
    }

    /// Where reports are, and where receipts.
    const fn paths(self) -> (&'static str, &'static str) {
        match self {
            Self::NearAi | Self::Dstack => ("/v1/attestation/report?", "/v1/signature/"),
            Self::Aci => ("/v1/aci/attestation?", "/v1/aci/receipts/"),
        }
    }
}

impl Provider {
    fn answer(&self, request: &Received) -> Reply {
        let (reports, receipts) = self.format.paths();
        let target = &request.target;
        if let Some(query) = target.strip_prefix(reports) {
            // nothing of ours goes to whom nobody has verified
            assert_eq!(request.header("authorization"), "");
            let nonce = query
                .split('&')
                .find_map(|part| part.strip_prefix("nonce="));
            let nonce = nonce.expect("a nonce").parse().expect("a nonce");
            return Reply::json(200, self.report(nonce));
        }
        if target.starts_with(receipts) {
            return Reply::json(200, self.receipt().to_string());
        }
        assert_eq!(target, "/v1/chat/completions");
        self.request
            .lock()
            .expect("no panic")
            .clone_from(&request.body);
        Reply::json(200, answer()).with("x-receipt-id", "rcpt-1")
    }

    fn report(&self, nonce: Nonce) -> Vec<u8> {
        let honest = *self.conduct.lock().expect("no panic") != Conduct::OtherProgram;
        let now = wall();
        if self.format == Format::Aci {
            let mut plan = aci::plan(nonce, self.spki, now);
            if !honest {
                plan.machine.td.mr_td = plan.machine.td.mr_seam;
            }
            let report = aci::report(&plan);
            *self.plan.lock().expect("no panic") = Some(plan);
            return report;
        }
        let mut plan = match self.format {
            Format::NearAi => self.simulated.plan(nonce, self.spki, now),
            _ => self.simulated.dstack_plan(nonce, self.spki, now),
        };
        if !honest {
            plan.models[0].td.mr_td = plan.models[0].td.mr_seam;
        }
        self.simulated.report(&plan)
    }

    fn receipt(&self) -> Value {
        let request = Digest::of(&*self.request.lock().expect("no panic"));
        let about = match *self.conduct.lock().expect("no panic") {
            Conduct::OtherAnswer => Digest::of("another"),
            Conduct::Honest | Conduct::OtherProgram => Digest::of(answer()),
        };
        if self.format == Format::Aci {
            let plan = self.plan.lock().expect("no panic");
            let plan = plan.as_ref().expect("a report before a receipt");
            let receipt = aci::receipt(plan, &aci::events(request, about), wall());
            return aci::signed(&aci::receipt_key(), receipt);
        }
        receipt(&ProviderKey::ethereum("model"), Some(MODEL), request, about)
    }
}

fn answer() -> String {
    let message = json!({"role": "assistant", "content": "hello"});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
    json!({"id": "x", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage})
        .to_string()
}

/// A gateway whose tier `tee` is one provider.
struct World {
    provider: Arc<Provider>,
    server: Server,
    files: GatewayFiles,
    key: String,
    _deployment: Deployment,
}

impl World {
    fn new(format: Format) -> Self {
        let identity = TlsIdentity::self_signed();
        let provider = Arc::new(Provider {
            format,
            spki: identity.spki,
            simulated: SimulatedProvider::demo(),
            conduct: Mutex::new(Conduct::Honest),
            request: Mutex::default(),
            plan: Mutex::default(),
        });
        let answers = Arc::clone(&provider);
        let server = Server::start(Some(identity.config), move |request| {
            answers.answer(request)
        });
        let deployment = Deployment::empty();
        write_policies(&deployment, format, &server.address);
        let files = GatewayFiles::new(&deployment, "collateral = \"../collateral\"");
        Self {
            key: files.key(&[]),
            provider,
            server,
            files,
            _deployment: deployment,
        }
    }

    fn behaves(&self, conduct: Conduct) {
        *self.provider.conduct.lock().expect("no panic") = conduct;
    }

    fn chat(&self, gateway: &RunningGateway) -> Answer {
        gateway.ask("POST", "/v1/chat/completions", &self.key, &body())
    }

    /// How many prompts it was sent.
    fn prompts(&self) -> usize {
        self.server.asked("/v1/chat/completions").len()
    }
}

/// Restricted, so that the tier `tee` alone may have it.
fn body() -> String {
    let text = "The card is 4485 2757 4230 8327, keep it.";
    chat_body(text, false).replace("cassette-standard", MODEL)
}

fn write_policies(deployment: &Deployment, format: Format, address: &str) {
    let policy = deployment.policy();
    let name = format.name();
    let upstream = format!(
        "[[upstream]]\nname = \"provider\"\ntier = \"tee\"\nbase_url = \"https://{address}\"\napis = [\"chat\"]\n\
         models = [\"{MODEL}\"]\nregion = \"eu\"\nsource = \"cassette\"\nkey = {{ from = \"none\" }}\n\
         retention = {{ mode = \"in-memory\" }}\n\
         attestation = {{ kind = \"{name}\", provider_policy = \"simulated.toml\" }}\n"
    );
    fs::write(policy.join("upstreams.toml"), upstream).expect("written");
    fs::write(policy.join("simulated.toml"), format.policy()).expect("written");
    for (file, text) in provider::policies() {
        fs::write(policy.join(file), text).expect("written");
    }
    let made = Command::new(program("proofroom-simulated-collateral"))
        .arg(deployment.path().join("collateral"))
        .status();
    assert!(made.expect("runs").success());
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
}

/// The checks of the evidence that a run's record has, which were not passed.
fn open_checks(run: &Value) -> Vec<(&str, &str)> {
    let checks = run["upstream"]["assurance"]["provider"]["checks"].as_array();
    let open = checks.expect("checks").iter().filter_map(|check| {
        let outcome = check["outcome"].as_str()?;
        (outcome != "pass").then_some((check["check"].as_str()?, outcome))
    });
    open.collect()
}

fn goes_through_the_gateway(format: Format, open: &[(&str, &str)]) {
    let world = World::new(format);
    // the server verifies ahead, so that what is wrong at its start is wrong for the first request too
    world.behaves(Conduct::OtherProgram);
    let gateway = world.files.start();
    refused(&world.chat(&gateway), 503, "reference-mismatch");
    assert_eq!(
        world.prompts(),
        0,
        "a prompt went to a machine that nobody knows"
    );
    // another attempt is made after a pause
    world.behaves(Conduct::Honest);
    let until = Instant::now() + Duration::from_secs(60);
    let accepted = loop {
        let answer = world.chat(&gateway);
        if answer.status == 200 {
            break answer;
        }
        refused(&answer, 503, "reference-mismatch");
        assert!(Instant::now() < until, "{answer:?}");
        std::thread::sleep(Duration::from_millis(500));
    };
    assert_eq!(accepted.body, answer().into_bytes());
    let number: usize = accepted.headers["x-proofroom-sequence"]
        .parse()
        .expect("a number");
    // what was accepted is kept whole
    let run = &world.files.runs()[number];
    let evidence = run["upstream"]["assurance"]["evidence"]
        .as_str()
        .expect("a digest");
    let document = gateway.ask("GET", &format!("/v1/evidence/{evidence}"), &world.key, "");
    assert_eq!(Digest::of(&document.body).to_string(), evidence);
    // a receipt over another answer: the answer is withheld, and the way closes
    world.behaves(Conduct::OtherAnswer);
    refused(&world.chat(&gateway), 502, "receipt-response-differs");
    let sent = world.prompts();
    refused(&world.chat(&gateway), 503, "receipt-response-differs");
    assert_eq!((sent, world.prompts()), (2, 2));
    assert!(gateway.stop().success());
    let runs = world.files.runs();
    let accepted = &runs[number];
    assert_eq!(open_checks(accepted), open, "{accepted}");
    let (request, upstream) = (&accepted["request"], &accepted["upstream"]);
    assert_eq!(upstream["assurance"]["provider"]["format"], format.name());
    assert_eq!(
        upstream["assurance"]["tls_spki"],
        world.provider.spki.to_string()
    );
    assert_eq!(request["forwarded"], Digest::of(body()).to_string());
    let receipt = &accepted["response"]["receipt"];
    assert_eq!(receipt["signer"], "model-0");
    let text = receipt["text"].as_str().expect("a receipt");
    for digest in [Digest::of(body()), Digest::of(answer())] {
        assert!(text.contains(&digest.to_hex()), "{text}");
    }
    let (withheld, closed) = (&runs[number + 1], &runs[number + 2]);
    for (run, status) in [
        (&runs[0], "refused"),
        (withheld, "upstream-error"),
        (closed, "refused"),
    ] {
        assert_eq!(run["status"], status, "{run}");
        assert_eq!(run["response"]["receipt"], Value::Null);
    }
    assert_eq!(runs[0]["request"]["forwarded"], Value::Null);
}

#[test]
fn near_ai_gets_a_prompt_after_its_evidence_and_its_answer_counts_with_its_receipt() {
    goes_through_the_gateway(Format::NearAi, &[]);
}

#[test]
fn dstack_gets_a_prompt_after_its_evidence_and_its_answer_counts_with_its_receipt() {
    goes_through_the_gateway(Format::Dstack, &[]);
}

#[test]
fn an_aci_service_gets_a_prompt_after_its_evidence_and_its_answer_counts_with_its_receipt() {
    let open = [
        ("provider: model", "not-evaluated"),
        ("model-0: gpu", "not-evaluated"),
    ];
    goes_through_the_gateway(Format::Aci, &open);
}
