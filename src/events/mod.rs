//! Events: which are wanted, and the stream of them.

pub(crate) mod feed;
mod filter;
mod subscription;
pub use filter::EventFilter;
pub(crate) use filter::{check as check_filter, render};
#[cfg(test)]
mod tests;
