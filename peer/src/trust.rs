//! Who is at the other end, and what it may do: identities, permissions, tokens, and
//! TLS with its files.
//!
//! Nothing here may know the tables of the mesh, a link or a request: what was proven
//! goes in, who it is and what it may do comes out.

pub mod front;
mod held;
pub mod identity;
mod permission;
mod proof;
pub mod tls;
mod token;

pub use held::HeldCertificate;
pub use identity::{Identity, Owner, certificate_identity, not_after};
pub use permission::{Permission, REACH_OID, reach_of};
pub use proof::{
    EXPORTER_LABEL, Principal, Proven, UNAUTHORIZED, authenticate, identify_data, identify_idle,
    identify_open,
};
pub use token::{BadToken, RuleId, Token, TokenRule, TokenRules};

#[cfg(test)]
mod tests;
