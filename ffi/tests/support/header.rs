//! Reads the header, which is regular enough to be read line by line.

/// A function as the header declares it.
#[derive(Debug)]
pub struct Prototype {
    pub name: String,
    /// What it returns, as it is written.
    pub returns: String,
    /// The names of its parameters.
    pub parameters: Vec<String>,
    /// Their types, as they are written: `const char *`.
    pub types: Vec<String>,
    /// The comment before it.
    pub comment: String,
}

impl Prototype {
    /// Whether its calls can be limited, and submitted.
    pub fn takes_a_call(&self) -> bool {
        self.returns == "ctrd_status_t"
            && self.types.iter().any(|kind| kind == "const ctrd_call_t *")
    }

    /// Whether a parameter receives something that the function gives, other than its error.
    pub fn is_output(&self, position: usize) -> bool {
        let kind = self.types[position].as_str();
        let is_handle = kind.ends_with("_t **") || kind == "char **";
        (is_handle && kind != "ctrd_error_t **")
            || ["uint32_t *", "uint64_t *", "ctrd_process_t *"].contains(&kind)
    }
}

/// The functions that `text` declares, in order.
pub fn prototypes(text: &str) -> Vec<Prototype> {
    let mut found = Vec::new();
    let mut comment = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("/*") {
            comment = format!("{line}\n");
            let mut last = line;
            while !last.ends_with("*/") {
                last = lines.next().expect("a comment ends");
                comment += last;
                comment.push('\n');
            }
            continue;
        }
        let declares = line.contains("ctrd_")
            && line.contains('(')
            && !line.starts_with([' ', '#'])
            && !line.starts_with("typedef");
        if !declares {
            continue;
        }
        let mut whole = line.to_owned();
        while !whole.ends_with(';') {
            whole.push(' ');
            whole += lines.next().expect("a declaration ends").trim();
        }
        let (head, parameters) = whole.split_once('(').expect("a function has parameters");
        let start = head.rfind(|c: char| c.is_whitespace() || c == '*').map_or(0, |i| i + 1);
        let (types, parameters) = parameters
            .trim_end_matches(");")
            .split(',')
            .filter(|parameter| *parameter != "void")
            .map(|parameter| {
                let start = parameter.rfind([' ', '*']).map_or(0, |i| i + 1);
                (parameter[..start].trim().to_owned(), parameter[start..].to_owned())
            })
            .unzip();
        found.push(Prototype {
            name: head[start..].to_owned(),
            returns: head[..start].replace("CTRD_CHECK", "").trim().to_owned(),
            parameters,
            types,
            comment: std::mem::take(&mut comment),
        });
    }
    found
}

/// The names and values of the macros that `text` defines.
pub fn macros(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    text.lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).strip_prefix("define "))
        .filter_map(|line| {
            let end = line.find([' ', '(']).unwrap_or(line.len());
            let (name, value) = line.split_at(end);
            // Without a value it is a guard.
            (!value.is_empty()).then(|| (name.to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// A struct that begins with its size: its name, and the initialisers of its members.
pub fn sized_structs(text: &str) -> Vec<(String, Vec<&'static str>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("typedef struct ").and_then(|l| l.strip_suffix(" {"))
        else {
            continue;
        };
        let mut members = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.starts_with('}')) {
            let line = line.trim();
            if line.ends_with(';') && !line.starts_with(['*', '/']) {
                members.push((line.contains('*'), line.ends_with(" size;")));
            }
        }
        if members.first().is_some_and(|(_, is_size)| *is_size) {
            let values =
                members[1..].iter().map(|(pointer, _)| if *pointer { "NULL" } else { "0" });
            found.push((name.to_owned(), values.collect()));
        }
    }
    found
}
