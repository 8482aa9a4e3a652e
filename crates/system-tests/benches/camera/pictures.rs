//! A camera: JPEGs by their markers, as large and as often as asked for.

use std::io::Write;
use std::time::{Duration, Instant};

/// One picture; what is coded in it means nothing.
fn jpeg(length: usize) -> Vec<u8> {
    let mut jpeg = b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00".to_vec();
    // So that TLS and lines that compress have something to do.
    let coded = (0_u32..).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x7f);
    jpeg.extend(coded.take(length.saturating_sub(14)));
    jpeg.extend_from_slice(b"\xff\xd9");
    jpeg
}

/// Writes pictures until nobody reads them.
pub fn write(length: usize, rate: u32) {
    let picture = jpeg(length);
    let begun = Instant::now();
    let mut out = std::io::stdout().lock();
    for n in 0.. {
        let at = begun + Duration::from_secs(1) * n / rate;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if out.write_all(&picture).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
