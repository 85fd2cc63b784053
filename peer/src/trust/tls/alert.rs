//! Why the other end refuses this peer's certificate: TLS has a number for it, an alert.

use std::io;

use tokio_rustls::rustls::{self, AlertDescription};

/// What broke a connection, in plain words with the remedy where it is that the listening
/// peer refuses our certificate.
pub fn in_plain_words(error: &io::Error) -> String {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = found else { return error.to_string() };
    let why = match alert {
        AlertDescription::CertificateRevoked => "it has been revoked; have another one issued",
        AlertDescription::CertificateExpired => "it has expired; renew it",
        AlertDescription::UnknownCA => "it is not from a CA in the tls_ca of that peer",
        AlertDescription::CertificateRequired => "there is none; set tls_cert and tls_key",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => "the log of that peer says why",
        alert => {
            return format!("the listening peer ended TLS with {alert:?}; its log says why");
        }
    };
    format!("the listening peer refuses the certificate of this peer: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(error: rustls::Error) -> String {
        in_plain_words(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn an_alert_is_said_in_plain_words_and_anything_else_as_it_is() {
        assert_eq!(
            words(rustls::Error::AlertReceived(AlertDescription::CertificateRevoked)),
            "the listening peer refuses the certificate of this peer: it has been revoked; have \
             another one issued"
        );
        let other = words(rustls::Error::AlertReceived(AlertDescription::InternalError));
        assert!(other.ends_with("with InternalError; its log says why"), "{other}");
        let general = rustls::Error::General("as it is".to_owned());
        assert!(words(general).ends_with("as it is"));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(in_plain_words(&reset), reset.to_string());
    }
}
