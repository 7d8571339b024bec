//! Which device a client certificate names.
//!
//! In: a certificate that the operator's CA has signed. Out: tenant and device. Promise: one rule, the same for every
//! certificate: a subject alternative name `forewarn://{tenant}/{device}`, exactly one; where there is none, the
//! subject's common name is the device, and its organization, or else `gateway.tls.client_tenant`, the tenant. Never: a
//! guess between two names.

use schemas::{
    door::Principal,
    id::{DeviceId, TenantId},
};
use x509_cert::{
    Certificate,
    der::{
        Decode, Tag, Tagged,
        asn1::{Any, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef},
    },
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// What an alternative name begins with that names a device.
const SCHEME: &str = "forewarn://";
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// The device that the certificate names; an error says what is missing.
pub(super) fn principal(der: &[u8], client_tenant: Option<&TenantId>) -> Result<Principal, String> {
    let certificate = Certificate::from_der(der).map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let names: Option<(bool, SubjectAltName)> = certificate
        .tbs_certificate
        .get()
        .map_err(|error| format!("the certificate's alternative names cannot be read: {error}"))?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    let ours: Vec<&str> = (names.iter())
        .filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => uri.as_str().strip_prefix(SCHEME),
            _ => None,
        })
        .collect();
    match ours[..] {
        [] => subject(&certificate, client_tenant),
        [name] => {
            let (tenant, device) = name.split_once('/').ok_or("an alternative name is not forewarn://tenant/device")?;
            parse(tenant, device)
        }
        _ => Err("the certificate names several devices".into()),
    }
}

fn subject(certificate: &Certificate, client_tenant: Option<&TenantId>) -> Result<Principal, String> {
    let one = |what: ObjectIdentifier, called: &str| {
        let attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|name| name.0.iter());
        let mut found = attributes.filter(|attribute| attribute.oid == what).map(|attribute| text(&attribute.value));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(Some(text)), None) => Ok(Some(text)),
            (Some(None), _) => Err(format!("the subject's {called} is no text")),
            (Some(_), Some(_)) => Err(format!("the subject has more than one {called}")),
        }
    };
    let device = one(COMMON_NAME, "common name")?.ok_or("the subject has no common name")?;
    match one(ORGANIZATION, "organization")? {
        Some(tenant) => parse(tenant, device),
        None => {
            let tenant =
                client_tenant.ok_or("the subject has no organization, and gateway.tls.client_tenant is not set")?;
            parse(tenant.as_str(), device)
        }
    }
}

fn text(value: &Any) -> Option<&str> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.as_str()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.as_str()),
        _ => None,
    }
}

fn parse(tenant: &str, device: &str) -> Result<Principal, String> {
    let tenant = TenantId::parse(tenant).map_err(|error| error.to_string())?;
    let device_id = DeviceId::parse(device).map_err(|error| error.to_string())?;
    Ok(Principal { tenant, device_id })
}
