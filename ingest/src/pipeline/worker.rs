//! The blocking half: reads frames, decodes them, cuts chunks.

use std::collections::VecDeque;

use schemas::{
    door::{Chunk, Frame},
    id::LogOffset,
};

use crate::{
    decode::Decoder,
    log::{LogError, Reader},
};

/// Reads and decodes; moves between threads, one step at a time.
pub(super) struct Worker {
    reader: Reader,
    pub(super) decoder: Decoder,
    /// Read and not yet decoded: what a cut or a full decoder left.
    waiting: VecDeque<(LogOffset, Frame)>,
    /// All before it is decoded.
    pub(super) at: LogOffset,
    /// Places that no chunk may straddle, ascending.
    cuts: Vec<LogOffset>,
    chunk_frames: usize,
    chunk_bytes: usize,
}

impl Worker {
    pub(super) fn new(
        reader: Reader,
        decoder: Decoder,
        at: LogOffset,
        chunk_frames: usize,
        chunk_bytes: usize,
    ) -> Self {
        Self { reader, decoder, waiting: VecDeque::new(), at, cuts: Vec::new(), chunk_frames, chunk_bytes }
    }

    /// No chunk will straddle these.
    pub(super) fn cut_at(&mut self, places: &[LogOffset]) {
        self.cuts.extend_from_slice(places);
        self.cuts.sort_unstable();
        self.cuts.dedup();
    }

    /// The next chunk; none where the log is drained. Blocks on file reads.
    pub(super) fn step(&mut self) -> Result<Option<Chunk>, LogError> {
        if self.waiting.is_empty() {
            self.waiting = self.reader.next(self.chunk_frames, self.chunk_bytes)?.into();
        }
        let start = self.at;
        let cut = self.cuts.iter().copied().find(|cut| *cut > start);
        let before_cut = |offset: LogOffset| cut.is_none_or(|cut| offset < cut);
        while let Some((at, frame)) = self.waiting.pop_front() {
            if !before_cut(at) {
                self.waiting.push_front((at, frame));
                break;
            }
            self.decoder.frame(at, &frame);
            self.at = at.plus(1);
            if self.decoder.is_full() {
                break;
            }
        }
        // Frames that can no longer be read leave a hole, which belongs to the chunk before it.
        let readable = self.waiting.front().map_or(self.reader.position(), |(at, _)| *at);
        self.at = cut.map_or(readable, |cut| cut.min(readable)).max(self.at);
        if self.at == start {
            return Ok(None);
        }
        Ok(Some(Chunk { start, end: self.at, now: self.decoder.now(), rows: self.decoder.take() }))
    }
}
