//! The example of README.

use std::time::Duration;

use ctrd::{Call, Client, ClientConfig, ContainerConfig, DestroyConfig};

fn main() -> ctrd::Result<()> {
    let client = Client::open(&ClientConfig::new(), &Call::new())?;
    let config = ContainerConfig::new("hello")
        .image("docker.io/library/busybox:latest")
        .args(["sh", "-c", "exit 3"]);
    client.create_container(&config, &Call::new())?;
    let message = client.wait("hello", &Call::new().timeout(Duration::from_secs(60)))?;
    println!("exit code {:?}", message.exit_code());
    client.destroy_container("hello", &DestroyConfig::new(), &Call::new())?;
    Ok(())
}
