//! Check digits of numbers that people and accounts have. Each takes the number without separators.

/// ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &str) -> bool {
    let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(10)).collect();
    values.is_some_and(|values| !values.is_empty() && luhn_sum(&values).is_multiple_of(10))
}

fn luhn_sum(digits: &[u32]) -> u32 {
    let folded = |(index, digit): (usize, &u32)| match (index % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) => twice / 10 + twice % 10,
    };
    digits.iter().rev().enumerate().map(folded).sum()
}

fn weighted(digits: &str, weights: &[u32]) -> Option<u32> {
    let products = digits
        .chars()
        .zip(weights)
        .map(|(c, w)| Some(c.to_digit(10)? * w));
    products.sum()
}

/// ISO 13616: letters count 10 to 35, the first four characters go last, the rest of 97 is 1.
pub(super) fn iban(text: &str) -> bool {
    let length = text.get(..2).and_then(|country| {
        let at = IBAN_LENGTHS.iter().find(|(code, _)| *code == country);
        at.map(|(_, length)| *length)
    });
    if length != Some(text.len()) {
        return false;
    }
    let (head, tail) = (
        text.get(..4).unwrap_or_default(),
        text.get(4..).unwrap_or_default(),
    );
    let rest = tail.chars().chain(head.chars()).try_fold(0_u32, |rest, c| {
        let value = c.to_digit(36)?;
        Some((rest * if value > 9 { 100 } else { 10 } + value) % 97)
    });
    rest == Some(1)
}

/// ABA routing numbers: weights 3, 7, 1.
pub(super) fn aba(digits: &str) -> bool {
    let sum = weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]);
    digits.len() == 9 && sum.is_some_and(|sum| sum > 0 && sum.is_multiple_of(10))
}

/// NHS numbers: weights 10 to 2, 11 less the rest is the last digit.
pub(super) fn nhs(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum = weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]);
    let check = digits.chars().nth(9).and_then(|c| c.to_digit(10));
    digits.len() == 10 && sum.is_some_and(|sum| Some((11 - sum % 11) % 11) == check)
}

/// ISO 3779 as in 49 CFR 565.15: letters have values, the ninth character is the rest of 11.
pub(super) fn vin(text: &str) -> bool {
    let value = |c: char| match c.to_ascii_uppercase() {
        digit @ '0'..='9' => digit.to_digit(10),
        'A' | 'J' => Some(1),
        'B' | 'K' | 'S' => Some(2),
        'C' | 'L' | 'T' => Some(3),
        'D' | 'M' | 'U' => Some(4),
        'E' | 'N' | 'V' => Some(5),
        'F' | 'W' => Some(6),
        'G' | 'P' | 'X' => Some(7),
        'H' | 'Y' => Some(8),
        'R' | 'Z' => Some(9),
        _ => None,
    };
    let weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let products = text.chars().zip(weights).map(|(c, w)| Some(value(c)? * w));
    let sum: Option<u32> = products.sum();
    let check = text.chars().nth(8).map(|c| c.to_ascii_uppercase());
    let wanted = sum.map(|sum| sum % 11).and_then(|rest| match rest {
        10 => Some('X'),
        rest => char::from_digit(rest, 10),
    });
    text.len() == 17 && wanted.is_some() && wanted == check
}

/// Spanish NIF and NIE: the letter is the number's rest of 23; X, Y and Z begin as 0, 1 and 2.
pub(super) fn spanish_letter(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    // a leading zero is often left out
    let upper = format!("{upper:0>9}");
    let (digits, letter) = upper.split_at_checked(8).unwrap_or_default();
    let digits = match digits.chars().next() {
        Some('X') => digits.replacen('X', "0", 1),
        Some('Y') => digits.replacen('Y', "1", 1),
        Some('Z') => digits.replacen('Z', "2", 1),
        _ => digits.to_owned(),
    };
    let number: Option<usize> = digits.parse().ok().filter(|_| digits.len() == 8);
    let wanted = number.and_then(|n| "TRWAGMYFPDXBNJZSQVHLCKE".get(n % 23..=n % 23));
    wanted.is_some_and(|wanted| wanted == letter)
}

/// German health insurance numbers: the letter as two digits, weights 1 and 2 by turns, digit sums.
pub(super) fn kvnr(text: &str) -> bool {
    let Some(letter) = text.bytes().next().filter(u8::is_ascii_uppercase) else {
        return false;
    };
    let digits = format!(
        "{:02}{}",
        letter - b'A' + 1,
        text.get(1..).unwrap_or_default()
    );
    let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(10)).collect();
    let Some(values) = values.filter(|values| values.len() == 11) else {
        return false;
    };
    let (payload, check) = values.split_at(10);
    let terms = payload.iter().enumerate().map(|(index, digit)| {
        let product = if index % 2 == 0 { *digit } else { digit * 2 };
        product / 10 + product % 10
    });
    check.first() == Some(&(terms.sum::<u32>() % 10))
}

/// Swedish personal numbers, and the Luhn digit of their last ten digits.
pub(super) fn swedish(digits: &str) -> bool {
    let ten = digits
        .get(digits.len().saturating_sub(10)..)
        .unwrap_or_default();
    ten.len() == 10 && day_and_month(ten.get(4..6), ten.get(2..4)) && luhn(ten)
}

/// Finnish codes: day, month, year and serial of 31 give the last character.
pub(super) fn finnish(text: &str) -> bool {
    let parts = (text.get(..6), text.get(7..10), text.get(10..11));
    let (Some(date), Some(serial), Some(check)) = parts else {
        return false;
    };
    let number: Option<usize> = format!("{date}{serial}").parse().ok();
    let wanted = number.and_then(|n| "0123456789ABCDEFHJKLMNPRSTUVWXY".get(n % 31..=n % 31));
    let dated = day_and_month(date.get(..2), date.get(2..4));
    dated && wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(check))
}

/// Korean numbers: a date, then 1 to 8.
pub(super) fn korean(text: &str) -> bool {
    day_and_month(text.get(4..6), text.get(2..4))
        && text
            .as_bytes()
            .get(7)
            .is_some_and(|b| (b'1'..=b'8').contains(b))
}

/// Singapore's NRIC and FIN: weights 2, 7, 6, 5, 4, 3, 2 and two rows of letters.
pub(super) fn singapore(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let first = upper.chars().next().unwrap_or_default();
    let digits = upper.get(1..8).unwrap_or_default();
    let Some(sum) = weighted(digits, &[2, 7, 6, 5, 4, 3, 2]) else {
        return false;
    };
    let sum = sum + if matches!(first, 'T' | 'G') { 4 } else { 0 };
    let row = if matches!(first, 'S' | 'T') {
        "JZIHGFEDCBA"
    } else {
        "XWUTRQPNMLK"
    };
    let at = usize::try_from(sum % 11).unwrap_or_default();
    row.get(at..=at) == upper.get(8..9)
}

/// Thai citizen numbers: weights 13 to 2, 11 less the rest.
pub(super) fn thai(digits: &str) -> bool {
    let sum = weighted(digits, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    let check = digits.chars().nth(12).and_then(|c| c.to_digit(10));
    digits.len() == 13 && sum.is_some_and(|sum| Some((11 - sum % 11) % 10) == check)
}

/// Verhoeff's dihedral scheme, which Aadhaar numbers use.
pub(super) fn verhoeff(digits: &str) -> bool {
    let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(10)).collect();
    let Some(values) = values else { return false };
    let sum = values
        .iter()
        .rev()
        .enumerate()
        .fold(0, |sum, (index, digit)| {
            let turned = (0..index % 8).fold(*digit, |d, _| turn(d));
            dihedral(sum, turned)
        });
    sum == 0
}

fn turn(digit: u32) -> u32 {
    [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
        .get(usize::try_from(digit).unwrap_or(0))
        .copied()
        .unwrap_or(0)
}

/// The product in the dihedral group of order ten; 5 to 9 are the reflections.
fn dihedral(a: u32, b: u32) -> u32 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

fn day_and_month(day: Option<&str>, month: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<u32>().ok()).unwrap_or(0);
    // a coordination number adds 60 to the day
    let day = number(day) % 60;
    (1..=31).contains(&day) && (1..=12).contains(&number(month))
}

/// Lengths by country, of the IBAN registry.
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (fn(&str) -> bool, &'static str, &'static str);

    /// Samples of the bodies that define the numbers, each with its last digit changed too.
    #[test]
    fn check_digits_are_right_and_a_changed_one_is_not() {
        let cases: [Case; 12] = [
            (luhn, "4539578763621486", "4539578763621487"),
            (iban, "GB82WEST12345698765432", "GB82WEST12345698765433"),
            (aba, "111000025", "111000026"),
            (nhs, "943 476 5919", "943 476 5918"),
            (vin, "1M8GDM9AXKP042788", "1M8GDM9A1KP042788"),
            (spanish_letter, "12345678Z", "12345678A"),
            (spanish_letter, "X1234567L", "X1234567K"),
            (kvnr, "A123456780", "A123456781"),
            (swedish, "198112189876", "198112189877"),
            (finnish, "131052-308T", "131052-308U"),
            (singapore, "S1234567D", "S1234567E"),
            (verhoeff, "2363", "2364"),
        ];
        for (check, right, wrong) in cases {
            assert!(check(right), "{right}");
            assert!(!check(wrong), "{wrong}");
        }
    }
}
