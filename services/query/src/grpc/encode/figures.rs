//! Figures as the contract writes them.

use rust_decimal::Decimal;
use tandem_proto::{
    money::Currency,
    sales::query::v1::{
        BreakdownRow, GetBreakdownResponse, GetRevenueSeriesResponse, GetSummaryResponse, GroupKey, ListStoresResponse,
        ListTopProductsResponse, PreviousPeriod, ReadState, RevenuePoint, RevenueSeries, StoreFigures, TimeRange,
        TopProduct, WeekdayHour, group_key::Key,
    },
    time::to_timestamp,
};

use crate::{
    domain::{
        Breakdown, Cell, Dimension, Figures, Group, LocalRange, Point, Product, Series, StorePage, StorePageToken,
        TooManySeries, by_revenue, change, each_hour_of_week, each_series, one_series, page_of_stores,
    },
    grpc::decode,
};

const HOURS_OF_DAY: i32 = 24;

/// Cells of step 0 are the range's, of step 1 those of the period before it.
pub fn summary(
    cells: &[Cell],
    asked: &decode::Summary,
    currency: &Currency,
    read_state: Option<ReadState>,
) -> GetSummaryResponse {
    let of_step = |step| cells.iter().find(|cell| cell.step == step).map(|cell| cell.figures).unwrap_or_default();
    let (now, before) = (of_step(0), of_step(1));
    GetSummaryResponse {
        range: Some(range(&asked.range)),
        revenue: Some(currency.money(now.revenue)),
        transactions: now.transactions,
        items_sold: now.items_sold,
        average_transaction: Some(currency.money(now.average_transaction())),
        total_discount: Some(currency.money(now.total_discount)),
        read_state,
        previous: asked.previous.as_ref().map(|period| previous(period, &before, &now, currency)),
    }
}

fn previous(period: &LocalRange, before: &Figures, now: &Figures, currency: &Currency) -> PreviousPeriod {
    let count = |earlier: i64, later: i64| change(Decimal::from(earlier), Decimal::from(later));
    PreviousPeriod {
        range: Some(range(period)),
        revenue: Some(currency.money(before.revenue)),
        transactions: before.transactions,
        items_sold: before.items_sold,
        average_transaction: Some(currency.money(before.average_transaction())),
        total_discount: Some(currency.money(before.total_discount)),
        revenue_change: change(before.revenue, now.revenue),
        transactions_change: count(before.transactions, now.transactions),
        items_sold_change: count(before.items_sold, now.items_sold),
        average_transaction_change: change(before.average_transaction(), now.average_transaction()),
        total_discount_change: change(before.total_discount, now.total_discount),
    }
}

/// One series of all, or one for each group. Refuses more than an answer holds.
pub fn series(
    cells: Vec<Cell>,
    asked: &decode::Series,
    currency: &Currency,
    read_state: Option<ReadState>,
) -> Result<GetRevenueSeriesResponse, TooManySeries> {
    let points = |points: &[Point]| points.iter().map(|one| point(one, currency)).collect();
    let mut response = GetRevenueSeriesResponse { range: Some(range(&asked.range)), read_state, ..Default::default() };
    if asked.question.dimension == Dimension::All {
        response.points = points(&one_series(&asked.steps, cells));
    } else {
        let of_group =
            |series: Series| RevenueSeries { group: Some(key(series.group)), points: points(&series.points) };
        response.series = each_series(&asked.steps, cells)?.into_iter().map(of_group).collect();
    }
    Ok(response)
}

fn point(point: &Point, currency: &Currency) -> RevenuePoint {
    RevenuePoint {
        start_time: Some(to_timestamp(point.start)),
        revenue: Some(currency.money(point.figures.revenue)),
        transactions: point.figures.transactions,
        items_sold: point.figures.items_sold,
        total_discount: Some(currency.money(point.figures.total_discount)),
    }
}

pub fn top_products(
    products: Vec<Product>,
    asked: &LocalRange,
    currency: &Currency,
    read_state: Option<ReadState>,
) -> ListTopProductsResponse {
    let product = |product: Product| TopProduct {
        product_code: product.product_code,
        product_name: product.label.product_name,
        category: product.label.category,
        quantity: product.figures.items_sold,
        revenue: Some(currency.money(product.figures.revenue)),
        transactions: product.figures.transactions,
    };
    let products = products.into_iter().map(product).collect();
    ListTopProductsResponse { range: Some(range(asked)), products, read_state }
}

/// Groups by revenue, or each hour of the week.
pub fn breakdown(
    cells: Vec<Cell>,
    asked: &decode::Breakdown,
    currency: &Currency,
    read_state: Option<ReadState>,
) -> GetBreakdownResponse {
    let Breakdown { rows, total_groups } = match asked.limit {
        Some(limit) => by_revenue(cells, limit),
        None => each_hour_of_week(cells),
    };
    let rows = rows.into_iter().map(|row| BreakdownRow {
        group: Some(key(row.group)),
        revenue: Some(currency.money(row.figures.revenue)),
        transactions: row.figures.transactions,
        items_sold: row.figures.items_sold,
        average_transaction: Some(currency.money(row.figures.average_transaction())),
        total_discount: Some(currency.money(row.figures.total_discount)),
    });
    GetBreakdownResponse {
        range: Some(range(&asked.range)),
        rows: rows.collect(),
        total_groups: i32::try_from(total_groups).unwrap_or(i32::MAX),
        read_state,
    }
}

pub fn stores(
    cells: Vec<Cell>,
    asked: &decode::Stores,
    currency: &Currency,
    read_state: Option<ReadState>,
) -> ListStoresResponse {
    let StorePage { stores, next } = page_of_stores(cells, asked.after, asked.size);
    let store = |(store_id, figures): (i32, Figures)| StoreFigures {
        store_id,
        revenue: Some(currency.money(figures.revenue)),
        transactions: figures.transactions,
        items_sold: figures.items_sold,
        average_transaction: Some(currency.money(figures.average_transaction())),
        total_discount: Some(currency.money(figures.total_discount)),
    };
    ListStoresResponse {
        range: Some(range(&asked.asked.range)),
        stores: stores.into_iter().map(store).collect(),
        next_page_token: next.map(|store| StorePageToken::new(store, &asked.asked).to_string()).unwrap_or_default(),
        read_state,
    }
}

/// The key of a group; of all sales together, which no answer names, an empty one.
fn key(group: Group) -> GroupKey {
    let key = match group {
        Group::All => None,
        Group::Store(store_id) => Some(Key::StoreId(store_id)),
        Group::Cashier(cashier_id) => Some(Key::CashierId(cashier_id)),
        Group::PaymentMethod(method) => Some(Key::PaymentMethod(method)),
        Group::Category(category) => Some(Key::Category(category.unwrap_or_default())),
        Group::Product(_) => None,
        Group::HourOfWeek(hour) => {
            Some(Key::WeekdayHour(WeekdayHour { weekday: hour / HOURS_OF_DAY + 1, hour: hour % HOURS_OF_DAY }))
        }
    };
    GroupKey { key }
}

pub fn range(LocalRange { range, zone }: &LocalRange) -> TimeRange {
    TimeRange {
        start_time: Some(to_timestamp(range.start())),
        end_time: Some(to_timestamp(range.end())),
        time_zone: zone.name().to_owned(),
        ..TimeRange::default()
    }
}
