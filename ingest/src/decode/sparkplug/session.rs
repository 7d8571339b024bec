//! What a birth told, remembered until the next: names, aliases and types, bounded.

use std::collections::BTreeSet;

use schemas::payload::MAX_METRICS;

use crate::packed::{Corrupt, Reader, Writer};

/// Devices remembered as online behind one node; those beyond get no `offline` row when the node dies.
pub(super) const MAX_ONLINE: usize = 1024;

/// A metric that a birth defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: Box<str>,
    pub(super) alias: Option<u64>,
    pub(super) datatype: u32,
}

/// What births told: of a node, or of a device behind one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::decode) struct Session {
    /// `bdSeq` of the node's birth.
    pub(super) boot: i64,
    /// The node's last sequence number.
    pub(super) seq: Option<u8>,
    pub(super) firmware: Option<Box<str>>,
    /// Sorted by name; at most [`MAX_METRICS`].
    metrics: Vec<Known>,
    /// Alias and place in `metrics`, sorted.
    aliases: Vec<(u64, u16)>,
    /// Device ids behind a node, online; at most [`MAX_ONLINE`].
    pub(super) online: BTreeSet<Box<str>>,
}

impl Session {
    /// How many numbers were left out before this one.
    pub(super) fn follow(&mut self, seq: Option<u64>) -> u64 {
        let Some(seq) = seq.and_then(|seq| u8::try_from(seq).ok()) else { return 0 };
        match self.seq.map(|last| seq.wrapping_sub(last)) {
            // Again, or out of order.
            Some(0 | 128..) => 0,
            ahead => {
                self.seq = Some(seq);
                ahead.map_or(0, |ahead| u64::from(ahead) - 1)
            }
        }
    }

    pub(super) fn define(&mut self, mut metrics: Vec<Known>) {
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics.dedup_by(|a, b| a.name == b.name);
        self.aliases = metrics.iter().zip(0..).filter_map(|(metric, at)| Some((metric.alias?, at))).collect();
        self.aliases.sort_unstable();
        self.metrics = metrics;
    }

    pub(super) fn known(&self, name: Option<&str>, alias: Option<u64>) -> Option<&Known> {
        let at = match (name, alias) {
            (Some(name), _) => self.metrics.binary_search_by(|known| known.name.as_ref().cmp(name)).ok()?,
            (None, alias) => {
                let alias = alias?;
                let at = self.aliases.partition_point(|(known, _)| *known < alias);
                self.aliases.get(at).filter(|(known, _)| *known == alias).map(|(_, at)| usize::from(*at))?
            }
        };
        self.metrics.get(at)
    }

    /// Into a checkpoint.
    pub(in crate::decode) fn save(&self, to: &mut Writer) {
        to.signed(self.boot);
        to.number(self.seq.map_or(0, |seq| u64::from(seq) + 1));
        to.text(self.firmware.as_deref().unwrap_or_default());
        to.number(self.metrics.len() as u64);
        for Known { name, alias, datatype } in &self.metrics {
            to.text(name);
            to.number(u64::from(alias.is_some()));
            to.number(alias.unwrap_or(0));
            to.number(u64::from(*datatype));
        }
        to.number(self.online.len() as u64);
        for device in &self.online {
            to.text(device);
        }
    }

    /// Out of a checkpoint.
    pub(in crate::decode) fn load(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut session = Self { boot: from.signed()?, ..Self::default() };
        session.seq = from.number()?.checked_sub(1).and_then(|seq| u8::try_from(seq).ok());
        session.firmware = Some(from.text()?).filter(|text| !text.is_empty()).map(Into::into);
        let mut metrics = Vec::new();
        for _ in 0..from.count()? {
            let name = from.text()?.into();
            let has_alias = from.number()? != 0;
            let alias = Some(from.number()?).filter(|_| has_alias);
            metrics.push(Known { name, alias, datatype: u32::try_from(from.number()?).unwrap_or(0) });
        }
        for _ in 0..from.count()? {
            session.online.insert(from.text()?.into());
        }
        if metrics.len() > MAX_METRICS || session.online.len() > MAX_ONLINE {
            return Err(Corrupt("a Sparkplug session has more metrics or devices than are kept"));
        }
        session.define(metrics);
        Ok(session)
    }
}
