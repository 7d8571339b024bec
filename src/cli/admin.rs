//! Administration on the machine itself: tokens, device credentials, profiles. Works on the data folder, with or
//! without a running server.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use schemas::{
    id::{DeviceId, TenantId},
    profile::{Profile as DeviceProfile, Profiles},
    time::{Clock, SystemClock},
};

use super::Config;

/// Bearer tokens for people and programs.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Creates a token and prints it, once.
    Create {
        /// Whose rows it may see.
        #[arg(long)]
        tenant: TenantId,
        /// What it may do: agent, analyst or admin.
        #[arg(long)]
        role: String,
        /// For people: who uses it.
        #[arg(long)]
        name: String,
    },
    /// Lists a tenant's tokens, without their secrets.
    List {
        /// Whose.
        #[arg(long)]
        tenant: TenantId,
    },
    /// Makes a token worthless.
    Revoke {
        /// Whose.
        #[arg(long)]
        tenant: TenantId,
        /// As `list` shows it.
        token_id: String,
    },
}

/// Devices and their credentials.
#[derive(Debug, Args)]
pub(super) struct Device {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Gives a device a new password and prints it, once. The device logs in with its id as user name and client id.
    Credential {
        /// Whose device.
        #[arg(long)]
        tenant: TenantId,
        /// Which device.
        device_id: DeviceId,
    },
}

/// Device profiles.
#[derive(Debug, Args)]
pub(super) struct Profile {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Lists the profiles in force.
    List {
        /// A folder with more of them.
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Checks a profile's file.
    Check {
        /// TOML.
        file: PathBuf,
    },
}

impl Profile {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.command {
            ProfileCommand::List { folder } => {
                let mut profiles = Profiles::builtin();
                if let Some(folder) = folder {
                    profiles = profiles.with_folder(folder)?;
                }
                for profile in profiles.iter() {
                    println!(
                        "{:<20} version {:<3} {:>2} metrics {:>2} components {:>2} faults {:>2} rules  {}",
                        profile.name.as_str(),
                        profile.version,
                        profile.metrics.len(),
                        profile.components.len(),
                        profile.faults.len(),
                        profile.rules.len(),
                        profile.title
                    );
                }
            }
            ProfileCommand::Check { file } => {
                let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
                let profile = DeviceProfile::parse(&text)?;
                analytics::detect::Rulebook::check(&profile)?;
                println!("{} version {} is legal", profile.name, profile.version);
                for rule in &profile.rules {
                    println!("  rule {:<32} {:<10} {}", rule.name, rule.kind(), rule.fault_key);
                }
            }
        }
        Ok(())
    }
}

impl Token {
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let db = database(&self.config).await?;
        let now = SystemClock.now();
        match &self.command {
            TokenCommand::Create { tenant, role, name } => {
                let role: api::Role = role.parse()?;
                anyhow::ensure!(
                    (1..=api::token::NAME_MAX).contains(&name.len()),
                    "--name {name:?}: 1 to {} bytes",
                    api::token::NAME_MAX
                );
                let (token, clear) = api::token::create(&db, tenant, role, name, now).await?;
                eprintln!("token {} of {tenant}, role {}; it is shown only now:", token.token_id, role.as_str());
                println!("{clear}");
            }
            TokenCommand::List { tenant } => {
                for token in api::token::list(&db, tenant).await? {
                    let state = token.revoked.map_or("in force".to_owned(), |at| format!("revoked {at}"));
                    let used = token.last_used.map_or("never used".to_owned(), |at| format!("used {at}"));
                    println!("{}  {:<8} {:<20} {state}, {used}", token.token_id, token.role.as_str(), token.name);
                }
            }
            TokenCommand::Revoke { tenant, token_id } => {
                let revoked = api::token::revoke(&db, tenant, token_id, now).await?;
                anyhow::ensure!(revoked, "{tenant} has no token {token_id} in force");
                println!("revoked {token_id}");
            }
        }
        Ok(())
    }
}

impl Device {
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let db = database(&self.config).await?;
        match &self.command {
            DeviceCommand::Credential { tenant, device_id } => {
                let password = api::device::store::make_credential(&db, tenant, device_id, SystemClock.now())
                    .await?
                    .with_context(|| format!("{device_id} belongs to another tenant"))?;
                eprintln!("password of {device_id} of {tenant}; it is shown only now:");
                println!("{password}");
            }
        }
        Ok(())
    }
}

async fn database(config: &Config) -> anyhow::Result<api::store::Database> {
    let settings = config.load(Vec::new())?.settings;
    let path = settings.data.join(&settings.api.database);
    anyhow::ensure!(path.exists(), "{} is not there: no server has run on this data folder", path.display());
    api::store::open(&path).await.with_context(|| format!("open {}", path.display()))
}
