//! Events: which are wanted, and the stream of them.

pub(crate) mod filter;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;
