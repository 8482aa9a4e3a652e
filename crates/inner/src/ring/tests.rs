use std::fs;
use std::io::Write;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn entries(ring: &Ring) -> Vec<PastEntry> {
    let lines = ring.past(HOUR);
    let mut entries: Vec<PastEntry> = lines
        .split(|byte| *byte == b'\n')
        .filter_map(PastEntry::of_line)
        .collect();
    assert_eq!(entries.remove(0).event, PastEvent::Now);
    assert!(entries.is_sorted_by(|a, b| a.id < b.id));
    entries
}

fn lost(number: usize) -> PastEvent {
    PastEvent::LinkLost {
        why: Text::new(number.to_string()),
    }
}

/// Adds entries of other seconds each, past the limit of one second.
fn fill(ring: &Ring, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let mut entry = entry(lost(number));
        entry.clock_ms += number as u64 * 1000;
        ring.add(entry);
    }
}

/// Waits until the entries are in the files.
fn wait(ring: &Ring) {
    while !ring.newest.lock().lines.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_entry_is_on_disk_at_once_and_the_next_process_goes_on_with_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("past/car");
    let ring = Ring::at(&path);
    ring.note(lost(1));
    ring.note(PastEvent::Motion(MotionEvent::Stands));
    wait(&ring);
    let before = entries(&ring);
    assert_eq!(before.len(), 2);
    // As by `kill -9`: nothing is done at its end. Its lock ends with its thread.
    let far = before[1].id + 1_000_000_000_000;
    let mut last = entry(lost(2));
    last.id = far;
    ring.add(last);
    wait(&ring);
    drop(ring);
    let next = loop {
        let next = Ring::at(&path);
        if next.path() == Some(&path) {
            break next;
        }
    };
    next.note(lost(3));
    let after = entries(&next);
    assert_eq!(after.len(), 4);
    assert_eq!(after[3].id, far + 1);
}

#[test]
fn a_line_that_is_cut_off_costs_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("car");
    let ring = Ring::at(&path);
    ring.note(lost(1));
    wait(&ring);
    drop(ring);
    let file = path.with_added_extension("0.jsonl");
    let mut whole = fs::read(&file).unwrap();
    let half = whole.len() / 2;
    whole.extend_from_within(..half);
    whole.extend(b"\0\0\0");
    fs::write(&file, whole).unwrap();
    let mut files = RingFiles::open(&path).unwrap();
    let next = line(&entry(lost(2))).unwrap();
    files.append(next.as_bytes()).unwrap();
    let ring = Ring {
        path: Some(path),
        ..Ring::in_memory()
    };
    let all: Vec<PastEvent> = entries(&ring).into_iter().map(|it| it.event).collect();
    assert_eq!(all, [lost(1), lost(2)]);
}

#[test]
fn two_files_of_eight_megabytes_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("car");
    let mut files = RingFiles::open(&path).unwrap();
    let sizes = || {
        ["0.jsonl", "1.jsonl"].map(|end| {
            let length = fs::metadata(path.with_added_extension(end)).unwrap().len();
            length >> 20
        })
    };
    let long = [vec![b'x'; (1 << 20) - 1], vec![b'\n']].concat();
    for _ in 0..8 {
        files.append(&long).unwrap();
    }
    assert_eq!(sizes(), [8, 0]);
    files.append(&long).unwrap();
    assert_eq!(sizes(), [8, 1]);
    for _ in 0..8 {
        files.append(&long).unwrap();
    }
    assert_eq!(sizes(), [1, 8]);
    // The file that is newest goes on.
    files
        .append(line(&entry(lost(1))).unwrap().as_bytes())
        .unwrap();
    drop(files);
    let mut files = RingFiles::open(&path).unwrap();
    files.append(&long).unwrap();
    assert_eq!(sizes(), [2, 8]);
}

#[test]
fn what_the_guardian_adds_is_among_the_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("car");
    let ring = Ring::at(&path);
    ring.note(lost(1));
    wait(&ring);
    let acted = PastEvent::Guardian {
        cause: "the inner is silent".into(),
        press: None,
        run: None,
        clock_ms: 7,
        has_stopped: true,
    };
    add_to(&path, acted.clone());
    ring.note(lost(2));
    let all: Vec<PastEvent> = entries(&ring).into_iter().map(|it| it.event).collect();
    assert_eq!(all, [lost(1), acted, lost(2)]);
}

#[test]
fn on_a_full_disk_the_newest_is_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("car");
    std::os::unix::fs::symlink("/dev/full", path.with_added_extension("0.jsonl")).unwrap();
    let ring = Ring::at(&path);
    fill(&ring, 0..5000);
    let held = entries(&ring);
    let last = held.last().unwrap();
    assert_eq!(last.event, lost(4999));
    assert!((500..5000).contains(&held.len()), "{}", held.len());
    assert!(ring.newest.lock().bytes <= UNWRITTEN);
}

#[test]
fn a_flood_is_cut_and_memory_is_bounded() {
    let ring = Ring::in_memory();
    for number in 0..10_000 {
        ring.note(lost(number));
    }
    let seconds = 3;
    assert!(entries(&ring).len() <= seconds * A_SECOND as usize);
    let failed = PastEvent::Motion(MotionEvent::StopFailed);
    ring.note(failed.clone());
    assert_eq!(entries(&ring).pop().unwrap().event, failed);
    fill(&ring, 0..10_000);
    assert!(ring.newest.lock().bytes <= UNWRITTEN);
    assert!(ring.past(HOUR).len() <= MAX_PAST);
}

#[test]
fn of_an_earlier_start_of_the_machine_only_the_time_of_day_counts() {
    let ring = Ring::in_memory();
    let before = |at_ms: &dyn Fn(u64) -> u64, number| {
        let mut past = entry(lost(number));
        past.boot = Some("0".into());
        past.at_ms = at_ms(past.at_ms);
        ring.add(past);
    };
    // A day ago, as long after that start; recent; and while the clock was a day ahead.
    let day = 86_400_000;
    before(&|now| now - day, 1);
    before(&|now| now - 1000, 2);
    before(&|now| now + day, 3);
    // The time of day was set meanwhile.
    let mut past = entry(lost(4));
    past.at_ms -= day;
    ring.add(past);
    let all: Vec<PastEvent> = entries(&ring).into_iter().map(|it| it.event).collect();
    assert_eq!(all, [lost(2), lost(4)]);
}

#[test]
fn only_what_was_asked_for_is_told() {
    let ring = Ring::in_memory();
    let mut old = entry(lost(1));
    old.clock_ms -= 61_000;
    ring.add(old);
    ring.note(lost(2));
    let lines = ring.past(Duration::from_secs(60));
    let text = String::from_utf8(lines).unwrap();
    assert_eq!(text.lines().count(), 2);
    // Something that a newer version wrote.
    let mut strange = Vec::new();
    writeln!(
        strange,
        r#"{{"id":1,"clock_ms":1,"at_ms":1,"event":"flies"}}"#
    )
    .unwrap();
    assert_eq!(PastEntry::of_line(&strange), None);
}
