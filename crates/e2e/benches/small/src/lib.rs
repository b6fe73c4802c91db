//! Counts words and their vowels.

use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/vowels.rs"));

/// How often each word is in a text, in lower case.
pub fn words(text: &str) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if !word.is_empty() {
            *counted.entry(word.to_lowercase()).or_insert(0) += 1;
        }
    }
    counted
}

/// How many vowels a word has.
pub fn vowels(word: &str) -> usize {
    word.chars().filter(|c| VOWELS.contains(c)).count()
}
