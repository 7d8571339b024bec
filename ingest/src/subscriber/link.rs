//! One connection to the broker, of either protocol version, in our own words. The only file, tests aside, that says
//! rumqttc.
//!
//! In: settings. Out: what happens on the connection; acknowledgements on their way. Promise: a [`Link`] connects
//! once; its [`Acks`] reach that connection or none. Never: an acknowledgement on its own account.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use rumqttc::{TlsConfiguration, Transport, v5};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use schemas::door::DoorError;

use super::{Protocol, Settings, SubscriberError, broker::Broker};

/// Requests waiting to be sent. A connection has at most 65,535 packet ids, so at most so many acknowledgements are
/// outstanding, and one more never has to wait: the reader and the keeper cannot block each other.
const REQUESTS: usize = 65_536 + 16;
/// How long connecting may take, in seconds.
const CONNECT_SECONDS: u64 = 10;

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Event {
    /// The broker has accepted us.
    Connected,
    /// The broker has answered our subscription; with the reason if it refused.
    Subscribed(Result<(), String>),
    /// A publish.
    Message(Message),
    /// Our farewell has been sent, and all acknowledgements before it.
    Left,
    /// Nothing that matters.
    Other,
}

/// A publish from the broker.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) content_type: Option<String>,
    pub(super) payload: Bytes,
    /// None for QoS 0.
    pub(super) packet_id: Option<u16>,
}

/// The connection failed; the client's own error is in `source`.
#[derive(Debug, thiserror::Error)]
#[error("talk to the broker")]
pub(super) struct LinkError(#[source] DoorError);

impl LinkError {
    fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// The certificates in `path`, as a client configuration on ring.
pub(super) fn trust(path: &Path) -> Result<Arc<ClientConfig>, SubscriberError> {
    let fail = |source: DoorError| SubscriberError::Certificates { path: path.into(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fail(error.into()))?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| fail(error.into()))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(fail("no certificate in it".into()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

enum Loop {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// One connection.
pub(super) struct Link {
    events: Loop,
    acks: Acks,
}

/// The way back: acknowledgements for one connection.
#[derive(Clone)]
pub(super) enum Acks {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Link {
    /// Connects when first asked for an event.
    pub(super) fn new(settings: &Settings, broker: &Broker, tls: Option<Arc<ClientConfig>>) -> Self {
        let transport =
            tls.map_or_else(Transport::tcp, |tls| Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        let (id, host, port) = (settings.client_id.clone(), broker.host.clone(), broker.port);
        match settings.protocol {
            Protocol::V311 => {
                let mut options = rumqttc::MqttOptions::new(id, host, port);
                options
                    .set_transport(transport)
                    .set_keep_alive(settings.keep_alive)
                    .set_clean_session(false)
                    .set_max_packet_size(settings.max_packet_bytes as usize, settings.max_packet_bytes as usize)
                    .set_manual_acks(true);
                if let Some((user, password)) = &broker.login {
                    options.set_credentials(user, password);
                }
                let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
                events.network_options.set_tcp_nodelay(true);
                events.network_options.set_connection_timeout(CONNECT_SECONDS);
                Self { events: Loop::V311(Box::new(events)), acks: Acks::V311(client) }
            }
            Protocol::V5 => {
                let mut options = v5::MqttOptions::new(id, host, port);
                let expiry = u32::try_from(settings.session_expiry.as_secs()).unwrap_or(u32::MAX);
                let mut network = options.network_options();
                network.set_tcp_nodelay(true);
                options
                    .set_transport(transport)
                    .set_network_options(network)
                    .set_connection_timeout(CONNECT_SECONDS)
                    .set_keep_alive(settings.keep_alive)
                    .set_clean_start(false)
                    .set_session_expiry_interval(Some(expiry))
                    .set_receive_maximum(Some(settings.receive_maximum))
                    .set_max_packet_size(Some(settings.max_packet_bytes))
                    // rumqttc hands out the publish before it looks the alias up: an empty topic.
                    .set_topic_alias_max(Some(0))
                    .set_manual_acks(true);
                if let Some((user, password)) = &broker.login {
                    options.set_credentials(user, password);
                }
                let (client, events) = v5::AsyncClient::new(options, REQUESTS);
                Self { events: Loop::V5(Box::new(events)), acks: Acks::V5(client) }
            }
        }
    }

    /// For the acknowledgements of this connection.
    pub(super) fn acks(&self) -> Acks {
        self.acks.clone()
    }

    /// The longest silence of a healthy connection: a ping and its answer are events too.
    pub(super) fn patience(settings: &Settings) -> Duration {
        settings.keep_alive * 2 + Duration::from_secs(CONNECT_SECONDS)
    }

    /// Asks for `filter` at QoS 1. Retained births come again with each subscription on 3.1.1, on 5 only with a new one.
    pub(super) fn subscribe(&self, filter: &str) -> Result<(), LinkError> {
        match &self.acks {
            Acks::V311(client) => client.try_subscribe(filter, rumqttc::QoS::AtLeastOnce).map_err(LinkError::new),
            Acks::V5(client) => {
                use v5::mqttbytes::{
                    QoS,
                    v5::{Filter, RetainForwardRule},
                };
                let mut filter = Filter::new(filter, QoS::AtLeastOnce);
                filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
                client.try_subscribe_many([filter]).map_err(LinkError::new)
            }
        }
    }

    /// The next event. Not to be dropped half way: an acknowledgement may go with it.
    pub(super) async fn event(&mut self) -> Result<Event, LinkError> {
        match &mut self.events {
            Loop::V311(events) => events.poll().await.map(from_v311).map_err(LinkError::new),
            Loop::V5(events) => events.poll().await.map(from_v5).map_err(LinkError::new),
        }
    }
}

fn from_v311(event: rumqttc::Event) -> Event {
    use rumqttc::{Event as E, Outgoing, Packet, QoS, SubscribeReasonCode};
    match event {
        E::Incoming(Packet::ConnAck(_)) => Event::Connected,
        E::Incoming(Packet::SubAck(answer)) => {
            Event::Subscribed(match answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                true => Err("Failure".into()),
                false => Ok(()),
            })
        }
        E::Incoming(Packet::Publish(publish)) => Event::Message(Message {
            topic: publish.topic,
            content_type: None,
            payload: publish.payload,
            packet_id: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
        }),
        E::Outgoing(Outgoing::Disconnect) => Event::Left,
        _ => Event::Other,
    }
}

fn from_v5(event: v5::Event) -> Event {
    use rumqttc::Outgoing;
    use v5::{
        Event as E,
        mqttbytes::{
            QoS,
            v5::{Packet, SubscribeReasonCode},
        },
    };
    match event {
        E::Incoming(Packet::ConnAck(_)) => Event::Connected,
        E::Incoming(Packet::SubAck(answer)) => {
            let refused = answer.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
            Event::Subscribed(refused.map_or(Ok(()), |code| Err(format!("{code:?}"))))
        }
        E::Incoming(Packet::Publish(publish)) => Event::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            content_type: publish.properties.and_then(|properties| properties.content_type),
            payload: publish.payload,
            packet_id: (publish.qos != QoS::AtMostOnce).then_some(publish.pkid),
        }),
        E::Outgoing(Outgoing::Disconnect) => Event::Left,
        _ => Event::Other,
    }
}

impl Acks {
    /// Puts an acknowledgement on its way.
    pub(super) fn acknowledge(&self, packet_id: u16) -> Result<(), LinkError> {
        match self {
            Self::V311(client) => {
                let mut publish = rumqttc::Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet_id;
                client.try_ack(&publish).map_err(LinkError::new)
            }
            Self::V5(client) => {
                use v5::mqttbytes::{QoS, v5::Publish};
                let mut publish = Publish::new("", QoS::AtLeastOnce, Bytes::new(), None);
                publish.pkid = packet_id;
                client.try_ack(&publish).map_err(LinkError::new)
            }
        }
    }

    /// Says goodbye after all acknowledgements.
    pub(super) fn leave(&self) -> Result<(), LinkError> {
        match self {
            Self::V311(client) => client.try_disconnect().map_err(LinkError::new),
            Self::V5(client) => client.try_disconnect().map_err(LinkError::new),
        }
    }
}
