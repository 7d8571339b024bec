//! What decoding remembers of each device: its profile, and what was seen on its channels.

use std::collections::HashMap;

use schemas::{id::LogOffset, topic::Channel};

use super::{ledger::Account, sparkplug::Session};
use crate::{
    dedup::Stream,
    packed::{Corrupt, Reader, Writer},
};

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// Place of the last frame from it.
    pub(super) heard: LogOffset,
    /// Index of the profile that its birth or its last telemetry told.
    pub(super) profile: Option<u16>,
    /// What Sparkplug births told.
    pub(super) sparkplug: Option<Box<Session>>,
    /// What it sent in the hours that are not over.
    pub(super) account: Account,
    /// Few, so a list is quicker than a map.
    streams: Vec<(Channel, Stream)>,
}

impl Device {
    /// What was seen on a channel.
    pub(super) fn stream(&mut self, channel: Channel) -> &mut Stream {
        let at = self.streams.iter().position(|(known, _)| *known == channel).unwrap_or_else(|| {
            self.streams.push((channel, Stream::default()));
            self.streams.len() - 1
        });
        &mut self.streams[at].1
    }

    /// What was seen on a channel, if anything was.
    pub(super) fn seen(&self, channel: Channel) -> Option<&Stream> {
        self.streams.iter().find(|(known, _)| *known == channel).map(|(_, stream)| stream)
    }

    fn is_blank(&self) -> bool {
        self.profile.is_none() && self.sparkplug.is_none() && self.streams.is_empty() && self.account.is_empty()
    }
}

/// All devices, by `tenant/device`, bounded.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    devices: HashMap<Box<str>, Device>,
    max: usize,
    /// Devices that gave way to others since this was last asked.
    pub(super) forgotten: u64,
    /// Those of them with an hour open, the longest silent first, until they are taken.
    gone: Vec<(Box<str>, Device)>,
}

impl Devices {
    /// None yet, and room for `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { devices: HashMap::new(), max: max.max(1), forgotten: 0, gone: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Device> {
        self.devices.get_mut(key)
    }

    /// Takes a device out, for [`Self::put`] to put it back; a blank one where it is not known.
    pub(super) fn lend(&mut self, key: &str, at: LogOffset) -> Device {
        let blank = || Device { heard: at, ..Device::default() };
        let lent = self.devices.get_mut(key).map(|device| std::mem::replace(device, blank()));
        Device { heard: at, ..lent.unwrap_or_default() }
    }

    /// Puts a device where it was, or adds it.
    pub(super) fn put(&mut self, key: &str, device: Device) {
        match self.devices.get_mut(key) {
            Some(place) => *place = device,
            None => self.insert(key, device),
        }
    }

    /// Adds a device, unless nothing is to be remembered of it. Where there is no room, the sixteenth part that was
    /// silent longest is forgotten at once, so that the search for them is paid rarely.
    pub(super) fn insert(&mut self, key: &str, device: Device) {
        if device.is_blank() {
            return;
        }
        if self.devices.len() >= self.max {
            let mut heard: Vec<LogOffset> = self.devices.values().map(|device| device.heard).collect();
            let (_, last_to_go, _) = heard.select_nth_unstable(self.max / 16);
            let last_to_go = *last_to_go;
            let before = self.devices.len();
            let going = self.devices.extract_if(|_, device| device.heard <= last_to_go);
            self.gone.extend(going.filter(|(_, device)| !device.account.is_empty()));
            // The map's own order is another in each process; places in the log are not.
            self.gone.sort_unstable_by(|a, b| (a.1.heard, &a.0).cmp(&(b.1.heard, &b.0)));
            self.forgotten += (before - self.devices.len()) as u64;
        }
        self.devices.insert(key.into(), device);
    }

    /// Devices that gave way with an hour open.
    pub(super) fn take_gone(&mut self) -> Vec<(Box<str>, Device)> {
        std::mem::take(&mut self.gone)
    }

    /// Drops a device of which nothing is left to be remembered.
    pub(super) fn tidy(&mut self, key: &str) {
        if self.devices.get(key).is_some_and(Device::is_blank) {
            self.devices.remove(key);
        }
    }

    /// Place of the last frame from any of them.
    pub(super) fn last_heard(&self) -> LogOffset {
        self.devices.values().map(|device| device.heard).max().unwrap_or_default()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Into a checkpoint.
    pub(super) fn save(&self, to: &mut Writer) {
        to.number(self.devices.len() as u64);
        for (key, device) in &self.devices {
            to.text(key);
            to.number(device.heard.0);
            to.number(device.profile.map_or(0, |profile| u64::from(profile) + 1));
            to.number(device.streams.len() as u64);
            for (channel, stream) in &device.streams {
                to.number(*channel as u64);
                stream.save(to);
            }
            to.number(u64::from(device.sparkplug.is_some()));
            if let Some(session) = &device.sparkplug {
                session.save(to);
            }
            device.account.save(to);
        }
    }

    /// Out of a checkpoint; `profiles` gives the present index of each index at that time.
    pub(super) fn load(from: &mut Reader<'_>, max: usize, profiles: &[Option<u16>]) -> Result<Self, Corrupt> {
        let mut devices = Self::new(max);
        for _ in 0..from.count()? {
            let key = from.text()?;
            let heard = LogOffset(from.number()?);
            let profile = match from.number()?.checked_sub(1) {
                None => None,
                Some(old) => *usize::try_from(old)
                    .ok()
                    .and_then(|old| profiles.get(old))
                    .ok_or(Corrupt("a device has a profile that is not listed"))?,
            };
            let mut streams = Vec::new();
            for _ in 0..from.count()? {
                let channel = from.number()?;
                let channel = Channel::ALL
                    .into_iter()
                    .find(|known| *known as u64 == channel)
                    .ok_or(Corrupt("a stream is of no channel"))?;
                streams.push((channel, Stream::load(from)?));
            }
            let sparkplug = match from.number()? {
                0 => None,
                _ => Some(Box::new(Session::load(from)?)),
            };
            let account = Account::load(from)?;
            devices.insert(key, Device { heard, profile, sparkplug, account, streams });
        }
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_give_way() {
        let mut devices = Devices::new(16);
        for at in 0..40u64 {
            let device = Device { heard: LogOffset(at), profile: Some(0), ..Device::default() };
            devices.insert(&format!("acme/pump-{at}"), device);
            assert!(devices.len() <= 16);
        }
        assert!(devices.get_mut("acme/pump-39").is_some());
        assert!(devices.get_mut("acme/pump-26").is_some());
        assert!(devices.get_mut("acme/pump-0").is_none());
        assert_eq!(devices.forgotten as usize, 40 - devices.len());
    }

    #[test]
    fn a_device_of_which_nothing_is_known_takes_no_room() {
        let mut devices = Devices::new(16);
        devices.insert("acme/pump-1", Device::default());
        assert_eq!(devices.len(), 0);
    }

    #[test]
    fn a_profile_that_left_is_forgotten() {
        let mut devices = Devices::new(16);
        for profile in [0, 1] {
            devices.insert(&format!("acme/{profile}"), Device { profile: Some(profile), ..Device::default() });
            devices.get_mut(&format!("acme/{profile}")).unwrap().stream(Channel::Fault).number(1, 1);
        }
        let mut writer = Writer::default();
        devices.save(&mut writer);
        let bytes = writer.bytes();
        let mut loaded = Devices::load(&mut Reader::new(&bytes), 16, &[Some(7), None]).unwrap();
        assert_eq!(loaded.get_mut("acme/0").unwrap().profile, Some(7));
        assert_eq!(loaded.get_mut("acme/1").unwrap().profile, None);
        assert!(Devices::load(&mut Reader::new(&bytes), 16, &[Some(7)]).is_err());
    }
}
