//! The contract as Rust types, and with them the Rust client SDK.
//!
//! The modules follow the packages of the `.proto` files: [`sales::v1`] is what both sides say of a
//! sale, [`sales::command::v1`] the write side, [`sales::query::v1`] the read side. [`money`] and
//! [`time`] turn the wire's values into Rust's and back.
// Generated code: its comments stand in the contract.
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::doc_lazy_continuation,
    clippy::large_enum_variant,
    clippy::too_many_lines
)]

pub mod agreed;
pub mod money;
pub mod time;

/// Types that the whole field shares.
pub mod google {
    /// `google.type`.
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

/// Sales.
pub mod sales {
    /// What both sides say of a sale.
    pub mod v1 {
        tonic::include_proto!("sales.v1");
    }

    /// The write side.
    pub mod command {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("sales.command.v1");
        }
    }

    /// The read side.
    pub mod query {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("sales.query.v1");
        }
    }
}

/// The compiled contract, as reflection serves it: an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tandem.bin"));
