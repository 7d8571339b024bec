//! MQTT 3.1.1. It has no words for a refusal after CONNACK: the connection is closed.

use std::{rc::Rc, time::Duration};

use ntex::time::Seconds;
use ntex_mqtt::{
    Control, QoS,
    v3::{self, Connect, ConnectAck, ProtocolMessage, ProtocolMessageAck, Publish},
};
use schemas::door::Login;

use super::{
    front::{Closed, Visit},
    session::{Conn, Entered, Message, Taken, Wish},
};

type Session = v3::Session<Rc<Conn>>;

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
        return Ok(request.bad_username_or_pwd());
    };
    let client_id = packet.client_id.to_string();
    let keep_alive = packet.keep_alive;
    let will = packet.last_will.as_ref().map(|will| Message {
        topic: will.topic.to_string(),
        content_type: None,
        payload: bytes::Bytes::copy_from_slice(&will.message),
    });
    let expiry = if packet.clean_session { Duration::ZERO } else { visit.gate.settings.session_expiry };
    let wish = Wish { clean: packet.clean_session, expiry, will_delay: Duration::ZERO };
    let Some(Entered { conn, bye, resumed }) = Conn::enter(&visit, principal, &client_id, will, wish).await else {
        return Ok(request.service_unavailable());
    };
    let sink = request.sink();
    ntex::rt::spawn(async move {
        if bye.await.is_ok() {
            sink.close();
        }
    });
    let ack = request.ack(conn, resumed);
    Ok(if keep_alive == 0 { ack.idle_timeout(Seconds(u16::MAX)) } else { ack })
}

pub(super) async fn publish(session: &Session, publish: Publish) -> Result<(), Closed> {
    let acknowledge = publish.qos() != QoS::AtMostOnce;
    let payload = publish.read_all().await.map_err(|_| Closed)?;
    let message = Message {
        topic: publish.publish_topic().to_owned(),
        content_type: None,
        payload: bytes::Bytes::copy_from_slice(&payload),
    };
    match session.publish(message, acknowledge).await {
        Taken::Stored => Ok(()),
        Taken::Failed { .. } if !acknowledge => Ok(()),
        Taken::Failed { .. } | Taken::Refused(_) => Err(Closed),
    }
}

pub(super) async fn protocol(session: &Session, message: ProtocolMessage) -> Result<ProtocolMessageAck, Closed> {
    Ok(match message {
        ProtocolMessage::Subscribe(mut subscribe) => {
            for mut wish in subscribe.iter_mut() {
                match session.may_subscribe(wish.topic()) {
                    Ok(()) => {
                        let qos = wish.qos().min(QoS::AtLeastOnce);
                        wish.confirm(qos);
                        session.subscribe(session.sink().clone(), qos);
                    }
                    Err(_) => wish.fail(),
                }
            }
            subscribe.ack()
        }
        ProtocolMessage::Unsubscribe(unsubscribe) => {
            for filter in unsubscribe.iter() {
                session.unsubscribe(filter);
            }
            unsubscribe.ack()
        }
        ProtocolMessage::Disconnect(disconnect) => {
            session.forget_will();
            disconnect.ack()
        }
        ProtocolMessage::Ping(ping) => ping.ack(),
        ProtocolMessage::PublishRelease(release) => release.ack(),
    })
}

pub(super) async fn control(session: &Session, event: Control<Closed>) -> Result<Option<v3::codec::Encoded>, Closed> {
    session.note(&event);
    Ok(None)
}
