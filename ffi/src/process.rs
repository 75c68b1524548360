//! The process of a container.

use ctrd::NewProcess;

/// The process of a container that was created or started.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ctrd_process_t {
    /// A number that tells its container from those that had its id before it, or get the id later:
    /// ctrd_message_generation() gives the same number for its exit.
    pub generation: u64,
    /// The id of the process in the host's pid namespace.
    pub pid: u32,
    /// Always 0.
    pub reserved: u32,
}

impl From<NewProcess> for ctrd_process_t {
    fn from(process: NewProcess) -> ctrd_process_t {
        let generation = process.generation().unwrap_or(0);
        ctrd_process_t { generation, pid: process.pid(), reserved: 0 }
    }
}
