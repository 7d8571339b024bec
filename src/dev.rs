//! The secrets of `serve --dev` and `demo`: generated once, kept in `DATA/dev/`, readable by their owner only.
//!
//! | file | what |
//! |---|---|
//! | `device.password` | every device of tenant `dev` logs in with its id and this |
//! | `admin.token` | bearer token of role `admin` |
//! | `addresses.json` | where the running server listens: `mqtt`, `http`, `postgres`, `flight` |

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The tenant of every device in `serve --dev` and `demo`.
pub const TENANT: &str = "dev";

/// The folder of the secrets.
#[derive(Debug, Clone)]
pub struct Secrets(PathBuf);

/// Where a running server listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The gateway, if this process plays that role.
    pub mqtt: Option<SocketAddr>,
    /// The API, if this process plays that role.
    pub http: Option<SocketAddr>,
    /// The PostgreSQL door, if this process answers SQL.
    pub postgres: Option<SocketAddr>,
    /// The Flight SQL door, if this process answers SQL.
    pub flight: Option<SocketAddr>,
}

impl Secrets {
    /// The folder under a data folder; nothing is created yet.
    pub fn of(data: &Path) -> Self {
        Self(data.join("dev"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        let fresh = self.path(&format!("{name}.new"));
        let attempt = || -> std::io::Result<()> {
            fs::create_dir_all(&self.0)?;
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            fs::File::open(&self.0)?.sync_all()
        };
        attempt().with_context(|| format!("write {}", path.display()))
    }

    /// The devices' password.
    pub fn device_password(&self) -> anyhow::Result<String> {
        self.read("device.password")
    }

    /// The devices' password, generated where there is none yet.
    pub fn ensure_device_password(&self) -> anyhow::Result<String> {
        if self.path("device.password").exists() {
            return self.device_password();
        }
        let password = random_text()?;
        self.write("device.password", &password)?;
        Ok(password)
    }

    /// The administrator's token.
    pub fn admin_token(&self) -> anyhow::Result<String> {
        self.read("admin.token")
    }

    /// Keeps the administrator's token.
    pub fn keep_admin_token(&self, token: &str) -> anyhow::Result<()> {
        self.write("admin.token", token)
    }

    /// Where the token lies.
    pub fn admin_token_path(&self) -> PathBuf {
        self.path("admin.token")
    }

    /// Where the devices' password lies.
    pub fn device_password_path(&self) -> PathBuf {
        self.path("device.password")
    }

    /// Where the server listened when it last started.
    pub fn addresses(&self) -> anyhow::Result<Addresses> {
        serde_json::from_str(&self.read("addresses.json")?).context("read addresses.json")
    }

    /// Keeps where the server listens.
    pub fn keep_addresses(&self, addresses: &Addresses) -> anyhow::Result<()> {
        self.write("addresses.json", &serde_json::to_string(addresses)?)
    }
}

/// 256 random bits from the operating system, as 64 hexadecimal digits.
fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).context("ask the operating system for random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_generated_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::of(folder.path());
        assert!(secrets.device_password().is_err());
        let first = secrets.ensure_device_password().unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(secrets.ensure_device_password().unwrap(), first);
        let mode = fs::metadata(secrets.device_password_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
