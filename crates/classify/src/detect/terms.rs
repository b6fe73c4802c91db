//! Clinical terms, and whether any of them is near.

use std::{cmp::Reverse, sync::LazyLock};

/// Terms by their first two bytes, so that most words are passed over without a look at any term: an automaton of them is
/// too large for the nearest cache, and a text that is met for the first time asks once.
pub(super) struct Beginnings {
    /// Per bucket where its terms begin in `terms`, and one more.
    begins: Vec<u16>,
    /// The same as bits, by the first byte and then the second: small enough to stay near.
    known: [u32; 32],
    /// Per bucket the third bytes of its terms, as bits: of the places that the first two announce most end here, without
    /// a look at a term.
    thirds: Vec<u32>,
    /// Of a bucket the longest first.
    terms: Vec<Term>,
}

struct Term {
    text: &'static [u8],
    /// Its place in the list.
    index: usize,
}

impl Beginnings {
    /// Those of what is more than a setting.
    pub(super) fn of_strong() -> &'static Self {
        static BEGINNINGS: LazyLock<Beginnings> = LazyLock::new(|| Beginnings::of(STRONG.iter()));
        &BEGINNINGS
    }

    /// Those of all terms, [`STRONG`] before [`WEAK`].
    pub(super) fn of_all() -> &'static Self {
        static BEGINNINGS: LazyLock<Beginnings> =
            LazyLock::new(|| Beginnings::of(STRONG.iter().chain(WEAK)));
        &BEGINNINGS
    }

    fn of<'a>(words: impl Iterator<Item = &'a &'static str>) -> Self {
        let term = |(index, word): (usize, &&'static str)| Term {
            text: word.as_bytes(),
            index,
        };
        let mut terms: Vec<Term> = words.enumerate().map(term).collect();
        let bucket = |term: &Term| term.text.first_chunk().map_or(0, |two| bucket(*two));
        terms.sort_by_key(|term| (bucket(term), Reverse(term.text.len()), term.index));
        let begin = |place| terms.partition_point(|term| bucket(term) < place);
        let begins = (0..=BUCKETS).map(begin);
        let mut known = [0; 32];
        for [first, second] in terms.iter().filter_map(|term| term.text.first_chunk()) {
            if let Some(seconds) = known.get_mut(usize::from(first & 31)) {
                *seconds |= 1_u32 << (second & 31);
            }
        }
        let mut thirds = vec![0; BUCKETS];
        for [first, second, third] in terms.iter().filter_map(|term| term.text.first_chunk()) {
            if let Some(thirds) = thirds.get_mut(self::bucket([*first, *second])) {
                *thirds |= 1_u32 << (third & 31);
            }
        }
        Self {
            thirds,
            begins: begins
                .map(|at| u16::try_from(at).unwrap_or(u16::MAX))
                .collect(),
            known,
            terms,
        }
    }

    /// Whether a word of `text` begins with a term, in any letter case. No part of a word counts but its
    /// beginning, as where terms are counted.
    pub(super) fn any_in(&self, text: &[u8]) -> bool {
        let mut begins = true;
        let mut pairs = text.windows(2).zip(0..);
        pairs.any(|(pair, at)| {
            let Some(two) = pair.first_chunk() else {
                return false;
            };
            let may_be = begins & self.is_known(*two);
            let [first, _] = two;
            begins = !first.is_ascii_alphabetic();
            may_be && self.longest_at(text, at, *two).is_some()
        })
    }

    /// Calls `found` with each term of `text` by its place in the list and where it begins, in any letter case,
    /// within words too: the leftmost, of several the longest, then the next behind it.
    pub(super) fn each_in(&self, text: &[u8], found: &mut dyn FnMut(usize, usize)) {
        let mut at = 0;
        while let Some(two) = text.get(at..).and_then(<[u8]>::first_chunk) {
            let known = self.is_known(*two);
            match known.then(|| self.longest_at(text, at, *two)).flatten() {
                Some(term) => {
                    found(term.index, at);
                    at += term.text.len();
                }
                None => at += 1,
            }
        }
    }

    fn is_known(&self, [first, second]: [u8; 2]) -> bool {
        let seconds = self.known.get(usize::from(first & 31));
        seconds.is_some_and(|seconds| seconds >> (second & 31) & 1 == 1)
    }

    fn longest_at(&self, text: &[u8], at: usize, two: [u8; 2]) -> Option<&Term> {
        let bound = |place: usize| self.begins.get(place).map_or(0, |at| usize::from(*at));
        let place = bucket(two);
        // no term is shorter
        let third = text.get(at + two.len())?;
        (self.thirds.get(place)? >> (third & 31) & 1 == 1).then_some(())?;
        let terms = self.terms.get(bound(place)..bound(place + 1));
        terms.into_iter().flatten().find(|term| {
            let word = text.get(at..at + term.text.len());
            word.is_some_and(|word| word.eq_ignore_ascii_case(term.text))
        })
    }
}

/// The same for both cases of a letter.
fn bucket([first, second]: [u8; 2]) -> usize {
    usize::from(first & 31) * 32 + usize::from(second & 31)
}

const BUCKETS: usize = 32 * 32;

/// Conditions, findings, drugs and their stems.
pub(super) const STRONG: &[&str] = &[
    "diabet",
    "hypertens",
    "hypotens",
    "asthma",
    "copd",
    "pneumonia",
    "cancer",
    "carcinoma",
    "lymphoma",
    "leukemia",
    "leukaemia",
    "melanoma",
    "neoplasm",
    "tumor",
    "tumour",
    "metasta",
    "hiv",
    "aids",
    "hepatitis",
    "cirrhosis",
    "tubercul",
    "epilep",
    "seizure",
    "depress",
    "anxiety",
    "bipolar",
    "schizo",
    "psychosis",
    "suicid",
    "ptsd",
    "adhd",
    "autis",
    "dementia",
    "alzheimer",
    "parkinson",
    "stroke",
    "infarct",
    "myocardial",
    "angina",
    "fibrillation",
    "arrhythm",
    "heart failure",
    "coronary",
    "embol",
    "thrombo",
    "anemia",
    "anaemia",
    "sepsis",
    "kidney disease",
    "renal",
    "dialysis",
    "crohn",
    "colitis",
    "reflux",
    "gastritis",
    "ulcer",
    "pancreatitis",
    "migraine",
    "arthritis",
    "lupus",
    "psoriasis",
    "eczema",
    "fracture",
    "pregnan",
    "miscarriage",
    "preeclampsia",
    "chlamydia",
    "syphilis",
    "gonorrh",
    "herpes",
    "covid",
    "influenza",
    "obesity",
    "hyperlipid",
    "cholesterol",
    "hypothyroid",
    "hyperthyroid",
    "osteopor",
    "multiple sclerosis",
    "opioid use",
    "substance use",
    "alcohol use",
    "withdrawal",
    "overdose",
    "nodule",
    "lesion",
    "effusion",
    "biopsy",
    "mri ",
    "ct chest",
    "ct head",
    "x-ray",
    "ultrasound",
    "mammogram",
    "echocardiogram",
    "ecg",
    "ekg",
    "hba1c",
    "a1c",
    "hgb",
    "hemoglobin",
    "creatinine",
    "cd4",
    "viral load",
    "copies/ml",
    "mg/dl",
    "mmol/l",
    "spo2",
    "systolic",
    "bmi",
    "metformin",
    "insulin",
    "lisinopril",
    "amlodipine",
    "atorvastatin",
    "simvastatin",
    "rosuvastatin",
    "metoprolol",
    "losartan",
    "hydrochlorothiazide",
    "furosemide",
    "warfarin",
    "apixaban",
    "rivaroxaban",
    "clopidogrel",
    "aspirin",
    "prednisone",
    "albuterol",
    "fluticasone",
    "montelukast",
    "levothyroxine",
    "omeprazole",
    "pantoprazole",
    "sertraline",
    "fluoxetine",
    "escitalopram",
    "citalopram",
    "bupropion",
    "venlafaxine",
    "duloxetine",
    "lithium carbonate",
    "quetiapine",
    "olanzapine",
    "risperidone",
    "aripiprazole",
    "clozapine",
    "lamotrigine",
    "levetiracetam",
    "valpro",
    "carbamazepine",
    "gabapentin",
    "pregabalin",
    "methadone",
    "buprenorphine",
    "naloxone",
    "naltrexone",
    "oxycodone",
    "hydrocodone",
    "morphine",
    "fentanyl",
    "tramadol",
    "ibuprofen",
    "acetaminophen",
    "amoxicillin",
    "azithromycin",
    "doxycycline",
    "ciprofloxacin",
    "bictegravir",
    "emtricitabine",
    "tenofovir",
    "dolutegravir",
    "truvada",
    "tamoxifen",
    "letrozole",
    "methotrexate",
    "adalimumab",
    "infliximab",
    "semaglutide",
    "chemotherapy",
    "radiotherapy",
    "immunotherapy",
    "mastectomy",
    "appendectomy",
    "transplant",
    "amputat",
    "mg bid",
    "mg daily",
    "mg qhs",
    "mg tid",
    "mg po",
    "mg sl",
    "icd-10",
    "icd10",
    "dx=",
    "primary_dx",
    "chest pain",
    "shortness of breath",
    "dyspnea",
    "dyspnoea",
    "nausea",
    "fatigue",
    "fever",
    "disorder",
    "syndrome",
    "back pain",
    "abdominal pain",
    "rash",
    "edema",
    "allerg",
    "fibromyalgia",
    "neuropathy",
    "glaucoma",
    "cataract",
];

/// Words of the setting.
pub(super) const WEAK: &[&str] = &[
    "diagnos",
    "prognos",
    "symptom",
    "medication",
    "prescri",
    "treatment",
    "therapy",
    "treated",
    "admitted",
    "discharge",
    "follow-up",
    "outpatient",
    "inpatient",
    "clinic",
    "hospital",
    "icu",
    "surgery",
    "ordering provider",
    "npi",
    "progress note",
    "history of",
    "hx of",
    "presents",
    "denies",
    "claim",
    "impression:",
    "findings:",
    "indication:",
    "lab result",
    "labs:",
    "bp ",
    "hr ",
    "rtc ",
    "physician",
    "nurse",
    "md ",
    "detected",
    "positive",
    "chart",
    "dose",
    "tablet",
    "provider",
    "prior_auth",
    "denied",
];

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aho_corasick::{AhoCorasick, MatchKind};
    use proptest::prelude::*;

    use super::{Beginnings, STRONG, WEAK};

    static ORACLE: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let builder = &mut AhoCorasick::builder();
        builder.ascii_case_insensitive(true).build(STRONG).unwrap()
    });

    fn by_the_library(text: &str) -> bool {
        let inside = |at: usize| text.as_bytes()[at].is_ascii_alphabetic();
        let mut found = ORACLE.find_overlapping_iter(text);
        found.any(|term| !term.start().checked_sub(1).is_some_and(inside))
    }

    proptest! {
        /// The library's automaton is the oracle.
        #[test]
        fn a_term_is_near_where_the_library_finds_one(
            parts in prop::collection::vec(
                prop_oneof![prop::sample::select(STRONG).prop_map(str::to_owned), "[a-zA-Z0-9 \\-]{0,4}", "\\PC{0,2}"],
                0..6,
            ),
            upper in any::<bool>(),
            cut in 0_usize..6,
        ) {
            let mut text = parts.concat();
            if upper {
                text.make_ascii_uppercase();
            }
            let cut = crate::detect::floor_boundary(&text, text.len().saturating_sub(cut));
            text.truncate(cut);
            let found = Beginnings::of_strong().any_in(text.as_bytes());
            prop_assert_eq!(found, by_the_library(&text), "{:?}", text);
        }
    }

    static ALL: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let builder = &mut AhoCorasick::builder();
        let builder = builder.match_kind(MatchKind::LeftmostLongest);
        let builder = builder.ascii_case_insensitive(true);
        builder.build(STRONG.iter().chain(WEAK)).unwrap()
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// The library's automaton is the oracle here too.
        #[test]
        fn the_terms_of_a_text_are_those_that_the_library_finds(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(STRONG).prop_map(str::to_owned),
                    prop::sample::select(WEAK).prop_map(str::to_uppercase),
                    prop::sample::select(WEAK).prop_map(|term| term.chars().skip(1).collect()),
                    "[a-z ]{0,3}",
                ],
                0..8,
            ),
        ) {
            let text = parts.concat();
            let wanted = ALL.find_iter(&text);
            let wanted: Vec<_> = wanted.map(|term| (term.pattern().as_usize(), term.start())).collect();
            let mut found = Vec::new();
            Beginnings::of_all().each_in(text.as_bytes(), &mut |term, at| found.push((term, at)));
            prop_assert_eq!(found, wanted, "{:?}", text);
        }
    }

    #[test]
    fn every_term_is_found_in_any_case_where_a_word_begins() {
        assert!(STRONG.iter().chain(WEAK).all(|term| term.len() >= 3));
        for term in STRONG {
            for text in [
                term.to_string(),
                format!("x {} y", term.to_uppercase()),
                format!("1{term}"),
            ] {
                assert!(Beginnings::of_strong().any_in(text.as_bytes()), "{text}");
            }
        }
        assert!(!Beginnings::of_strong().any_in(b""));
        assert!(!Beginnings::of_strong().any_in(b"xdiabetes"));
    }
}
