//! The detector's memory on disk: how far it has read, and where every device stands.
//!
//! In: an offset and the devices. Out: the same after a restart. Promise: the file holds one whole checkpoint or the
//! one before, whenever the power goes; a file that was changed or cut is refused, not believed. Never: half a state.
//!
//! The file is lines of JSON: a head with offset, count and checksum, then one device per line.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use schemas::id::LogOffset;
use serde::{Deserialize, Serialize};

use super::{
    DetectError,
    absence::LogTime,
    device::{Device, Devices},
};

/// Goes up when the form changes; an older form is refused.
const FORM: u32 = 2;
/// Devices written between two looks at other tasks: one to two milliseconds of work.
const DEVICES_PER_TURN: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    form: u32,
    offset: LogOffset,
    heard: u64,
    time: LogTime,
    devices: usize,
    checksum: String,
}

/// Where the checkpoint lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    /// A folder, made if it is not there.
    pub(super) fn open(folder: &Path) -> Result<Self, DetectError> {
        fs::create_dir_all(folder).map_err(|source| DetectError::Folder { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("detect.state")
    }

    /// The last checkpoint; the beginning of the log and no devices where there is none.
    pub(super) fn load(&self) -> Result<(LogOffset, Devices), DetectError> {
        let path = self.file();
        match fs::read(&path) {
            Ok(bytes) => decode(&bytes).map_err(|problem| DetectError::Damaged { path, problem }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((LogOffset::default(), Devices::default())),
            Err(source) => Err(DetectError::Read { path, source }),
        }
    }

    /// Puts a checkpoint in the place of the last: written beside it, synced, renamed, the folder synced.
    pub(super) fn store(&self, bytes: &[u8]) -> Result<(), DetectError> {
        let path = self.file();
        let write = || {
            let beside = self.folder.join("detect.state.new");
            let mut file = File::create(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| DetectError::Write { path: path.clone(), source })
    }
}

/// Writes a checkpoint down, letting other tasks run in between.
pub(super) async fn encode(offset: LogOffset, devices: &Devices) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::new();
    for (count, device) in devices.iter().enumerate() {
        serde_json::to_writer(&mut body, device)?;
        body.push(b'\n');
        if count % DEVICES_PER_TURN == DEVICES_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    let (heard, time, checksum) = (devices.heard(), devices.time(), checksum(&body));
    let mut bytes = serde_json::to_vec(&Head { form: FORM, offset, heard, time, devices: devices.count(), checksum })?;
    bytes.push(b'\n');
    bytes.append(&mut body);
    Ok(bytes)
}

/// Reads a checkpoint; the error says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<(LogOffset, Devices), String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head: Head = serde_json::from_slice(head).map_err(|error| format!("its first line: {error}"))?;
    if head.form != FORM {
        return Err(format!("its form is {}, this version reads {FORM}", head.form));
    }
    let found = checksum(body);
    if found != head.checksum {
        return Err(format!("its checksum is {found}, its first line says {}", head.checksum));
    }
    let devices: Result<Vec<Device>, _> = serde_json::Deserializer::from_slice(body).into_iter().collect();
    let devices = devices.map_err(|error| format!("a device in it: {error}"))?;
    if devices.len() != head.devices {
        return Err(format!("it has {} devices, its first line says {}", devices.len(), head.devices));
    }
    Ok((head.offset, Devices::restore(head.heard, head.time, devices)))
}

/// CRC-32C: finds torn and changed files; it guards against no one who wants to change them.
fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(bytes))
}
