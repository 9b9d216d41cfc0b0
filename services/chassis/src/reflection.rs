//! Server reflection, v1 and v1alpha, so that grpcurl and its like need no `.proto` files.

use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Adds reflection to `routes`. Both versions list `services`, health and each other, and know the types of `contract` (an encoded
/// `FileDescriptorSet`), of health, and of `google.rpc`, so that clients can show the details of an error.
///
/// # Errors
/// The descriptor set can't be decoded.
pub fn add(routes: Routes, contract: &'static [u8], services: &[&'static str]) -> Result<Routes, Error> {
    let v1 = builder(contract, services).build_v1()?;
    let v1alpha = builder(contract, services).build_v1alpha()?;
    Ok(routes.add_service(v1).add_service(v1alpha))
}

fn builder<'a>(contract: &'static [u8], services: &[&'static str]) -> Builder<'a> {
    let known = Builder::configure()
        .register_encoded_file_descriptor_set(contract)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection");
    services.iter().fold(known, |known, service| known.with_service_name(*service))
}
