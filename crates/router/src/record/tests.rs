use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mcap::MessageStream;
use mcap::read::{Options, Summary};
use p2p_shared::protocol::Picture;

use super::Drives;
use super::file::{AT_ONCE, Entry, FileNews, Over, RecordingFile, Recordings};
use super::message::{Body, Level};
use crate::config::RecordConfig;

const TIME: &str = "20261130T201500Z";

fn recordings(dir: &Path) -> Recordings {
    Recordings::new(RecordConfig {
        dir: dir.join("new/folder"),
        most_bytes: 1 << 30,
    })
}

fn begin(recordings: &Recordings, name: &str) -> RecordingFile {
    let file = RecordingFile::begin(recordings, name, TIME, [].into());
    file.unwrap().unwrap()
}

async fn is_made(file: &RecordingFile) {
    while !file.path().exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn entry(body: Body, at_ns: u64) -> Entry {
    Entry {
        body,
        at_ns,
        heard_ns: at_ns + 5,
    }
}

fn picture(jpeg: &[u8]) -> Body {
    let message = [&[0; 8], jpeg].concat();
    Body::Picture(Picture::from_message(Bytes::from(message)).unwrap())
}

/// Topics, times and contents of the messages in these bytes of a file.
fn messages(file: &[u8], is_whole: bool) -> Vec<(String, u64, u64, Vec<u8>)> {
    let options = (!is_whole).then_some(Options::IgnoreEndMagic);
    let messages = MessageStream::new_with_options(file, options.into_iter().collect()).unwrap();
    let messages = messages.map_while(Result::ok);
    let told = messages.map(|it| {
        let topic = it.channel.topic.clone();
        (topic, it.log_time, it.publish_time, it.data.to_vec())
    });
    told.collect()
}

#[tokio::test]
async fn a_recording_has_what_was_written_and_its_facts() {
    let dir = tempfile::tempdir().unwrap();
    let facts = [("stop".to_owned(), "halt".to_owned())].into();
    let file = RecordingFile::begin(&recordings(dir.path()), "my car", TIME, facts);
    let file = file.unwrap().unwrap();
    let path = file.path().to_owned();
    assert!(path.ends_with("new/folder/my_car-20261130T201500Z.mcap"));
    for body in [
        Body::Drive(b"{\"a\":1}".to_vec()),
        picture(b"a JPEG"),
        Body::Log(Level::Warning, "link lost".to_owned()),
        Body::Run(b"{}".to_vec()),
    ] {
        assert!(file.write(entry(body, 1_500_000_000)).unwrap());
    }
    assert!(matches!(file.end().await, Over::Full));
    let bytes = fs::read(path).unwrap();
    let told = messages(&bytes, true);
    let topics: Vec<_> = told.iter().map(|(topic, ..)| &**topic).collect();
    let expected = ["drive", "camera", "log", "runs"].map(|it| format!("/my_car/{it}"));
    assert_eq!(topics, expected);
    assert!(
        told.iter()
            .all(|it| (it.1, it.2) == (1_500_000_000, 1_500_000_005))
    );
    assert_eq!(told[0].3, b"{\"a\":1}");
    // Timestamp (1 s and 500,000,000 ns), data, format, frame_id, as protoc encodes them.
    let time = b"\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";
    let image = [&time[..], b"\x12\x06a JPEG\x1a\x04jpeg\x22\x06camera"].concat();
    assert_eq!(told[1].3, image);
    let line = [&time[..], b"\x10\x03\x1a\x09link lost\x22\x0ap2p-router"].concat();
    assert_eq!(told[2].3, line);
    let summary = Summary::read(&bytes).unwrap().unwrap();
    assert_eq!(summary.stats.unwrap().message_count, 4);
    assert_eq!(summary.metadata_indexes.len(), 1);
    assert_eq!(summary.schemas.len(), 4);
}

#[test]
fn what_was_written_can_be_read_while_the_file_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = begin(&recordings(dir.path()), "car");
    // As of a process that is killed now: nothing ends the file.
    let mut written = 0;
    let is_empty = |bytes: &[u8]| bytes.is_empty() || messages(bytes, false).is_empty();
    while is_empty(&fs::read(file.path()).unwrap_or_default()) {
        written += 1;
        let body = Body::Log(Level::Info, "x".to_owned());
        file.write(entry(body, written)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(written > 0);
}

#[tokio::test]
async fn the_oldest_recordings_go_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, age: u64| {
        let path = dir.path().join(name);
        fs::write(&path, [0; 1000]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        fs::File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    let [older, old, new] = [1, 2, 3].map(|day| format!("car-2026110{day}T000000Z.mcap"));
    let others = [
        "holiday.mcap",
        "-20261101T000000Z.mcap",
        "car-20261101.mcap",
    ];
    put(&older, 3000);
    put(&old, 2000);
    put(&new, 1000);
    others.iter().for_each(|name| put(name, 9000));
    let recordings = Recordings::new(RecordConfig {
        dir: dir.path().to_owned(),
        most_bytes: 1500,
    });
    let file = begin(&recordings, "car");
    is_made(&file).await;
    let is_there = |name: &&str| dir.path().join(name).exists();
    assert!(!is_there(&&*older) && !is_there(&&*old) && is_there(&&*new));
    assert!(others.iter().all(is_there));
    let path = file.path().to_owned();
    // Another of the same second does not take it from those that are kept.
    let again = begin(&recordings, "car").end().await;
    assert!(matches!(again, Over::Full), "{again:?}");
    assert!(path.exists() && dir.path().join(format!("car-2-{TIME}.mcap")).exists());
    assert!(matches!(
        begin(&recordings, "other").end().await,
        Over::Full
    ));
    assert!(path.exists());
    drop(file);
}

#[tokio::test]
async fn a_file_that_is_still_written_is_not_removed_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(RecordConfig {
        dir: dir.path().to_owned(),
        most_bytes: 0,
    });
    let open = begin(&recordings, "open");
    is_made(&open).await;
    assert!(matches!(
        begin(&recordings, "other").end().await,
        Over::Full
    ));
    let path = open.path().to_owned();
    assert!(path.exists());
    assert!(matches!(open.end().await, Over::Full));
    assert!(matches!(begin(&recordings, "last").end().await, Over::Full));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_tells_that_it_is_there_and_that_it_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(RecordConfig {
        dir: dir.path().to_owned(),
        most_bytes: 0,
    });
    let mut file = begin(&recordings, "car");
    assert!(matches!(file.news().await, FileNews::Begun));
    assert!(file.has_begun() && !file.is_hung());
    // It has more bytes than may be. Nothing is written meanwhile.
    assert!(matches!(file.news().await, FileNews::Over));
    assert!(matches!(file.end().await, Over::Full));
    let other = tempfile::NamedTempFile::new().unwrap();
    let mut file = begin(&self::recordings(other.path()), "car");
    assert!(matches!(file.news().await, FileNews::Over));
    assert!(matches!(file.end().await, Over::Failed(_)));
}

#[test]
fn a_disk_that_does_not_answer_holds_up_neither_a_drive_nor_the_routers_end() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = recordings(dir.path());
    let hung = recordings.hang();
    let files: Vec<_> = (0..AT_ONCE)
        .map(|number| begin(&recordings, &format!("car{number}")))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for file in files {
        file.write(entry(Body::Run(b"{}".to_vec()), 1)).unwrap();
        runtime.spawn(file.end());
    }
    // Their threads are still there.
    let more = RecordingFile::begin(&recordings, "more", TIME, [].into());
    assert!(more.unwrap().is_none());
    drop(runtime);
    drop(hung);
}

#[tokio::test]
async fn a_car_whose_recording_has_panicked_can_be_recorded_again() {
    let mut drives = Drives::default();
    drives.begin(9000, async { panic!("as a fault would have it") });
    drives.begin(9001, std::future::pending());
    assert!(drives.has(9000) && drives.has(9001));
    assert_eq!(drives.ended().await, Some(9000));
    assert!(!drives.has(9000) && drives.has(9001));
}
