//! Counts the words of its input.

use std::io::Read as _;

use word_count::{vowels, words};

fn main() -> std::io::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let mut counted: Vec<_> = words(&text).into_iter().collect();
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    for (word, times) in counted {
        println!("{times:>6} {word} ({} vowels)", vowels(&word));
    }
    Ok(())
}
