//! A Mosquitto of a test's own: loopback, a free port, no login; it ends with the test.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::process::{free_address, until};

pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

/// Where Debian puts it.
const BINARY: &str = "/usr/sbin/mosquitto";

impl Mosquitto {
    /// None, and a word, where it is not installed: scripts/test installs it.
    pub(crate) async fn start() -> Option<Self> {
        if !Path::new(BINARY).exists() {
            println!("skipped: {BINARY} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let config = folder.path().join("mosquitto.conf");
        let settings = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n",
            address.port()
        );
        fs::write(&config, settings).unwrap();
        let child =
            Command::new(BINARY).arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let broker = Self { child, address, _folder: folder };
        until("Mosquitto to listen", async || TcpStream::connect(address).ok()).await;
        Some(broker)
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
