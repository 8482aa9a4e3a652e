//! Owns what a splitter of pictures is held to: with pictures of every make, in pieces of any size,
//! and with anything between them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A segment with this code.
fn part(code: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xff, code], &length[..], body].concat()
}

/// A picture with these segments, and this as what is coded.
fn jpeg(segments: &[Vec<u8>], coded: &[u8]) -> Vec<u8> {
    let segments = segments.concat();
    let scan = part(0xda, &[1, 1, 0, 0, 63, 0]);
    [
        &[0xff, 0xd8],
        &segments[..],
        &scan[..],
        coded,
        &[0xff, 0xd9],
    ]
    .concat()
}

fn plain() -> Vec<u8> {
    jpeg(&[part(0xe0, b"JFIF\0"), part(0xdb, &[0; 65])], b"coded")
}

/// Pictures out of these pieces, and what was lost.
fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, JpegLosses) {
    let mut splitter = JpegSplitter::default();
    let mut pictures = Vec::new();
    for (n, piece) in (0..).zip(pieces) {
        splitter.push(piece, n, |picture| pictures.push(picture.jpeg().to_vec()));
    }
    (pictures, splitter.take_lost())
}

fn is_whole(bytes: &[u8]) {
    let (pictures, lost) = cut([bytes]);
    assert_eq!(pictures, [bytes]);
    assert_eq!(lost, JpegLosses::default());
    let (pictures, _) = cut(bytes.chunks(1));
    assert_eq!(pictures, [bytes]);
}

#[test]
fn a_thumbnail_in_a_segment_ends_nothing() {
    let thumbnail = plain();
    let exif = [b"Exif\0\0", &thumbnail[..]].concat();
    is_whole(&jpeg(&[part(0xe1, &exif), part(0xfe, &[0xff, 0xd9])], b"x"));
}

#[test]
fn stuffed_bytes_restarts_and_fill_bytes_end_nothing() {
    is_whole(&jpeg(&[], &[0xff, 0x00, 0xff, 0xd0, 1, 0xff, 0xd7, 0xff]));
    is_whole(&jpeg(&[vec![0xff, 0xff], part(0xdb, &[0])], &[]));
    is_whole(&jpeg(&[vec![0xff, 0x01]], &[7, 0xff, 0xff]));
}

#[test]
fn a_picture_of_several_scans_is_one() {
    let more = [part(0xc4, &[0; 20]), part(0xda, &[0; 6]), vec![9; 9]].concat();
    is_whole(&jpeg(&[part(0xc2, &[0; 9])], &more));
}

#[test]
fn garbage_is_skipped_and_counted() {
    let picture = plain();
    let garbage: [&[u8]; 5] = [
        b"hello",
        &[0xff],
        &[0xff, 0xff, 0x00],
        &[0xff, 0xd8, 0x41],
        &[0xff, 0xd8, 0xff, 0xd8, 0xff, 0xd9],
    ];
    for between in garbage {
        let bytes = [between, &picture, between, &picture].concat();
        let (pictures, lost) = cut([&bytes[..]]);
        assert_eq!(pictures, [&picture[..], &picture], "{between:x?}");
        assert_eq!(lost.garbage, 2 * between.len() as u64, "{between:x?}");
    }
}

#[test]
fn half_a_picture_is_lost_and_the_next_is_whole() {
    let picture = plain();
    let half = &picture[..picture.len() - 4];
    let (pictures, lost) = cut([half, &picture]);
    assert_eq!(pictures, [&picture[..]]);
    assert_eq!(lost.garbage, half.len() as u64);
}

#[test]
fn one_that_is_too_large_is_thrown_away_and_needs_no_memory() {
    let picture = plain();
    let head = &picture[..picture.len() - 2];
    let mut splitter = JpegSplitter::default();
    let mut pictures = 0;
    splitter.push(head, 0, |_| pictures += 1);
    for _ in 0..100 {
        splitter.push(&[7; 1 << 20], 0, |_| pictures += 1);
        let kept = splitter.half.as_ref().map_or(0, PartialPicture::len);
        assert!(kept <= MAX_PICTURE);
    }
    assert!(splitter.is_within());
    splitter.push(&[0xff, 0xd9], 0, |_| pictures += 1);
    assert_eq!(pictures, 0);
    let (garbage, too_large) = (0, 1);
    assert_eq!(splitter.take_lost(), JpegLosses { garbage, too_large });
    splitter.push(&picture, 0, |_| pictures += 1);
    assert_eq!(pictures, 1);
    // The largest that may be.
    let coded = vec![1; MAX_PICTURE - jpeg(&[], &[]).len()];
    is_whole(&jpeg(&[], &coded));
}

#[test]
fn its_time_is_that_of_its_first_byte() {
    let picture = plain();
    let mut splitter = JpegSplitter::default();
    let mut times = Vec::new();
    for (piece, now) in [
        (&picture[..9], 5),
        (&picture[9..], 6),
        (&picture, 7),
        (&[0xff][..], 8),
        (&picture[1..], 9),
    ] {
        splitter.push(piece, now, |picture| times.push(picture.captured_ms()));
    }
    assert_eq!(times, [5, 7, 9]);
}

/// What is coded: any bytes, stuffed, with restarts.
fn coded() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => (0..0xff_u8).prop_map(|byte| vec![byte]),
        1 => Just(vec![0xff, 0x00]),
        1 => (0xd0..=0xd7_u8).prop_map(|restart| vec![0xff, restart]),
    ];
    vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

fn any_jpeg() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![0xc0..=0xc4_u8, 0xdb..=0xfe_u8];
    let segments = vec(
        (code, vec(any::<u8>(), 0..300)).prop_map(|(code, body)| part(code, &body)),
        0..5,
    );
    (segments, coded()).prop_map(|(segments, coded)| jpeg(&segments, &coded))
}

proptest! {
    #[test]
    fn any_pictures_come_whole_in_pieces_of_any_size(
        pictures in vec(any_jpeg(), 1..5),
        // Without an FF it can't be taken for a beginning.
        garbage in vec(0..0xff_u8, 0..50),
        size in 1..700_usize,
    ) {
        let stream: Vec<u8> = pictures.iter().flat_map(|p| [&garbage[..], p].concat()).collect();
        let (cut, lost) = cut(stream.chunks(size));
        prop_assert_eq!(lost.garbage, (garbage.len() * pictures.len()) as u64);
        prop_assert_eq!(cut, pictures);
    }

    #[test]
    fn any_bytes_are_pictures_or_lost_however_they_are_cut(
        bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(vec![0xff, 0xd8, 0xd9, 0xda, 0])], 0..2000),
        size in 1..100_usize,
    ) {
        let mut splitter = JpegSplitter::default();
        let mut pictures: Vec<Vec<u8>> = Vec::new();
        for piece in bytes.chunks(size) {
            splitter.push(piece, 0, |picture| pictures.push(picture.jpeg().to_vec()));
        }
        let shown: usize = pictures.iter().map(Vec::len).sum();
        let waits = match splitter.state {
            State::Between => 0,
            State::MayBegin => 1,
            _ => splitter.length,
        };
        prop_assert_eq!(shown as u64 + splitter.lost.garbage + waits, bytes.len() as u64);
        for picture in &pictures {
            prop_assert!(picture.starts_with(&[0xff, 0xd8, 0xff]) && picture.ends_with(&[0xff, 0xd9]));
        }
        let (at_once, _) = cut([&bytes[..]]);
        prop_assert_eq!(at_once, pictures);
    }
}
