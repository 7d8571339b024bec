//! Models on disk: `DATA/models/{tenant}/{profile}/{component}/{mode}/{version}/` with `model.json` and `card.json`, and
//! one `register.json` per fault key that says which version is what.
//!
//! In: a model and its card; decisions about versions. Out: the same, after any restart. Promise: a version is never
//! changed once written, and is whole or not there: written beside, synced, renamed, the folder synced; a file whose hash
//! is not that of its card is refused. Never: two champions of one fault key; a version deleted.
//!
//! ```text
//! candidate --judged better--> challenger --better again, or told to--> champion --replaced--> retired
//!     \--worse, or too little to judge: stays                              \--rolled back--> retired, the one before again
//! ```

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use schemas::{
    id::{FaultKey, ProfileName, TenantId},
    time::Instant,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::Digest;

use super::model::{Card, Model};

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Made, not found good enough to be looked at.
    Candidate,
    /// Found better on later data: scored in the shadow of the champion, never acted upon.
    Challenger,
    /// In force.
    Champion,
    /// Was in force.
    Retired,
}

impl Standing {
    /// The word in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Challenger => "challenger",
            Self::Champion => "champion",
            Self::Retired => "retired",
        }
    }
}

/// One version in the register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Such as `v3`.
    pub version: String,
    /// Where it stands.
    pub standing: Standing,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub reason: String,
}

/// All versions of one fault key, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// In order of their making.
    pub versions: Vec<Entry>,
    /// Versions that were champion before the present one, the last of them last.
    #[serde(default)]
    pub before: Vec<String>,
}

/// Whose model of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whose devices it was learnt from: no tenant's rows teach another tenant's model.
    pub tenant: TenantId,
    /// Of which kind of device.
    pub profile: ProfileName,
    /// What fails.
    pub fault_key: FaultKey,
}

impl Key {
    /// The name in advisories: `washing_machine.drum_bearing/wear`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.profile, self.fault_key)
    }
}

/// Why the registry cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or folder.
    #[error("{attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No such version.
    #[error("{name} has no version {version}; it has {known}")]
    Unknown {
        /// Of what.
        name: String,
        /// As asked.
        version: String,
        /// What there is.
        known: String,
    },
    /// Nothing to go back to.
    #[error("{name} has no earlier champion to go back to")]
    NothingBefore {
        /// Of what.
        name: String,
    },
}

/// All models of a data folder.
#[derive(Debug, Clone)]
pub struct Registry {
    root: PathBuf,
}

impl Registry {
    /// Under `DATA/models`; made when something is written.
    pub fn new(data: &Path) -> Self {
        Self { root: data.join("models") }
    }

    fn folder(&self, key: &Key) -> PathBuf {
        let profile = self.root.join(key.tenant.as_str()).join(key.profile.as_str());
        profile.join(key.fault_key.component()).join(key.fault_key.failure_mode())
    }

    /// Everything that has a register, in order.
    pub fn keys(&self, tenant: &TenantId) -> Result<Vec<Key>, RegistryError> {
        let mut keys = Vec::new();
        for (profile, folder) in folders(&self.root.join(tenant.as_str()))? {
            let Ok(profile) = profile.parse::<ProfileName>() else { continue };
            for (component, folder) in folders(&folder)? {
                for (mode, folder) in folders(&folder)? {
                    let Ok(fault_key) = format!("{component}/{mode}").parse() else { continue };
                    if folder.join("register.json").exists() {
                        keys.push(Key { tenant: tenant.clone(), profile: profile.clone(), fault_key });
                    }
                }
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// What is known of a key's versions; nothing where there are none.
    pub fn register(&self, key: &Key) -> Result<Register, RegistryError> {
        let path = self.folder(key).join("register.json");
        if path.exists() { read(&path) } else { Ok(Register::default()) }
    }

    /// Writes a new version; tells its name. It stands as a candidate.
    pub fn add(&self, key: &Key, model: &Model, mut card: Card) -> Result<Card, RegistryError> {
        let folder = self.folder(key);
        make(&folder)?;
        let mut register = self.register(key)?;
        let bytes = encode(model, &folder)?;
        card.sha256 = hash(&bytes);
        // A folder of a version that never came into the register is passed over.
        let mut number = register.versions.len() + 1;
        let place = loop {
            let place = folder.join(format!("v{number}"));
            match fs::create_dir(&place) {
                Ok(()) => break place,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(RegistryError::File { attempt: "make", path: place, source }),
            }
        };
        card.version = format!("v{number}");
        write(&place.join("model.json"), &bytes)?;
        write(&place.join("card.json"), &encode(&card, &place)?)?;
        sync(&folder)?;
        let (version, reason) = (card.version.clone(), "just made".to_owned());
        register.versions.push(Entry { version, standing: Standing::Candidate, since: card.made, reason });
        write(&folder.join("register.json"), &encode(&register, &folder)?)?;
        Ok(card)
    }

    /// Changes where a version stands. A new champion retires the one before, and whatever challenged it.
    pub fn stand(
        &self,
        key: &Key,
        version: &str,
        standing: Standing,
        since: Instant,
        reason: &str,
    ) -> Result<(), RegistryError> {
        let mut register = self.register(key)?;
        self.known(key, &register, version)?;
        if standing == Standing::Champion {
            if let Some(champion) = register.champion().map(str::to_owned).filter(|champion| champion != version) {
                register.before.push(champion);
            }
            let told = format!("{version} took its place");
            for entry in &mut register.versions {
                if matches!(entry.standing, Standing::Champion | Standing::Challenger) {
                    (entry.standing, entry.since, entry.reason) = (Standing::Retired, since, told.clone());
                }
            }
        }
        self.set(key, register, version, standing, since, reason)
    }

    /// Puts the champion before the present one back; tells which.
    pub fn roll_back(&self, key: &Key, since: Instant, reason: &str) -> Result<String, RegistryError> {
        let mut register = self.register(key)?;
        let before = register.before.pop().ok_or_else(|| RegistryError::NothingBefore { name: key.name() })?;
        for entry in &mut register.versions {
            if entry.standing == Standing::Champion {
                (entry.standing, entry.since, entry.reason) =
                    (Standing::Retired, since, format!("rolled back: {reason}"));
            }
        }
        self.set(key, register, &before, Standing::Champion, since, &format!("rolled back to: {reason}"))?;
        Ok(before)
    }

    fn set(
        &self,
        key: &Key,
        mut register: Register,
        version: &str,
        standing: Standing,
        since: Instant,
        reason: &str,
    ) -> Result<(), RegistryError> {
        if let Some(entry) = register.versions.iter_mut().find(|entry| entry.version == version) {
            (entry.standing, entry.since, entry.reason) = (standing, since, reason.to_owned());
        }
        let folder = self.folder(key);
        write(&folder.join("register.json"), &encode(&register, &folder)?)
    }

    fn known(&self, key: &Key, register: &Register, version: &str) -> Result<(), RegistryError> {
        let known: Vec<&str> = register.versions.iter().map(|entry| entry.version.as_str()).collect();
        if known.contains(&version) {
            return Ok(());
        }
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        Err(RegistryError::Unknown { name: key.name(), version: version.into(), known })
    }

    /// The card of a version.
    pub fn card(&self, key: &Key, version: &str) -> Result<Card, RegistryError> {
        self.known(key, &self.register(key)?, version)?;
        read(&self.folder(key).join(version).join("card.json"))
    }

    /// A version, if its file is the one that was written.
    pub fn model(&self, key: &Key, version: &str) -> Result<(Model, Card), RegistryError> {
        let card = self.card(key, version)?;
        let path = self.folder(key).join(version).join("model.json");
        let bytes =
            fs::read(&path).map_err(|source| RegistryError::File { attempt: "read", path: path.clone(), source })?;
        let found = hash(&bytes);
        if found != card.sha256 {
            let problem = format!("its SHA-256 is {found}, its card says {}", card.sha256);
            return Err(RegistryError::Damaged { path, problem });
        }
        let model = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::Damaged { path, problem: error.to_string() })?;
        Ok((model, card))
    }
}

impl Register {
    fn standing(&self, standing: Standing) -> Option<&str> {
        self.versions.iter().rev().find(|entry| entry.standing == standing).map(|entry| entry.version.as_str())
    }

    /// The version in force.
    pub fn champion(&self) -> Option<&str> {
        self.standing(Standing::Champion)
    }

    /// The version in its shadow.
    pub fn challenger(&self) -> Option<&str> {
        self.standing(Standing::Challenger)
    }
}

fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>, RegistryError> {
    let failed = |source| RegistryError::File { attempt: "list", path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.path().is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

fn encode<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, RegistryError> {
    let damaged = |error: serde_json::Error| RegistryError::Damaged { path: path.into(), problem: error.to_string() };
    let mut bytes = serde_json::to_vec(value).map_err(damaged)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RegistryError> {
    let failed = |source| RegistryError::File { attempt: "read", path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| RegistryError::Damaged { path: path.to_owned(), problem: error.to_string() })
}

/// Makes a folder and those above it, each known to the one above.
fn make(folder: &Path) -> Result<(), RegistryError> {
    fs::create_dir_all(folder).map_err(|source| RegistryError::File {
        attempt: "make",
        path: folder.to_owned(),
        source,
    })?;
    folder.ancestors().skip(1).take(5).filter(|above| above.is_dir()).try_for_each(sync)
}

/// Puts a file in its place: written beside it, synced, renamed, the folder synced.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let attempt = || {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    attempt().map_err(|source| RegistryError::File { attempt: "write", path: path.to_owned(), source })?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> Result<(), RegistryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| RegistryError::File {
        attempt: "sync",
        path: folder.to_owned(),
        source,
    })
}

fn hash(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
