//! Messages that are encoded already: a row is encoded once, for its hash and for every stream that it is sent in.

use prost::bytes::{BufMut, Bytes};
use tandem_proto::sales::command::v1::ImportTransactionsResponse;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// Sends bytes as they are, and reads answers as usual.
#[derive(Debug, Default)]
pub struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ImportTransactionsResponse;
    type Encoder = AsTheyAre;
    type Decoder = ProstDecoder<ImportTransactionsResponse>;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<ImportTransactionsResponse, ImportTransactionsResponse>::default().decoder()
    }
}

/// See [`Encoded`].
#[derive(Debug)]
pub struct AsTheyAre;

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}
