//! MQTT 5. Every refusal has a reason code and, where it helps, a reason string.

use std::{rc::Rc, time::Duration};

use ntex::util::ByteString;
use ntex_mqtt::{
    Control, QoS,
    v5::{
        self, Connect, ConnectAck, ProtocolMessage, ProtocolMessageAck, Publish, PublishAck,
        codec::{
            self, ConnectAckReason, Disconnect, DisconnectReasonCode, PublishAckReason, SubscribeAckReason,
            UnsubscribeAckReason,
        },
    },
};
use schemas::{door::Login, reject::RejectReason};

use super::{
    front::{Closed, Visit},
    session::{Bye, Conn, Entered, Message, NotYours, Taken, Wish},
};

type Session = v5::Session<Rc<Conn>>;

fn refuse(request: Connect<Rc<Visit>>, code: ConnectAckReason, why: &'static str) -> ConnectAck<Rc<Conn>> {
    request.fail_with(codec::ConnectAck {
        reason_code: code,
        reason_string: Some(ByteString::from_static(why)),
        ..codec::ConnectAck::default()
    })
}

pub(super) async fn connect(request: Connect<Rc<Visit>>) -> Result<ConnectAck<Rc<Conn>>, Closed> {
    let visit = request.st().clone();
    let packet = request.packet();
    let login = Login {
        client_id: &packet.client_id,
        user_name: packet.username.as_deref(),
        password: packet.password.as_deref(),
        certified: visit.certified(),
    };
    let Some(principal) = visit.gate.login(&login, visit.peer) else {
        return Ok(refuse(request, ConnectAckReason::BadUserNameOrPassword, "user name or password is wrong"));
    };
    if packet.auth_method.is_some() {
        return Ok(refuse(request, ConnectAckReason::BadAuthenticationMethod, "log in with user name and password"));
    }
    let client_id = packet.client_id.clone();
    let keep_alive = packet.keep_alive;
    let asked = Duration::from_secs(packet.session_expiry_interval_secs.into());
    let granted = asked.min(visit.gate.settings.session_expiry);
    let delay = packet.last_will.as_ref().and_then(|will| will.will_delay_interval_sec).unwrap_or(0);
    let wish = Wish { clean: packet.clean_start, expiry: granted, will_delay: Duration::from_secs(delay.into()) };
    let will = packet.last_will.as_ref().map(|will| Message {
        topic: will.topic.to_string(),
        content_type: will.content_type.as_ref().map(|kind| kind.to_string()),
        payload: bytes::Bytes::copy_from_slice(&will.message),
    });
    let Some(Entered { conn, bye, resumed }) = Conn::enter(&visit, principal, &client_id, will, wish).await else {
        return Ok(refuse(request, ConnectAckReason::ServerUnavailable, "the gateway stops"));
    };
    let sink = request.sink();
    ntex::rt::spawn(async move {
        if let Ok(bye) = bye.await {
            sink.close_with_reason(Disconnect::new(match bye {
                Bye::TakenOver => DisconnectReasonCode::SessionTakenOver,
                Bye::Stopping => DisconnectReasonCode::ServerShuttingDown,
            }));
        }
    });
    let assigned = client_id.is_empty().then(|| ByteString::from(conn.client_id()));
    let ack = request.ack(conn).with(|ack| {
        ack.assigned_client_id = assigned;
        ack.session_present = resumed;
        ack.session_expiry_interval_secs =
            (granted < asked).then(|| u32::try_from(granted.as_secs()).unwrap_or(u32::MAX));
        ack.wildcard_subscription_available = false;
        ack.shared_subscription_available = false;
    });
    Ok(if keep_alive == 0 { ack.keep_alive(u16::MAX) } else { ack })
}

pub(super) async fn publish(session: &Session, publish: Publish) -> Result<PublishAck, Closed> {
    let payload = publish.read_all().await.map_err(|_| Closed)?;
    let message = Message {
        topic: publish.publish_topic().to_owned(),
        content_type: publish.packet().properties.content_type.as_ref().map(|kind| kind.to_string()),
        payload: bytes::Bytes::copy_from_slice(&payload),
    };
    let acknowledge = publish.qos() != QoS::AtMostOnce;
    Ok(match session.publish(message, acknowledge).await {
        Taken::Stored => publish.ack(),
        Taken::Refused(reject) => {
            let code = match reject.reason {
                RejectReason::ForeignTopic => PublishAckReason::NotAuthorized,
                _ => PublishAckReason::TopicNameInvalid,
            };
            PublishAck::new(code).reason(reject.detail.into())
        }
        Taken::Failed { full: true } => {
            PublishAck::new(PublishAckReason::QuotaExceeded).reason(ByteString::from_static("no room to store it"))
        }
        Taken::Failed { full: false } => PublishAck::new(PublishAckReason::ImplementationSpecificError)
            .reason(ByteString::from_static("it could not be stored; send it again later")),
    })
}

pub(super) async fn protocol(session: &Session, message: ProtocolMessage) -> Result<ProtocolMessageAck, Closed> {
    Ok(match message {
        ProtocolMessage::Subscribe(mut subscribe) => {
            for mut wish in subscribe.iter_mut() {
                match session.may_subscribe(wish.topic()) {
                    Ok(()) => {
                        let qos = wish.options().qos.min(QoS::AtLeastOnce);
                        wish.confirm(qos);
                        session.subscribe(session.sink().clone(), qos);
                    }
                    Err(why) => wish.fail(match why {
                        NotYours::Wildcard => SubscribeAckReason::WildcardSubscriptionsNotSupported,
                        NotYours::Shared => SubscribeAckReason::SharedSubscriptionNotSupported,
                        NotYours::Foreign => SubscribeAckReason::NotAuthorized,
                        NotYours::NoTopic => SubscribeAckReason::TopicFilterInvalid,
                    }),
                }
            }
            subscribe.ack()
        }
        ProtocolMessage::Unsubscribe(mut unsubscribe) => {
            for mut wish in unsubscribe.iter_mut() {
                if !session.unsubscribe(wish.topic()) {
                    wish.fail(UnsubscribeAckReason::NoSubscriptionExisted);
                }
            }
            unsubscribe.ack()
        }
        ProtocolMessage::Disconnect(disconnect) => {
            if let Some(expiry) = disconnect.packet().session_expiry_interval_secs {
                session.set_expiry(Duration::from_secs(expiry.into()));
            }
            if disconnect.packet().reason_code != DisconnectReasonCode::DisconnectWithWillMessage {
                session.forget_will();
            }
            disconnect.ack()
        }
        ProtocolMessage::Ping(ping) => ping.ack(),
        ProtocolMessage::PublishRelease(release) => release.ack(),
        auth @ ProtocolMessage::Auth(_) => {
            auth.disconnect_with(Disconnect::new(DisconnectReasonCode::BadAuthenticationMethod))
        }
    })
}

pub(super) async fn control(session: &Session, event: Control<Closed>) -> Result<Option<codec::Encoded>, Closed> {
    session.note(&event);
    Ok(None)
}
