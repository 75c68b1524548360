//! The cache of images: what never changes about an image, read once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// How many images the cache holds.
const CAPACITY: usize = 128;

/// A client's images, by the digest that an image's record names. Content never changes under its
/// digest, so an entry is never out of date.
#[derive(Default)]
pub(crate) struct ImageCache {
    entries: Mutex<HashMap<String, Arc<CachedImage>>>,
}

/// A cached image, for this machine's platform.
pub(super) struct CachedImage {
    /// The size of the manifest, the configuration and the layers, in bytes.
    pub(super) size: u64,
    /// `None` if only the size has been read so far.
    pub(super) content: Option<ImageContent>,
}

/// The part of an image's content that a container needs.
#[derive(Clone, Debug)]
pub(crate) struct ImageContent {
    /// The chain ID of all layers, which is the name of the snapshot to start from. Empty if the
    /// image has no layers.
    pub(crate) chain_id: String,
    /// The image's configuration (OCI image specification, `config.json`), as it is stored.
    pub(crate) config: Value,
}

impl ImageCache {
    pub(super) fn get(&self, digest: &str) -> Option<Arc<CachedImage>> {
        self.lock().get(digest).cloned()
    }

    pub(super) fn insert(&self, digest: &str, image: CachedImage) {
        let mut entries = self.lock();
        if entries.len() >= CAPACITY && !entries.contains_key(digest) {
            // Any entry will do: reading it again is cheap.
            let evicted = entries.keys().next().cloned();
            evicted.and_then(|digest| entries.remove(&digest));
        }
        entries.insert(digest.to_owned(), Arc::new(image));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<CachedImage>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded() {
        let cache = ImageCache::default();
        for number in 0..2 * CAPACITY as u64 {
            let digest = number.to_string();
            cache.insert(&digest, CachedImage { size: number, content: None });
            assert_eq!(cache.get(&digest).unwrap().size, number);
        }
        assert_eq!(cache.lock().len(), CAPACITY);
        // Replacing an entry evicts no other.
        let digest = cache.lock().keys().next().unwrap().clone();
        cache.insert(&digest, CachedImage { size: 7, content: None });
        assert_eq!(cache.get(&digest).unwrap().size, 7);
        assert_eq!(cache.lock().len(), CAPACITY);
    }
}
