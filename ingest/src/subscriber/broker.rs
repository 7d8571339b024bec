//! The broker's URL: `mqtt://[user:password@]host[:port]`. Prints without the password.

use std::fmt;

use url::Url;

use super::SubscriberError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<(String, String)>,
}

impl Broker {
    pub(super) fn parse(text: &str) -> Result<Self, SubscriberError> {
        let wrong = |found: &str| SubscriberError::Setting {
            field: "broker",
            legal: "mqtt://[user:password@]host[:port] or mqtts://[user:password@]host[:port]",
            found: format!(": {found}"),
        };
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let (tls, port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            other => return Err(wrong(&format!("it begins with {other}:"))),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("something follows the port"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
        let decode = |part: &str| percent_decode(part).ok_or_else(|| wrong("user or password is not UTF-8"));
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decode(user)?, decode(password.unwrap_or_default())?)),
        };
        Ok(Self { tls, host: host.into(), port: url.port().unwrap_or(port), login })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "mqtts" } else { "mqtt" }, self.host, self.port)
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push((hex(high)? * 16 + hex(low)?) as u8);
                rest = tail;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_prints_without_its_password() {
        let broker = Broker::parse("mqtts://plant:a%2Fb%40c@broker.example:8884").unwrap();
        assert_eq!(broker.login, Some(("plant".into(), "a/b@c".into())));
        assert_eq!(broker.to_string(), "mqtts://broker.example:8884");
        assert_eq!(Broker::parse("mqtt://[::1]").unwrap().to_string(), "mqtt://[::1]:1883");
    }

    #[test]
    fn a_wrong_url_is_answered_with_the_field_and_its_form_but_no_password() {
        for text in
            ["", "localhost:1883", "http://u:secret@host", "mqtt://", "mqtt://u:secret@host/topic", "mqtt://h:99999"]
        {
            let error = Broker::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("subscriber.broker must be mqtt://[user:password@]host[:port]"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
