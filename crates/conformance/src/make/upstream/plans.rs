//! Cases that an honestly signing platform makes: every signature holds, and what is signed is not
//! good enough.

use super::{
    About, Case, DEMO_SEED, Digest, Expect, GOOD_ATTRIBUTES, Measurement, NONCE, Nonce, PRODUCTION,
    Plan, QuoteLayout, Revoked, SIMULATED, SimulatedTee, TOLERANT, TcbAnswer, about,
    bytes::{flip, set, with_quote},
    case, honest, later,
};

const GOOD: &str = "UpToDate";
const ATTRIBUTES: &str = "evidence.md section 5, td-attributes";
const REFERENCE: &str = "evidence.md section 5, reference-values";
const TIME: &str = "evidence.md section 5, collateral-time";
const TCB: &str = "evidence.md section 5, tcb-status";
const ROOT: &str = "evidence.md section 5, pck-chain-root";
const ABOUT: &str = "evidence.md section 5, collateral-signature";
const EXPIRY: &str = "evidence.md section 5, keyset-expiry";
const BINDING: &str = "evidence.md E-6";

/// What a case is, under which policy, how the honest plan is changed, what comes of it.
type Row = (About, &'static str, fn(&mut Plan), Expect);

pub(super) fn cases() -> Vec<Case> {
    let tee = SimulatedTee::from_seed(DEMO_SEED);
    let rows = [
        accepted(),
        attributes(),
        registers(),
        collateral(),
        platform(),
        statements(),
    ];
    let made = |(about, policy, change, expect): Row| {
        let mut plan = honest(&tee);
        change(&mut plan);
        case(&about, policy, Some(NONCE), tee.document(&plan), expect)
    };
    let mut cases: Vec<Case> = rows.into_iter().flatten().map(made).collect();
    cases.extend([archive(&tee), replayed(&tee), another_root()]);
    cases
}

/// Quotes of version 5. They came later: numbers are stable.
pub(super) fn later_cases() -> Vec<Case> {
    let tee = SimulatedTee::from_seed(DEMO_SEED);
    let made = |(about, change, edit, expect): Version5| {
        let mut plan = honest(&tee);
        change(&mut plan);
        let document = with_quote(&tee.document(&plan), edit);
        case(&about, SIMULATED, Some(NONCE), document, expect)
    };
    let mut cases: Vec<Case> = version_5().into_iter().map(made).collect();
    cases.extend(machines().map(|(about, policy, expect)| {
        case(
            &about,
            policy,
            Some(NONCE),
            tee.document(&honest(&tee)),
            expect,
        )
    }));
    cases
}

#[rustfmt::skip]
fn machines() -> [(About, &'static str, Expect); 3] {
    let not = |code| Expect::Reject("tcb-status", code);
    [
        (about("machine-listed", "A machine that the policy lists, of a family that it lists", TCB, ""), "machine-listed", Expect::Accept(GOOD)),
        (about("machine-not-listed", "A policy that lists another machine", TCB, ""), "machine-not-listed", not("ppid-not-listed")),
        (about("family-not-listed", "A policy that lists another family of machines", TCB, ""), "family-not-listed", not("fmspc-not-listed")),
    ]
}

/// What a case is, how the honest plan is changed, what is changed after it was signed, what comes of it.
type Version5 = (About, fn(&mut Plan), fn(&mut Vec<u8>), Expect);

fn td_1_0(plan: &mut Plan) {
    plan.td.layout = QuoteLayout::V5Td10;
}

fn td_1_5(plan: &mut Plan) {
    plan.td.layout = QuoteLayout::V5Td15;
}

fn served(plan: &mut Plan) {
    td_1_5(plan);
    plan.td.mr_service_td = Measurement::from_bytes([7; 48]);
}

/// Behind the header of a version 5 quote: type and size of the body, the body.
const BODY_TYPE: usize = 48;
const BODY_SIZE: usize = 50;
const CURRENT_TCB: usize = 54 + 584;
const SERVICE_TD: usize = CURRENT_TCB + 16;

#[rustfmt::skip]
fn version_5() -> Vec<Version5> {
    const PARSE: &str = "evidence.md section 4";
    const SIGNED: &str = "evidence.md section 5, quote-signature";
    let unread = Expect::Reject("quote-parse", "quote-malformed");
    let unsigned = Expect::Reject("quote-signature", "quote-signature-invalid");
    vec![
        (about("version-5-td-1-0", "A version 5 quote with the body of TDX 1.0", PARSE, "version 5, body type 2"), td_1_0, |_| (), Expect::Accept(GOOD)),
        (about("version-5-td-1-5", "A version 5 quote with the body of TDX 1.5", PARSE, "version 5, body type 3"), td_1_5, |_| (), Expect::Accept(GOOD)),
        (about("version-5-service-td", "A TD that is bound to a service TD", ATTRIBUTES, "MRSERVICETD set"), served, |_| (), Expect::Reject("td-attributes", "td-service-td")),
        (about("version-5-said-to-be-4", "A version 5 quote that says version 4", PARSE, "version 4"), td_1_5, |quote| set(quote, 0, 4), unread),
        (about("version-5-body-unknown", "A body that is not known", PARSE, "body type 4"), td_1_5, |quote| set(quote, BODY_TYPE, 4), unread),
        (about("version-5-body-of-sgx", "The body type of an enclave", PARSE, "body type 1"), td_1_5, |quote| set(quote, BODY_TYPE, 1), unread),
        (about("version-5-body-of-1-0", "A body of TDX 1.5 that says it is one of 1.0", PARSE, "body type 2"), td_1_5, |quote| set(quote, BODY_TYPE, 2), unread),
        (about("version-5-body-size", "A body that says another size than its type has", PARSE, "one byte more"), td_1_0, |quote| flip(quote, BODY_SIZE), unread),
        (about("version-5-current-tcb-flipped", "A bit of the current TCB", SIGNED, "TEETCBSVN2 flipped"), td_1_5, |quote| flip(quote, CURRENT_TCB), unsigned),
        (about("version-5-service-td-flipped", "A service TD that was put in after the quote was signed", SIGNED, "MRSERVICETD flipped"), td_1_5, |quote| flip(quote, SERVICE_TD), unsigned),
    ]
}

fn archive(tee: &SimulatedTee) -> Case {
    let title = "Evidence from an archive cannot show that it was fresh";
    let about = about("archive-audit", title, "evidence.md E-9", "");
    let document = tee.document(&honest(tee));
    case(&about, SIMULATED, None, document, Expect::Incomplete(GOOD))
}

fn replayed(tee: &SimulatedTee) -> Case {
    let title = "An accepted document, replayed in answer to another nonce";
    let about = about(
        "nonce-of-an-earlier-exchange",
        title,
        "evidence.md E-1",
        "asked with another nonce",
    );
    let document = tee.document(&honest(tee));
    let expect = Expect::RejectGood("nonce", "nonce-mismatch", GOOD);
    case(
        &about,
        SIMULATED,
        Some(Nonce::from_random([0x5b; 32])),
        document,
        expect,
    )
}

fn another_root() -> Case {
    let title = "A whole platform under a root that the policy does not name";
    let about = about("root-of-another-vendor", title, ROOT, "another seed");
    let tee = SimulatedTee::from_seed([1; 32]);
    let document = tee.document(&honest(&tee));
    let expect = Expect::Reject("pck-chain-root", "root-not-trusted");
    case(&about, SIMULATED, Some(NONCE), document, expect)
}

#[rustfmt::skip]
fn accepted() -> Vec<Row> {
    let root = Expect::Reject("pck-chain-root", "root-not-trusted");
    vec![
        (about("accepted", "Everything is in order", "evidence.md section 5", ""), SIMULATED, |_| (), Expect::Accept(GOOD)),
        (about("status-tolerated", "A status that the policy tolerates until a later date", TCB, "the vendor says SWHardeningNeeded"), TOLERANT, |plan| plan.tcb = TcbAnswer::SwHardeningNeeded, Expect::Accept("SWHardeningNeeded")),
        (about("production-policy", "The policy for genuine hardware trusts no simulated root", "evidence.md section 6, roots", ""), PRODUCTION, |_| (), root),
    ]
}

#[rustfmt::skip]
fn attributes() -> Vec<Row> {
    let row = |name, title, change, edit: fn(&mut Plan), code| {
        (about(name, title, ATTRIBUTES, change), SIMULATED, edit, Expect::Reject("td-attributes", code))
    };
    vec![
        row("td-debug", "A debug TD", "DEBUG set", |plan| plan.td.attributes |= 1, "td-debug"),
        row("td-profiling", "A TD that its host can profile", "bit 4 set", |plan| plan.td.attributes |= 1 << 4, "td-profiling"),
        row("td-reserved-low", "A reserved attribute bit", "bit 2 set", |plan| plan.td.attributes |= 1 << 2, "td-reserved"),
        row("td-reserved-high", "A reserved attribute bit", "bit 40 set", |plan| plan.td.attributes |= 1 << 40, "td-reserved"),
        row("td-service-td", "A TD on which a service TD can act", "SERVTD_EXT set", |plan| plan.td.attributes |= 1 << 17, "td-service-td"),
        row("td-migratable", "A TD that can be migrated", "MIGRATABLE set", |plan| plan.td.attributes |= 1 << 29, "td-migratable"),
        row("td-sept-ve", "A TD whose host can inject faults on private pages", "SEPT_VE_DISABLE off", |plan| plan.td.attributes &= !GOOD_ATTRIBUTES, "td-sept-ve"),
        row("attribute-not-allowed", "An attribute that the policy does not list", "PERFMON set", |plan| plan.td.attributes |= 1 << 63, "attribute-not-allowed"),
    ]
}

#[rustfmt::skip]
fn registers() -> Vec<Row> {
    let row = |name, title, change, edit: fn(&mut Plan)| {
        (about(name, title, REFERENCE, change), SIMULATED, edit, Expect::RejectGood("reference-values", "reference-mismatch", GOOD))
    };
    let placeholder = Expect::RejectGood("placeholder-registers", "placeholder-register", GOOD);
    vec![
        row("other-mrtd", "Other firmware", "another MRTD", |plan| plan.td.mr_td = measured(1)),
        row("other-mrseam", "Another TDX module", "another MRSEAM", |plan| plan.td.mr_seam = measured(1)),
        row("other-rtmr0", "Other firmware configuration", "another RTMR0", |plan| register(plan, 0, measured(1))),
        row("other-rtmr1", "Another kernel", "another RTMR1", |plan| register(plan, 1, measured(1))),
        row("other-rtmr2", "Another command line", "another RTMR2", |plan| register(plan, 2, measured(1))),
        row("mrtd-zero", "A register that nothing was measured into", "MRTD all zero", |plan| plan.td.mr_td = repeated(0)),
        row("rtmr1-repeats-a-byte", "A register as published examples have it", "RTMR1 repeats 0xaa", |plan| register(plan, 1, repeated(0xaa))),
        (about("rtmr3-not-compared", "A register that the policy does not compare", REFERENCE, "another RTMR3"), SIMULATED, |plan| register(plan, 3, measured(1)), Expect::Accept(GOOD)),
        (about("rtmr3-repeats-a-byte", "A placeholder in a register that is not compared", "evidence.md section 5, placeholder-registers", "RTMR3 repeats 0xaa"), SIMULATED, |plan| register(plan, 3, repeated(0xaa)), placeholder),
    ]
}

#[rustfmt::skip]
fn collateral() -> Vec<Row> {
    let time = |name, title, change, edit: fn(&mut Plan), code| {
        (about(name, title, TIME, change), SIMULATED, edit, Expect::Reject("collateral-time", code))
    };
    let revoked = |name, title, edit: fn(&mut Plan)| {
        (about(name, title, ROOT, "revoked"), SIMULATED, edit, Expect::Reject("pck-chain-root", "certificate-revoked"))
    };
    let foreign = |name, title, change, edit: fn(&mut Plan), code| {
        (about(name, title, ABOUT, change), SIMULATED, edit, Expect::Reject("collateral-signature", code))
    };
    vec![
        time("collateral-early", "Collateral from the future", "issued a second later", |plan| plan.collateral_from = later(1), "collateral-not-yet-valid"),
        time("collateral-late", "TCB info and QE identity that have expired", "expired a second ago", |plan| plan.collateral_until = later(-1), "collateral-expired"),
        time("crl-late", "Revocation lists that have expired", "expired a second ago", |plan| plan.revocation_until = later(-1), "crl-expired"),
        revoked("revoked-pck", "A revoked PCK certificate", |plan| plan.revoked = Revoked::Pck),
        revoked("revoked-platform-ca", "A revoked platform CA", |plan| plan.revoked = Revoked::PlatformCa),
        revoked("revoked-tcb-signer", "A revoked signer of TCB info", |plan| plan.revoked = Revoked::TcbSigner),
        foreign("fmspc-swapped", "TCB info of another platform family", "another FMSPC in the TCB info", |plan| plan.tcb_fmspc = [9; 6], "fmspc-mismatch"),
        foreign("pceid-swapped", "TCB info of another provisioning enclave", "another PCEID in the TCB info", |plan| plan.tcb_pce_id = "0001", "pce-id-mismatch"),
        foreign("qe-identity-of-sgx", "The QE identity of the other kind", "an SGX QE identity", |plan| plan.qe_identity = "QE", "qe-identity-kind"),
    ]
}

#[rustfmt::skip]
fn platform() -> Vec<Row> {
    let row = |name, title, policy, edit: fn(&mut Plan), code| {
        (about(name, title, TCB, "the vendor's TCB info or the policy"), policy, edit, Expect::Reject("tcb-status", code))
    };
    vec![
        row("status-hardening", "A status that a strict policy refuses", SIMULATED, |plan| plan.tcb = TcbAnswer::SwHardeningNeeded, "tcb-status-refused"),
        row("status-out-of-date", "An out-of-date platform under a strict policy", SIMULATED, |plan| plan.tcb = TcbAnswer::OutOfDate, "tcb-status-refused"),
        row("status-out-of-date-lax", "An out-of-date platform under a policy that tolerates another status", TOLERANT, |plan| plan.tcb = TcbAnswer::OutOfDate, "tcb-status-refused"),
        row("status-revoked", "A revoked TCB, which no policy can accept", SIMULATED, |plan| plan.tcb = TcbAnswer::Revoked, "tcb-revoked"),
        row("no-tcb-level", "A platform below every level that the vendor lists", SIMULATED, |plan| plan.tcb = TcbAnswer::NoMatch, "no-tcb-level"),
        row("tolerance-ended", "A status that the policy tolerated until an earlier date", "tolerance-ended", |plan| plan.tcb = TcbAnswer::SwHardeningNeeded, "tolerance-ended"),
        row("advisory-refused", "A tolerated status with an advisory that the policy refuses", "refuses-advisory", |plan| plan.tcb = TcbAnswer::SwHardeningNeeded, "advisory-refused"),
        row("evaluation-too-old", "Collateral from before the evaluation that the policy demands", "later-evaluation", |_| (), "evaluation-too-old"),
    ]
}

#[rustfmt::skip]
fn statements() -> Vec<Row> {
    let row = |name, title, clause, change, edit: fn(&mut Plan), (check, code)| {
        (about(name, title, clause, change), SIMULATED, edit, Expect::RejectGood(check, code, GOOD))
    };
    let unbound = ("report-data-binding", "report-data-mismatch");
    vec![
        row("purpose-of-another-protocol", "A statement of another protocol", "evidence.md E-5", "purpose `aci.keyset.v1`", |plan| plan.statement.purpose = "aci.keyset.v1".into(), ("statement-parse", "statement-purpose")),
        row("nonce-swapped", "A statement that answers somebody else's nonce", "evidence.md E-1", "another nonce in the statement", |plan| plan.statement.nonce = Nonce::from_random([1; 32]), ("nonce", "nonce-mismatch")),
        row("statement-expired", "A statement by which nobody stands any more", EXPIRY, "not_after now", |plan| plan.statement.not_after = later(0), ("keyset-expiry", "keyset-expired")),
        row("statement-for-too-long", "A statement that promises more than the policy allows", EXPIRY, "not_after a day and a second from now", |plan| plan.statement.not_after = later(86_401), ("keyset-expiry", "keyset-lifetime")),
        row("report-data-of-something-else", "A quote that binds something else", BINDING, "report data all 7", |plan| plan.report_data = Some([7; 64]), unbound),
        row("report-data-zero", "A quote that binds nothing", BINDING, "report data all zero", |plan| plan.report_data = Some([0; 64]), unbound),
        row("tls-key-of-a-relay", "The statement names the TLS key of a relay, which the quote does not bind", BINDING, "another key in the statement than in the quote", relay, unbound),
        (about("model-not-allowed", "A model that the policy does not allow", "evidence.md section 5, model", ""), "other-model", |_| (), Expect::RejectGood("model", "model-not-allowed", GOOD)),
    ]
}

/// Binds the honest statement in the quote, and puts the relay's key into the document's.
fn relay(plan: &mut Plan) {
    let honest = plan.statement.to_bytes().unwrap_or_default();
    let bound = proofroom_evidence::ReportData::of_statement(&honest);
    plan.report_data = Some(*bound.as_bytes());
    plan.statement.tls_spki_sha256 = Digest::of("the relay's key");
}

fn register(plan: &mut Plan, index: usize, value: Measurement) {
    if let Some(register) = plan.td.rtmr.get_mut(index) {
        *register = value;
    }
}

fn measured(byte: u8) -> Measurement {
    let mut bytes = [byte; 48];
    let [first, ..] = &mut bytes;
    *first = 0xff;
    Measurement::from_bytes(bytes)
}

const fn repeated(byte: u8) -> Measurement {
    Measurement::from_bytes([byte; 48])
}
