//! Owns the names of signals, as people know them.

/// The standard name of a Linux signal (signal(7)), or its number.
#[must_use]
pub fn name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let known = number
        .checked_sub(1)
        .and_then(|index| NAMES.get(usize::try_from(index).ok()?));
    known.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names_and_others_their_numbers() {
        assert_eq!(name(1), "SIGHUP");
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(31), "SIGSYS");
        assert_eq!(name(34), "signal 34");
        assert_eq!(name(0), "signal 0");
        assert_eq!(name(i32::MIN), format!("signal {}", i32::MIN));
    }
}
