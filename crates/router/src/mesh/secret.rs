//! Owns the secret of a mesh, and the keys that are derived from it, each for one purpose.

use std::fmt;

use ring::{hkdf, hmac};

/// Bytes of the secret.
pub(crate) const SECRET_BYTES: usize = 32;

/// What all members of a mesh know, and nobody else: who knows it is a member.
#[derive(Clone)]
pub struct MeshSecret([u8; SECRET_BYTES]);

impl MeshSecret {
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// Derives a key of 32 bytes (HKDF-SHA256, RFC 5869) for this purpose, and of this one of its kind.
    pub(crate) fn derive(&self, purpose: &str, salt: &[u8]) -> [u8; 32] {
        let mut key = [0; 32];
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0);
        let purpose = [purpose.as_bytes()];
        let expanded = pseudo_random.expand(&purpose, hkdf::HKDF_SHA256);
        // No error: SHA-256 gives as many bytes as the key has.
        let _ = expanded.and_then(|bytes| bytes.fill(&mut key));
        key
    }

    /// The key of the codes by which members know each other on a connection.
    pub(crate) fn peer_key(&self) -> hmac::Key {
        hmac::Key::new(
            hmac::HMAC_SHA256,
            &self.derive(
                "p2prouter mesh, connections between members, version 1",
                &[],
            ),
        )
    }
}

/// No log has the secret.
impl fmt::Debug for MeshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_and_each_salt_has_a_key_of_its_own() {
        let secret = MeshSecret::new([7; 32]);
        let keys = [
            secret.derive("a", &[]),
            secret.derive("b", &[]),
            secret.derive("a", &[1]),
            MeshSecret::new([8; 32]).derive("a", &[]),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key));
            assert_ne!(*key, [0; 32]);
        }
        assert_eq!(keys[0], secret.derive("a", &[]));
    }

    #[test]
    fn what_is_printed_has_no_secret() {
        assert_eq!(format!("{:?}", MeshSecret::new([7; 32])), "MeshSecret");
    }
}
