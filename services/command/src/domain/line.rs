//! One line of a sale.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{
    fault::{Fault, Violation},
    money::{Amount, Price, Quantity},
    text::{Category, ProductCode, ProductName},
};

/// A line whose discount is not above its worth, and whose total is an amount.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    parts: LineParts,
    total_price: Amount,
}

/// What a line is made of; each part is valid, the whole is not checked yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LineParts {
    /// Identifies the product.
    pub product_code: ProductCode,
    /// The product as the receipt names it.
    pub product_name: ProductName,
    /// What kind of product.
    pub category: Option<Category>,
    /// Pieces.
    pub quantity: Quantity,
    /// For a piece.
    pub unit_price: Price,
    /// Off the whole line.
    pub discount: Amount,
}

/// A figure that the caller expects the server to compute; `None` expects nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Expected(pub Option<Amount>);

impl Expected {
    /// A violation at `field` where another figure was computed.
    pub fn check(self, field: impl Display, computed: Amount) -> Result<(), Violation> {
        match self.0 {
            Some(expected) if expected != computed => {
                Err(Violation::new(field.to_string(), Fault::Disagrees { computed: computed.get() }))
            }
            _ => Ok(()),
        }
    }
}

impl Line {
    /// Checks the whole and computes `quantity * unit_price - discount`. `field` is the line's path in the request.
    pub fn new(parts: LineParts, expected_total: Expected, field: impl Display) -> Result<Self, Violation> {
        let gross = parts.unit_price.get() * rust_decimal::Decimal::from(parts.quantity.get());
        if parts.discount.get() > gross {
            let fault = Fault::DiscountAboveLine { gross };
            return Err(Violation::new(format!("{field}.discount"), fault));
        }
        let total_price = Amount::parse(gross - parts.discount.get())
            .map_err(|fault| Violation::new(format!("{field}.total_price"), fault))?;
        expected_total.check(format_args!("{field}.total_price"), total_price)?;
        Ok(Self { parts, total_price })
    }

    /// What the line is made of.
    pub const fn parts(&self) -> &LineParts {
        &self.parts
    }

    /// `quantity * unit_price - discount`.
    pub const fn total_price(&self) -> Amount {
        self.total_price
    }
}
