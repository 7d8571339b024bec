//! One connection to the broker, from CONNECT to its end.
//!
//! In: a fresh [`Link`]. Out: frames appended and acknowledged. Promise: acknowledgements go out in the order of
//! receipt; after an append that failed none follows. Two tasks: the *reader* polls the connection and never waits
//! for the network's sake, the *keeper* appends and acknowledges. Never: an acknowledgement into another epoch.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesOrdered};
use schemas::{
    door::{Append, DoorError, Frame},
    reject::RejectReason,
    time::Clock,
    topic::{Channel, SparkplugTopic, Topic, TopicError, is_sparkplug},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Metrics, Settings,
    link::{Acks, Event, Link, LinkError, Message},
};

/// How long the broker may take to close after our farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a connection ended.
pub(super) enum End {
    /// As asked, with everything acknowledged that was appended.
    Stopped,
    /// The broker, the network or the log failed; `worked` if anything was acknowledged before.
    Lost { error: Lost, worked: bool },
}

/// Why a connection ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the broker says nothing, not even to a ping")]
    Silent,
    #[error("subscribe to the filter: the broker answered {0}")]
    Refused(String),
    #[error("append a publish")]
    Append(#[source] DoorError),
    #[error("the keeper ended early")]
    Keeper(#[source] tokio::task::JoinError),
}

/// A frame on its way to the log, and what to acknowledge then. Without a frame there is only the acknowledgement.
struct Delivery {
    frame: Option<Frame>,
    packet_id: Option<u16>,
}

/// Ends the keeper with its epoch.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn run(
    settings: &Settings,
    mut link: Link,
    log: &Arc<dyn Append>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> End {
    let acknowledged = metrics.acknowledged.get();
    let end = read(settings, &mut link, log, clock, metrics, stop).await;
    metrics.connected.set(0);
    match end {
        Ok(()) => End::Stopped,
        Err(error) => End::Lost { error, worked: metrics.acknowledged.get() > acknowledged },
    }
}

async fn read(
    settings: &Settings,
    link: &mut Link,
    log: &Arc<dyn Append>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), Lost> {
    let window = usize::from(settings.receive_maximum);
    let (to_keeper, deliveries) = mpsc::channel(window);
    let mut to_keeper = Some(to_keeper);
    let mut keeper: JoinHandle<Result<(), Lost>> =
        tokio::spawn(keep(deliveries, window, log.clone(), link.acks(), metrics.clone()));
    let _abort = AbortOnDrop(keeper.abort_handle());
    let (mut kept, mut left) = (false, false);
    let mut deadline = Instant::now() + Duration::from_secs(u32::MAX.into());
    loop {
        let event = {
            let mut event = pin!(link.event());
            let mut silence = pin!(sleep(Link::patience(settings)));
            loop {
                tokio::select! {
                    event = &mut event => match event {
                        Err(_) if left => return Ok(()),
                        event => break event?,
                    },
                    () = &mut silence => return Err(Lost::Silent),
                    () = stop.cancelled(), if to_keeper.is_some() => {
                        to_keeper = None;
                        deadline = Instant::now() + settings.stop_grace;
                    }
                    () = sleep_until(deadline), if to_keeper.is_none() => {
                        if !left {
                            tracing::warn!("subscriber stops with publishes unacknowledged; the broker repeats them");
                        }
                        return Ok(());
                    }
                    ended = &mut keeper, if !kept => {
                        ended.map_err(Lost::Keeper)??;
                        kept = true;
                    }
                }
            }
        };
        match event {
            Event::Connected => {
                metrics.connects.inc();
                link.subscribe(&settings.filter)?;
            }
            Event::Subscribed(Err(answer)) => return Err(Lost::Refused(answer)),
            Event::Subscribed(Ok(())) => {
                metrics.connected.set(1);
                tracing::info!(filter = settings.filter, "subscribed at the broker");
            }
            // What comes after the word to stop is left to the broker.
            Event::Message(message) => {
                if let Some(keeper) = &to_keeper {
                    let delivery = judge(message, clock, metrics);
                    // A full keeper slows the broker down. It ends only with an error, seen above.
                    tokio::select! {
                        _ = keeper.send(delivery) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
            // The broker closes once it has read all before the farewell. Not to wait for that would let a
            // successor take the session over before our last acknowledgements are read.
            Event::Left => {
                left = true;
                deadline = deadline.min(Instant::now() + FAREWELL);
            }
            Event::Other => {}
        }
    }
}

/// The channel of a topic, ours or Sparkplug's.
fn channel(topic: &str) -> Result<Channel, TopicError> {
    if is_sparkplug(topic) {
        return topic.parse().map(|topic: SparkplugTopic| topic.r#type.channel());
    }
    topic.parse().map(|topic: Topic| topic.channel)
}

fn judge(message: Message, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Delivery {
    let Message { topic, content_type, payload, packet_id } = message;
    metrics.received.inc();
    metrics.bytes.inc_by(payload.len() as u64);
    let refused = match channel(&topic) {
        // The filter lets commands through, which others send to the devices: they are not data.
        Ok(Channel::Command) => {
            metrics.skipped.inc();
            return Delivery { frame: None, packet_id };
        }
        Ok(channel) => (!channel.from_device()).then_some(RejectReason::BadTopic),
        Err(error) => {
            tracing::debug!(reason = %RejectReason::BadTopic, "refused: {error}");
            Some(RejectReason::BadTopic)
        }
    };
    if let Some(reason) = refused {
        metrics.reject(reason);
    }
    let frame = Frame { topic, content_type, payload, arrival: clock.arrival(), refused, sender: None };
    Delivery { frame: Some(frame), packet_id }
}

/// Appends in the order of receipt, many at a time, and acknowledges in that order. Says goodbye when the deliveries
/// end.
async fn keep(
    mut deliveries: mpsc::Receiver<Delivery>,
    window: usize,
    log: Arc<dyn Append>,
    acks: Acks,
    metrics: Metrics,
) -> Result<(), Lost> {
    let mut appends = FuturesOrdered::new();
    let mut more = true;
    while more || !appends.is_empty() {
        tokio::select! {
            biased;
            Some((packet_id, appended)) = appends.next(), if !appends.is_empty() => {
                let appended: Result<(), DoorError> = appended;
                appended.map_err(|error| {
                    metrics.append_failures.inc();
                    Lost::Append(error)
                })?;
                if let Some(packet_id) = packet_id {
                    acks.acknowledge(packet_id)?;
                    metrics.acknowledged.inc();
                }
            }
            delivery = deliveries.recv(), if more && appends.len() < window => match delivery {
                Some(Delivery { frame, packet_id }) => {
                    let log = log.clone();
                    appends.push_back(async move {
                        let appended = match frame {
                            Some(frame) => log.append(frame).await.map(|_| ()),
                            None => Ok(()),
                        };
                        (packet_id, appended)
                    });
                }
                None => more = false,
            },
        }
    }
    acks.leave()?;
    Ok(())
}
