//! Texts that both services and their clients agree on, beside the contract's messages.

/// Metadata, in both directions: the consistency token, for client libraries that carry it unseen.
pub const CONSISTENCY_TOKEN: &str = "tandem-consistency-token";
/// Response metadata, `true`: the answer to a command that was carried out by an earlier call.
pub const REPLAYED: &str = "tandem-replayed";
/// The domain of every `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "tandem.sales";

/// The etag of a sale's version: opaque to callers, the same on both sides.
pub fn etag(version: i64) -> String {
    format!("v{version}")
}
