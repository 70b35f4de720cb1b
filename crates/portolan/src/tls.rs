//! The certificate authority of the embedded API servers, and TLS on their listener.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::data::{DataDir, write_private};

/// The authority's certificate as clients need it, and a server configuration signed by it.
pub(crate) struct Tls {
    /// For `certificate-authority-data` in a kubeconfig.
    pub(crate) ca_pem: String,
    /// For the listener.
    pub(crate) server: Arc<rustls::ServerConfig>,
}

impl Tls {
    /// Reads or makes the authority; the server's own certificate is new at each start.
    pub(crate) fn open(data: &DataDir, address: IpAddr) -> Result<Self> {
        let (key_path, pem_path) = (data.file("tls/ca.key"), data.file("tls/ca.pem"));
        data.folder("tls")?;
        if !pem_path.exists() {
            let key = KeyPair::generate().context("cannot make a key")?;
            let certificate =
                ca_params()?.self_signed(&key).context("cannot sign the authority's certificate")?;
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            write_private(&pem_path, certificate.pem().as_bytes())?;
        }
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (ca_pem, ca_key) = (read(&pem_path)?, read(&key_path)?);
        let ca_key =
            KeyPair::from_pem(&ca_key).with_context(|| format!("{} is not a key", key_path.display()))?;
        let issuer = Issuer::new(ca_params()?, ca_key);
        let server = server_config(&issuer, address)?;
        Ok(Self { ca_pem, server: Arc::new(server) })
    }
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec![]).context("cannot describe the authority")?;
    params.distinguished_name.push(DnType::CommonName, "portolan");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn server_config(issuer: &Issuer<'_, KeyPair>, address: IpAddr) -> Result<rustls::ServerConfig> {
    let names = vec![
        "localhost".to_owned(),
        "kubernetes.default.svc".to_owned(),
        "127.0.0.1".to_owned(),
        address.to_string(),
    ];
    let mut params = CertificateParams::new(names).context("cannot describe the server's certificate")?;
    params.distinguished_name.push(DnType::CommonName, "portolan-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().context("cannot make a key")?;
    let certificate = params.signed_by(&key, issuer).context("cannot sign the server's certificate")?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .context("cannot set up TLS")
}
