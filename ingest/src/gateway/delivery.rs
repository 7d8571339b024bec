//! Commands on a device's connection.
//!
//! In: the device's commands ([`schemas::door::Commands`]), once it is subscribed to them. Out: publishes, one at a
//! time; receipts. Promise: with QoS 1 the next command is sent after the PUBACK of the one before; one that was sent
//! and not acknowledged in a session that is taken up again keeps its packet id and says that it is a repeat. Never: a
//! command after its time, a command that is given up because a connection broke.

use std::{
    num::{NonZeroU16, NonZeroU32},
    rc::{Rc, Weak},
};

use ntex::util::{ByteString, Bytes};
use ntex_mqtt::{
    QoS,
    error::{EncodeError, SendPacketError},
    v3, v5,
};
use schemas::{
    door::{Parcel, Receipt},
    topic::{Channel, Topic},
};
use tokio_util::sync::CancellationToken;

use super::session::Conn;

/// A connection after its CONNACK.
pub(super) trait Linked {
    /// Gives a device that is subscribed by a session of before what waits for it.
    fn resume(&self);
}

impl Linked for v3::Session<Rc<Conn>> {
    fn resume(&self) {
        self.deliver_again(self.sink().clone());
    }
}

impl Linked for v5::Session<Rc<Conn>> {
    fn resume(&self) {
        self.deliver_again(self.sink().clone());
    }
}

/// A command as it goes out.
pub(super) struct Outgoing<'a> {
    topic: &'a str,
    reply_topic: &'a str,
    parcel: &'a Parcel,
    qos: QoS,
    packet_id: NonZeroU16,
    again: bool,
    /// Whole seconds until it is of no use.
    expires_in: Option<NonZeroU32>,
}

/// What became of it.
pub(super) enum Sent {
    /// Acknowledged; with QoS 0, written.
    Taken,
    /// The device will not have it.
    Refused(String),
    /// The connection is gone.
    Gone,
}

/// A connection of either protocol version, to send to.
pub(super) trait Outbox: 'static {
    /// Sends a command and waits for its acknowledgement.
    async fn send(&self, outgoing: Outgoing<'_>) -> Sent;
}

fn failed(error: &SendPacketError) -> Sent {
    match error {
        SendPacketError::Encode(EncodeError::OverMaxPacketSize) => {
            Sent::Refused("it is larger than the device's maximum packet size".into())
        }
        SendPacketError::Encode(error) => Sent::Refused(format!("it cannot be sent: {error}")),
        _ => Sent::Gone,
    }
}

impl Outbox for v3::MqttSink {
    async fn send(&self, outgoing: Outgoing<'_>) -> Sent {
        let payload = Bytes::copy_from_slice(&outgoing.parcel.payload);
        let publish = self.publish(ByteString::from(outgoing.topic));
        let done = match outgoing.qos {
            QoS::AtMostOnce => publish.send_at_most_once(payload),
            _ => publish.packet_id(outgoing.packet_id.get()).dup(outgoing.again).send_at_least_once(payload).await,
        };
        done.map_or_else(|error| failed(&error), |()| Sent::Taken)
    }
}

impl Outbox for v5::MqttSink {
    async fn send(&self, outgoing: Outgoing<'_>) -> Sent {
        let payload = Bytes::copy_from_slice(&outgoing.parcel.payload);
        let publish = self.publish(ByteString::from(outgoing.topic)).properties(|properties| {
            properties.message_expiry_interval = outgoing.expires_in;
            properties.content_type = Some(ByteString::from_static("application/json"));
            properties.is_utf8_payload = true;
            properties.response_topic = Some(ByteString::from(outgoing.reply_topic));
            properties.correlation_data = Some(Bytes::copy_from_slice(outgoing.parcel.command_id.as_bytes()));
        });
        if outgoing.qos == QoS::AtMostOnce {
            return publish.send_at_most_once(payload).map_or_else(|error| failed(&error), |()| Sent::Taken);
        }
        let publish = publish.packet_id(outgoing.packet_id.get()).dup(outgoing.again);
        match publish.send_at_least_once(payload).await {
            Ok(ack) if u8::from(ack.reason_code) < 0x80 => Sent::Taken,
            Ok(ack) => {
                let words = ack.reason_string.map(|words| format!(": {words}")).unwrap_or_default();
                Sent::Refused(format!("the device answered {:?}{words}", ack.reason_code))
            }
            Err(error) => failed(&error),
        }
    }
}

/// Gives the connection's device its commands until told to stop, or until the connection is no more.
pub(super) async fn deliver(conn: Weak<Conn>, outbox: impl Outbox, qos: QoS, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = one_by_one(conn, outbox, qos) => {}
    }
}

async fn one_by_one(conn: Weak<Conn>, outbox: impl Outbox, qos: QoS) {
    // Not held while there is nothing to do: a connection whose task broke down must be seen to be gone.
    let Some((gate, device)) = conn.upgrade().map(|conn| (conn.gate().clone(), conn.principal().clone())) else {
        return;
    };
    let Some(commands) = gate.commands() else { return };
    let channel = |channel| Topic::new(device.tenant.clone(), device.device_id.clone(), channel).to_string();
    let (topic, reply_topic) = (channel(Channel::Command), channel(Channel::Reply));
    loop {
        let parcel = commands.next(&device).await;
        let Some(conn) = conn.upgrade() else { return };
        let (packet_id, again) = conn.sends(&parcel.command_id);
        let left = parcel.expires.since(gate.clock.arrival());
        let outgoing = Outgoing {
            topic: &topic,
            reply_topic: &reply_topic,
            parcel: &parcel,
            qos,
            packet_id,
            again,
            expires_in: NonZeroU32::new(u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)),
        };
        match outbox.send(outgoing).await {
            Sent::Gone => return,
            Sent::Taken => commands.receipt(parcel, Receipt::Delivered),
            Sent::Refused(reason) => {
                tracing::info!(tenant = %device.tenant, device_id = %device.device_id, "refused a command: {reason}");
                commands.receipt(parcel, Receipt::Refused(reason));
            }
        }
        conn.sent();
    }
}
