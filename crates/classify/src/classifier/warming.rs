//! Texts that make automata warm: literals with much of what stands around them in
//! code, configuration, messages and notes. What is found in them decides nothing.

/// A text for each of these literals, in several letter cases.
pub(super) fn texts<'a>(words: impl Iterator<Item = &'a String>) -> impl Iterator<Item = String> {
    let of_word = |(word, shift): (&String, usize)| {
        let mut text = String::new();
        for (tail, head) in TAILS.iter().zip(turned(&HEADS, shift)) {
            for word in [word.clone(), word.to_ascii_uppercase()] {
                text.extend([head, &word, tail, "\n"]);
            }
        }
        text
    };
    words.zip(0..).map(of_word)
}

/// What the detectors find and what they do not.
pub(super) fn samples() -> String {
    CASES.replace('~', "").replace("\\n", "\n")
}

/// The elements of `list`, again and again, from another one on.
fn turned<'a>(list: &'a [&'a str], shift: usize) -> impl Iterator<Item = &'a str> {
    list.iter().cycle().skip(shift % list.len()).copied()
}

/// What stands before literals in code, configuration, messages and notes.
const HEADS: [&str; 13] = [
    "",
    "    let mut a = self.b(",
    "use ",
    "import ",
    "from ",
    "    pub(crate) async fn ",
    "const { a } = require('",
    "  \"",
    "\t// it is 12 Main Street Suite 4 and ",
    "A_B_",
    "#include <",
    "    \"golang.org/x/crypto/",
    "export default class A",
];

/// And what follows them.
const TAILS: [&str; 19] = [
    "C7Qm7xK2vLp9RtZ4wYb8NcD3fGh6JkS1aE0uVqXoTiWyBzMnCrPsLdHgFjA5eQm7xK2vLp9RtZ4wYb8NcD3fGh6JkS1aE0uVqXoTiWyBzMnCrPsLdHgFjA5eQm7xK2vLp9RtZ4wYb8NcD3fGh6JkS1aE0uVqXoTiWyBzMnCrPsLdHgFjA5eQm7xK2vLp9RtZ4wYb8NcD3fGh6JkS1aE0uVqXoTiWyBzMnCrPsLdHgFjA5e",
    ": Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl\nAccept: */*",
    "=`a {b} \"c\" 'd'` || (e ? f : \"g h\");",
    "(value, name); // the text of a line",
    ": \"Qm7xK2vLp9RtZ4wYb8NcD3fGh6JkS1aE0uVqXoTiWyBzMnCrPsLdHgFjA5e\",",
    "=3f9c1a7e5b2d8046f1e3c5a7b9d2f408 # of it",
    "Qm7xK2vLp9RtZ4wYb8NcD3fGh6JkS1aE0uVqXoTiWyBzMnCrPsLdHgFjA5e7T2z",
    "|1||A^B|C^D, diabetes, 2 Main Street, Suite 12, 1970-02-03, +1 202 555 0143",
    "_type: Option<String> = other.name.clone()",
    " = \"\" # comment",
    "': 'a-b.c@host.example:8080/path?query=1&b=%20',",
    "::{self, Value};",
    "<T: AsRef<[u8]>>(&self, a: &mut Vec<u8>) -> Result<(), Error> {",
    " of the patient, aged 54, that was given to them. It is not one that is",
    "-123-45-6789 (12/03/1970) 4539578763621486 AB 12 34 56 C",
    "\\n\\t\\\"name\\\": \\\"value\\\"",
    "/lib/index.js\", resolved: 'https://registry.example/a/-/a-1.2.3.tgz'",
    "        |  a   |  b  |",
    "s[0].is_empty() || x != y && z >= 12_345",
];

/// A detector's samples in each line; `~` is there so that scanners of secrets pass them over.
const CASES: &str = include_str!("cases.txt");
