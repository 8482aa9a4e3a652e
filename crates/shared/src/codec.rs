//! Encodes and decodes messages: MessagePack with fields by name between the programs, JSON to a
//! page. Size and depth are bounded.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio_tungstenite::tungstenite::Message;

use crate::protocol::MAX_MESSAGE;

/// Room that a message has from the start: more than most need, so that it is made once.
const ROOM: usize = 256;

/// Deepest nesting that is decoded. The protocol's messages have 5.
const MAX_DEPTH: usize = 16;

/// Reason why a message can't be encoded or decoded.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The message is larger than [`MAX_MESSAGE`].
    #[error("a message of {0} bytes is larger than the {MAX_MESSAGE} that are allowed")]
    TooLarge(usize),
    /// The bytes are not a message of this direction.
    #[error("not a message of this protocol: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// There are bytes after the message.
    #[error("there are bytes after the message")]
    Trailing,
    /// MessagePack can't express the message.
    #[error("a message can't be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// JSON can't express the message, or the text is not a message.
    #[error("not a message of this protocol: {0}")]
    Json(#[from] serde_json::Error),
    /// The WebSocket message is text in place of binary, or the reverse.
    #[error("not a message of this protocol: it is {0}")]
    Kind(&'static str),
}

/// Encoding of messages in a WebSocket.
pub trait Encoding {
    /// Encodes the message.
    ///
    /// # Errors
    /// If it is larger than [`MAX_MESSAGE`].
    fn write<M: Serialize>(message: &M) -> Result<Message, CodecError>;

    /// Decodes a message that arrived.
    ///
    /// # Errors
    /// If it is not a message, too large, or nested too deep.
    fn read<M: DeserializeOwned>(message: &Message) -> Result<M, CodecError>;
}

/// Binary messages, between the programs.
#[derive(Debug)]
pub enum MessagePack {}

impl Encoding for MessagePack {
    fn write<M: Serialize>(message: &M) -> Result<Message, CodecError> {
        Ok(Message::Binary(encode(message)?))
    }

    fn read<M: DeserializeOwned>(message: &Message) -> Result<M, CodecError> {
        match message {
            Message::Binary(bytes) => decode(bytes),
            _ => Err(CodecError::Kind("text")),
        }
    }
}

/// Text messages, to and from a page in a browser.
#[derive(Debug)]
pub enum Json {}

impl Encoding for Json {
    fn write<M: Serialize>(message: &M) -> Result<Message, CodecError> {
        let text = serde_json::to_string(message)?;
        if text.len() > MAX_MESSAGE {
            return Err(CodecError::TooLarge(text.len()));
        }
        Ok(Message::text(text))
    }

    fn read<M: DeserializeOwned>(message: &Message) -> Result<M, CodecError> {
        match message {
            // The library bounds the text's depth (128), and the socket's limits its size.
            Message::Text(text) => Ok(serde_json::from_str(text)?),
            _ => Err(CodecError::Kind("binary")),
        }
    }
}

/// Encodes the message as MessagePack.
///
/// # Errors
/// If it is larger than [`MAX_MESSAGE`].
pub fn encode<M: Serialize>(message: &M) -> Result<Bytes, CodecError> {
    let mut bytes = Vec::with_capacity(ROOM);
    rmp_serde::encode::write_named(&mut bytes, message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes.into())
}

/// Decodes one message from exactly these bytes.
///
/// # Errors
/// If the bytes are not a message, too many, nested too deep, or more than one message.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, CodecError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(MAX_DEPTH);
    let message = M::deserialize(&mut reader)?;
    // The library doesn't tell what is left. At the end there is no next value's first byte.
    match <()>::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(message),
        _ => Err(CodecError::Trailing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::RunId;
    use crate::protocol::{InnerToRouter, RouterToInner};

    #[test]
    fn a_message_is_read_back_and_nothing_may_follow_it() {
        let message = InnerToRouter::Started {
            run: RunId::from_number(7),
        };
        let bytes = encode(&message).unwrap();
        assert_eq!(decode::<InnerToRouter>(&bytes).unwrap(), message);
        for byte in 0..=u8::MAX {
            let more = [&bytes[..], &[byte]].concat();
            let decoded = decode::<InnerToRouter>(&more);
            assert!(matches!(decoded, Err(CodecError::Trailing)), "{byte:#x}");
        }
        assert!(matches!(
            decode::<InnerToRouter>(&bytes[..bytes.len() - 1]),
            Err(CodecError::Decode(_))
        ));
    }

    #[test]
    fn a_message_of_the_other_direction_is_none() {
        let bytes = encode(&RouterToInner::ListCommands { request: 1 }).unwrap();
        assert!(decode::<InnerToRouter>(&bytes).is_err());
    }

    #[test]
    fn what_is_too_large_is_neither_written_nor_read() {
        let text = "x".repeat(MAX_MESSAGE);
        assert!(matches!(encode(&text), Err(CodecError::TooLarge(_))));
        let bytes = rmp_serde::to_vec(&text).unwrap();
        assert!(matches!(
            decode::<String>(&bytes),
            Err(CodecError::TooLarge(_))
        ));
    }

    #[test]
    fn deep_nesting_and_false_lengths_end_in_an_error() {
        let mut deep = vec![0x91; 60_000];
        deep.push(0xc0);
        assert!(decode::<InnerToRouter>(&deep).is_err());
        // A list that claims four thousand million entries, a string as long, a map as large.
        for marker in [0xdd, 0xdb, 0xdf, 0xc6] {
            let claim = [marker, 0xff, 0xff, 0xff, 0xff, 0xa1, b'x'];
            assert!(decode::<InnerToRouter>(&claim).is_err());
        }
    }
}
