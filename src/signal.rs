//! The numbers of signals, by their names.

use crate::error::{Error, Result};

/// The largest number of a signal.
const LAST: u32 = 64;

/// The first real-time signal that a program may use: the C library keeps two for itself. Image
/// configurations, Docker and containerd count from this number too (`moby/sys/signal`).
const RTMIN: u32 = 34;

const NAMES: [(&str, libc::c_int); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The number of a signal. The name may be `SIGTERM`, `TERM`, `RTMIN+3`, `RTMAX-1`, or a number from 0
/// to 64; case does not matter. `None` if there is no such signal.
///
/// ```
/// assert_eq!(ctrd::signal_number("SIGTERM"), Some(15));
/// assert_eq!(ctrd::signal_number("rtmin+3"), Some(37));
/// assert_eq!(ctrd::signal_number("9"), Some(9));
/// assert_eq!(ctrd::signal_number("SIGNONE"), None);
/// ```
pub fn signal_number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    if let Some(number) = digits(&upper) {
        return (number <= LAST).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => RTMIN,
        (Some(offset), _) => RTMIN.checked_add(digits(offset.strip_prefix('+')?)?)?,
        (_, Some("")) => LAST,
        (_, Some(offset)) => LAST.checked_sub(digits(offset.strip_prefix('-')?)?)?,
        (None, None) => {
            let (_, number) = NAMES.iter().find(|(known, _)| *known == name)?;
            return number.unsigned_abs().into();
        }
    };
    (RTMIN..=LAST).contains(&number).then_some(number)
}

/// A number without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Checks the number of a signal.
pub(crate) fn check(argument: &str, number: u32) -> Result<u32> {
    if number <= LAST {
        return Ok(number);
    }
    Err(Error::invalid(argument, format!("there is no signal {number}; the last one is {LAST}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for (name, number) in [
            ("SIGKILL", Some(9)),
            ("kill", Some(9)),
            ("SIGCLD", Some(17)),
            ("0", Some(0)),
            ("64", Some(64)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+30", Some(64)),
            ("SIGRTMAX", Some(64)),
            ("RTMAX-30", Some(34)),
            ("65", None),
            ("+9", None),
            ("-1", None),
            ("", None),
            ("SIG", None),
            ("SIG9", None),
            ("SIGSIGTERM", None),
            ("TERM ", None),
            ("RTMIN+31", None),
            ("RTMIN+", None),
            ("RTMIN-1", None),
            ("RTMIN3", None),
            ("RTMAX-31", None),
            ("RTMIN+4294967295", None),
        ] {
            assert_eq!(signal_number(name), number, "{name}");
        }
        assert!(check("signal", 64).is_ok());
        let error = check("signal", 65).unwrap_err();
        assert!(error.message().starts_with("signal: "), "{error}");
    }
}
