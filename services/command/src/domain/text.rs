//! Texts: product codes, names, categories, payment methods. Stored as they came, character for character.

use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    limits::{MAX_CATEGORY, MAX_PAYMENT_METHOD, MAX_PRODUCT_CODE, MAX_PRODUCT_NAME},
};

macro_rules! text {
    ($(#[$docs:meta])* $name:ident, $parse:expr) => {
        $(#[$docs])*
        #[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is, or says what is wrong with it.
            pub fn parse(text: String) -> Result<Self, Fault> {
                let check: fn(&str) -> Result<(), Fault> = $parse;
                check(&text).map(|()| Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

text! {
    /// 1 to 50 characters.
    ProductCode, |text| bounded(text, MAX_PRODUCT_CODE)
}
text! {
    /// 1 to 200 characters.
    ProductName, |text| bounded(text, MAX_PRODUCT_NAME)
}
text! {
    /// 1 to 100 characters.
    Category, |text| bounded(text, MAX_CATEGORY)
}
text! {
    /// A code out of an open set: `cash`, `credit_card`, `qris`, …
    PaymentMethod, code
}

fn bounded(text: &str, max: usize) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if text.contains('\0') {
        return Err(Fault::ContainsNul);
    }
    // Characters, as PostgreSQL's char_length counts them, not bytes.
    match text.chars().count() {
        actual if actual > max => Err(Fault::TooLong { max, actual }),
        _ => Ok(()),
    }
}

fn code(text: &str) -> Result<(), Fault> {
    bounded(text, MAX_PAYMENT_METHOD)?;
    let follows = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(follows) {
        Ok(())
    } else {
        Err(Fault::NotACode)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, PaymentMethod, ProductCode};

    fn code(text: &str) -> Result<PaymentMethod, Fault> {
        PaymentMethod::parse(text.to_owned())
    }

    #[test]
    fn length_is_counted_in_characters_and_not_in_bytes() {
        assert!(ProductCode::parse("ä".repeat(50)).is_ok());
        assert_eq!(ProductCode::parse("ä".repeat(51)), Err(Fault::TooLong { max: 50, actual: 51 }));
    }

    #[test]
    fn text_is_kept_as_it_came() {
        for text in ["'; drop table sales_item; --", " x ", "\u{202e}x", "☕\n"] {
            assert_eq!(ProductCode::parse(text.to_owned()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn nul_is_refused_because_postgresql_cannot_store_it() {
        assert_eq!(ProductCode::parse("a\0b".to_owned()), Err(Fault::ContainsNul));
    }

    #[test]
    fn payment_methods_are_an_open_set_of_codes() {
        for text in ["cash", "credit_card", "qris", "crypto2", &"x".repeat(50)] {
            assert!(code(text).is_ok(), "{text}");
        }
        for text in ["Cash", "2pay", "_x", "a-b", "café", "a b"] {
            assert_eq!(code(text), Err(Fault::NotACode), "{text}");
        }
        assert_eq!(code(""), Err(Fault::Empty));
        assert_eq!(code(&"x".repeat(51)), Err(Fault::TooLong { max: 50, actual: 51 }));
    }
}
