//! Reads back the newest lines of a program's log files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value};

/// Most bytes that are read of each of the two newest files.
const READ: u64 = 4 * 1024 * 1024;

/// Returns the lines that this program has logged since, and that are wanted, the oldest first: of the
/// newest ones, as many as have room in `most` bytes. A line that is cut off is left out. Reads the disk.
pub fn recent_lines(
    folder: &Path,
    program: &str,
    since: SystemTime,
    most: usize,
    is_wanted: impl Fn(&Map<String, Value>) -> bool,
) -> Vec<u8> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(program)?.strip_prefix('.')?;
            let is_log = rest.starts_with(|first: char| first.is_ascii_digit());
            let written = entry.metadata().ok()?.modified().ok()?;
            (is_log && rest.ends_with(".jsonl")).then(|| (written, entry.path()))
        })
        .collect();
    files.sort();
    let newest = files.len().saturating_sub(2);
    let newest = files[newest..].iter().map(|(_, path)| path);
    let text: Vec<Vec<u8>> = newest.map(|path| tail(path).unwrap_or_default()).collect();
    let is_recent = |line: &[u8]| {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
            return false;
        };
        let at = fields.get("timestamp").and_then(Value::as_str);
        let at = at.and_then(|at| humantime::parse_rfc3339(at).ok());
        at.is_some_and(|at| at >= since) && is_wanted(&fields)
    };
    let all = text
        .iter()
        .flat_map(|text| text.split_inclusive(|byte| *byte == b'\n'));
    let recent: Vec<&[u8]> = all.filter(|line| is_recent(line)).collect();
    let mut room = most;
    let fits = |line: &&&[u8]| {
        let left = room.checked_sub(line.len());
        room = left.unwrap_or_default();
        left.is_some()
    };
    let mut newest: Vec<&[u8]> = recent.iter().rev().take_while(fits).copied().collect();
    newest.reverse();
    newest.concat()
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_newest_lines_of_the_program_are_found_in_its_two_newest_files() {
        let folder = tempfile::tempdir().unwrap();
        let line = |at: u64, link: &str| {
            let at = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_secs(at));
            format!("{{\"timestamp\":\"{at}\",\"link\":\"{link}\",\"message\":\"x\"}}\n")
        };
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).unwrap();
            // Files of one moment have the order of their names.
        };
        write(
            "p2p-router.2026-11-29.jsonl",
            line(90, "car") + &line(110, "car"),
        );
        let cut = line(140, "car");
        write(
            "p2p-router.2026-11-30.jsonl",
            line(120, "car") + &line(125, "other") + &line(130, "car") + &cut[..40],
        );
        write("p2p-router-x.2026-11-30.jsonl", line(150, "car"));
        write("p2p-inner.2026-11-30.jsonl", line(150, "car"));
        let read = |most| {
            let since = UNIX_EPOCH + Duration::from_secs(100);
            let is_car = |fields: &Map<String, Value>| fields["link"] == "car";
            let lines = recent_lines(folder.path(), "p2p-router", since, most, is_car);
            String::from_utf8(lines).unwrap()
        };
        assert_eq!(
            read(10_000),
            line(110, "car") + &line(120, "car") + &line(130, "car")
        );
        assert_eq!(read(line(130, "car").len() + 5), line(130, "car"));
    }
}
