//! Published SDKs against the gateway.
