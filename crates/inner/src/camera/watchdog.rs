//! Decides when a camera's program hangs or is no camera. Pure: the caller gives the time.

use std::time::{Duration, Instant};

/// Longest silence in the middle of a picture.
const HALF: Duration = Duration::from_secs(5);
/// Longest time without a whole picture: a camera on a busy Pi takes 5 s for its first.
const NONE: Duration = Duration::from_secs(20);
/// Most bytes without a whole picture: a program that writes as fast as it can is no camera, and
/// costs a core.
const FLOOD: u64 = 256 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Watchdog {
    picture: Instant,
    read: Instant,
    is_within: bool,
    since_picture: u64,
}

impl Watchdog {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            picture: now,
            read: now,
            is_within: false,
            since_picture: 0,
        }
    }

    /// Reports bytes that were read, the pictures that ended in them, and whether one has begun.
    pub(super) fn read(&mut self, bytes: usize, pictures: usize, is_within: bool, now: Instant) {
        self.read = now;
        self.is_within = is_within;
        self.since_picture += bytes as u64;
        if pictures > 0 {
            self.picture = now;
            self.since_picture = 0;
        }
    }

    pub(super) fn next(&self) -> Instant {
        let none = self.picture + NONE;
        if self.is_within {
            none.min(self.read + HALF)
        } else {
            none
        }
    }

    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        if self.since_picture >= FLOOD {
            return Some(format!(
                "it has written {} MB, and no whole JPEG of less than 1 MiB is among them: it has to write MJPEG to its standard output",
                self.since_picture / 1_000_000
            ));
        }
        if now < self.next() {
            return None;
        }
        Some(if self.is_within && now >= self.read + HALF {
            format!(
                "it has written half a picture and then nothing for {} s",
                HALF.as_secs()
            )
        } else if self.since_picture == 0 {
            format!("it has written nothing for {} s", NONE.as_secs())
        } else {
            format!(
                "no whole JPEG of less than 1 MiB came from it for {} s: it has to write MJPEG to its standard output",
                NONE.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(watchdog: &Watchdog, at: Instant) -> String {
        watchdog.verdict(at).unwrap_or_default()
    }

    #[test]
    fn half_a_picture_and_then_silence_is_a_hung_program() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start);
        watchdog.read(10, 1, true, start);
        assert_eq!(watchdog.next(), start + HALF);
        assert_eq!(verdict(&watchdog, start + HALF / 2), "");
        assert!(verdict(&watchdog, start + HALF).contains("half a picture"));
        // A slow program does not hang.
        watchdog.read(10, 0, true, start + HALF / 2);
        assert_eq!(verdict(&watchdog, start + HALF), "");
    }

    #[test]
    fn a_program_without_pictures_is_no_camera() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start);
        assert!(verdict(&watchdog, start + NONE).contains("nothing for 20 s"));
        watchdog.read(10, 0, false, start + NONE / 2);
        assert!(verdict(&watchdog, start + NONE).contains("no whole JPEG"));
        watchdog.read(10, 1, false, start + NONE / 2);
        assert_eq!(verdict(&watchdog, start + NONE), "");
    }

    #[test]
    fn a_flood_is_ended_before_that() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(now);
        for _ in 0..FLOOD / (1024 * 1024) {
            assert_eq!(verdict(&watchdog, now), "");
            watchdog.read(1024 * 1024, 0, true, now);
        }
        assert!(verdict(&watchdog, now).contains("268 MB"));
        watchdog.read(1, 1, false, now);
        assert_eq!(verdict(&watchdog, now), "");
    }
}
