//! The streams of containerd's events.

pub(crate) mod feed;
mod subscription;
#[cfg(test)]
mod tests;
