//! Reads the log from a place on.
//!
//! In: segment files, up to the durable offset. Out: frames with their offsets, in order. Promise: a frame is
//! returned only once it is synced; frames that can no longer be read are counted, logged with their offsets and
//! passed over. Never: writes, waits.

use std::sync::Arc;

use schemas::{door::Frame, id::LogOffset};

use super::{
    LogError,
    scan::{Scan, Step},
    segment::decode,
    shared::{Segment, Shared},
};

/// A place in the log. Each consumer has its own.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    position: u64,
    scan: Option<Scan>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, position: u64) -> Self {
        Self { shared, position, scan: None }
    }

    /// The offset that is read next.
    pub fn position(&self) -> LogOffset {
        LogOffset(self.position)
    }

    /// The next frames: at most `max_frames`, and no further one once they have `max_bytes`; at least one, unless all
    /// that is durable has been read. Offsets leave out what can no longer be read. Blocks on file reads: call it on
    /// a thread that may wait. Fails where the segment was released meanwhile or the disk refuses to read; it may be
    /// called again.
    pub fn next(&mut self, max_frames: usize, max_bytes: usize) -> Result<Vec<(LogOffset, Frame)>, LogError> {
        let mut frames = Vec::new();
        let mut room = max_bytes.max(1);
        while room > 0 && frames.len() < max_frames.max(1) {
            match self.shared.segment_at(self.position)? {
                Ok(segment) => {
                    self.position = self.position.max(segment.first);
                    self.read(&segment, &mut frames, max_frames.max(1), &mut room)?;
                }
                Err(durable) => {
                    self.position = durable;
                    break;
                }
            }
        }
        Ok(frames)
    }

    fn read(
        &mut self,
        segment: &Segment,
        frames: &mut Vec<(LogOffset, Frame)>,
        max_frames: usize,
        room: &mut usize,
    ) -> Result<(), LogError> {
        self.open(segment)?;
        let Self { shared, position, scan: Some(scan) } = self else {
            return Ok(());
        };
        while *position < segment.end && *room > 0 && frames.len() < max_frames {
            let step = scan.step(segment.bytes);
            match step.map_err(|source| LogError::Read { path: shared.path(segment.first), source })? {
                Step::Record(offset) if offset < *position => {}
                Step::Record(offset) if offset < segment.end => {
                    // One that does not decode shows as a gap before the next.
                    let Some(frame) = decode(scan.body()) else { continue };
                    shared.damaged(*position, offset);
                    *room = room.saturating_sub(scan.body().len());
                    frames.push((LogOffset(offset), frame));
                    *position = offset + 1;
                }
                Step::Damaged => {}
                Step::Record(_) | Step::End | Step::Torn | Step::Lost => {
                    shared.damaged(*position, segment.end);
                    *position = segment.end;
                }
            }
        }
        Ok(())
    }

    /// Opens the segment unless it is open. Where its header is damaged, goes to its end.
    fn open(&mut self, segment: &Segment) -> Result<(), LogError> {
        if self.scan.as_ref().is_some_and(|scan| scan.first() == segment.first) {
            return Ok(());
        }
        self.scan = None;
        let path = self.shared.path(segment.first);
        match Scan::open(&path) {
            Ok(Ok(scan)) if scan.first() == segment.first => self.scan = Some(scan),
            Ok(_) => {
                self.shared.damaged(self.position, segment.end);
                self.position = segment.end;
            }
            Err(source) => {
                // Released between the look at the list and the opening?
                self.shared.segment_at(self.position)?.ok();
                return Err(LogError::Read { path, source });
            }
        }
        Ok(())
    }
}
