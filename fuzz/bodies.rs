//! What has to hold for whatever is read from outside: one function for each reader, which panics
//! where it does not. The fuzz targets call them with bytes that find new paths, the test suite
//! with seeds and what is near to them.
#![allow(dead_code, reason = "each fuzz target uses its own")]

use std::fs;
use std::path::{Component, Path};

use p2p_inner::camera::jpeg::JpegSplitter;
use p2p_router::auth::key_store::KeyFile;
use p2p_router::config::Options;
use p2p_router::http::query::CgiQuery;
use p2p_router::mesh::reading::ReadingMember;
use p2p_router::net::proxy_protocol::{HEAD, HeaderStart};
use p2p_shared::codec::{decode, encode};
use p2p_shared::invitation::Invitation;
use p2p_shared::key::{Key, Role};
use p2p_shared::names::{CommandName, Identity, LinkName, RunId};
use p2p_shared::protocol::{
    ConsoleToRouter, InnerToRouter, MAX_PICTURE, MediaToRouter, RouterToConsole, RouterToInner,
    RouterToMedia,
};
use p2p_shared::settings;
use p2p_shared::text::{Escaped, EscapedBytes, is_hidden};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tempfile::TempDir;

/// Frames of each direction: what is read is written and read back the same.
pub(crate) fn frames(bytes: &[u8]) {
    fn there_and_back<M>(bytes: &[u8])
    where
        M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        if let Ok(message) = decode::<M>(bytes) {
            // What is written may be longer than what was read: then it is refused as too large.
            if let Ok(written) = encode(&message) {
                assert_eq!(decode::<M>(&written).as_ref().ok(), Some(&message));
            }
        }
    }
    there_and_back::<InnerToRouter>(bytes);
    there_and_back::<RouterToInner>(bytes);
    there_and_back::<ConsoleToRouter>(bytes);
    there_and_back::<RouterToConsole>(bytes);
    there_and_back::<MediaToRouter>(bytes);
    there_and_back::<RouterToMedia>(bytes);
}

/// What a camera writes is the same pictures however it is cut, each from a beginning to an end and
/// no larger than one may be.
pub(crate) fn pictures(bytes: &[u8]) {
    let cut = |size: usize| {
        let (mut splitter, mut pictures) = (JpegSplitter::default(), Vec::new());
        for piece in bytes.chunks(size) {
            splitter.push(piece, 7, |picture| pictures.push(picture));
        }
        (pictures, splitter.take_lost())
    };
    let (pictures, lost) = cut(bytes.len().max(1));
    let mut length = 0;
    for picture in &pictures {
        let jpeg = picture.jpeg();
        assert!(jpeg.starts_with(b"\xff\xd8\xff") && jpeg.ends_with(b"\xff\xd9"));
        assert!(jpeg.len() <= MAX_PICTURE);
        assert_eq!(picture.captured_ms(), 7);
        length += jpeg.len();
    }
    assert!(length as u64 + lost.garbage <= bytes.len() as u64);
    for size in [1, 3, 100] {
        assert_eq!(cut(size), (pictures.clone(), lost));
    }
}

/// A name that could leave its folder, hide, or be taken for an option is none.
pub(crate) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<CommandName>() {
        stays_below(&name);
        assert_eq!(name.as_str(), text);
    }
    if let Ok(name) = text.parse::<LinkName>() {
        assert!(!name.as_str().chars().any(is_hidden));
    }
    if let Ok(run) = text.parse::<RunId>() {
        assert_eq!(run.to_string().parse::<RunId>().ok(), Some(run));
    }
    let _ = text.parse::<Identity>();
}

fn stays_below(name: &CommandName) {
    let parts: Vec<Component<'_>> = Path::new(name.as_str()).components().collect();
    assert!((1..=4).contains(&parts.len()), "{name:?}");
    for part in parts {
        let Component::Normal(part) = part else {
            panic!("{name:?} leaves its folder");
        };
        let part = part.to_str().unwrap_or_default();
        assert!((1..=64).contains(&part.len()), "{name:?}");
        assert!(!part.starts_with(['.', '-']), "{name:?}");
        assert!(
            !part.contains('\\') && !part.contains(char::is_control),
            "{name:?}"
        );
    }
}

/// A query is decoded once: what was read, encoded again, is read the same.
pub(crate) fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(query) = CgiQuery::parse(text) else {
        return;
    };
    stays_below(&query.command);
    let encoded = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    let mut again = format!("command={}", encoded(query.command.as_str().as_bytes()));
    for argument in query.arguments.iter() {
        assert!(!argument.as_bytes().contains(&0));
        again += &format!("&arg={}", encoded(argument.as_bytes()));
    }
    if query.stream {
        again += "&stream=1";
    }
    if let Some(ms) = query.for_ms {
        again += &format!("&for={ms}");
    }
    assert_eq!(CgiQuery::parse(&again).as_ref(), Ok(&query));
}

/// A key has one text; neither `Debug` nor an error shows any of its secret. An invitation is read back the same.
pub(crate) fn key(bytes: &[u8]) {
    const SECRET: std::ops::Range<usize> = 14..66;
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(invitation) = text.parse::<Invitation>() {
        assert_eq!(invitation.expose().parse().as_ref(), Ok(&invitation));
    }
    let shown = match text.parse::<Key>() {
        Ok(key) => {
            assert_eq!(key.expose(), text.trim());
            assert!(key.expose().starts_with(&key.bearer()));
            format!("{key:?}")
        }
        Err(error) => format!("{error} {error:?}"),
    };
    let Some(secret) = text.trim().as_bytes().get(SECRET) else {
        return;
    };
    for piece in secret.windows(12) {
        // What is all of one letter may well be in a sentence.
        if piece.iter().any(|byte| *byte != piece[0]) {
            assert!(!shown.as_bytes().windows(12).any(|window| window == piece));
        }
    }
}

/// A key file that is read can be added to, and nothing of it is lost; one that isn't stays as it
/// is.
pub(crate) fn key_file(bytes: &[u8]) {
    let folder = quick_folder();
    let file = KeyFile::in_dir(folder.path());
    write_secret(file.path(), bytes);
    let new = "added by the fuzzer"
        .parse()
        .unwrap_or_else(|_| unreachable!());
    match file.list() {
        Ok(before) => {
            if file.add(&new, Role::View, None).is_ok() {
                let after = file.list().unwrap_or_default();
                assert_eq!(after.get(..before.len()), Some(&before[..]));
                assert_eq!(after.len(), before.len() + 1);
            }
        }
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error}");
            assert!(file.add(&new, Role::View, None).is_err());
            assert_eq!(fs::read(file.path()).unwrap_or_default(), bytes);
        }
    }
}

/// A file of settings is read, or refused with a sentence that says where.
pub(crate) fn config(bytes: &[u8]) {
    let folder = quick_folder();
    let path = folder.path().join("p2p.toml");
    write_secret(&path, bytes);
    let arguments = [Path::new("p2p-router"), Path::new("--config"), &path];
    if let Err(error) = settings::try_parse_from::<Options>(arguments, &|_| None) {
        let sentence = error.to_string();
        let hidden = sentence.chars().find(|c| is_hidden(*c) && *c != '\n');
        assert_eq!(hidden, None, "{sentence:?}");
    }
}

/// Nothing that is shown can do anything to a terminal, or pretend to be another line of a log.
pub(crate) fn escape(bytes: &[u8]) {
    let shown = EscapedBytes(bytes).to_string();
    assert!(!shown.chars().any(is_hidden), "{shown:?}");
    for length in [0, 1, 7, 40] {
        let cut = EscapedBytes(bytes).cut(length).to_string();
        assert!(cut.chars().count() <= length + 1, "{cut:?}");
        assert!(shown.starts_with(cut.trim_end_matches('…')));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(Escaped(text).to_string(), shown);
    }
}

/// Whatever comes from the mesh's bus is of nobody; and whatever a member says, as messages behind their
/// lengths, is read back the same, or is none, and takes bounded memory.
pub(crate) fn mesh(bytes: &[u8]) {
    let mut member = ReadingMember::new().unwrap_or_else(|error| panic!("a member: {error}"));
    assert!(!member.receive(bytes));
    let mut rest = bytes;
    while let Some((length, more)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (message, more) = more.split_at(length.min(more.len()));
        rest = more;
        assert!(ReadingMember::is_read_back(message));
        member.hear(message);
        let (records, out) = member.sizes();
        assert!(records <= 4 * 65_536 && out <= 300, "{records} {out}");
    }
}

/// A balancer's header has an address only where all of it has come, and the same wherever its rest is cut
/// after that.
pub(crate) fn proxy_header(bytes: &[u8]) {
    let Some((start, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return;
    };
    let Ok(start) = HeaderStart::parse(start) else {
        return;
    };
    let rest = &rest[..rest.len().min(start.rest.into())];
    let whole = start.caller(rest);
    let shortest = (0..=rest.len()).find(|length| start.caller(&rest[..*length]) == whole);
    for length in shortest.unwrap_or_default()..rest.len() {
        assert_eq!(start.caller(&rest[..length]), whole);
    }
    if let Ok(Some(caller)) = whole {
        assert!(shortest >= Some(12) && caller.ip() == caller.ip().to_canonical());
    }
}

/// In memory where there is such a place: the fuzzer makes thousands a second.
fn quick_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    TempDir::new_in(place).unwrap_or_else(|error| panic!("a folder: {error}"))
}

fn write_secret(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap_or_else(|error| panic!("a file: {error}"));
    file.write_all(bytes)
        .unwrap_or_else(|error| panic!("a file: {error}"));
}
