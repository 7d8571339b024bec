//! The encrypted listener with Mosquitto's clients and certificates that the test makes.

use std::{fs, path::PathBuf, process::Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;
use crate::gateway::{TlsSettings, tls::Failure};

/// A CA with its files in a folder.
struct Ca {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        Self::of("a maker")
    }

    fn of(maker: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, maker);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `{name}.pem` and `{name}.key`.
    fn certify(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::default();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        fs::write(self.path(&format!("{name}.pem")), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn server(&self) {
        self.certify("server", |params| *params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            listen: ([127, 0, 0, 1], 0).into(),
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: Some(self.path("ca.pem")),
            client_crl: None,
            require_client_certificate: false,
            client_tenant: None,
            handshake_timeout: Duration::from_secs(8),
        }
    }
}

fn named(tenant: Option<&str>, device: &str) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        if let Some(tenant) = tenant {
            params.distinguished_name.push(DnType::OrganizationName, tenant);
        }
        params.distinguished_name.push(DnType::CommonName, device);
    }
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

impl House {
    async fn tls(settings: &TlsSettings) -> Self {
        Self::with(Mode::Open, |gateway| gateway.tls = Some(settings.clone())).await
    }

    fn failures(&self, failure: Failure) -> u64 {
        self.gateway.gate.metrics.tls_failures(failure)
    }

    /// Publishes with mosquitto_pub over TLS, waits for the PUBACK, and returns whether it came.
    async fn mosquitto(&self, device: &str, payload: &str, arguments: &[&str]) -> bool {
        let port = self.gateway.tls_addr().unwrap().port().to_string();
        let topic = topic(device);
        let mut command = tokio::process::Command::new("mosquitto_pub");
        command.args(["-h", "localhost", "-p", &port, "-i", device, "-q", "1", "-t", &topic, "-m", payload]);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        timeout(DEADLINE, command.status()).await.expect("mosquitto_pub ends").unwrap().success()
    }

    async fn until_failed(&self, failure: Failure, count: u64) {
        let counted = async {
            while self.failures(failure) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, counted).await.unwrap_or_else(|_| panic!("{failure:?} is never counted"));
    }
}

#[tokio::test]
async fn a_password_or_a_certificate_is_the_credential_over_tls() {
    let ca = Ca::new();
    ca.server();
    ca.certify("subject", named(Some("acme"), "wm-1"));
    ca.certify("name", |params| params.subject_alt_names = vec![uri("forewarn://acme/wm-2"), uri("urn:serial:17")]);
    let house = House::tls(&ca.settings()).await;
    let file = |name: &str| ca.path(name).display().to_string();
    let (root, subject, subject_key) = (file("ca.pem"), file("subject.pem"), file("subject.key"));
    let (name, name_key) = (file("name.pem"), file("name.key"));
    assert!(house.mosquitto("wm-0", "password", &["--cafile", &root, "-u", "wm-0", "-P", PASSWORD]).await);
    assert!(!house.mosquitto("wm-0", "wrong", &["--cafile", &root, "-u", "wm-0", "-P", "wrong"]).await);
    for version in ["mqttv311", "mqttv5"] {
        let arguments = ["--cafile", &root, "--cert", &subject, "--key", &subject_key, "-V", version];
        assert!(house.mosquitto("wm-1", version, &arguments).await);
    }
    let by_name = ["--cafile", &root, "--cert", &name, "--key", &name_key];
    assert!(house.mosquitto("wm-2", "name", &by_name).await);
    // Its own name, another's topic; and another's client id.
    assert!(!house.mosquitto("wm-2", "foreign", &[&by_name[..], &["-t", &topic("wm-1")]].concat()).await);
    assert!(!house.mosquitto("wm-1", "liar", &by_name).await);
    let stored: Vec<_> =
        house.stored().into_iter().filter(|(_, refused)| refused.is_none()).map(|(text, _)| text).collect();
    assert_eq!(stored, ["mqttv311", "mqttv5", "name", "password"]);
    assert_eq!(house.rejected(RejectReason::BadCredentials), 2);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_comes_in_nowhere_and_its_reason_is_counted() {
    let (ca, other) = (Ca::new(), Ca::of("another maker"));
    ca.server();
    other.certify("foreign", named(Some("acme"), "wm-1"));
    ca.certify("expired", |params| {
        named(Some("acme"), "wm-1")(params);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    ca.certify("nameless", |params| params.distinguished_name = rcgen::DistinguishedName::new());
    ca.certify("tenantless", named(None, "wm-1"));
    ca.certify("both", |params| params.subject_alt_names = vec![uri("forewarn://acme/a"), uri("forewarn://acme/b")]);
    ca.certify("revoked", |params| {
        named(Some("acme"), "wm-1")(params);
        params.serial_number = Some(SerialNumber::from(17_u64));
    });
    ca.certify("good", named(Some("acme"), "wm-1"));
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(17_u64),
            revocation_time: date_time_ymd(2026, 1, 2),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    fs::write(ca.path("crl.pem"), list.signed_by(&ca.issuer).unwrap().pem().unwrap()).unwrap();
    let mut settings = ca.settings();
    settings.require_client_certificate = true;
    settings.client_crl = Some(ca.path("crl.pem"));
    let house = House::tls(&settings).await;
    let root = ca.path("ca.pem").display().to_string();
    for (from, name, failure) in [
        (&other, "foreign", Failure::UnknownIssuer),
        (&ca, "expired", Failure::Expired),
        (&ca, "nameless", Failure::NamesNoDevice),
        (&ca, "tenantless", Failure::NamesNoDevice),
        (&ca, "both", Failure::NamesNoDevice),
        (&ca, "revoked", Failure::Revoked),
    ] {
        let before = house.failures(failure);
        let (cert, key) = (from.path(&format!("{name}.pem")), from.path(&format!("{name}.key")));
        let arguments = ["--cafile", &root, "--cert", &cert.display().to_string(), "--key", &key.display().to_string()];
        assert!(!house.mosquitto("wm-1", name, &arguments).await, "{name}");
        house.until_failed(failure, before + 1).await;
    }
    assert!(!house.mosquitto("wm-1", "none", &["--cafile", &root, "-u", "wm-1", "-P", PASSWORD]).await);
    house.until_failed(Failure::NoCertificate, 1).await;
    // Who does not trust us goes too.
    let stranger = other.path("ca.pem").display().to_string();
    assert!(!house.mosquitto("wm-1", "distrust", &["--cafile", &stranger]).await);
    house.until_failed(Failure::Distrusted, 1).await;
    assert!(house.shelf.frames().is_empty());
    let (cert, key) = (ca.path("good.pem").display().to_string(), ca.path("good.key").display().to_string());
    assert!(house.mosquitto("wm-1", "good", &["--cafile", &root, "--cert", &cert, "--key", &key]).await);
    assert_eq!(house.shelf.payloads(), ["good"]);
}

#[tokio::test]
async fn garbage_and_silence_on_the_tls_port_disturb_nobody() {
    let ca = Ca::new();
    ca.server();
    let mut settings = ca.settings();
    settings.handshake_timeout = Duration::from_millis(300);
    let house = House::tls(&settings).await;
    let addr = house.gateway.tls_addr().unwrap();
    let mut device = house.v3("wm-1").await;
    answer(addr, &connect_packet(4, "wm-1")).await;
    answer(addr, &[0xff; 64]).await;
    house.until_failed(Failure::NotTls, 2).await;
    // Half a hello, and not a word.
    answer(addr, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    answer(addr, b"").await;
    house.until_failed(Failure::Timeout, 2).await;
    device.publish(&topic("wm-1"), "undisturbed").await;
    assert_eq!(device.ack().await, "PubAck 1");
    let root = ca.path("ca.pem").display().to_string();
    assert!(house.mosquitto("wm-2", "neither", &["--cafile", &root, "-u", "wm-2", "-P", PASSWORD]).await);
}

#[tokio::test]
async fn a_large_payload_over_tls_is_one_frame() {
    let ca = Ca::new();
    ca.server();
    let house = House::tls(&ca.settings()).await;
    let payload = ca.path("payload");
    fs::write(&payload, "x".repeat(900_000)).unwrap();
    let port = house.gateway.tls_addr().unwrap().port().to_string();
    let root = ca.path("ca.pem").display().to_string();
    let mut command = tokio::process::Command::new("mosquitto_pub");
    command.args(["-h", "localhost", "-p", &port, "-i", "wm-1", "-u", "wm-1", "-P", PASSWORD, "--cafile", &root]);
    command.args(["-q", "1", "-t", &topic("wm-1"), "-f"]).arg(&payload).kill_on_drop(true);
    assert!(timeout(DEADLINE, command.status()).await.unwrap().unwrap().success());
    assert!(house.shelf.payloads() == ["x".repeat(900_000)]);
}

#[tokio::test]
async fn changed_files_are_taken_for_new_connections_and_bad_ones_left_out() {
    let ca = Ca::new();
    ca.server();
    let settings = ca.settings();
    let mut registry = Registry::default();
    let metrics = crate::gateway::metrics::Metrics::register(&mut registry);
    let tls = crate::gateway::tls::Tls::open(&settings, metrics.clone()).unwrap();
    let first = tls.current();
    tls.look();
    assert!(Arc::ptr_eq(&first, &tls.current()), "nothing has changed");
    fs::write(ca.path("server.pem"), "no certificate").unwrap();
    tls.look();
    assert!(Arc::ptr_eq(&first, &tls.current()), "the old stays in force");
    assert_eq!((metrics.tls_reloads.get(), metrics.tls_reload_failures.get()), (0, 1));
    ca.server();
    tls.look();
    assert!(!Arc::ptr_eq(&first, &tls.current()));
    assert_eq!((metrics.tls_reloads.get(), metrics.tls_reload_failures.get()), (1, 1));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let (ca, other) = (Ca::new(), Ca::new());
    ca.server();
    other.server();
    fs::write(ca.path("empty.pem"), "").unwrap();
    fs::write(ca.path("torn.pem"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    fs::write(ca.path("junk.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    type Set = fn(&mut TlsSettings, PathBuf);
    let cases: [(&str, &str, Set); 8] = [
        ("missing.pem", "certificate", |tls, path| tls.certificate = path),
        ("empty.pem", "certificate", |tls, path| tls.certificate = path),
        ("torn.pem", "certificate", |tls, path| tls.certificate = path),
        ("junk.pem", "certificate", |tls, path| tls.certificate = path),
        ("missing.key", "key", |tls, path| tls.key = path),
        ("ca.pem", "key", |tls, path| tls.key = path),
        ("junk.pem", "client_ca", |tls, path| tls.client_ca = Some(path)),
        ("empty.pem", "client_crl", |tls, path| tls.client_crl = Some(path)),
    ];
    let start = async |tls: TlsSettings| {
        let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), tls: Some(tls), ..Settings::default() };
        let (shelf, clock) = (Shelf::new(Mode::Open), Arc::new(ManualClock::default()));
        Gateway::start(settings, doors(shelf), clock, &mut Registry::default()).await.unwrap_err()
    };
    for (file, field, set) in cases {
        let mut tls = ca.settings();
        set(&mut tls, ca.path(file));
        let said = start(tls).await.to_string();
        assert!(said.contains(&format!("gateway.tls.{field}")) && said.contains(file), "{file}: {said}");
    }
    let mut tls = ca.settings();
    tls.key = other.path("server.key");
    let error = start(tls).await;
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(error.to_string().contains("server.key") && cause.contains("KeyMismatch"), "{error}: {cause}");
    let mut tls = ca.settings();
    (tls.client_ca, tls.require_client_certificate) = (None, true);
    assert_eq!(start(tls).await.to_string(), "gateway.tls.require_client_certificate needs gateway.tls.client_ca");
}
