//! QoS 2: each packet id is stored once between its PUBLISH and its PUBREL.
//!
//! In: packets of a connection, before ntex-mqtt judges them. Out: the same; a QoS 2 publish goes on as QoS 1, and its
//! PUBACK becomes a PUBREC. Promise: PUBREC is sent after the frame is synced, like PUBACK; a publish whose id is
//! stored and not released is answered with PUBREC and stored no second time, also in a session that is taken up
//! again. Never: more ids of a session than `receive_maximum`.
//!
//! Why here: ntex-mqtt 9.0.0 keeps the ids with the connection, not the session. After a reconnect its 3.1.1 side ends
//! the connection of who sends PUBREL for an id of before (`v3/dispatcher.rs`, "Unknown packet-id in PublishRelease
//! packet"), and that device would never come in again; its 5 side never forgets an id that was released
//! (`v5/dispatcher.rs`: `control` calls `control_pkt` with packet id 0), so that it answers the id's next use with
//! "packet identifier in use" and fills its receive maximum.
//!
//! A device that forgets its session (clean start), or whose session was lost with this process, may send again under
//! another id: then deduplication by (device, boot, seq) or by content finds the repeat, as with QoS 1.

use std::num::NonZeroU16;

use ntex_mqtt::{
    QoS,
    error::{DispatcherError, SpecViolation},
    v3::codec as v3,
    v5::codec as v5,
};

/// What a packet means to the exchange.
pub(super) enum Step<P> {
    /// A QoS 2 publish, made one of QoS 1.
    Publish(NonZeroU16, P),
    /// A release.
    Release(NonZeroU16),
    /// Anything else.
    Other(P),
}

/// The packets of one protocol version.
pub(super) trait Exchange: Sized {
    type Answer;

    fn step(self) -> Step<Self>;
    /// PUBREC for an id that is stored already.
    fn known(id: NonZeroU16) -> Self::Answer;
    /// PUBREC in the place of the PUBACK; and whether it says that the publish is stored.
    fn received(puback: Self::Answer) -> (Self::Answer, bool);
    /// PUBCOMP; `known` tells whether the id was.
    fn complete(id: NonZeroU16, known: bool) -> Self::Answer;
}

impl Exchange for v3::Decoded {
    type Answer = Option<v3::Encoded>;

    fn step(self) -> Step<Self> {
        match self {
            Self::Publish(mut publish, payload, size) => match publish.packet_id {
                Some(id) if publish.qos == QoS::ExactlyOnce => {
                    publish.qos = QoS::AtLeastOnce;
                    Step::Publish(id, Self::Publish(publish, payload, size))
                }
                _ => Step::Other(Self::Publish(publish, payload, size)),
            },
            Self::Packet(v3::Packet::PublishRelease { packet_id }, _) => Step::Release(packet_id),
            other => Step::Other(other),
        }
    }

    fn known(packet_id: NonZeroU16) -> Self::Answer {
        Some(v3::Encoded::Packet(v3::Packet::PublishReceived { packet_id }))
    }

    fn received(puback: Self::Answer) -> (Self::Answer, bool) {
        match puback {
            Some(v3::Encoded::Packet(v3::Packet::PublishAck { packet_id })) => (Self::known(packet_id), true),
            other => (other, false),
        }
    }

    fn complete(packet_id: NonZeroU16, _: bool) -> Self::Answer {
        Some(v3::Encoded::Packet(v3::Packet::PublishComplete { packet_id }))
    }
}

impl Exchange for v5::Decoded {
    type Answer = Option<v5::Encoded>;

    fn step(self) -> Step<Self> {
        match self {
            Self::Publish(mut publish, payload, size) => match publish.packet_id {
                Some(id) if publish.qos == QoS::ExactlyOnce => {
                    publish.qos = QoS::AtLeastOnce;
                    Step::Publish(id, Self::Publish(publish, payload, size))
                }
                _ => Step::Other(Self::Publish(publish, payload, size)),
            },
            Self::Packet(v5::Packet::PublishRelease(release), _) => Step::Release(release.packet_id),
            other => Step::Other(other),
        }
    }

    fn known(packet_id: NonZeroU16) -> Self::Answer {
        let ack = v5::PublishAck { packet_id, ..v5::PublishAck::default() };
        Some(v5::Encoded::Packet(v5::Packet::PublishReceived(ack)))
    }

    fn received(puback: Self::Answer) -> (Self::Answer, bool) {
        match puback {
            Some(v5::Encoded::Packet(v5::Packet::PublishAck(ack))) => {
                let stored = u8::from(ack.reason_code) < 0x80;
                (Some(v5::Encoded::Packet(v5::Packet::PublishReceived(ack))), stored)
            }
            other => (other, false),
        }
    }

    fn complete(packet_id: NonZeroU16, known: bool) -> Self::Answer {
        let reason_code = if known { v5::PublishAck2Reason::Success } else { v5::PublishAck2Reason::PacketIdNotFound };
        let properties = v5::UserProperties::default();
        let ack = v5::PublishAck2 { packet_id, reason_code, properties, reason_string: None };
        Some(v5::Encoded::Packet(v5::Packet::PublishComplete(ack)))
    }
}

/// Ends the connection of a device that releases nothing.
pub(super) fn too_many<E>() -> DispatcherError<E> {
    SpecViolation::Pub_3_3_4_7.into()
}
