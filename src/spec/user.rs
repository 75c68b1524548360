//! The user of a process: a name or a number, looked up in the `/etc/passwd` and `/etc/group` of the
//! container's root file system as containerd does (`oci.WithUser`, `oci.WithAdditionalGIDs`).

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};

/// The largest id of a user or a group. In code that keeps ids in 32 signed bits, larger ones become
/// root's (CVE-2024-40635).
const MAX_ID: u32 = i32::MAX as u32;

/// The user and the groups of a process.
#[derive(Debug, PartialEq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) additional_gids: Vec<u32>,
}

/// Reads a file of the root file system; `None` if there is no file of this name.
pub(super) type Files<'a> = dyn FnMut(&str) -> Result<Option<Vec<u8>>> + 'a;

/// One half of `user:group`.
enum NameOrId<'a> {
    Id(u32),
    Name(&'a str),
}

impl NameOrId<'_> {
    /// Parses a half. Text that is written as a number is never a name: if it is out of range, it is refused.
    fn parse<'a>(user: &str, text: &'a str) -> Result<NameOrId<'a>> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(NameOrId::Name(text));
        }
        match text.parse() {
            Ok(id) if id <= MAX_ID => Ok(NameOrId::Id(id)),
            _ => Err(refused(format!("the user {user:?}: {text} is not between 0 and {MAX_ID}"))),
        }
    }
}

/// Resolves an image's `User`: empty, `user` or `user:group`, each a name or a number.
///
/// - Empty: root, with the groups that list root.
/// - Two numbers are used as they are, and no file is read.
/// - A number alone: its entry in `/etc/passwd` gives the group; without an entry the group is 0.
/// - A name must have an entry.
///
/// The additional groups are those that list the user, except a group with the user's own name. The
/// primary group is always one of them: if it is not listed otherwise, it comes first
/// (CVE-2023-25173).
pub(super) fn resolve(user: &str, files: &mut Files<'_>) -> Result<User> {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    if group.contains(':') {
        return Err(refused(format!("the user {user:?} has more than one colon")));
    }
    let group = match group {
        "" => None,
        group => Some(NameOrId::parse(user, group)?),
    };
    let account = match name {
        "" => None,
        name => Some(NameOrId::parse(user, name)?),
    };
    if let (Some(NameOrId::Id(uid)), Some(NameOrId::Id(gid))) = (&account, &group) {
        return Ok(User { uid: *uid, gid: *gid, additional_gids: vec![*gid] });
    }

    let passwd = match account {
        None => None,
        Some(_) => files("/etc/passwd")?,
    };
    let mut accounts = lines(passwd.as_deref()).filter_map(PasswdEntry::parse);
    let (uid, own_gid, name) = match account {
        None => (0, 0, Some(&b"root"[..])),
        Some(NameOrId::Id(uid)) => match accounts.find(|account| account.uid == uid) {
            Some(account) => (uid, account.gid, Some(account.name)),
            None => (uid, 0, None),
        },
        Some(NameOrId::Name(name)) => {
            let account = accounts
                .find(|account| account.name == name.as_bytes())
                .ok_or_else(|| missing("user", name, "/etc/passwd"))?;
            (account.uid, account.gid, Some(account.name))
        }
    };

    let groups = files("/etc/group")?;
    let groups = || lines(groups.as_deref()).filter_map(GroupEntry::parse);
    let gid = match group {
        None => own_gid,
        Some(NameOrId::Id(gid)) => gid,
        Some(NameOrId::Name(group)) => {
            groups()
                .find(|entry| entry.name == group.as_bytes())
                .ok_or_else(|| missing("group", group, "/etc/group"))?
                .gid
        }
    };
    let mut seen = HashSet::new();
    let mut additional_gids: Vec<u32> = groups()
        .filter(|entry| name.is_some_and(|name| entry.name != name && entry.has(name)))
        .map(|entry| entry.gid)
        .filter(|gid| seen.insert(*gid))
        .collect();
    if !seen.contains(&gid) {
        additional_gids.insert(0, gid);
    }
    Ok(User { uid, gid, additional_gids })
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::FailedPrecondition, why)
}

fn missing(what: &str, name: &str, file: &str) -> Error {
    refused(format!("{what} {name:?} not found in the container's {file}"))
}

/// The lines of a file that may be entries. Comments are not, nor are the `+` and `-` lines that refer to
/// a directory service, which a container does not ask.
fn lines(file: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    file.unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !matches!(line.first(), None | Some(b'#' | b'+' | b'-' | b':')))
}

/// An entry of `/etc/passwd`: `name:password:uid:gid:...`.
struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
}

impl<'a> PasswdEntry<'a> {
    /// `None` if the line is not a usable entry.
    fn parse(line: &'a [u8]) -> Option<PasswdEntry<'a>> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let _password = fields.next()?;
        Some(PasswdEntry { name, uid: id(fields.next()?)?, gid: id(fields.next()?)? })
    }
}

/// An entry of `/etc/group`: `name:password:gid:member,member`.
struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl<'a> GroupEntry<'a> {
    /// `None` if the line is not a usable entry.
    fn parse(line: &'a [u8]) -> Option<GroupEntry<'a>> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let _password = fields.next()?;
        Some(GroupEntry {
            name,
            gid: id(fields.next()?)?,
            members: fields.next().unwrap_or_default(),
        })
    }

    fn has(&self, name: &[u8]) -> bool {
        self.members.split(|byte| *byte == b',').any(|member| member.trim_ascii() == name)
    }
}

fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|id| *id <= MAX_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "\
# a comment: 1:1
root:x:0:0:root:/root:/bin/sh
toor::0:0::/:/bin/sh
+@netgroup::::::
-nobody::::::
short:x:5
words:x:one:two::/:/bin/sh
huge:x:4294967296:0::/:/bin/sh
wraps:x:2147483648:0::/:/bin/sh
 \t
www:x:33:34:web:/var/www:/bin/false\r
app:x:1000:1000:App:/home/app:/bin/sh:more:fields
last:x:7:8::/:/bin/sh";

    const GROUP: &str = "\
root:x:0:root
# none:x:99:app
+:::
daemon:x:1:root,app
bin:x:2:root,bin, app
broken:x:many:app
app:x:1000:app
www:x:34
ops:x:500:app,app,www
again:x:500:app
empty:x:600:
prefix:x:601:application,ap";

    fn files(path: &str) -> Result<Option<Vec<u8>>> {
        match path {
            "/etc/passwd" => Ok(Some(PASSWD.into())),
            "/etc/group" => Ok(Some(GROUP.into())),
            other => panic!("{other} was read"),
        }
    }

    fn user(uid: u32, gid: u32, additional_gids: &[u32]) -> User {
        User { uid, gid, additional_gids: additional_gids.into() }
    }

    #[test]
    fn every_form_of_a_user() {
        for (text, expected) in [
            ("", user(0, 0, &[0, 1, 2])),
            (":", user(0, 0, &[0, 1, 2])),
            ("root", user(0, 0, &[0, 1, 2])),
            ("0", user(0, 0, &[0, 1, 2])),
            ("toor", user(0, 0, &[0])),
            ("app", user(1000, 1000, &[1000, 1, 2, 500])),
            ("1000", user(1000, 1000, &[1000, 1, 2, 500])),
            ("+1000", user(1000, 1000, &[1000, 1, 2, 500])),
            ("app:", user(1000, 1000, &[1000, 1, 2, 500])),
            ("app:ops", user(1000, 500, &[1, 2, 500])),
            ("app:77", user(1000, 77, &[77, 1, 2, 500])),
            ("1000:ops", user(1000, 500, &[1, 2, 500])),
            ("www", user(33, 34, &[34, 500])),
            ("www:www", user(33, 34, &[34, 500])),
            ("last", user(7, 8, &[8])),
            ("4242", user(4242, 0, &[0])),
            ("4242:ops", user(4242, 500, &[500])),
            (":ops", user(0, 500, &[500, 1, 2])),
            ("2147483647", user(2147483647, 0, &[0])),
        ] {
            assert_eq!(resolve(text, &mut files).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn two_numbers_need_no_file() {
        let mut none = |path: &str| panic!("{path} was read");
        assert_eq!(resolve("1:2", &mut none).unwrap(), user(1, 2, &[2]));
        assert_eq!(resolve("0:0", &mut none).unwrap(), user(0, 0, &[0]));
    }

    #[test]
    fn missing_files_are_an_error_only_if_a_name_needs_them() {
        let mut none = |_: &str| Ok(None);
        assert_eq!(resolve("", &mut none).unwrap(), user(0, 0, &[0]));
        assert_eq!(resolve("12", &mut none).unwrap(), user(12, 0, &[0]));
        for (text, message) in [
            ("app", "user \"app\" not found in the container's /etc/passwd"),
            ("12:ops", "group \"ops\" not found in the container's /etc/group"),
            ("root", "user \"root\" not found in the container's /etc/passwd"),
        ] {
            let error = resolve(text, &mut none).unwrap_err();
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn malformed_and_unknown_users_are_refused() {
        for (text, part) in [
            ("nobody-here", "user \"nobody-here\" not found"),
            ("app:nothing", "group \"nothing\" not found"),
            ("a:b:c", "more than one colon"),
            ("1:2:3", "more than one colon"),
            ("2147483648", "2147483648 is not between 0 and 2147483647"),
            ("4294967296", "4294967296 is not between"),
            ("99999999999999999999999999999", "is not between"),
            ("-1", "-1 is not between"),
            ("0:4294967296", "4294967296 is not between"),
            ("app:-5", "-5 is not between"),
            // Unusable entries are ignored.
            ("huge", "user \"huge\" not found"),
            ("wraps", "user \"wraps\" not found"),
            ("short", "user \"short\" not found"),
            ("words", "user \"words\" not found"),
            ("+", "user \"+\" not found"),
            ("# none", "not found"),
            ("app:broken", "group \"broken\" not found"),
            ("app\0", "not found"),
        ] {
            let error = resolve(text, &mut files).unwrap_err();
            assert!(error.message().contains(part), "{text:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        }
    }

    #[test]
    fn garbage_is_ignored() {
        let mut garbage = |_: &str| {
            Ok(Some([&[0xff, 0, b':', b'\n'][..], &[b':'; 100], b"\n\xff:x:1:2\n"].concat()))
        };
        assert_eq!(resolve("1", &mut garbage).unwrap(), user(1, 2, &[2]));
        assert_eq!(resolve("", &mut garbage).unwrap(), user(0, 0, &[0]));
    }

    #[test]
    fn a_failure_to_read_a_file_is_an_error() {
        let mut failing = |_: &str| Err(Error::new(ErrorKind::Io, "broken"));
        for text in ["", "app", "1", "1:ops"] {
            assert_eq!(resolve(text, &mut failing).unwrap_err().kind(), ErrorKind::Io);
        }
    }
}
