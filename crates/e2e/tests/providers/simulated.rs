//! Simulated providers behind TLS, each proving itself in its own format: shared by the tests of the standalone gateway
//! and of sessions.

#![allow(dead_code, reason = "each of the tests uses a part of it")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use proofroom_canonical::{Digest, Nonce};
use proofroom_clock::wall;
use proofroom_e2e::{
    program,
    server::{Received, Reply, Server},
};
use proofroom_testkit::{
    enclave,
    provider::{self, MODEL, ProviderKey, SimulatedProvider, aci, receipt, tinfoil},
    tls::TlsIdentity,
};
use serde_json::{Value, json};

/// What a provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Honest,
    /// Another program runs in its machine.
    OtherProgram,
    /// Its evidence binds another TLS key than its connection has.
    OtherKey,
    /// Its receipts are about another answer.
    OtherAnswer,
}

/// How a provider proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    NearAi,
    Dstack,
    Aci,
    Enclave,
    Tinfoil,
}

impl Format {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NearAi => "near-ai",
            Self::Dstack => "dstack",
            Self::Aci => "aci",
            Self::Enclave => "proofroom-enclave",
            Self::Tinfoil => "tinfoil",
        }
    }

    /// The model that it serves.
    pub(crate) const fn model(self) -> &'static str {
        match self {
            Self::NearAi | Self::Dstack | Self::Aci | Self::Tinfoil => MODEL,
            Self::Enclave => "simulated/enclave",
        }
    }

    fn policy(self) -> String {
        match self {
            Self::NearAi | Self::Dstack => provider::policy(self.name()),
            Self::Aci => aci::policy("direct"),
            Self::Enclave => {
                enclave::policy(enclave::weights(), enclave::image()).replace(MODEL, self.model())
            }
            Self::Tinfoil => tinfoil::policy("direct"),
        }
    }

    /// Where reports are, and where receipts; Tinfoil signs no answers.
    const fn paths(self) -> (&'static str, &'static str) {
        match self {
            Self::NearAi | Self::Dstack => ("/v1/attestation/report?", "/v1/signature/"),
            Self::Aci => ("/v1/aci/attestation?", "/v1/aci/receipts/"),
            Self::Enclave => (
                proofroom_serving::REPORT_PATH,
                proofroom_serving::RECEIPT_PATH,
            ),
            Self::Tinfoil => ("/.well-known/tinfoil-attestation?", "/none/"),
        }
    }
}

/// A simulated provider, and the server that it is behind.
pub(crate) struct Provider {
    pub(crate) format: Format,
    pub(crate) spki: Digest,
    simulated: SimulatedProvider,
    conduct: Mutex<Conduct>,
    /// What it was sent last, and the challenge for its receipt.
    request: Mutex<(Vec<u8>, String)>,
    plan: Mutex<Option<aci::AciPlan>>,
}

impl Provider {
    /// Starts one.
    pub(crate) fn start(format: Format) -> (Arc<Self>, Server) {
        let identity = TlsIdentity::self_signed();
        let provider = Arc::new(Self {
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
        (provider, server)
    }

    pub(crate) fn behaves(&self, conduct: Conduct) {
        *self.conduct.lock().expect("no panic") = conduct;
    }

    fn conduct(&self) -> Conduct {
        *self.conduct.lock().expect("no panic")
    }

    /// What it answers to every prompt.
    pub(crate) fn text(&self) -> String {
        let message = json!({"role": "assistant", "content": "hello"});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
        let model = self.format.model();
        json!({"id": "x", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage})
            .to_string()
    }

    fn answer(&self, request: &Received) -> Reply {
        let (reports, receipts) = self.format.paths();
        let target = &request.target;
        if let Some(query) = target.strip_prefix(reports) {
            // nothing of ours goes to whom nobody has verified
            assert_eq!(request.header("authorization"), "");
            let nonce = query
                .split(['?', '&'])
                .find_map(|part| part.strip_prefix("nonce="));
            let nonce = nonce.expect("a nonce").parse().expect("a nonce");
            return Reply::json(200, self.report(nonce));
        }
        if target.starts_with(receipts) {
            return Reply::json(200, self.receipt());
        }
        assert_eq!(target, "/v1/chat/completions");
        let challenge = request.header(proofroom_serving::RECEIPT_HEADER);
        *self.request.lock().expect("no panic") = (request.body.clone(), challenge.to_owned());
        Reply::json(200, self.text()).with("x-receipt-id", "rcpt-1")
    }

    fn report(&self, nonce: Nonce) -> Vec<u8> {
        let other_program = self.conduct() == Conduct::OtherProgram;
        let spki = match self.conduct() {
            Conduct::OtherKey => Digest::of("another key"),
            Conduct::Honest | Conduct::OtherProgram | Conduct::OtherAnswer => self.spki,
        };
        let now = wall();
        match self.format {
            Format::Aci => {
                let mut plan = aci::plan(nonce, spki, now);
                if other_program {
                    plan.machine.td.mr_td = plan.machine.td.mr_seam;
                }
                let report = aci::report(&plan);
                *self.plan.lock().expect("no panic") = Some(plan);
                report
            }
            Format::Enclave => {
                let mut plan = enclave::plan(nonce, spki, now);
                plan.statement.model = self.format.model().to_owned();
                if other_program {
                    plan.td.mr_td = plan.td.mr_seam;
                }
                enclave::report(&plan)
            }
            Format::Tinfoil => {
                let mut plan = tinfoil::plan(nonce, spki, now);
                if other_program {
                    plan.snp.report.vmpl = 1;
                }
                tinfoil::report(&plan)
            }
            Format::NearAi | Format::Dstack => {
                let mut plan = match self.format {
                    Format::NearAi => self.simulated.plan(nonce, spki, now),
                    _ => self.simulated.dstack_plan(nonce, spki, now),
                };
                if other_program {
                    plan.models[0].td.mr_td = plan.models[0].td.mr_seam;
                }
                self.simulated.report(&plan)
            }
        }
    }

    fn receipt(&self) -> String {
        let (sent, challenge) = self.request.lock().expect("no panic").clone();
        let request = Digest::of(&*sent);
        let answer = match self.conduct() {
            Conduct::OtherAnswer => "another".to_owned(),
            Conduct::Honest | Conduct::OtherProgram | Conduct::OtherKey => self.text(),
        };
        match self.format {
            Format::Aci => {
                let plan = self.plan.lock().expect("no panic");
                let plan = plan.as_ref().expect("a report before a receipt");
                let receipt = aci::receipt(plan, &aci::events(request, Digest::of(answer)), wall());
                aci::signed(&aci::receipt_key(), receipt).to_string()
            }
            Format::Enclave => {
                let challenge = challenge.parse().expect("a challenge");
                let mut text = enclave::receipt_text(challenge, request, answer.as_bytes());
                text.model = self.format.model().to_owned();
                let receipt = enclave::receipt(&enclave::receipt_key(), &text);
                String::from_utf8(receipt.to_bytes().expect("JSON")).expect("text")
            }
            Format::Tinfoil => unreachable!("nobody asks for its receipts"),
            Format::NearAi | Format::Dstack => {
                let key = ProviderKey::ethereum("model");
                let receipt: Value = receipt(&key, Some(MODEL), request, Digest::of(answer));
                receipt.to_string()
            }
        }
    }
}

/// Policies and upstreams of the tier `tee` for these providers, each at its address, in `policy`; what Intel says of
/// their platforms in `collateral`.
pub(crate) fn write_policies(policy: &Path, collateral: &Path, providers: &[(Format, &str)]) {
    let mut upstreams = String::new();
    for (format, address) in providers {
        let (name, model) = (format.name(), format.model());
        upstreams += &format!(
            "[[upstream]]\nname = \"{name}\"\ntier = \"tee\"\nbase_url = \"https://{address}\"\napis = [\"chat\"]\n\
             models = [\"{model}\"]\nregion = \"eu\"\nsource = \"cassette\"\nkey = {{ from = \"none\" }}\n\
             retention = {{ mode = \"in-memory\" }}\n\
             attestation = {{ kind = \"{name}\", provider_policy = \"simulated-{name}.toml\" }}\n\n"
        );
        let file = policy.join(format!("simulated-{name}.toml"));
        fs::write(file, format.policy()).expect("written");
    }
    fs::write(policy.join("upstreams.toml"), upstreams).expect("written");
    for (file, text) in tinfoil::policies() {
        fs::write(policy.join(file), text).expect("written");
    }
    let made = std::process::Command::new(program("proofroom-simulated-collateral"))
        .arg(collateral)
        .status();
    assert!(made.expect("runs").success());
}
