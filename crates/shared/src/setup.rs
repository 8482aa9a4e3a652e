//! What `setup` of router and inner share: questions, the file of settings, and the service that systemd runs.

mod ask;
mod place;
mod service;
mod settings_file;

pub use ask::Questions;
pub use place::{NextFile, Owner, Place, is_systemds, make_folder, own_path, write_file};
pub use service::{Service, ServiceState, ServiceUser};
pub use settings_file::{SettingsFile, SettingsForm};

use std::time::{Duration, SystemTime};

/// Longest difference of two clocks that nobody need hear of.
const CLOCKS: Duration = Duration::from_secs(60);

/// Prints a sentence for the person at the terminal.
pub fn say(sentence: &str) {
    // A closed standard error is no failure. What peers and files have put in is escaped, but for the ends of lines.
    for line in sentence.split('\n') {
        let line = crate::text::Escaped(line);
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
    }
}

/// Says by how much this machine's clock differs from the router's, if that is much.
#[must_use]
pub fn clock_problem(here: SystemTime, router: SystemTime) -> Option<String> {
    let (difference, side) = match here.duration_since(router) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (difference > CLOCKS).then(|| {
        let difference = humantime::format_duration(Duration::from_secs(difference.as_secs()));
        format!(
            "this machine's clock is {difference} {side} the router's: set it (timedatectl set-ntp true), else its logs have wrong times, and a router with a certificate of an authority is refused"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_a_minute_off_is_said() {
        let router = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for fine in [router, router + CLOCKS, router - CLOCKS] {
            assert_eq!(clock_problem(fine, router), None);
        }
        let said = clock_problem(router - Duration::from_secs(7200), router).unwrap();
        assert!(said.contains("is 2h behind the router's"), "{said}");
        let said = clock_problem(router + Duration::from_secs(90), router).unwrap();
        assert!(said.contains("is 1m 30s ahead of"), "{said}");
    }
}
