//! Limits how many things of one kind each owner has, or how large they are together. A permit that is
//! dropped gives its place back, and nothing is stored for an owner without permits.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use p2p_shared::timing;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::net::client_net::QuotaOwner;
use crate::net::leaky_bucket::LeakyBucket;

/// Permits of one kind. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Quota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    /// Counts what was refused.
    refused: Counter,
    held: Mutex<HashMap<QuotaOwner, Held>>,
}

#[derive(Debug, Default)]
struct Held {
    size: usize,
    rate: Arc<Mutex<LeakyBucket>>,
}

/// Permit for one thing.
#[derive(Debug)]
pub(crate) struct QuotaPermit {
    owner: QuotaOwner,
    size: usize,
    quota: Quota,
    rate: Arc<Mutex<LeakyBucket>>,
}

impl Quota {
    /// Allows at most this many things, or things of this size in all, for each owner.
    pub(crate) fn new(most: usize, refused: Counter) -> Self {
        Self(Arc::new(Shared {
            most,
            refused,
            held: Mutex::default(),
        }))
    }

    /// Takes a permit, unless the owner has as many as it may.
    pub(crate) fn take(&self, owner: QuotaOwner) -> Option<QuotaPermit> {
        self.take_sized(owner, 1)
    }

    /// Takes a permit for a thing of this size, unless the owner's would be too large together. One
    /// alone may have any size.
    pub(crate) fn take_sized(&self, owner: QuotaOwner, size: usize) -> Option<QuotaPermit> {
        let size = size.max(1);
        let mut held = self.0.held.lock();
        let of_owner = held.entry(owner).or_default();
        if of_owner.size > 0 && of_owner.size + size > self.0.most {
            self.0.refused.inc();
            return None;
        }
        of_owner.size += size;
        let rate = of_owner.rate.clone();
        drop(held);
        Some(QuotaPermit {
            owner,
            size,
            quota: self.clone(),
            rate,
        })
    }
}

impl QuotaPermit {
    pub(crate) fn owner(&self) -> QuotaOwner {
        self.owner
    }

    /// Returns true if the owner may send one more request now. The rate is `each_second`, for all
    /// permits of the owner together.
    pub(crate) fn may_ask(&self, each_second: f64) -> bool {
        self.rate.lock().take(each_second, timing::now())
    }

    /// Returns the same bytes, with which the permit is given back: when the last copy is dropped.
    pub(crate) fn kept_with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted {
            bytes,
            _permit: self,
        })
    }
}

struct Counted {
    bytes: Bytes,
    _permit: QuotaPermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        let mut held = self.quota.0.held.lock();
        if let Some(of_owner) = held.get_mut(&self.owner) {
            of_owner.size -= self.size;
            if of_owner.size == 0 {
                held.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn owner(n: u32) -> QuotaOwner {
        QuotaOwner::At(IpAddr::from(Ipv4Addr::from_bits(n)).into())
    }

    #[test]
    fn each_owner_has_its_own_and_gives_it_back() {
        let quota = Quota::new(2, Counter::default());
        let first = quota.take(owner(1)).unwrap();
        let second = quota.take(owner(1)).unwrap();
        assert!(quota.take(owner(1)).is_none());
        let others = quota.take(owner(2)).unwrap();
        drop(first);
        let third = quota.take(owner(1)).unwrap();
        drop((second, third, others));
        assert!(quota.0.held.lock().is_empty());
    }

    #[test]
    fn sizes_count_together_until_the_last_copy_is_dropped_and_one_alone_may_have_any() {
        let quota = Quota::new(10, Counter::default());
        let some = quota.take_sized(owner(1), 4).unwrap();
        assert!(quota.take_sized(owner(1), 7).is_none());
        let bytes = some.kept_with(Bytes::from_static(b"four"));
        let copy = bytes.slice(1..);
        drop(bytes);
        assert!(quota.take_sized(owner(1), 7).is_none());
        assert_eq!(copy, "our");
        drop(copy);
        let large = quota.take_sized(owner(1), 99).unwrap();
        assert!(quota.take_sized(owner(1), 1).is_none());
        drop(large);
        assert!(quota.0.held.lock().is_empty());
    }
}
