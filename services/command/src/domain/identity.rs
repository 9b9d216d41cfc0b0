//! Who: numbers of stores, cashiers and customers.

use serde::{Deserialize, Serialize};

use super::fault::Fault;

macro_rules! number {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
        pub struct $name(i32);

        impl $name {
            /// At least 1.
            pub fn parse(number: i32) -> Result<Self, Fault> {
                if number >= 1 {
                    Ok(Self(number))
                } else {
                    Err(Fault::OutOfRange { min: 1, max: i32::MAX.into(), actual: number.into() })
                }
            }

            /// As the column holds it.
            pub const fn get(self) -> i32 {
                self.0
            }
        }
    };
}

number! {
    /// A store.
    StoreId
}
number! {
    /// A cashier.
    CashierId
}
number! {
    /// A customer.
    CustomerId
}
