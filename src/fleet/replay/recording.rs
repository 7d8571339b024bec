//! What every recorded fleet is: steps of messages in event time, failures, outcomes; and how their files are read.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use schemas::{id::DeviceId, outcome::Outcome, time::Instant};

use crate::fleet::device::Message;

/// What one device says within one step, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turn {
    pub(super) device_id: DeviceId,
    pub(super) messages: Vec<Message>,
}

/// A stretch of event time: nothing of the next step is sent before all of this is acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) at: Instant,
    pub(super) turns: Vec<Turn>,
}

/// A failure that the recording knows of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) device_id: DeviceId,
    /// The component, where the recording names one.
    pub(super) component: Option<String>,
    pub(super) at: Instant,
}

/// The steps of a recording, read as they are needed.
pub(super) type Steps = Box<dyn Iterator<Item = anyhow::Result<Step>> + Send>;

/// A recorded fleet.
pub(super) trait Recording {
    /// How many messages, if that is known before reading all.
    fn messages(&self) -> Option<u64>;
    /// The steps from the first on.
    fn steps(&self) -> anyhow::Result<Steps>;
    /// What failed and when: never sent.
    fn failures(&self) -> &[Failure];
    /// What maintenance found: sent to the API after the messages.
    fn outcomes(&self) -> Vec<Outcome> {
        Vec::new()
    }
}

/// Opens a file, unpacking `.zst`.
pub(super) fn reader(path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "zst") {
        let unpacked = zstd::Decoder::new(file).with_context(|| format!("unpack {}", path.display()))?;
        return Ok(Box::new(BufReader::new(unpacked)));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// The file of this name in a folder, plain or `.zst`.
pub(super) fn file(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let (plain, packed) = (folder.join(name), folder.join(format!("{name}.zst")));
    [plain, packed]
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{} has neither {name} nor {name}.zst", folder.display()))
}

/// A device id of recorded text: what is not legal in one becomes `-`.
pub(super) fn device_id(text: &str) -> anyhow::Result<DeviceId> {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._:-".contains(c) { c } else { '-' };
    Ok(text.trim().chars().map(legal).collect::<String>().parse()?)
}

/// A CSV reader over a file whose rows may differ in length and whose first bytes may be a byte order mark.
pub(super) fn csv(from: impl Read) -> anyhow::Result<(csv::StringRecord, csv::Reader<impl Read>)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(from);
    let head = reader.headers().context("read the head line")?.iter();
    let head = head.map(|name| name.trim_start_matches('\u{feff}')).collect();
    Ok((head, reader))
}

/// The place of a column.
pub(super) fn column(head: &csv::StringRecord, name: &str) -> anyhow::Result<usize> {
    head.iter().position(|column| column == name).with_context(|| format!("no column {name:?} in {head:?}"))
}
