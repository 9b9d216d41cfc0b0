//! Commands, and what each does to a sale.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    etag::Etag,
    fault::Violation,
    identity::{CashierId, CustomerId, StoreId},
    line::{Expected, Line, LineParts},
    money::{Amount, Price, Quantity},
    sale::{Header, Item, Sale, Totals, item_count},
    text::{Category, PaymentMethod, ProductCode, ProductName},
};

/// What a caller wants done, valid in itself.
#[derive(Clone, Debug)]
pub struct Command {
    /// What is to change.
    pub change: Change,
    /// Names the command, so that a retry is not applied again.
    pub request: Option<Request>,
    /// Say what would happen, and write nothing.
    pub validate_only: bool,
}

/// A request id and what it stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// Made by the caller.
    pub request_id: Uuid,
    /// SHA-256 of the method and the content: a retry has the same.
    pub payload_hash: [u8; 32],
}

/// What a command changes.
#[derive(Clone, Debug)]
pub enum Change {
    /// Store a new sale.
    Create(NewSale),
    /// Store new sales, at least one: all of them or none.
    CreateAll(Vec<NewSale>),
    /// Do something to a sale that is stored.
    Existing {
        /// Which sale.
        transaction_id: Uuid,
        /// Only this version; `None` for any.
        etag: Option<Etag>,
        /// What to do.
        action: Action,
    },
}

/// What is done to a stored sale.
#[derive(Clone, Debug)]
pub enum Action {
    /// Change fields.
    Update(SalePatch),
    /// Delete it with its items.
    Delete,
    /// Append an item.
    AddItem(Line),
    /// Change fields of an item.
    UpdateItem {
        /// Which item.
        item_id: Uuid,
        /// The fields.
        patch: LinePatch,
    },
    /// Take an item off.
    DeleteItem {
        /// Which item.
        item_id: Uuid,
    },
}

/// A sale that is not stored yet; its totals are amounts. Its ids are made with it, so that it can be looked for when it
/// is not known whether it was stored.
#[derive(Clone, Debug)]
pub struct NewSale {
    transaction_id: Uuid,
    header: Header,
    items: Vec<Item>,
    totals: Totals,
}

/// New values for fields of a sale; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct SalePatch {
    /// When it happened.
    pub transaction_time: Option<DateTime<Utc>>,
    /// Who rang it up.
    pub cashier_id: Option<CashierId>,
    /// Where.
    pub store_id: Option<StoreId>,
    /// How it was paid.
    pub payment_method: Option<PaymentMethod>,
    /// Who bought; `Some(None)` makes the customer anonymous.
    pub customer_id: Option<Option<CustomerId>>,
    /// All items anew.
    pub lines: Option<Vec<Line>>,
    /// The `total_amount` that the caller expects afterwards.
    pub expected_amount: Expected,
    /// The `total_discount` that the caller expects afterwards.
    pub expected_discount: Expected,
}

/// New values for fields of a line; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct LinePatch {
    /// Which product.
    pub product_code: Option<ProductCode>,
    /// Its name.
    pub product_name: Option<ProductName>,
    /// Its kind; `Some(None)` clears it.
    pub category: Option<Option<Category>>,
    /// Pieces.
    pub quantity: Option<Quantity>,
    /// For a piece.
    pub unit_price: Option<Price>,
    /// Off the whole line.
    pub discount: Option<Amount>,
    /// The `total_price` that the caller expects afterwards.
    pub expected_total: Expected,
}

/// Why a change can't be made to the sale as it is stored.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// A value would be wrong together with the stored ones.
    #[error("a value is wrong together with the stored ones")]
    Invalid(Violation),
    /// Another version is stored.
    #[error("the sale was changed since it was read")]
    EtagMismatch {
        /// The stored version's.
        current: Etag,
    },
    /// The sale has no such item.
    #[error("the sale has no such item")]
    ItemNotFound {
        /// Which one.
        item_id: Uuid,
    },
    /// A sale without items is none.
    #[error("the last item of a sale can't be taken off")]
    LastItem,
}

impl From<Violation> for ChangeError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(violation)
    }
}

impl Change {
    /// The sale that must be there for the change; `None` for a new one.
    pub const fn target(&self) -> Option<Uuid> {
        match self {
            Self::Create(_) | Self::CreateAll(_) => None,
            Self::Existing { transaction_id, .. } => Some(*transaction_id),
        }
    }

    /// The sales that it stores anew; `None` for a change of a stored one.
    pub const fn new_sales(&self) -> Option<&[NewSale]> {
        match self {
            Self::Create(new) => Some(std::slice::from_ref(new)),
            Self::CreateAll(new) => Some(new.as_slice()),
            Self::Existing { .. } => None,
        }
    }

    /// How many rows it writes, roughly.
    pub fn rows(&self) -> usize {
        self.new_sales().map_or(1, |new| new.iter().map(|sale| 1 + sale.items().len()).sum())
    }
}

impl Action {
    /// The sale after this action, one version on; `None` when it is gone.
    pub fn applied_to(&self, stored: &Sale, now: DateTime<Utc>) -> Result<Option<Sale>, ChangeError> {
        let mut sale = stored.clone();
        match self {
            Self::Delete => return Ok(None),
            Self::Update(patch) => patch.clone().apply(&mut sale)?,
            Self::AddItem(line) => {
                let last = sale.items.last().map(|item| item.item_id);
                sale.items.push(Item::after(last, line.clone()));
            }
            Self::UpdateItem { item_id, patch } => {
                let item = &mut sale.items[place_of(*item_id, stored)?];
                item.line = patch.clone().applied_to(item.line.parts().clone())?;
            }
            Self::DeleteItem { item_id } => {
                let place = place_of(*item_id, stored)?;
                if sale.items.len() == 1 {
                    return Err(ChangeError::LastItem);
                }
                sale.items.remove(place);
            }
        }
        item_count(sale.items.len()).map_err(|fault| Violation::new("transaction.items", fault))?;
        sale.totals = Totals::of(sale.items.iter().map(|item| &item.line))?;
        // Clocks of two services differ: a later version must not carry an earlier time.
        sale.updated_at = now.max(stored.updated_at);
        sale.version += 1;
        Ok(Some(sale))
    }
}

/// Refuses what is meant for another version than the stored one.
pub fn check_etag(asked: Option<Etag>, stored: &Sale) -> Result<(), ChangeError> {
    match asked {
        Some(etag) if etag != stored.etag() => Err(ChangeError::EtagMismatch { current: stored.etag() }),
        _ => Ok(()),
    }
}

fn place_of(item_id: Uuid, sale: &Sale) -> Result<usize, ChangeError> {
    sale.items.iter().position(|item| item.item_id == item_id).ok_or(ChangeError::ItemNotFound { item_id })
}

impl NewSale {
    /// Puts valid parts together; the totals must be amounts, and those that are expected.
    pub fn new(header: Header, lines: Vec<Line>, amount: Expected, discount: Expected) -> Result<Self, Vec<Violation>> {
        let count = item_count(lines.len()).map_err(|fault| vec![Violation::new("transaction.items", fault)]);
        count?;
        let totals = Totals::of(&lines).map_err(|violation| vec![violation])?;
        let disagreements: Vec<_> = check_totals(totals, amount, discount).filter_map(Result::err).collect();
        if !disagreements.is_empty() {
            return Err(disagreements);
        }
        let items = Item::all_after(None, lines);
        Ok(Self { transaction_id: Uuid::now_v7(), header, items, totals })
    }

    /// The id that it gets.
    pub const fn transaction_id(&self) -> Uuid {
        self.transaction_id
    }

    /// Its items, with the ids that they get.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What the caller said of it.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The sums over its items.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The sale as it is stored first.
    pub fn stored_at(&self, now: DateTime<Utc>) -> Sale {
        Sale {
            transaction_id: self.transaction_id,
            header: self.header.clone(),
            items: self.items.clone(),
            totals: self.totals,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Its id, then its items' ids, as they get them.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> {
        std::iter::once(self.transaction_id).chain(self.items.iter().map(|item| item.item_id))
    }

    /// The sale as it was stored first by an earlier call with the same content, which got the next of these ids, in the
    /// order of [`NewSale::ids`]; `None` where they are too few.
    pub fn stored_before(&self, ids: &mut impl Iterator<Item = Uuid>, created_at: DateTime<Utc>) -> Option<Sale> {
        let mut sale = Self { transaction_id: ids.next()?, ..self.clone() }.stored_at(created_at);
        for item in &mut sale.items {
            item.item_id = ids.next()?;
        }
        Some(sale)
    }
}

impl SalePatch {
    fn apply(self, sale: &mut Sale) -> Result<(), Violation> {
        let header = &mut sale.header;
        header.transaction_time = self.transaction_time.unwrap_or(header.transaction_time);
        header.cashier_id = self.cashier_id.unwrap_or(header.cashier_id);
        header.store_id = self.store_id.unwrap_or(header.store_id);
        header.customer_id = self.customer_id.unwrap_or(header.customer_id);
        if let Some(payment_method) = self.payment_method {
            header.payment_method = payment_method;
        }
        if let Some(lines) = self.lines {
            let last = sale.items.last().map(|item| item.item_id);
            sale.items = Item::all_after(last, lines);
        }
        let totals = Totals::of(sale.items.iter().map(|item| &item.line))?;
        check_totals(totals, self.expected_amount, self.expected_discount).collect()
    }
}

impl LinePatch {
    fn applied_to(self, parts: LineParts) -> Result<Line, Violation> {
        let parts = LineParts {
            product_code: self.product_code.unwrap_or(parts.product_code),
            product_name: self.product_name.unwrap_or(parts.product_name),
            category: self.category.unwrap_or(parts.category),
            quantity: self.quantity.unwrap_or(parts.quantity),
            unit_price: self.unit_price.unwrap_or(parts.unit_price),
            discount: self.discount.unwrap_or(parts.discount),
        };
        Line::new(parts, self.expected_total, "item")
    }
}

fn check_totals(totals: Totals, amount: Expected, discount: Expected) -> impl Iterator<Item = Result<(), Violation>> {
    [
        amount.check("transaction.total_amount", totals.amount),
        discount.check("transaction.total_discount", totals.discount),
    ]
    .into_iter()
}
