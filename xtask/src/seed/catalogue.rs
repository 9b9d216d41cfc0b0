//! What the shops sell. A product keeps its code, name, category and price for good.

use rust_decimal::Decimal;

/// Something that is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Unique.
    pub code: &'static str,
    /// For people.
    pub name: &'static str,
    /// `Beverages`, `Food` or `Desserts`.
    pub category: &'static str,
    /// Price of one piece in cents.
    cents: i64,
}

impl Product {
    /// Price of one piece, with two decimals.
    pub fn unit_price(&self) -> Decimal {
        Decimal::new(self.cents, 2)
    }
}

const fn beverage(code: &'static str, name: &'static str, cents: i64) -> Product {
    Product { code, name, category: "Beverages", cents }
}

const fn food(code: &'static str, name: &'static str, cents: i64) -> Product {
    Product { code, name, category: "Food", cents }
}

const fn dessert(code: &'static str, name: &'static str, cents: i64) -> Product {
    Product { code, name, category: "Desserts", cents }
}

/// Every product, with how often it is chosen beside the others.
pub const CATALOGUE: [(Product, u32); 30] = [
    (beverage("COF-ESP", "Espresso", 280), 9),
    (beverage("COF-AME", "Americano", 320), 8),
    (beverage("COF-CAP", "Cappuccino", 420), 10),
    (beverage("COF-LAT", "Caffe latte", 450), 12),
    (beverage("COF-FLW", "Flat white", 440), 6),
    (beverage("TEA-GRN", "Green tea", 310), 4),
    (beverage("TEA-BLK", "Black tea", 290), 4),
    (beverage("TEA-CHA", "Chai latte", 470), 3),
    (beverage("JUI-ORA", "Orange juice", 495), 5),
    (beverage("JUI-APP", "Apple juice", 450), 3),
    (beverage("JUI-CAR", "Carrot and ginger juice", 560), 2),
    (food("SAN-HAM", "Ham sandwich", 690), 6),
    (food("SAN-TUN", "Tuna sandwich", 740), 5),
    (food("SAN-CLU", "Club sandwich", 890), 4),
    (food("SAN-VEG", "Vegetable sandwich", 650), 4),
    (food("CRO-BUT", "Butter croissant", 340), 9),
    (food("CRO-ALM", "Almond croissant", 425), 4),
    (food("CRO-CHO", "Chocolate croissant", 395), 5),
    (food("MUF-BLU", "Blueberry muffin", 375), 5),
    (food("MUF-CHO", "Chocolate muffin", 375), 5),
    (food("SAL-CAE", "Caesar salad", 985), 3),
    (food("SAL-GRE", "Greek salad", 925), 3),
    (dessert("CAK-CHE", "Cheesecake", 595), 4),
    (dessert("CAK-CHO", "Chocolate cake", 575), 4),
    (dessert("CAK-CAR", "Carrot cake", 550), 3),
    (dessert("CAK-LEM", "Lemon cake", 525), 2),
    (dessert("COO-CHO", "Chocolate chip cookie", 245), 6),
    (dessert("COO-OAT", "Oatmeal cookie", 235), 4),
    (dessert("COO-GIN", "Ginger cookie", 240), 2),
    (dessert("COO-DBL", "Double chocolate cookie", 265), 3),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_names_are_unique() {
        let codes: BTreeSet<_> = CATALOGUE.iter().map(|(product, _)| product.code).collect();
        let names: BTreeSet<_> = CATALOGUE.iter().map(|(product, _)| product.name).collect();
        assert_eq!((codes.len(), names.len()), (CATALOGUE.len(), CATALOGUE.len()));
    }

    #[test]
    fn every_kind_of_goods_has_several_products() {
        for kind in ["COF", "TEA", "JUI", "SAN", "CRO", "MUF", "SAL", "CAK", "COO"] {
            let products = CATALOGUE.iter().filter(|(product, _)| product.code.starts_with(kind));
            assert!(products.count() >= 2, "{kind}");
        }
    }

    #[test]
    fn text_needs_no_escape_where_it_is_copied() {
        let plain = |text: &str| text.chars().all(|character| character.is_ascii_graphic() || character == ' ');
        for (product, _) in &CATALOGUE {
            let text = [product.code, product.name, product.category].concat();
            assert!(plain(&text) && !text.contains('\\'), "{text}");
        }
    }
}
