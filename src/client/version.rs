//! The version of the server.

/// The version of the server ([`crate::Client::version`]).
///
/// ```no_run
/// # fn f(client: &ctrd::Client) -> ctrd::Result<()> {
/// let version = client.version(&ctrd::Call::new())?;
/// println!("containerd {}, revision {}", version.version(), version.revision());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub(super) version: String,
    pub(super) revision: String,
}

impl Version {
    /// The version, for example `1.6.20~ds1` or `v1.7.24`: distributions write it in many ways.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The commit that the server was built from.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}
