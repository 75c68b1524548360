//! The words of a Rust source.

/// An identifier or a single other character, and the number of its line, from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub text: String,
    pub line: usize,
}

/// Whether the words from `start` on are these.
pub fn are(words: &[Word], start: usize, sequence: &[&str]) -> bool {
    sequence
        .iter()
        .enumerate()
        .all(|(i, word)| words.get(start + i).is_some_and(|w| w.text == *word))
}

/// Splits Rust into words. A string becomes `""`; characters, lifetimes and comments are left out.
pub fn words(text: &str) -> Vec<Word> {
    let bytes: Vec<char> = text.chars().collect();
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut all: Vec<Word> = Vec::new();
    let (mut i, mut line) = (0, 0);
    while i < bytes.len() {
        let start = i;
        let mut word = None;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < bytes.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= bytes.len() {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while i < bytes.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                word = Some("\"\"".to_owned());
            }
            // A character, unless it is a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += 2;
                if at(i - 1) == '\\' {
                    i += 1;
                }
                while i < bytes.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            c if is_name(c) => {
                while is_name(at(i)) {
                    i += 1;
                }
                let name: String = bytes[start..i].iter().collect();
                let mut hashes = 0;
                while at(i + hashes) == '#' {
                    hashes += 1;
                }
                let raw = matches!(name.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"';
                if raw {
                    let end: String = format!("\"{}", "#".repeat(hashes));
                    let end: Vec<char> = end.chars().collect();
                    i += hashes + 1;
                    while i < bytes.len() && !bytes[i..].starts_with(&end) {
                        i += 1;
                    }
                    i += end.len();
                    word = Some("\"\"".to_owned());
                } else {
                    word = Some(name);
                }
            }
            c => {
                i += 1;
                word = (!c.is_whitespace()).then(|| c.to_string());
            }
        }
        if let Some(text) = word {
            all.push(Word { text, line });
        }
        let end = i.min(bytes.len());
        line += bytes[start..end].iter().filter(|c| **c == '\n').count();
    }
    all
}
