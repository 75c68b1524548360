//! Filters in containerd's filter language: for events and for lists.
//!
//! In the language (containerd's package `filters`) a filter is a list of selectors joined by
//! commas, all of which must match. A selector is a path of fields joined by dots, alone or with
//! `==`, `!=` or `~=` and a value. Several filters are alternatives. If the server cannot read the
//! filter of a subscription, it only ends the stream; so the filter is checked here first.

use crate::error::{Error, Result};

/// A filter of events. An event passes if everything that is set here is true for it. If nothing is
/// set, every event passes. If no namespace is set, events of every namespace pass.
///
/// ```
/// use ctrd::EventFilter;
///
/// // The events of the tasks of one container.
/// let tasks = EventFilter::new().container("web").topic_prefix("/tasks/");
/// // The same kind of filter in containerd's language.
/// let starts = EventFilter::raw(r#"topic=="/tasks/start""#);
/// # let _ = (tasks, starts);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct EventFilter {
    namespace: Option<String>,
    topic: Option<String>,
    topic_prefix: Option<String>,
    container: Option<String>,
    raw: Option<String>,
}

impl EventFilter {
    /// Every event.
    pub fn new() -> EventFilter {
        EventFilter::default()
    }

    /// A filter in containerd's own language, as `ctr events` takes it:
    /// `topic=="/tasks/exit",event.container_id=="web"`. Other conditions can be set too.
    ///
    /// A value that begins with `/` must be in double quotes. The server reads a regular expression
    /// (`~=`); if it cannot, the filter matches nothing.
    pub fn raw(filter: impl Into<String>) -> EventFilter {
        EventFilter { raw: Some(filter.into()), ..EventFilter::default() }
    }

    /// Only events of this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> EventFilter {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only events of this topic, for example `/tasks/exit`.
    pub fn topic(mut self, topic: impl Into<String>) -> EventFilter {
        self.topic = Some(topic.into());
        self
    }

    /// Only events whose topic begins with this prefix, for example `/tasks/`.
    pub fn topic_prefix(mut self, prefix: impl Into<String>) -> EventFilter {
        self.topic_prefix = Some(prefix.into());
        self
    }

    /// Only events about this container and its processes.
    pub fn container(mut self, id: impl Into<String>) -> EventFilter {
        self.container = Some(id.into());
        self
    }

    /// The filter in containerd's language: alternatives, of which one must match. `argument` is
    /// the name of the filter in errors.
    fn render(&self, argument: &str) -> Result<Vec<String>> {
        let mut selectors = Vec::new();
        let mut add = |field: &str, operator: &str, name: &str, value: &Option<String>| {
            match value.as_deref() {
                None => {}
                Some("") => return Err(Error::invalid(argument, format!("the {name} is empty"))),
                Some(value) if operator == "~=" => {
                    let pattern = format!("^{}", escape(value));
                    selectors.push(format!("{field}{operator}{}", quote(&pattern)));
                }
                Some(value) => selectors.push(format!("{field}{operator}{}", quote(value))),
            }
            Ok(())
        };
        add("namespace", "==", "namespace", &self.namespace)?;
        add("topic", "==", "topic", &self.topic)?;
        add("topic", "~=", "topic's prefix", &self.topic_prefix)?;
        if let Some(raw) = self.raw.as_deref() {
            check(argument, raw)?;
            if !raw.is_empty() {
                selectors.push(raw.to_owned());
            }
        }
        let alternatives = match self.container.as_deref() {
            None => return Ok(vec![selectors.join(",")]),
            Some("") => return Err(Error::invalid(argument, "the container is empty")),
            // An event of a container has the container's id as `id`; an event of a task has the
            // exec's there.
            Some(id) => [
                format!("event.container_id=={}", quote(id)),
                format!(r#"topic~="^/containers/",event.id=={}"#, quote(id)),
            ],
        };
        // The container comes last, because only for it the server must decode the event.
        let whole =
            |own: String| selectors.iter().cloned().chain([own]).collect::<Vec<String>>().join(",");
        Ok(alternatives.map(whole).into())
    }
}

/// The filters in containerd's language. An event must pass any of them, and every event passes if
/// there is none.
pub(crate) fn render(filters: &[EventFilter]) -> Result<Vec<String>> {
    let mut rendered = Vec::new();
    for (i, filter) in filters.iter().enumerate() {
        rendered.extend(filter.render(&format!("filters[{i}]"))?);
    }
    Ok(rendered)
}

/// Quotes a value for containerd's parser.
pub(crate) fn quote(value: &str) -> String {
    let mut quoted = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // containerd's parser takes the replacement character for an encoding error.
            '\u{fffd}' => quoted.push_str(r"\ufffd"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A regular expression, in Go's syntax, that matches exactly this text.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Checks that containerd can read a filter.
pub(crate) fn check(argument: &str, filter: &str) -> Result<()> {
    read(filter).map_err(|why| Error::invalid(argument, why))
}

/// Whether containerd can read a filter, or why it cannot.
fn read(filter: &str) -> std::result::Result<(), String> {
    if filter.is_empty() {
        return Ok(());
    }
    let mut parser = Parser { text: filter, at: 0 };
    parser.filter().map_err(|why| match why.at {
        at if at >= filter.len() => format!("{why} at the end of {filter:?}", why = why.what),
        at => format!("{} at {:?} in {filter:?}", why.what, &filter[at..]),
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// The error in a filter, and its offset.
struct Wrong {
    what: &'static str,
    at: usize,
}

type Parsed = std::result::Result<(), Wrong>;

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_while(&mut self, is: impl Fn(char) -> bool) {
        while let Some(c) = self.peek().filter(|c| is(*c)) {
            self.at += c.len_utf8();
        }
    }

    /// Takes this character if it is the next one.
    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    fn wrong<T>(&self, what: &'static str) -> std::result::Result<T, Wrong> {
        Err(Wrong { what, at: self.at })
    }

    fn filter(&mut self) -> Parsed {
        if let Some(at) = self.text.find(['\0', '\u{fffd}']) {
            return Err(Wrong { what: "a character that is not allowed", at });
        }
        loop {
            self.selector()?;
            match self.peek() {
                None => return Ok(()),
                Some(',') => self.at += 1,
                Some(_) => return self.wrong("expected a comma"),
            }
        }
    }

    fn selector(&mut self) -> Parsed {
        self.field()?;
        while self.take('.') {
            self.field()?;
        }
        if matches!(self.peek(), None | Some(',')) {
            return Ok(());
        }
        self.skip_while(char::is_whitespace);
        let start = self.at;
        self.skip_while(|c| matches!(c, '=' | '!' | '~'));
        let is_pattern = match &self.text[start..self.at] {
            "==" | "!=" => false,
            "~=" => true,
            _ => return Err(Wrong { what: "expected ==, != or ~=", at: start }),
        };
        self.value(is_pattern)
    }

    fn field(&mut self) -> Parsed {
        self.skip_while(char::is_whitespace);
        if self.take('"') {
            return self.rest_of_quoted('"');
        }
        let start = self.at;
        self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if self.at == start { self.wrong("expected the name of a field") } else { Ok(()) }
    }

    fn value(&mut self, is_pattern: bool) -> Parsed {
        self.skip_while(char::is_whitespace);
        match self.peek() {
            Some('"') => {
                self.at += 1;
                self.rest_of_quoted('"')
            }
            Some(quote @ ('/' | '|')) if is_pattern => {
                self.at += 1;
                self.rest_of_quoted(quote)
            }
            Some('/' | '|') => self.wrong("a value that begins with this must be in double quotes"),
            None | Some(',' | '.' | '=' | '!' | '~') => self.wrong("expected a value"),
            Some(_) => {
                self.skip_while(|c| c != ',' && !c.is_whitespace() && !c.is_control());
                Ok(())
            }
        }
    }

    /// The rest of a quoted value, with the closing quote.
    fn rest_of_quoted(&mut self, quote: char) -> Parsed {
        let opening = self.at - 1;
        loop {
            let at = self.at;
            let Some(c) = self.peek().filter(|c| *c != '\n') else {
                return Err(Wrong { what: "a quote that is not closed", at: opening });
            };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(());
            }
            if c == '\\' && !self.rest_of_escape(quote) {
                return Err(Wrong { what: "an unknown escape sequence", at });
            }
        }
    }

    /// The rest of an escape sequence in Go's syntax. Says whether it is one.
    fn rest_of_escape(&mut self, quote: char) -> bool {
        let Some(c) = self.peek() else { return false };
        let (radix, digits) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => (0, 0),
            c if c == quote => (0, 0),
            '0'..='7' => (8, 3),
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            _ => return false,
        };
        if radix != 8 {
            self.at += 1;
        }
        let mut value = 0u64;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else { return false };
            self.at += 1;
            value = value * u64::from(radix) + u64::from(digit);
        }
        value <= if radix == 8 { 255 } else { u64::from(u32::from(char::MAX)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn filters_are_rendered_in_containerds_language() {
        let table: &[(EventFilter, &[&str])] = &[
            (EventFilter::new(), &[""]),
            (EventFilter::raw(""), &[""]),
            (EventFilter::new().namespace("n"), &[r#"namespace=="n""#]),
            (EventFilter::new().topic("/tasks/exit"), &[r#"topic=="/tasks/exit""#]),
            (EventFilter::new().topic_prefix("/a.b(c"), &[r#"topic~="^/a\\.b\\(c""#]),
            (
                EventFilter::new().container("c").namespace("n").topic_prefix("/tasks/"),
                &[
                    r#"namespace=="n",topic~="^/tasks/",event.container_id=="c""#,
                    r#"namespace=="n",topic~="^/tasks/",topic~="^/containers/",event.id=="c""#,
                ],
            ),
            (
                EventFilter::raw("event.pid,topic!=x").namespace("n"),
                &[r#"namespace=="n",event.pid,topic!=x"#],
            ),
            (
                EventFilter::raw("event.exec_id").container("c"),
                &[
                    r#"event.exec_id,event.container_id=="c""#,
                    r#"event.exec_id,topic~="^/containers/",event.id=="c""#,
                ],
            ),
        ];
        for (filter, expected) in table {
            assert_eq!(filter.render("filter").unwrap(), *expected);
        }
    }

    #[test]
    fn quoted_values_are_read_back_unchanged() {
        for (value, quoted) in [
            ("", r#""""#),
            ("a b,c==d", r#""a b,c==d""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("a\nb\0c\u{7f}", r#""a\x0ab\x00c\x7f""#),
            ("é|/'\u{fffd}", r#""é|/'\ufffd""#),
        ] {
            assert_eq!(quote(value), quoted);
            assert_eq!(read(&format!("topic=={quoted}")), Ok(()));
        }
    }

    /// The test of events asks a real containerd too.
    pub(crate) const READABLE: [&str; 34] = [
        "",
        "topic",
        "topic==a",
        "topic!=a",
        "topic~=a",
        r#"topic=="/a/b""#,
        "topic~=/a.b/",
        r"topic~=/a\/b/",
        "topic~=|^/tasks/|",
        r"topic~=|a\|b|",
        r#"topic~="^/tasks/""#,
        "topic==a/b",
        "topic==a.b",
        "topic==a==b",
        "topic==a\"b",
        "topic == a",
        " topic==  a",
        "topic==a,namespace==b",
        "topic==a, namespace==b",
        r#"topic=="a",namespace=="b""#,
        "event.container_id==a",
        "event. container_id==a",
        r#"event.labels."a.b/c"==d"#,
        r#""topic"==a"#,
        "0a_==b",
        r#"topic=="""#,
        r#"topic=="a\a\b\f\n\r\t\v\\\"""#,
        r#"topic=="\377\x4a\u00e9\U0010ffff""#,
        "topic==é",
        "topic=='a'",
        "topic==(a)",
        "topic==-",
        "topic==\u{a0}a",
        r#"topic=="\ud800""#,
    ];

    pub(crate) const UNREADABLE: [&str; 42] = [
        " ",
        "topic==/x/y",
        "topic==/x",
        "topic==|x|",
        "topic!=/x/",
        "topic~=/x",
        "topic~=/x/y",
        "topic=a",
        "topic=~a",
        "topic===a",
        "topic==~a",
        "topic==",
        "topic== ",
        "topic==,",
        "topic==.a",
        "topic==a ",
        "topic==a b",
        "topic ",
        "topic ,a",
        "topic==a,",
        ",",
        "a,,b",
        ".a",
        "a.",
        "a..b",
        "a-b==c",
        "/a/==b",
        "|a|",
        "'a'==b",
        "é==a",
        "==a",
        r#"topic=="a"#,
        r#"topic=="a"b"#,
        "topic==\"a\nb\"",
        r#"topic=="\q""#,
        r#"topic=="\/""#,
        r#"topic=="\400""#,
        r#"topic=="\18""#,
        r#"topic=="\x1""#,
        r#"topic=="\U00110000""#,
        "topic==a\0",
        "topic==\u{fffd}",
    ];

    #[test]
    fn a_filter_that_containerd_can_read_passes() {
        for filter in READABLE {
            assert_eq!(read(filter), Ok(()), "{filter:?}");
        }
    }

    #[test]
    fn a_filter_that_containerd_cannot_read_is_refused_by_name() {
        for filter in UNREADABLE {
            assert!(read(filter).is_err(), "{filter:?}");
        }
        for (filters, message) in [
            (
                vec![EventFilter::new(), EventFilter::raw("topic==/x")],
                r#"filters[1]: a value that begins with this must be in double quotes at "/x" in "topic==/x""#,
            ),
            (
                vec![EventFilter::raw("topic").namespace("n"), EventFilter::raw("topic=")],
                r#"filters[1]: expected ==, != or ~= at "=" in "topic=""#,
            ),
            (
                vec![EventFilter::raw("a.")],
                r#"filters[0]: expected the name of a field at the end of "a.""#,
            ),
            (vec![EventFilter::new().topic("")], "filters[0]: the topic is empty"),
            (vec![EventFilter::new().container("")], "filters[0]: the container is empty"),
        ] {
            let error = render(&filters).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(error.message(), message);
        }
    }
}
